"""Forks while an encoder opens: the child gets one of its own, and nothing half made.

Each scenario runs this very file as a program of its own.
"""

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import programs
import pytest
from programs import in_child, main

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

LONG_S = 20.0
run = partial(programs.run, runner=subprocess.run)
"""By an interpreter of its own: what is asked here goes by the order in which it imports."""


def strategy_of(model, **more):
    from router_sdk_bert.config import BertConfig
    from router_sdk_bert.strategy import BertStrategy

    from router_sdk.testing import make_services

    class Followed(BertStrategy):
        """Tells when its thread opens, and lets it wait, in the process that made it."""

        begun, go_on, process = threading.Event(), threading.Event(), os.getpid()

        def open(self):
            if os.getpid() == self.process:
                self.begun.set()
                assert self.go_on.wait(LONG_S)
            return super().open()

    return Followed(BertConfig(model=str(model), **more), make_services())


def agents():
    from router_sdk.plugin import Agent, AgentSet

    return AgentSet([Agent("billing", examples=["I was charged twice"]), Agent("coder", examples=["sort a list"])])


def answer(strategy):
    from router_sdk.plugin import Task
    from router_sdk.testing import FixedContext

    said = strategy.propose(Task("sort a list"), agents(), FixedContext(text="sort a list"))
    return None if said is None else max(said.probabilities, key=said.probabilities.get)


def opened_again(strategy):
    strategy.after_fork()
    return [strategy.warm_up(), answer(strategy)]


def answered_by_itself(strategy):
    """What it answers, once it does, where nobody asks it to open anything."""
    strategy.after_fork()
    deadline = time.monotonic() + LONG_S
    while answer(strategy) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return [None, answer(strategy)]


# -- scenarios


def opening(model):
    """Fork while a thread of the parent opens the encoder; then the parent's goes on."""
    strategy = strategy_of(model)
    strategy.prepare(agents())
    assert strategy.begun.wait(LONG_S)
    children = [in_child(lambda: opened_again(strategy)) for _ in range(2)]
    children.append(in_child(lambda: answered_by_itself(strategy)))
    alone = in_child(strategy.warm_up)
    strategy.go_on.set()
    return {"children": children, "alone": alone, "parent": [strategy.warm_up(), answer(strategy)]}


def any_moment(model):
    """Fork again and again while encoders open, until the last is open."""
    children = []
    for turn in range(4):
        strategy = strategy_of(model)
        strategy.go_on.set()
        strategy.prepare(agents())
        assert strategy.begun.wait(LONG_S)
        for _ in range(turn):
            children.append(in_child(lambda strategy=strategy: opened_again(strategy)))
        strategy.warm_up()
    return children


COPY = "import json, shutil, sys; shutil.copytree(sys.argv[1], json.load(sys.stdin)['folder'])"
"""An export that somebody has made already, for a child process that takes no seconds to import torch."""


def exporting(model, cache, made=""):
    """Fork while the parent's child process exports: both get what it makes."""
    os.environ["XDG_CACHE_HOME"] = cache
    from router_sdk_bert.encoding import opening as exports

    begun, popen = threading.Event(), exports.subprocess.Popen

    def begin(command, **more):
        child = popen([sys.executable, "-c", COPY, made] if made else command, **more)
        begun.set()
        return child

    exports.subprocess.Popen = begin
    strategy = strategy_of(model)
    strategy.go_on.set()
    strategy.prepare(agents())
    assert begun.wait(LONG_S)
    child = in_child(lambda: opened_again(strategy))
    return {
        "child": child,
        "parent": [strategy.warm_up(), answer(strategy)],
        "made": len(list(Path(cache).rglob("*.onnx"))),
    }


def half_made(model, what):
    """A fork waits for a session, or a head, that is being made; whether it did, and what the child got."""
    import onnxruntime
    from router_sdk_bert.head.head import Head

    inside, go_on, forked = threading.Event(), threading.Event(), threading.Event()
    owner, name = {"session": (onnxruntime, "InferenceSession"), "head": (Head, "set_agents")}[what]
    make, process = getattr(owner, name), os.getpid()

    def slowly(*arguments, **more):
        if os.getpid() == process:
            inside.set()
            assert go_on.wait(LONG_S)
        return make(*arguments, **more)

    setattr(owner, name, slowly)
    strategy = strategy_of(model)
    strategy.go_on.set()
    strategy.prepare(agents())
    assert inside.wait(LONG_S)
    children = []
    forker = threading.Thread(target=lambda: (children.append(in_child(lambda: opened_again(strategy))), forked.set()))
    forker.start()
    early = forked.wait(0.5)
    go_on.set()
    forker.join(LONG_S)
    return {"early": early, "child": children[0]}


def waited_for(model):
    """A fork that waits for a learner that waits for the encoder."""
    strategies = [strategy_of(model)]
    os.register_at_fork(before=lambda: strategies[0].warm_up())  # As a router's, which is called before ``no_fork``'s.
    strategies[0].prepare(agents())
    assert strategies[0].begun.wait(LONG_S)
    threading.Timer(0.2, strategies[0].go_on.set).start()
    return in_child(lambda: opened_again(strategies[0]))


def threads_of_onnxruntime():
    """How many threads importing it starts, and what the child of a fork ends with that ends like any program."""
    from router_sdk_bert.encoding.onnx_backend import runtime

    before = threads_now()
    runtime()
    started = threads_now() - before
    child = os.fork()
    if child == 0:
        sys.exit(0)
    return [started, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]


def threads_now():
    return len(os.listdir("/proc/self/task"))


def encoder_held(model):
    """Fork while a thread opens an encoder that strategies share."""
    from router_sdk_bert.encoding import encoder as module
    from router_sdk_bert.encoding.encoder import BertEncoder, BertEncoderConfig

    begun, go_on, read, process = threading.Event(), threading.Event(), module.open_folder, os.getpid()

    def slowly(*arguments):
        if os.getpid() == process:
            begun.set()
            assert go_on.wait(LONG_S)
        return read(*arguments)

    module.open_folder = slowly
    encoder = BertEncoder(BertEncoderConfig(model=model))
    threading.Thread(target=lambda: encoder.tag).start()
    assert begun.wait(LONG_S)
    child = in_child(lambda: len(encoder.encode(["sort a list"])[0]))
    go_on.set()
    return child


def opened_before(model):
    """The child of a parent whose encoder is open serves on, and closes; so does the parent."""
    strategy = strategy_of(model, wait_for_encoder=True)
    strategy.go_on.set()
    strategy.prepare(agents())

    def work():
        said = opened_again(strategy)
        strategy.close()
        return said

    return [in_child(work), [strategy.warm_up(), answer(strategy)]]


# -- what they must show

SERVES = [None, "coder"]


@pytest.mark.slow
def test_a_child_opens_what_its_parent_was_about_to(tiny_encoder_folder):
    said = run(opening, tiny_encoder_folder)
    assert said["children"] == [[0, SERVES]] * 3
    assert said["alone"] == [0, "not open yet"], "nobody told it of the fork, and it does not hang"
    assert said["parent"] == SERVES


def test_any_moment_of_opening_will_do(tiny_encoder_folder):
    assert run(any_moment, tiny_encoder_folder) == [[0, SERVES]] * 6


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.reliability)])
def test_a_child_waits_for_its_parents_export(tiny_checkpoint_folder, tiny_encoder_folder, tmp_path, real):
    made = "" if real else tiny_encoder_folder
    assert run(exporting, tiny_checkpoint_folder, tmp_path, made) == {"child": [0, SERVES], "parent": SERVES, "made": 1}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["session", "head"])
def test_nothing_is_inherited_half_made(tiny_encoder_folder, what):
    assert run(half_made, tiny_encoder_folder, what) == {"early": False, "child": [0, SERVES]}


def test_a_fork_that_waits_for_the_encoder_does_not_keep_it_from_opening(tiny_encoder_folder):
    assert run(waited_for, tiny_encoder_folder) == [0, SERVES]


def test_an_encoder_of_its_own_opens_in_the_child(tiny_encoder_folder):
    assert run(encoder_held, tiny_encoder_folder) == [0, 32]


def test_what_is_open_serves_in_both(tiny_encoder_folder):
    assert run(opened_before, tiny_encoder_folder) == [[0, SERVES], SERVES]


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="only Linux counts threads there")
def test_onnxruntime_reports_nothing_and_a_forked_child_ends():
    assert run(threads_of_onnxruntime) == [0, 0]


if __name__ == "__main__":
    assert "router_sdk_bert" not in sys.modules, "hooks of a fork run in the order in which they were made"
    main(globals())
