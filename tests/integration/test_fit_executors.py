"""Fits that are done elsewhere: by a command, in parallel, and by what a plugin brings."""

import json
import sys
import threading
from pathlib import Path

import pytest
from fitted_strategy import Words

from router_sdk import Outcome, Router
from router_sdk.errors import CorruptArtifactError, DuplicateNameError, InvalidConfigError
from router_sdk.executors.carrying import pack_folder, unpack_folder
from router_sdk.executors.child import ChildProcess
from router_sdk.plugin import FitExecutor, hookimpl

AGENTS = ["billing", "fraud", "sales"]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
WORKER = "{python} -P -m router_sdk.training.worker {request}"


def teach(router, rounds=60):
    for number in range(rounds):
        word = list(RIGHT)[number % 3]
        decision = router.route(f"{word} me {number}")
        router.record(decision, Outcome(correct_agent=RIGHT[word]))
    router.flush()


@pytest.fixture
def opened(words_installed, store_path):
    """Opens routers whose fits are done by a command."""

    def open_one(command=WORKER, chain=("words", "heuristic"), **settings):
        executor = {"command": {"command": command, "look_seconds": 0.05, **settings.pop("executor", {})}}
        options = {"retrain": False, "epsilon": 0.0, "seed": 1, "fit_executor": "command", "executor": executor}
        return Router(AGENTS, list(chain), store_path, **{**options, **settings})

    return open_one


def weights(router):
    fits = Path(f"{router.config.store}.artifacts") / "versions"
    return sorted(path.read_bytes() for path in fits.rglob("words.json"))


@pytest.mark.slow
def test_a_command_fits_what_a_child_does(opened, tmp_path):
    with opened(executor={"folder": str(tmp_path / "shared disk")}) as router:
        teach(router)
        assert router.models.retrain(wait=True).state == "promoted"
        first = router.models.versions("words")[0]
        assert list((tmp_path / "shared disk").iterdir()) == []
    with opened(fit_executor="process") as router:
        router.models.retrain(wait=True)
        second = router.models.versions("words")[0]
    assert first.data_hash == second.data_hash


@pytest.mark.slow
def test_a_scheduler_that_keeps_the_output_still_tells(opened):
    quiet = f"{sys.executable} -c 'import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], stdout=2))' {WORKER}"
    with opened(quiet) as router:
        teach(router)
        assert router.models.retrain(wait=True).state == "promoted"
        fit = router.models.retrain(mode="raise")
        while fit.running:
            threading.Event().wait(0.01)
        assert (fit.state, fit.words) == ("failed", "the loss is not finite")


@pytest.mark.reliability
def test_what_is_asked_of_a_user_crosses_too(opened, tmp_path):
    (mine := tmp_path / "mine.jsonl").write_text('{"text": "offer mine", "label": "sales"}\n' * 6)
    (golden := tmp_path / "golden.jsonl").write_text('{"text": "refund me", "agent": "billing"}\n')
    (existing := tmp_path / "existing.jsonl").write_text('{"text": "late again", "label": "fraud"}\n')
    settings = {"gate": {"validation": str(mine), "golden": str(golden)}, "training": {"existing": str(existing)}}
    with opened(**settings) as router:
        teach(router)
        assert router.models.retrain(wait=True).state == "promoted"
        evidence = router.models.report("words", 1).evidence
        assert (evidence.golden.passed, evidence.validation.after) == (1, 1.0)
        assert json.loads(weights(router)[0])[0]["late"] == "fraud"


@pytest.mark.reliability
def test_a_stopped_command_leaves_its_checkpoints(opened):
    with opened() as router:
        teach(router)
        fit = router.models.retrain(mode="hang")
        beside = Path(f"{router.config.store}.artifacts")
        while fit.running and not list(beside.glob("fits/words-fit/fit-*/fit/checkpoints/0")):
            threading.Event().wait(0.01)
        fit.stop()
        while fit.running:
            threading.Event().wait(0.01)
        assert fit.state == "stopped"
        assert not list(beside.glob("fits/words-fit/fit-*"))
        assert router.models.retrain(wait=True, mode="hang").state == "promoted"  # it goes on from there


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("{python} -c pass {request}", "left no version, report.json, dataset.json"),
        ("no-such-program {request}", "'no-such-program' cannot be run"),
        ("{python} -c 'import sys; sys.exit(\"no room\")' {request}", "the worker ended with 1: no room"),
    ],
)
def test_a_command_that_fails_says_so_and_what_serves_goes_on(opened, command, words):
    with opened(command) as router:
        teach(router, 30)
        fit = router.models.retrain()
        while fit.running:
            threading.Event().wait(0.01)
        assert fit.state == "failed"
        assert words in fit.words
        assert router.route("refund me").agent in AGENTS


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"executor": {"command": {"command": "run {python}"}}}, "names no {request}"),
        ({"executor": {"command": {"command": "run {requests}"}}}, "there is no place"),
        ({"executor": {"command": {"command": "run {request"}}}, "braces"),
        ({"executor": {}}, "command"),
        ({"executor": {"nobody": {}}}, "'nobody'"),
        ({"fit_executor": "nobody", "executor": {}}, "there is no 'nobody'"),
    ],
)
def test_wrong_settings_are_told_at_the_start(words_installed, store_path, settings, words):
    with pytest.raises(InvalidConfigError, match=words):
        Router(AGENTS, ["words"], store_path, **{"fit_executor": "command", **settings})


class Counting(FitExecutor):
    """Fits in children, at most so many at once."""

    name = "counting"
    most = now = 0
    begun = threading.Barrier(2, timeout=60)

    def run(self, job):
        Counting.begun.wait()  # both are there
        ChildProcess(ChildProcess.Config()).run(job)


class Brings:
    @hookimpl
    def register_fit_executors(self):
        return [Counting]


def test_fits_of_different_strategies_run_at_once(words_installed, store_path, monkeypatch):
    others = type("Others", (Words,), {"name": "others"})
    options = {"retrain": False, "epsilon": 0.0, "fit_executor": "counting", "parallel_fits": 2, "plugins": [Brings()]}
    monkeypatch.setattr(ChildProcess, "run", lambda self, job: job.progress(0.5, "counted"))
    with Router(AGENTS, ["words", others, "heuristic"], store_path, **options) as router:
        teach(router)
        fits = [router.models.retrain("words"), router.models.retrain("others")]
        again = router.models.retrain("words")
        assert again.state == "waiting"
        again.stop()
        for fit in fits:
            while fit.running:
                threading.Event().wait(0.01)
        assert [fit.words for fit in fits] == ["report.json: no report of a fit can be read (FileNotFoundError)"] * 2


def test_a_name_of_ours_cannot_be_taken(store_path):
    taken = type("Taken", (Counting,), {"name": "process"})
    plugin = type("Plugin", (), {"register_fit_executors": hookimpl(lambda self: [taken])})()
    with pytest.raises(DuplicateNameError, match="process"):
        Router(AGENTS, ["heuristic"], store_path, plugins=[plugin])


def test_folders_cross_as_bytes(tmp_path):
    (folder := tmp_path / "there" / "inner").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"\0\1")
    (folder / ".draft-x").write_bytes(b"half")
    (folder / "link").symlink_to("/etc/hosts")
    (tmp_path / "there" / "other").write_text("not this")
    unpack_folder(pack_folder(tmp_path / "there", ("inner",)), tmp_path / "here")
    assert [path.name for path in sorted((tmp_path / "here").rglob("*"))] == ["inner", "weights.bin"]
    assert (tmp_path / "here" / "inner" / "weights.bin").read_bytes() == b"\0\1"
    for content in (b"nothing", pack_folder(tmp_path / "there")):
        with pytest.raises(CorruptArtifactError):
            unpack_folder(content, tmp_path / "here", ("inner",))
