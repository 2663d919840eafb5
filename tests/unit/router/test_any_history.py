"""Whatever happened, a reopened router knows what a fresh replay of the log knows."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from router_sdk import Outcome, Router, Task
from router_sdk.errors import NoEligibleAgentError

from ..doubles import Counting

NAMES = ["a", "b", "c"]
qualities = st.sampled_from([0.0, 0.25, 0.5, 1.0])


class Histories(RuleBasedStateMachine):
    decisions = Bundle("decisions")

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "router.db"
        self.present = set(NAMES)
        self.known = {}
        self.router = self.reopened()
        self.other = self.reopened()

    def reopened(self, path=None, **settings):
        return Router(
            agents=sorted(self.present),
            strategies=[Counting],
            store=path or self.path,
            seed=1,
            batch_events=4,
            **settings,
        )

    @rule(target=decisions, kind=st.sampled_from(["default", "code"]), by_other=st.booleans())
    def route(self, kind, by_other):
        try:
            return (self.other if by_other else self.router).route(Task("x", task_type=kind))
        except NoEligibleAgentError:
            assert not self.present
            return None

    @rule(target=decisions, name=st.sampled_from(NAMES), quality=qualities)
    def observe(self, name, quality):
        decision = self.router.observe("x", name, Outcome(quality=quality))
        self.known[decision.decision_id] = (decision, quality)
        return decision

    @rule(decision=decisions, quality=qualities, by_id=st.booleans(), times=st.integers(1, 3))
    def record(self, decision, quality, by_id, times):
        if decision is not None:
            for _ in range(times):
                self.router.record(decision.decision_id if by_id else decision, Outcome(quality=quality))
            self.known[decision.decision_id] = (decision, quality)

    @rule(decision=decisions, quality=qualities)
    def record_elsewhere(self, decision, quality):
        if decision is not None:
            self.other.record(decision.decision_id, Outcome(quality=quality, latency_ms=5.0))
            self.known[decision.decision_id] = (decision, quality)

    @rule(decision=decisions)
    def record_a_part(self, decision):
        if decision is not None:
            self.router.record(decision, Outcome(latency_ms=7.0))

    @rule(name=st.sampled_from(NAMES))
    def add(self, name):
        self.router.add_agent(name)
        self.other.add_agent(name)
        self.present.add(name)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from(sorted(self.present)))
        self.router.remove_agent(name)
        self.other.remove_agent(name)
        self.present.discard(name)

    @rule(name=st.sampled_from(NAMES))
    def add_afresh(self, name):
        self.add(name)
        self.router.flush()
        self.other.flush()
        self.router.add_agent(name, fresh=True)
        self.known = {key: value for key, value in self.known.items() if value[0].agent != name}
        self.stale = getattr(self, "stale", set()) | {name}

    @rule()
    def flush(self):
        self.router.flush()

    @rule()
    def snapshot(self):
        self.router.snapshot()

    @rule()
    def restart(self):
        self.router.close()
        self.router = self.reopened()

    @rule()
    def restart_the_other(self):
        self.other.close()
        self.other = self.reopened()

    @invariant()
    def only_the_present_are_chosen(self):
        if hasattr(self, "router"):
            assert {agent.name for agent in self.router.agents} == self.present

    def expected(self):
        cells = {}
        for decision, quality in self.known.values():
            key = (decision.agent, decision.task.task_type)
            count, total = cells.get(key, (0, 0))
            cells[key] = (count + 1, total + round(quality * 1_000))
        return cells

    def teardown(self):
        if not hasattr(self, "router"):
            return
        try:
            for router in (self.router, self.other, self.router):
                router.flush()
            states, totals = [], []
            replayed = self.reopened(reward=lambda signals, agent: signals.quality)
            for router in (self.router, self.other, replayed):
                states.append(router._parts.chain.stages[0].strategy.state)
                totals.append(router.statistics()["total_examples"])
            replayed.close()
            self.router.close()
            self.router = self.reopened()
            states.append(self.router._parts.chain.stages[0].strategy.state)
            totals.append(self.router.statistics()["total_examples"])
            assert states[0] == states[1] == states[2] == states[3]
            assert len(set(totals)) == 1
            if not getattr(self, "stale", None):
                assert states[0] == self.expected()
        finally:
            self.router.close()
            self.other.close()
            self.folder.cleanup()


Histories.TestCase.settings = settings(max_examples=12, stateful_step_count=25)
TestHistories = Histories.TestCase
