"""The hot path: no I/O, no lock across model code, and no waiting for training or for the disk."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.plugin import Proposal, Strategy, StrategyConfig
from router_sdk.testing import make_services

AGENTS = ("billing", "fraud", "sales")
PATIENCE_S = 10.0


class Stoppable(Strategy):
    """Proposes and learns evenly, unless the test holds it up."""

    name = "stoppable"

    def __init__(self, tmp_path) -> None:
        super().__init__(StrategyConfig(), make_services(tmp_path))
        self.learning, self.may_learn = threading.Event(), threading.Event()
        self.proposing, self.may_propose = threading.Event(), threading.Event()

    def propose(self, task, agents, context):
        if task.text == "wait":
            self.proposing.set()
            assert self.may_propose.wait(PATIENCE_S)
        return Proposal({name: 1 / len(agents) for name in agents.names})

    def learn(self, examples) -> None:
        self.learning.set()
        assert self.may_learn.wait(PATIENCE_S)


@contextmanager
def background(work) -> Iterator[threading.Event]:
    """Run ``work`` in a thread; the event is set once it has ended well."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        thread.join(2 * PATIENCE_S)


@contextmanager
def busy_learning(path, strategy: Stoppable, **settings) -> Iterator[Router]:
    """A router whose learner is stuck in ``learn``."""
    with Router(AGENTS, [strategy], path, batch_events=1, **settings) as router:
        try:
            router.observe("a task", "billing", Outcome(success=True))
            assert strategy.learning.wait(PATIENCE_S)
            yield router
        finally:
            strategy.may_learn.set()


def test_a_thousand_routes_and_their_records_pass_while_one_update_takes_its_time(tmp_path) -> None:
    with busy_learning(tmp_path / "router.db", Stoppable(tmp_path)) as router:

        def work() -> None:
            decisions = [router.route(Task("a task", session_id="s")) for _ in range(900)]
            decisions += router.route_batch(["a task"] * 100)
            for decision in decisions[:20]:
                router.record(decision, Outcome(success=True))
            router.rank("a task")

        with background(work) as done:
            assert done.wait(PATIENCE_S / 2)


def test_an_agent_that_is_well_again_makes_no_request_wait_for_training(tmp_path) -> None:
    strategy = Stoppable(tmp_path)
    with Router(AGENTS, [strategy], tmp_path / "router.db", batch_events=1) as router:
        router.set_health("fraud", healthy=False, for_s=0.2)
        ill_until = time.time() + 0.2
        router.observe("a task", "billing", Outcome(success=True))
        assert strategy.learning.wait(PATIENCE_S)
        try:
            while time.time() <= ill_until:
                router.route("a task")
            with background(lambda: router.route("a task")) as done:
                assert done.wait(PATIENCE_S / 5)
                assert set(router.route("a task").probabilities) == set(AGENTS)
        finally:
            strategy.may_learn.set()


def test_a_slow_proposal_holds_up_nobody_else(tmp_path) -> None:
    strategy = Stoppable(tmp_path)
    strategy.may_learn.set()
    router = Router(AGENTS, [strategy], tmp_path / "router.db", batch_events=1)

    def others() -> None:
        decision = router.route(Task("a task", session_id="s"))
        router.record(decision, Outcome(success=True))
        router.flush()
        router.add_agent("support")
        router.set_health("support", healthy=False)
        router.remove_agent("support")
        router.route("a task")

    with router, background(lambda: router.route("wait")) as slow:
        try:
            assert strategy.proposing.wait(PATIENCE_S)
            with background(others) as done:
                assert done.wait(PATIENCE_S / 2)
            assert not slow.is_set()
        finally:
            strategy.may_propose.set()


def test_routing_does_not_wait_for_the_disk(tmp_path) -> None:
    path = tmp_path / "router.db"
    with Router(AGENTS, ["thompson"], path) as router, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            with background(lambda: [router.route(f"task {number}") for number in range(1_000)]) as done:
                assert done.wait(PATIENCE_S / 2)
        finally:
            other.execute("ROLLBACK")
        router.flush()
        assert router.status()["store"]["decisions"] == 1_000


# -- no I/O: every C function and every audited event of the routing thread, in a process of its own

ALLOWED = {"posix.urandom", "posix.getpid"}
"""Randomness comes from the kernel's memory, not from a disk."""
MODULES_WITH_IO = {"sqlite3", "_sqlite3", "posix", "nt", "io", "_io", "_socket", "_ssl", "select", "fcntl", "mmap"}


def watch(path: str) -> None:
    """Route with a learner at work; print what the routing thread did that could be I/O."""
    called, audited = set(), set()
    me = threading.get_ident()
    watching = False

    def audit(event: str, arguments: object) -> None:
        if watching and threading.get_ident() == me:
            audited.add(event)

    def profile(frame: object, event: str, function: object) -> None:
        if event == "c_call":
            owner = getattr(function, "__self__", None)
            module = getattr(function, "__module__", None) or type(owner).__module__
            called.add(f"{module}.{getattr(function, '__name__', function)}")

    sys.addaudithook(audit)
    agents = [Agent(name, examples=(f"all about {name}",)) for name in AGENTS]
    with Router(agents, ["thompson", "heuristic"], path, batch_events=1) as router:
        for number in range(50):
            router.observe("a task", AGENTS[number % 3], Outcome(success=True))
        router.flush()
        router.route("the first request")
        watching = True
        sys.setprofile(profile)
        for number in range(300):
            router.route(Task(f"task {number}", session_id="s", features={"mape": 12.5}))
            router.route(f"unheard of {number}", exclude={"fraud"})
            router.rank(Task("a task", task_type="rare"))
        router.route_batch(["one", "two"])
        sys.setprofile(None)
        watching = False
    json.dump({"called": sorted(called), "audited": sorted(audited)}, sys.stdout)


def test_routing_calls_nothing_that_reads_or_writes(tmp_path) -> None:
    command = [sys.executable, __file__, str(tmp_path / "router.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "time.time" in said["called"]  # the watch was on
    suspicious = [name for name in said["called"] if name.split(".")[0] in MODULES_WITH_IO and name not in ALLOWED]
    assert suspicious == []
    assert [event for event in said["audited"] if not event.startswith(("object.", "sys.", "code."))] == []


def test_the_watch_sees_what_it_watches_for(tmp_path) -> None:
    """Looking a decision up does touch the disk, so that the test above is able to fail."""
    called = set()
    with Router(AGENTS, ["thompson"], tmp_path / "router.db") as router:
        decision = router.route("a task")
        sys.setprofile(lambda frame, event, function: called.add(getattr(function, "__name__", "")))
        router.decision(decision.decision_id)
        sys.setprofile(None)
    assert "execute" in called


if __name__ == "__main__":
    watch(sys.argv[1])
