"""A program whose encoder is open, is being opened or is being exported forks and ends like any other."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import programs_that_end
import pytest
from programs_that_end import LIMIT_S, check, decisions_in, hold_router, open_router, run, say, work

from router_sdk import Outcome, Router

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends processes in other ways")


def two_with_a_model(path: str, model: str) -> None:
    """Two routers with a transformer, one closed while its encoder opens, one once it serves."""
    with open_router(path, [("bert", {"model": model}), "thompson"]) as router:
        work(router)
    with open_router(path, [("bert", {"model": model}), "thompson"]) as router:
        assert router.warm_up() == {}
        work(router)


def closed_while_a_model_exports(path: str, checkpoint: str) -> None:
    router = open_router(path, [("bert", {"model": checkpoint}), "thompson"])
    work(router)
    cache = Path(os.environ["XDG_CACHE_HOME"])
    deadline = time.monotonic() + LIMIT_S
    while not list(cache.rglob("*.lock")):  # it is about to begin a child process, or has
        assert time.monotonic() < deadline
    started = time.monotonic()
    router.close()
    assert time.monotonic() - started < 2.5, "two seconds, and what a busy machine needs to notice"
    assert [one for one in cache.rglob("*") if one.is_file() and one.suffix != ".lock"] == []


def preloaded(path: str, model: str, when: str) -> None:
    """A server that forks its workers while the encoder opens, or once it is open."""
    router = hold_router(path, [("bert", {"model": model}), "thompson"])
    if when == "open":
        router.warm_up()
    workers = []
    for _ in range(2):
        worker = os.fork()
        if worker == 0:
            signal.alarm(4 * LIMIT_S - 10)  # what hangs dies of it; three encoders in turn take a while
            say("ready", json.dumps(router.warm_up()))
            say("answers", answering(router))
            work(router)
            sys.exit(0)
        workers.append(worker)
    codes = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
    assert codes == [0, 0], codes
    say("ready", json.dumps(router.warm_up()))
    say("answers", answering(router))


def answering(router: Router) -> str:
    """Who answers what it has just been taught."""
    texts = {"billing": "cancel my order", "fraud": "somebody stole my card"}
    for number in range(20):
        for agent, text in texts.items():
            router.observe(f"{text} {number}", agent, Outcome(success=True, correct_agent=agent))
    router.flush()
    return router.route(texts["billing"]).strategy


# -- what they must show


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "router.db"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny transformer with random weights, as ``transformers`` writes it."""
    pytest.importorskip("torch", reason="only serving works without torch")
    from router_sdk_bert.encoding.tiny import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="session")
def model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, exported."""
    from router_sdk_bert.config import EncoderSettings
    from router_sdk_bert.encoding.export import export_encoder

    folder = tmp_path_factory.mktemp("tiny-exported") / "encoder"
    export_encoder(checkpoint, folder, EncoderSettings(model=str(checkpoint)))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.reliability) for turn in range(1, 4))])
def test_a_program_with_a_model_ends_well(tmp_path: Path, model: Path, turn: int) -> None:
    check(tmp_path / "router.db", run(two_with_a_model, tmp_path / "router.db", model), recorded=6)


def test_closing_does_not_wait_for_a_model_that_is_exported(path: Path, checkpoint: Path, tmp_path: Path) -> None:
    told = run(closed_while_a_model_exports, path, checkpoint, XDG_CACHE_HOME=str(tmp_path / "cache"))
    check(path, told, recorded=3)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["opening", "open"])
def test_workers_that_are_forked_have_their_parents_model(path: Path, model: Path, when: str) -> None:
    told = run(preloaded, path, model, when)
    assert sorted(told.else_said) == ["answers bert"] * 3 + ["ready {}"] * 3
    assert told.routed - decisions_in(path) == set()


@pytest.mark.slow
def test_workers_that_are_forked_with_a_model_that_cannot_open_say_why(path: Path, tmp_path: Path) -> None:
    told = run(preloaded, path, tmp_path / "nothing here", "opening")
    reasons = [json.loads(one.partition(" ")[2]) for one in told.else_said if one.startswith("ready")]
    assert [reason.keys() for reason in reasons] == [{"bert"}] * 3
    assert all("nothing here" in reason["bert"] for reason in reasons)


if __name__ == "__main__":
    programs_that_end.main(globals())
