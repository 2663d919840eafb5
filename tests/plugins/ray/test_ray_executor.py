"""Fits on a real Ray of one machine."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from router_sdk import Outcome, Router
from router_sdk.errors import FitError, InvalidConfigError
from router_sdk.executors.executor import FitJob

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install router-sdk-ray")

from router_sdk_ray import RayConfig, RayExecutor  # noqa: E402
from router_sdk_ray.hooks import register_fit_executors  # noqa: E402

pytestmark = [
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]

AGENTS = ["billing", "fraud", "sales"]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all of these tests."""
    ray.init(num_cpus=2, log_to_driver=False, configure_logging=False, include_dashboard=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def opened(cluster, words_installed, store_path):
    """Opens routers whose fits are done on Ray, where the strategy ``words`` is installed, too."""

    def open_one(**settings):
        there = {"env_vars": {"PYTHONPATH": os.pathsep.join(["/nowhere", os.environ["PYTHONPATH"]])}}
        own = {"num_cpus": 1, "look_seconds": 0.05, "runtime_env": there, **settings.pop("ray", {})}
        options = {"retrain": False, "epsilon": 0.0, "seed": 1, "fit_executor": "ray", "executor": {"ray": own}}
        return Router(AGENTS, ["words", "heuristic"], store_path, **{**options, **settings})

    return open_one


def teach(router, rounds=60):
    for number in range(rounds):
        word = list(RIGHT)[number % 3]
        decision = router.route(f"{word} me {number}")
        router.record(decision, Outcome(correct_agent=RIGHT[word]))
    router.flush()


def until(done):
    while not done():
        threading.Event().wait(0.01)


def weights(router):
    beside = Path(f"{router.config.store}.artifacts")
    return sorted(path.read_bytes() for path in (beside / "versions").rglob("words.json"))


def test_the_same_comes_of_it_as_in_a_child(opened):
    with opened() as router:
        teach(router)
        fit = router.models.retrain()
        words = set()
        until(lambda: words.add(fit.words) or not fit.running)
        assert fit.state == "promoted"
        assert words & {"counting words", "reading the log", "comparing with what serves"}
        there = weights(router)
    with opened(fit_executor="process") as router:
        assert router.models.retrain(wait=True).version.version == 2
        assert there[0] in weights(router)
        assert len(set(weights(router))) == 1


def test_a_failure_crosses_with_its_words(opened):
    with opened() as router:
        teach(router)
        fit = router.models.retrain(mode="raise")
        until(lambda: not fit.running)
        assert (fit.state, fit.words) == ("failed", "the loss is not finite")
    with opened(held_out=0.0) as router:
        fit = router.models.retrain()
        until(lambda: not fit.running)
        assert fit.state in ("refused", "promoted")


def checkpoints(router):
    return Path(f"{router.config.store}.artifacts") / "fits" / "words-fit" / "checkpoints" / "0"


def test_a_lost_worker_is_followed_by_one_that_goes_on_from_its_checkpoint(opened):
    with opened() as router:
        teach(router)
        fit = router.models.retrain(mode="hang")  # until there is a checkpoint of an attempt before
        until(lambda: checkpoints(router).exists() or not fit.running)
        for pid in worker_processes():
            os.kill(pid, signal.SIGKILL)
        assert fit.wait(120).state == "promoted"


def worker_processes():
    """The processes of our actors."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            title = Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::Worker"):
            found.append(int(pid))
    return found


def test_who_loses_every_worker_fails_and_says_so(opened):
    with opened(ray={"retries": 0}) as router:
        teach(router)
        fit = router.models.retrain(mode="hang")
        until(lambda: checkpoints(router).exists() or not fit.running)
        for pid in worker_processes():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not fit.running)
        assert fit.state == "failed"
        assert fit.words.startswith("Ray: ActorDiedError")


def test_a_stopped_fit_leaves_its_checkpoint_here(opened):
    with opened() as router:
        teach(router)
        fit = router.models.retrain(mode="hang")
        until(lambda: checkpoints(router).exists() or not fit.running)
        fit.stop()
        until(lambda: not fit.running)
        assert fit.state == "stopped"
        assert router.models.retrain(wait=True, mode="hang").state == "promoted"


def test_what_the_cluster_has_no_place_for_waits_and_can_be_stopped(opened):
    with opened(ray={"resources": {"tape drive": 1}}) as router:
        teach(router)
        fit = router.models.retrain()
        until(lambda: fit.words == "waiting for a place on the cluster")
        fit.stop()
        until(lambda: not fit.running)
        assert fit.state == "stopped"


def test_resources_are_what_is_configured(cluster):
    config = RayConfig(num_gpus=0.5)
    assert RayExecutor(config)._gpus("cpu") == 0.5
    assert RayExecutor(RayConfig())._gpus("auto") == min(1.0, cluster.cluster_resources().get("GPU", 0.0))
    assert RayExecutor(RayConfig())._gpus("cpu") == 0.0
    assert [one.name for one in register_fit_executors()] == ["ray"]


def test_a_cluster_that_is_not_there_fails_the_fit(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *address, **options: (_ for _ in ()).throw(ConnectionError("nobody there")))
    job = FitJob(tmp_path, "cpu", print, lambda: False, lambda folder: None)
    with pytest.raises(FitError, match="Ray cannot be reached: nobody there"):
        RayExecutor(RayConfig(address="ray://nowhere:1")).run(job)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidConfigError, match="pip install router-sdk-ray"):
        RayExecutor(RayConfig())
