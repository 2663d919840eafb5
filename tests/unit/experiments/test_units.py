"""Units off a real log: what a slow reader of its history finds, whatever came late, corrected, or was forgotten."""

import math
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk import Agent, Decision, Outcome, Task
from router_sdk.experiments.units import HOUR_S, NOBODY, mean_of_steps, read_units
from router_sdk.loop_settings import ExperimentConfig
from router_sdk.records import AgentSet
from router_sdk.routing.sampling import uniform
from router_sdk.store import Store
from router_sdk.store.coordination import finish_intent
from router_sdk.store.erasure import erase_session
from router_sdk.store.identity import new_id
from router_sdk.store.rows import Entry

BEGUN = 1_700_000_000.0
AGENTS = AgentSet([Agent("a"), Agent("b")])
ARMS = ("old", "new")
SETTINGS = ExperimentConfig(
    outcome_window_hours=24.0, weights={"quality": 0.6, "feedback": 0.2, "taste": 0.2}, guardrails={"latency": 0.1}
)
METRICS = ("quality", "feedback", "taste", "latency")

Step = namedtuple("Step", "at arm tenant session agent task_type source", defaults=(None, None, "a", "ask", "routed"))
Told = namedtuple("Told", "step at fields")
Forget = namedtuple("Forget", "at tenant session")


class Diary:
    """A store that is written at times of one's own."""

    def __init__(self, path):
        self.store, self.ids, self.shadows = Store(path), [], set()

    def write(self, event):
        if isinstance(event, Step):
            task = Task("x", session_id=event.session, tenant=event.tenant, task_type=event.task_type)
            decision = Decision(
                new_id(event.at), event.agent, task, event.at, 0.5, False, uniform(AGENTS), source=event.source,
                arm=event.arm and f"trial/{event.arm}", arm_probability=event.arm and 0.5,
            )  # fmt: skip
            self.ids.append(decision.decision_id)
            if event.source == "shadow":
                self.shadows.add(decision.decision_id)
            self.store.writer.append([Entry(decision=decision)])
        elif isinstance(event, Told) and self.ids[event.step] in self.shadows:
            return  # the log takes no outcome of what nobody acted on
        elif isinstance(event, Told):
            outcome = Outcome(**event.fields)
            self.store.writer.append([self.store.entry(self.ids[event.step], outcome, outcome.signals())])
            query = "UPDATE outcomes SET logged_at = ? WHERE seq = (SELECT max(seq) FROM outcomes)"
            self.store.writer.transact(lambda connection, seq: connection.execute(query, (event.at,)))
        else:
            intent, _ = erase_session(self.store.writer, event.session, self.store.privacy, event.tenant)
            self.store.writer.transact(lambda connection, seq: finish_intent(connection, intent))

    def units(self, now, config=SETTINGS):
        return self.store.reader.query(lambda db: read_units(db, "trial", ARMS, config, now=now))


@pytest.fixture
def diary(tmp_path):
    made = Diary(tmp_path / "router.db")
    yield made
    made.store.close()


def hours(count):
    return BEGUN + count * HOUR_S


def slowly(events, now):
    """Units as somebody would count them who reads the history from the beginning, once for each question."""
    sessions, steps, named = {}, [], {}
    for number, event in enumerate(events):
        if isinstance(event, Forget):
            sessions.pop((event.tenant, event.session), None)
        elif isinstance(event, Step):
            named[len(named)] = event
            if event.arm is not None and event.source == "routed":
                own = number if event.session is None else sessions.setdefault((event.tenant, event.session), number)
                if event.at <= now:
                    steps.append((own, len(named) - 1))
    units = {}
    for own, step in sorted(steps, key=lambda one: (named[one[1]].at, one[1])):
        units.setdefault(own, []).append(step)
    found = []
    for members in units.values():
        first = named[members[0]]
        end = first.at + 24 * HOUR_S
        told = {name: [] for name in METRICS}
        reported = False
        for step in (one for one in members if named[one].at <= end):
            known = {}
            for event in events:
                if isinstance(event, Told) and event.step == step and event.at <= min(end, now):
                    label = {"correct_agent": None} if "correct_agent" in event.fields else {}
                    known |= label | event.fields
                    reported = True
            quality = known.get("quality", None if "success" not in known else float(known["success"]))
            if quality is None and "correct_agent" in known:
                quality = float(known["correct_agent"] == named[step].agent)
            feedback, latency = known.get("feedback"), known.get("latency_ms")
            taste = known.get("metrics", {}).get("taste")
            told["quality"].append(quality)
            told["feedback"].append(None if feedback is None else (feedback + 1) / 2)
            told["latency"].append(None if latency is None else max(1 - latency / 10_000, 0.0))
            told["taste"].append(taste if taste is not None and 0 <= taste <= 1 else None)
        means = []
        for name in METRICS:
            known = [value for value in told[name] if value is not None]
            means.append(sum(known) / len(known) if known else math.nan)
        found.append((first.arm, first.at, end <= now, reported, means))
    return found


def rows(units):
    return [
        (units.arms[arm], at, place < units.closed, bool(reported), [units.values[name][place] for name in METRICS])
        for place, (arm, at, reported) in enumerate(zip(units.arm, units.at, units.reported, strict=True))
    ]


def assert_same(found, wanted):
    assert [one[:4] for one in found] == [one[:4] for one in wanted]
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine[4], theirs[4], atol=1e-12)


parts = st.fixed_dictionaries(
    {},
    optional={
        "quality": st.floats(0, 1),
        "success": st.booleans(),
        "feedback": st.floats(-1, 1),
        "latency_ms": st.floats(0, 20_000),
        "correct_agent": st.sampled_from(["a", "b"]),
        "metrics": st.dictionaries(st.sampled_from(["taste", "other"]), st.floats(-0.5, 1.5), min_size=1),
    },
).filter(bool)
tenants, sessions = st.sampled_from([None, "acme"]), st.sampled_from([None, "s", "t"])


@st.composite
def histories(draw):
    at, steps, events = BEGUN, 0, []
    for _ in range(draw(st.integers(1, 14))):
        at += draw(st.sampled_from([0.0, 60.0, 7 * HOUR_S, 24 * HOUR_S]))
        kind = draw(st.sampled_from(["decide", "decide", "tell", "tell", "forget"]))
        if kind == "decide" or not steps:
            arm, source = (
                draw(st.sampled_from([*ARMS, *ARMS, None])),
                draw(st.sampled_from(["routed"] * 5 + ["shadow"])),
            )
            agent = draw(st.sampled_from(["a", "b", None]))
            events.append(Step(at, arm, draw(tenants), draw(sessions), agent, draw(st.sampled_from("xy")), source))
            steps += 1
        elif kind == "tell":
            events.append(Told(draw(st.integers(0, steps - 1)), at, draw(parts)))
        else:
            events.append(Forget(at, draw(tenants), draw(st.sampled_from("st"))))
    return events


@settings(max_examples=60)
@given(histories(), st.floats(-1, 80))
def test_units_are_what_a_slow_reader_counts(tmp_path_factory, events, later):
    diary = Diary(tmp_path_factory.mktemp("log") / "router.db")
    try:
        for event in events:
            diary.write(event)
        now = max(events[-1].at + later * HOUR_S, BEGUN)
        assert_same(rows(diary.units(now)), slowly(events, now))
    finally:
        diary.store.close()


@settings(max_examples=30)
@given(histories(), histories())
def test_a_closed_unit_never_changes(tmp_path_factory, events, more):
    """Whatever is logged later: further steps, corrections, and that the session be forgotten."""
    diary = Diary(tmp_path_factory.mktemp("log") / "router.db")
    try:
        for event in events:
            diary.write(event)
        now = events[-1].at + HOUR_S
        before = diary.units(now)
        for event in more:
            diary.write(event._replace(at=event.at - BEGUN + now + 60.0))
        after = diary.units(now + 100 * HOUR_S)
        assert_same(rows(after)[: before.closed], rows(before)[: before.closed])
    finally:
        diary.store.close()


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.floats(0, 1), st.just(math.nan))), max_size=20), st.randoms())
def test_the_order_of_steps_within_a_unit_is_no_matter(steps, random):
    shuffled = random.sample(steps, len(steps))
    one, other = (
        mean_of_steps(np.array([value for _, value in some]), np.array([unit for unit, _ in some], dtype=int), 5)
        for some in (steps, shuffled)
    )
    np.testing.assert_allclose(one, other)


def test_a_session_is_one_unit_and_its_first_arm_counts(diary):
    diary.write(Step(hours(0), "old", session="s"))
    diary.write(Step(hours(1), "new", session="s"))
    diary.write(Step(hours(2), "new", tenant="acme", session="s"))
    diary.write(Step(hours(3), "new"))
    diary.write(Told(0, hours(1), {"quality": 1.0}))
    diary.write(Told(1, hours(1), {"quality": 0.0}))
    units = diary.units(hours(4))
    assert units.arm.tolist() == [0, 1, 1]
    assert units.values["quality"][0] == 0.5
    assert units.steps.unit.tolist() == [0, 0, 1, 2]


def test_units_close_in_the_order_in_which_they_came(diary):
    for hour in (0, 10, 20):
        diary.write(Step(hours(hour), "old"))
    assert [diary.units(hours(hour)).closed for hour in (23.9, 24, 33.9, 34, 44)] == [0, 1, 1, 2, 3]


def test_what_comes_after_the_window_is_not_seen(diary):
    diary.write(Step(hours(0), "old", session="s"))
    diary.write(Told(0, hours(23), {"quality": 1.0}))
    diary.write(Step(hours(30), "old", session="s"))
    diary.write(Told(1, hours(31), {"quality": 0.0}))
    diary.write(Told(0, hours(32), {"quality": 0.0}))
    units = diary.units(hours(40))
    assert (units.arm.size, units.closed, units.values["quality"][0]) == (1, 1, 1.0)
    assert units.steps.unit.tolist() == [0]


def test_a_forgotten_session_remains_one_unit(diary):
    diary.write(Step(hours(0), "new", session="s"))
    diary.write(Step(hours(1), "new", session="s"))
    diary.write(Told(0, hours(1), {"quality": 1.0}))
    diary.write(Step(hours(1), "old", session="t"))
    diary.write(Forget(hours(2), None, "s"))
    diary.write(Step(hours(3), "new", session="s"))
    units = diary.units(hours(4))
    assert units.arm.tolist() == [1, 0, 1]
    assert units.steps.unit.tolist() == [0, 0, 1, 2]
    assert units.values["quality"][0] == 1.0


def test_abstentions_count_and_other_experiments_do_not(diary):
    diary.write(Step(hours(0), "old", agent=None))
    diary.write(Told(0, hours(0), {"no_agent_fits": True}))
    diary.write(Step(hours(0), "other"))
    diary.write(Step(hours(0), "new", source="kept"))
    diary.write(Step(hours(0), None))
    units = diary.units(hours(1))
    assert units.arm.tolist() == [0]
    assert units.steps.agent.tolist() == [NOBODY]
    assert units.values["quality"].tolist() == [1.0]


def test_a_metric_of_another_scale_is_told(diary):
    diary.write(Step(hours(0), "old"))
    diary.write(Told(0, hours(0), {"metrics": {"taste": 7.0}}))
    units = diary.units(hours(1))
    assert np.isnan(units.values["taste"][0])
    assert units.reported[0]
    assert units.out_of_range == {"taste": 1}


def test_a_log_without_units_is_no_trouble(diary):
    units = diary.units(hours(1))
    assert (units.arm.size, units.closed, units.steps.unit.size) == (0, 0, 0)
