"""The life of a store as a state machine: whatever happens in whatever order, three promises hold.

What serves is what the log says; all that was acknowledged is counted, once; nothing of a forgotten session is in any
byte. Real processes do what they are told, with the real transformer (a tiny one), and are killed at steps of it.

By default three short lives with one process at a time, with ``--reliability`` two hundred long ones with two.
"""

import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from killable import AGENTS, KilledError, Living, bytes_beside, champions, logged

from router_sdk.errors import RouterError

LINES = 200
sessions = st.sampled_from(["s0", "s1", "s2"])
seeds = st.integers(0, 10**6)
steps = st.one_of(st.none(), st.none(), st.integers(1, 60))
"""At which step of an order its process is killed; often at none."""


class LifeOfAStore(RuleBasedStateMachine):
    processes = 1
    encoder = ""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        self.store = self.folder / "store" / "router.db"
        self.store.parent.mkdir()
        self.living = [self.start() for _ in range(self.processes)]
        self.acknowledged, self.kills, self.files = set(), 0, 0
        self.generation = dict.fromkeys(["s0", "s1", "s2"], 0)
        self.forgotten = set()

    def start(self, kill_at=None):
        model = {"model": self.encoder, "wait_for_encoder": True, "update": "head"}
        return Living(self.store, [("bert", model), "thompson"], kill_at=kill_at, keep_versions=2, epsilon=0.1)

    def secret(self, session):
        return f"zq{session}g{self.generation[session]}x"

    def tell(self, who, name, *arguments, kill_at=None):
        """Have a process do something; None where it was killed, and another one has come in its place."""
        living = self.living[who % self.processes]
        try:
            return living.tell(name, *arguments, kill_at=kill_at)
        except KilledError:
            self.replace(who)
            return None
        finally:
            self.acknowledged |= living.acknowledged.keys()

    def settled(self, who):
        while (found := self.tell(who, "settled")) is None:
            continue  # a step of the order before killed it after it had answered
        return found

    def replace(self, who):
        self.kills += 1
        self.living[who % self.processes] = self.start()

    # -- what happens

    @rule(who=st.integers(0, 1), session=sessions, count=st.integers(1, 6), seed=seeds, kill_at=steps)
    def record(self, who, session, count, seed, kill_at):
        self.tell(who, "record", session, self.secret(session), count, seed, kill_at=kill_at)

    @rule(who=st.integers(0, 1), session=sessions, agent=st.sampled_from(AGENTS))
    def observe(self, who, session, agent):
        self.tell(who, "observe", session, self.secret(session), agent)

    @rule(who=st.integers(0, 1), kill_at=steps)
    def fit(self, who, kill_at):
        told = self.tell(who, "fit", "bert", kill_at=kill_at)
        assert told is None or isinstance(told, RouterError) or told[0] in ("promoted", "held", "refused", "stopped"), (
            told
        )

    @rule(who=st.integers(0, 1), session=sessions, kill_at=steps)
    def pretrain(self, who, session, kill_at):
        told = self.tell(who, "pretrain", "bert", session, self.secret(session), kill_at=kill_at)
        assert not isinstance(told, RouterError) or "fits this strategy" in str(told), told

    @rule(who=st.integers(0, 1), kill_at=steps)
    def export(self, who, kill_at):
        told = self.tell(who, "export", str(self.store.parent / f"out-{who}.jsonl"), kill_at=kill_at)
        assert not isinstance(told, RouterError), told

    @rule(who=st.integers(0, 1), kill_at=steps)
    def snapshot(self, who, kill_at):
        told = self.tell(who, "snapshot", kill_at=kill_at)
        assert told is None, told

    @rule(who=st.integers(0, 1), data=st.data(), kill_at=steps)
    def promote(self, who, data, kill_at):
        there = [number for number, kept in self.tell(who, "versions", "bert") if kept]
        if there:
            told = self.tell(who, "promote", "bert", data.draw(st.sampled_from(there)), kill_at=kill_at)
            assert told is None, told

    @rule(who=st.integers(0, 1), kill_at=steps)
    def rollback(self, who, kill_at):
        told = self.tell(who, "rollback", "bert", kill_at=kill_at)
        assert not isinstance(told, RouterError) or "no fitted version" in str(told), told

    @rule(who=st.integers(0, 1), move=st.sampled_from(["pin", "unpin"]), kill_at=steps)
    def pin(self, who, move, kill_at):
        assert not isinstance(told := self.tell(who, move, "bert", kill_at=kill_at), RouterError), told

    @rule(who=st.integers(0, 1), session=sessions, kill_at=steps)
    def forget(self, who, session, kill_at):
        told = self.tell(who, "forget", session, kill_at=kill_at)
        while told is None or isinstance(told, RouterError):  # killed perhaps before it was begun
            assert told is None or "another process" in str(told) or "runs in" in str(told), told
            told = self.tell(who, "forget", session)
        self.forgotten.add(self.secret(session))
        self.generation[session] += 1

    @rule(who=st.integers(0, 1), kill_at=steps)
    def archive(self, who, kill_at):
        told = self.tell(who, "archive", kill_at=kill_at)
        assert not isinstance(told, RouterError), told

    @rule(who=st.integers(0, 1), kill_at=steps)
    def bring(self, who, kill_at):
        self.files += 1
        path = self.folder / f"file-{self.files}.jsonl"
        rows = [{"text": f"file {self.files} line {n}", "label": AGENTS[n % 3]} for n in range(LINES)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        told = self.tell(who, "bring", str(path), kill_at=kill_at)
        assert not isinstance(told, RouterError), told

    @rule(who=st.integers(0, 1), kill_at=steps)
    def restart(self, who, kill_at):
        living = self.living[who % self.processes]
        try:
            living.close(kill_at=kill_at)
        except KilledError:
            self.kills += 1
        self.acknowledged |= living.acknowledged.keys()
        self.living[who % self.processes] = self.start()

    @rule(who=st.integers(0, 1), start=st.one_of(st.none(), st.integers(1, 12)))
    def kill(self, who, start):
        living = self.living[who % self.processes]
        living.kill()
        self.acknowledged |= living.acknowledged.keys()
        if start is not None:
            with suppress(KilledError):
                self.start(kill_at=start).kill()
        self.replace(who)

    # -- what holds

    @precondition(lambda self: hasattr(self, "living"))
    @rule(who=st.integers(0, 1))
    def look(self, who):
        for turn in range(self.processes):  # the second may finish what the first has to learn
            settled = [self.settled(who + turn + other) for other in range(self.processes)]
        ids = logged(self.store)
        assert self.acknowledged <= ids
        assert len(ids - self.acknowledged) % LINES <= self.kills
        for one in settled:
            assert not isinstance(one, RouterError), one
            assert one["examples"] == one["executions"] == len(ids)
            assert one["broken"] == []
            assert one["behind"] == {}
            assert one["serving"]["bert"] == champions(self.store).get("bert")
        for path, content in bytes_beside(self.store.parent):
            found = {secret for secret in self.forgotten if secret.encode() in content}
            assert found == set(), path

    def teardown(self):
        if not hasattr(self, "living"):
            return
        try:
            self.look(0)
            for living in self.living:
                living.close()
            for path, content in bytes_beside(self.store.parent):
                assert not {secret for secret in self.forgotten if secret.encode() in content}, path
        finally:
            for living in self.living:
                living.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


def live(encoder, lives, length, processes):
    class Machine(LifeOfAStore):
        pass

    Machine.encoder, Machine.processes = str(encoder), processes
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    how = settings(max_examples=lives, stateful_step_count=length, suppress_health_check=quiet, deadline=None)
    run_state_machine_as_test(Machine, settings=how)


def test_three_short_lives(encoder):
    live(encoder, 3, 15, processes=1)


@pytest.mark.reliability
def test_two_hundred_long_lives_of_two_processes(encoder):
    live(encoder, 200, 30, processes=2)
