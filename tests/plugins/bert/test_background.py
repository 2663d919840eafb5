"""What a strategy begins in the background ends with it: exports, waits for other processes, and its thread."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from programs import main, run
from router_sdk_bert.config import BertConfig, EncoderSettings
from router_sdk_bert.encoding import opening
from router_sdk_bert.encoding.background import EncoderSlot
from router_sdk_bert.encoding.encoder import open_encoder
from router_sdk_bert.encoding.opening import cache_key, default_cache
from router_sdk_bert.strategy import BertStrategy

from router_sdk.plugin import Agent, AgentSet, EncoderUnavailableError, Task
from router_sdk.testing import FixedContext, HashedWordsEncoder, make_services

AGENTS = AgentSet([Agent("billing", examples=["I was charged twice"]), Agent("coder", examples=["sort a list"])])
QUICKLY_S = 2.5
"""Two seconds, and what a busy machine needs to notice."""


def strategy_of(model, kind=BertStrategy, **settings):
    return kind(BertConfig(model=str(model), **settings), make_services())


def close_quickly(strategy):
    started = time.monotonic()
    strategy.close()
    assert time.monotonic() - started < QUICKLY_S
    assert not [thread for thread in threading.enumerate() if thread.name == "router-bert-encoder"]


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The user's cache, empty."""
    monkeypatch.setenv("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", str(tmp_path))
    return default_cache()


@pytest.fixture
def children(monkeypatch):
    """Child processes of exports, as they are begun; ``begun`` is set with the first."""

    class Children(list):
        begun = threading.Event()

    made, popen = Children(), subprocess.Popen

    def begin(*arguments, **more):
        made.append(popen(*arguments, **more))
        made.begun.set()
        return made[-1]

    monkeypatch.setattr(opening.subprocess, "Popen", begin)
    return made


def test_closing_ends_an_export(tiny_checkpoint_folder, cache, children, caplog):
    strategy = strategy_of(tiny_checkpoint_folder)
    strategy.prepare(AGENTS)
    assert children.begun.wait(10)
    close_quickly(strategy)
    assert children[0].poll() is not None, "the child process must be gone"
    assert {path.suffix for path in cache.iterdir()} == {".lock"}, "and what it had begun to write"
    assert "given up" in strategy.warm_up()
    assert "given up" in strategy.report()["encoder"]["note"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"], "nobody needs to hear of it"


def test_closing_gives_up_waiting_for_another_process(tiny_checkpoint_folder, cache, monkeypatch):
    asked = threading.Event()

    class Asked(BertStrategy):
        def open(self):
            def stopped():
                asked.set()
                return self._slot.stopped()

            return open_encoder(self.settings, stopped=stopped)

    entry = cache / cache_key(EncoderSettings(model=str(tiny_checkpoint_folder)))
    cache.mkdir(parents=True)
    with FileLock(f"{entry}.lock"):
        strategy = strategy_of(tiny_checkpoint_folder, Asked)
        strategy.prepare(AGENTS)
        assert asked.wait(10)
        close_quickly(strategy)
    assert not entry.exists()


@pytest.mark.reliability
def test_an_export_that_is_given_up_leaves_the_place_to_others(tiny_checkpoint_folder, tmp_path, children):
    settings = EncoderSettings(model=str(tiny_checkpoint_folder))
    with pytest.raises(EncoderUnavailableError, match="given up"):
        open_encoder(settings, tmp_path, stopped=children.begun.is_set)
    assert open_encoder(settings, tmp_path).backend == "onnx-int8"
    assert len(children) == 2


def test_an_export_that_takes_for_ever_is_ended(tiny_checkpoint_folder, tmp_path, children, monkeypatch):
    monkeypatch.setattr(opening, "_EXPORT_LIMIT_S", 0.0)
    with pytest.raises(EncoderUnavailableError, match="took longer"):
        open_encoder(EncoderSettings(model=str(tiny_checkpoint_folder)), tmp_path)
    assert children[0].poll() is not None


def test_closing_stops_between_two_batches_of_what_agents_say(tiny_encoder_folder, monkeypatch):
    begun, go_on, batches = threading.Event(), threading.Event(), []

    class Slow(BertStrategy):
        def open(self):
            encoder = super().open()
            encode = encoder.encode

            def slowly(texts):
                batches.append(len(texts))
                begun.set()
                assert go_on.wait(10)
                return encode(texts)

            encoder.encode = slowly
            return encoder

    strategy = strategy_of(tiny_encoder_folder, Slow)
    strategy.prepare(AgentSet([Agent("talker", examples=[f"text {number}" for number in range(1_000)]), Agent("b")]))
    assert begun.wait(10)
    threading.Timer(0.1, go_on.set).start()
    close_quickly(strategy)
    assert batches == [64]


def slot_of(open_encoder, opened=lambda encoder: None):
    return EncoderSlot(open_encoder, opened, make_services().logger)


def test_a_closed_slot_opens_nothing_any_more():
    made = []
    slot = slot_of(lambda: made.append(1) or HashedWordsEncoder())
    slot.close()
    slot.start()
    assert slot.wait() is None
    slot.after_fork()
    assert slot.wait() is None
    assert made == []
    assert "closed" in slot.reason


def test_what_was_open_before_it_was_closed_serves_on(tiny_encoder_folder):
    strategy = strategy_of(tiny_encoder_folder)
    strategy.prepare(AGENTS)
    assert strategy.warm_up() is None
    close_quickly(strategy)
    assert strategy.warm_up() is None
    assert strategy.propose(Task("sort it"), AGENTS, FixedContext(text="sort it")) is not None


def test_whoever_waits_is_told_though_a_library_goes_on_for_a_while():
    begun, go_on, published, waited = threading.Event(), threading.Event(), [], []

    def read():
        begun.set()
        assert go_on.wait(10)
        return HashedWordsEncoder()

    slot = slot_of(read, published.append)
    waiter = threading.Thread(target=lambda: waited.append(slot.wait()))
    waiter.start()
    assert begun.wait(10)
    slot.close(grace_s=0.0)
    waiter.join(1)
    assert waited == [None]
    go_on.set()
    slot.close()
    assert published == [], "what was opened too late serves nobody"
    assert slot.wait() is None


def test_a_failure_is_no_end_and_the_next_start_tries_again():
    tries = []

    def read():
        tries.append(1)
        if len(tries) == 1:
            raise EncoderUnavailableError("no weights")
        return HashedWordsEncoder()

    slot = slot_of(read)
    assert (slot.wait(), slot.reason, len(tries)) == (None, "no weights", 1)
    assert slot.wait() is None
    slot.start()
    assert slot.wait() is not None
    assert (slot.reason, len(tries)) == (None, 2)


@pytest.mark.slow
def test_warming_up_says_why_there_is_no_encoder(tiny_encoder_folder, tmp_path):
    assert strategy_of(tiny_encoder_folder).warm_up() is None
    missing = strategy_of(tmp_path / "nothing here")
    assert "nothing here" in missing.warm_up()
    assert missing.warm_up() == missing.report()["encoder"]["note"]


def interrupted_at(line, work, handler):
    """Do some work, and call ``handler`` in the middle, as a signal would: before a line of the slot's own file."""
    seen, file = [], sys.modules[EncoderSlot.__module__].__file__

    def trace(frame, event, argument):
        if frame.f_code.co_filename == file:
            if event == "line":
                seen.append(frame.f_lineno)
                if len(seen) == line:
                    sys.settrace(None)
                    handler()
            return trace
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return len(seen) >= line


def closed_before(line, what):
    """Close a slot before a line of ``start``, ``wait`` or ``close`` itself; whether there is such a line."""
    go_on, finished, reached = threading.Event(), threading.Event(), []

    def read():
        go_on.wait(0.2)
        return HashedWordsEncoder()

    def interrupt():
        work = {"start": slot.start, "wait": slot.wait, "close": close}[what]
        reached.append(interrupted_at(line, work, close))
        finished.set()

    def close():
        slot.close(0.01)

    slot = slot_of(read)
    if what != "start":
        slot.start()
    threading.Thread(target=interrupt).start()
    assert finished.wait(10), f"{what} hangs when it is closed before line {line} of it"
    go_on.set()
    slot.close()
    assert slot.stopped()
    return reached[0]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["start", "wait", "close"])
def test_a_signal_handler_may_close_it_at_any_moment(what):
    line = 1
    while closed_before(line, what):
        line += 1
    assert line > 3


# -- programs


def two_closed(model):
    """Two strategies that are closed while their encoders open, and the program ends."""
    for _ in range(2):
        strategy = strategy_of(model)
        strategy.prepare(AGENTS)
        strategy.close()
    return [thread.name for thread in threading.enumerate()]


def forgotten(model):
    """A program that ends while an encoder opens."""
    strategy_of(model).prepare(AGENTS)
    return "done"


def ended_in_order(model, path):
    """A program that ends while an encoder opens; whether the thread was told of it."""

    class Slow(BertStrategy):
        def open(self):
            while not self._slot.stopped():
                time.sleep(0.01)
            Path(path).write_text("the thread has ended")
            raise EncoderUnavailableError("stopped")

    strategy_of(model, Slow).prepare(AGENTS)
    return "done"


def closed_by_a_signal(model):
    """A signal handler closes what the main thread waits for."""
    begun = threading.Event()

    class Slow(BertStrategy):
        def open(self):
            begun.set()
            while not self._slot.stopped():
                time.sleep(0.01)
            raise EncoderUnavailableError("stopped")

    strategy = strategy_of(model, Slow)
    strategy.prepare(AGENTS)
    signal.signal(signal.SIGTERM, lambda *told: strategy.close())
    threading.Thread(target=lambda: begun.wait() and os.kill(os.getpid(), signal.SIGTERM)).start()
    return strategy.warm_up()


@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.reliability) for turn in range(1, 3))])
@pytest.mark.parametrize("program", [two_closed, forgotten])
def test_a_program_may_end_while_an_encoder_opens(tiny_encoder_folder, program, turn):
    assert run(program, tiny_encoder_folder) in (["MainThread"], "done")


def test_a_program_waits_at_its_end_for_a_thread_that_nobody_closed(tiny_encoder_folder, tmp_path):
    run(ended_in_order, tiny_encoder_folder, tmp_path / "said")
    assert (tmp_path / "said").read_text() == "the thread has ended"


def test_a_program_may_end_while_a_model_is_exported(tiny_checkpoint_folder, cache):
    started = time.monotonic()
    assert run(forgotten, tiny_checkpoint_folder) == "done"
    assert time.monotonic() - started < 20
    assert [path for path in cache.glob("*") if path.suffix != ".lock"] == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_handler_may_close_what_the_main_thread_waits_for(tiny_encoder_folder):
    assert run(closed_by_a_signal, tiny_encoder_folder) in (
        "stopped",
        "the strategy was closed before its encoder was open",
    )


if __name__ == "__main__":
    main(globals())
