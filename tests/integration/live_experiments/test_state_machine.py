"""Whatever happens to experiments, in whatever order and in two processes: what the log says is what serves in both."""

import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import ExperimentError
from router_sdk.experiments.arms import Arm
from router_sdk.store.experiments import experiments

from .conftest import HOUR_S, Clock, Installed, look

AGENTS = [Agent("analyst"), Agent("billing"), Agent("coder")]
ARMS = {
    "last": Arm(name="other", strategies=["last"]),
    "counting": Arm(name="other", strategies=["counting"]),
    "frozen": Arm(name="other", learning=False),
    "version": Arm(name="other", version=("words", 2)),
    "shadow": Arm(name="other", strategies=["last"], shadow=True),
}
TEXTS = ("refund now", "table please")


class Life(RuleBasedStateMachine):
    """Two routers on one store, each as a process would have it."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock, self.numbers, self.routers = Clock(), itertools.count(), []
        self.rng = np.random.default_rng(0)
        self.arm_of = {}
        self.ended = {}

    def opened(self):
        router = Router(
            AGENTS,
            ["words", "first"],
            self.folder / "router.db",
            plugins=[Installed()],
            epsilon=0.0,
            retrain=False,
            fit_executor="thread",
            seed=7,
            held_out=0.5,
            gate={"latency": False},
            watch={"enabled": False},
        )
        router._parts.lifecycle._wall = self.clock
        return router

    @initialize()
    def two_processes_and_two_versions(self):
        one = self.opened()
        for agent in ("billing", "coder"):
            for number in range(20):
                label, word = (agent, "refund") if number % 2 else ("analyst", "table")
                one.observe(f"{word} {number} {agent}", label, Outcome(correct_agent=label))
            one.models.retrain("words", wait=True)
        one.models.rollback("words")
        one.models.unpin("words")
        self.routers = [one, self.opened()]

    def teardown(self):
        for router in self.routers:
            router.close()
        shutil.rmtree(self.folder)

    @property
    def records(self):
        return self.routers[0]._parts.store.reader.query(experiments)

    @property
    def open(self):
        return [one for one in self.records if one.open]

    which = st.integers(0, 1)

    # -- what people and time do

    @rule(which=which, kind=st.sampled_from(sorted(ARMS)), share=st.sampled_from([0.1, 0.5]))
    def start(self, which, kind, share):
        settings = {"min_duration_hours": 0.0, "min_units": 20, "challenger_share": share}
        busy = any(one.serves for one in self.open) or any(one.keeps_serving for one in self.records)
        serving = self.routers[which]._parts.registry.champion("words").version
        try:
            self.routers[which].experiments.start(f"{kind}-{next(self.numbers)}", [ARMS[kind]], **settings)
        except ExperimentError:
            assert busy
        except ValueError:
            assert (kind, serving) == ("version", 2)
        else:
            assert not busy or kind == "shadow"

    @rule(which=which, session=st.sampled_from([None, "a", "b"]), count=st.integers(1, 6))
    def route_and_record(self, which, session, count):
        router = self.routers[which]
        for _ in range(count):
            one = router.route(Task(TEXTS[count % 2], session_id=session))
            router.record(one, Outcome(success=bool(self.rng.random() < 0.5)))
            assert one.source == "routed"
            assert (one.arm is None) == (one.arm_probability is None)

    @rule(which=which, good=st.sampled_from(["analyst", "billing", "coder"]))
    def an_hour_of_traffic(self, which, good):
        router = self.routers[which]
        for number in range(80):
            one = router.route(f"refund {number}")
            well = one.agent == good
            router.record(one, Outcome(success=well, quality=float(well)))

    @rule(which=which)
    def a_day_passes(self, which):
        self.clock.ahead_s += 25 * HOUR_S
        look(self.routers[which])

    @rule(which=which)
    def restart(self, which):
        self.routers[which].close()
        self.routers[which] = self.opened()

    @rule(which=which, wins=st.booleans())
    @precondition(lambda self: self.open)
    def stop(self, which, wins):
        record = self.open[0]
        winner = "other" if wins else None
        self.routers[which].experiments.stop(record.name, winner, reason="enough")

    @rule(which=which)
    @precondition(lambda self: any(one.keeps_serving for one in self.records))
    def retire(self, which):
        record = next(one for one in self.records if one.keeps_serving)
        self.routers[which].experiments.stop(record.name, reason="back again")

    @rule(which=which, number=st.sampled_from([1, 2]))
    def promote(self, which, number):
        self.routers[which].models.promote("words", number, force=True, pin=False)

    @rule(which=which)
    @precondition(lambda self: self.routers[0]._parts.registry.champion("words").version == 2)
    def roll_back(self, which):
        self.routers[which].models.rollback("words")

    @rule(which=which, session=st.sampled_from(["a", "b"]))
    def forget(self, which, session):
        self.routers[which].forget(session)

    # -- what holds whatever they do

    @invariant()
    def both_serve_what_the_log_says(self):
        if not self.routers:
            return
        for router in self.routers:
            look(router)
        for router in reversed(self.routers):  # what the second one concluded, the first one follows
            look(router)
        records = self.records
        running = [one for one in records if one.open and one.serves]
        latched = [one for one in records if one.keeps_serving]
        assert len(running) <= 1
        assert not (running and latched)
        version = self.routers[0]._parts.registry.champion("words").version
        for router in self.routers:
            parts = router._parts
            assert not parts.serving.behind
            assert parts.chain.stage("words").model_version == version
            assert (parts.decider.assignment is not None) == bool(running)
            assert (parts.decider.chain is not parts.chain) == bool(latched)
            own = {f"{stage}@{one.name}.other" for one in [*running, *latched] for stage in _stages(one)}
            shadows = {f"last@{one.name}.other" for one in records if one.open and not one.serves}
            assert {name for name in parts.learner.folding.saved_cursors() if "@" in name} == own | shadows

    @invariant()
    def a_verdict_stays(self):
        if not self.routers:
            return
        for one in self.records:
            if not one.open:
                told = (one.verdict, one.winner, one.reason, one.ended_at)
                assert self.ended.setdefault(one.name, told) == told

    @invariant()
    def a_unit_has_one_arm_and_shadows_have_no_outcome(self):
        if not self.routers:
            return
        self.routers[0]._parts.store.writer.flush()
        rows = self.routers[0]._parts.store.reader.query(
            lambda connection: connection.execute(
                """SELECT d.source, d.arm, d.arm_probability, p.session_id,
                          EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id)
                   FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq WHERE d.arm IS NOT NULL"""
            ).fetchall()
        )
        arms = {}
        for source, arm, probability, session, answered in rows:
            assert 0.0 < probability <= 1.0
            if source == "shadow":
                assert (session, answered) == (None, 0)
            elif session is not None:
                arms.setdefault((arm.partition("/")[0], session), set()).add(arm)
        assert all(len(told) == 1 for told in arms.values())


def _stages(record):
    """The strategies that an experiment's challenger has as its own."""
    arm = record.arms[0]
    return [arm["version"][0]] if arm["version"] is not None else [name for name, _ in arm["strategies"]]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=4, stateful_step_count=8)
