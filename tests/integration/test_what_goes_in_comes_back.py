"""Every field of every record, fed with values of its type and of near types.

Each is refused by a typed error that names the field, or kept as it was given: through a route, a record, a restart,
an export and an import, and ``forget``. What is fed follows from the records' own schemas, so a field that comes later
is fed, too. 500 sets of fields by default, 20,000 with ``--reliability``.
"""

import datetime
import enum
import json
import math
import sqlite3
import tempfile
import unicodedata
import uuid
from collections import Counter
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import InvalidInputError, NoEligibleAgentError, UnknownAgentError

TRIP = 50
"""Sets of fields that go through one store together."""
NAMES = ("first", "second")
SESSION = "the session that is forgotten"
QUICKLY = {"suppress_health_check": list(HealthCheck), "phases": [Phase.generate]}
"""A trip that fails says where, and would shrink for minutes."""
OF_THE_WHOLE = ("nothing to route by", "at least one part", "contradict")
"""Faults of a record as a whole, which no field can be blamed for."""


class Kind(enum.StrEnum):
    A = "a"


class Words(str):
    __slots__ = ()


class Thing(enum.Enum):
    A = "a"


# -- what is fed


def mostly(usual, otherwise):
    return st.integers(0, 9).flatmap(lambda number: usual if number else otherwise)


def kin(value):
    """Values of other types that stand for the same, and some that do not."""
    found = [value]
    if isinstance(value, bool):
        found += [np.bool_(value), np.array(value), int(value), str(value)]
    elif isinstance(value, int):
        found += [np.array(value), Decimal(value), Fraction(value), str(value)]
        found += [float(value)] if abs(value) < 2**53 else []
        found += [kind(value) for kind in (np.int8, np.uint8, np.int64, np.uint64) if fits(kind, value)]
    elif isinstance(value, float):
        with np.errstate(over="ignore"):
            found += [np.float16(value), np.float32(value), np.float64(value), np.longdouble(value), np.array(value)]
        found += [
            str(value),
            Decimal(repr(value)),
            *([Fraction(value), Decimal(value)] if math.isfinite(value) else []),
        ]
        found += [Fraction(1, 3), np.longdouble("0.1"), Decimal("0.1234567890123456789")]
    elif isinstance(value, str):
        found += [np.str_(value), Words(value), np.array(value), value.encode(errors="replace"), Kind.A]
    elif isinstance(value, list):
        found += [tuple(value), np.array(value, dtype=object), iter(value), dict.fromkeys(map(str, value))]
        if all(isinstance(inner, str) for inner in value):
            found += [frozenset(value), np.array(value)]
    return mostly(st.just(value) | st.sampled_from(found[: len(found) // 2 + 1]), st.sampled_from(found))


def fits(kind, value):
    return np.iinfo(kind).min <= value <= np.iinfo(kind).max


numbers = mostly(
    st.floats(-100, 100) | st.sampled_from([0.0, -0.0, 1.0, 0.1]), st.floats() | st.sampled_from([5e-324, 1e100, -1.0])
)
integers = mostly(
    st.integers(-9, 9) | st.integers(0, 2**53),
    st.integers() | st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**400]),
)
texts = mostly(
    st.text("ab c", max_size=5) | st.text(max_size=8),
    st.sampled_from(["", " a", "a\x00b", "a/b", "\ud800", "e\u0301", "x" * 201, "\ufb01", "0", "null"]),
)
strange = st.sampled_from(
    [
        *(None, object(), uuid.UUID(int=5), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), Thing.A, 1j, b"a"),
        *(np.datetime64(1, "ns"), np.complex64(1), np.array([0.5]), Decimal("NaN"), np.float32("nan"), {}, [], ()),
        *({"a": {}}, float("inf"), 10**400),
    ]
)
json_values = st.recursive(
    mostly(st.none() | st.booleans() | integers.flatmap(kin) | numbers.flatmap(kin) | texts.flatmap(kin), strange),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=3,
)


def values_of(schema, definitions):
    """Values that fit a JSON schema, mostly, and their kin."""
    if "$ref" in schema:
        return values_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return st.one_of([values_of(one, definitions) for one in schema["anyOf"] if one != {"type": "null"}])
    if "enum" in schema:
        return st.sampled_from(schema["enum"]).flatmap(kin)
    low, high = schema.get("minimum"), schema.get("maximum")
    match schema.get("type"):
        case "boolean":
            return st.booleans().flatmap(kin)
        case "integer":
            return mostly(st.integers(low, high), integers).flatmap(kin)
        case "number":
            within = st.floats(low, 1e6 if high is None else high, allow_nan=False, allow_infinity=False)
            return mostly(within, numbers).flatmap(kin)
        case "string" if "pattern" in schema:
            return mostly(st.from_regex(schema["pattern"], fullmatch=True), texts).flatmap(kin)
        case "string":
            return mostly(st.text("abc", min_size=1, max_size=3), texts).flatmap(kin)
        case "array":
            return st.lists(values_of(schema["items"], definitions), max_size=3).flatmap(kin)
        case "object":
            named = values_of(schema.get("propertyNames", {}) | {"type": "string"}, definitions)
            return st.dictionaries(
                named.filter(hashable), values_of(schema["additionalProperties"], definitions), max_size=3
            )
    return json_values


def hashable(value):
    return isinstance(value, (str, bytes))


def fields_of(record, known=()):
    """A few fields of a record, with values for them; ``known`` are fields that mostly hold a known agent's name."""
    schema = record.model_json_schema()
    each = {
        name: mostly(
            st.sampled_from(NAMES).flatmap(kin) if name in known else values_of(field, schema.get("$defs", {})), strange
        )
        for name, field in schema["properties"].items()
    }
    assert set(each) == set(record.model_fields)
    chosen = st.lists(st.sampled_from(sorted(each)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: each[name] for name in names}))


agents = st.tuples(st.just(Agent), fields_of(Agent).map(lambda fields: {"name": "third", **fields}))
tasks = st.tuples(st.just(Task), fields_of(Task).map(lambda fields: {"text": "some words", **fields}))
outcomes = st.tuples(st.just(Outcome), fields_of(Outcome, ("correct_agent", "agent")))
trips = st.lists(st.one_of(tasks, outcomes, agents), min_size=TRIP, max_size=TRIP)


# -- what must come of it


def kept_as(given, kept):
    """Whether what was kept is what was given."""
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if isinstance(given, (str, enum.Enum)):  # names may be brought into one Unicode form
        same = str.__str__(given) if isinstance(given, str) else given
        return type(kept) is str and unicodedata.normalize("NFC", same) == unicodedata.normalize("NFC", kept)
    if isinstance(given, dict):
        keys = {key.decode() if isinstance(key, bytes) else str.__str__(key): value for key, value in given.items()}
        if not isinstance(kept, dict):
            return kept_as(list(given), kept)
        return keys.keys() == kept.keys() and all(kept_as(value, kept[key]) for key, value in keys.items())
    if isinstance(kept, frozenset):
        return {str(one) for one in given} == kept
    if isinstance(kept, (tuple, list)):
        given = list(given) if not isinstance(given, frozenset) else sorted(given, key=kept.index)
        return len(given) == len(kept) and all(map(kept_as, given, kept))
    if isinstance(kept, bool) or given is None:
        return bool(given) is kept if given is not None else kept is None
    if isinstance(given, Decimal):
        return Decimal(repr(kept)) == given
    return type(kept) in (int, float) and kept == given


def make(record, fields):
    """The record with its fields, or None where it was refused as it should be, with those that were blamed."""
    given = {name: list(value) if hasattr(value, "__next__") else value for name, value in fields.items()}
    fresh = {name: iter(given[name]) if hasattr(value, "__next__") else value for name, value in fields.items()}
    try:
        made = record(**fresh)
    except InvalidInputError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert type(refused) is record.fault
        blamed = [name for name in fields if f" {name}:" in str(refused) or f" {name}." in str(refused)]
        assert blamed or any(words in str(refused) for words in OF_THE_WHOLE)
        return None, blamed
    for name, value in given.items():
        assert kept_as(value, getattr(made, name)), f"{name}: given {value!r}, kept {getattr(made, name)!r}"
    assert record.model_validate_json(made.model_dump_json()) == made
    assert record(**json.loads(made.model_dump_json())) == made
    return made, fields


def as_kept(row, name):
    """A field as the tables hold it: metrics as JSON, and a reason in what is left of a payload."""
    if name == "reason":
        return json.loads(row["context"])["reason"] if row["context"] else None
    return json.loads(row[name]) if name == "metrics" and row[name] else row[name]


class Trip:
    """Records on their way through one store."""

    def __init__(self, folder, name="router.db"):
        self.path = folder / name
        self.folder = folder
        self.agents = {name: Agent(name) for name in NAMES}
        self.tasks, self.outcomes = {}, []

    def opened(self, **settings):
        return Router(strategies=["thompson", "heuristic"], store=self.path, seed=1, **settings)

    def take(self, router, record):
        if isinstance(record, Agent):
            router.add_agent(record)
            self.agents[record.name] = record
        elif isinstance(record, Task):
            try:
                decision = router.route(record)
            except NoEligibleAgentError:
                decision = router.observe(record, "first")
            self.tasks[decision.decision_id] = record
        else:
            decision = router.route(Task("x", session_id=SESSION))
            try:
                router.record(decision, record)
            except UnknownAgentError as error:
                assert any(repr(name) in str(error) for name in (record.agent, record.correct_agent))  # noqa: PT017
            else:
                self.outcomes.append((decision.decision_id, record))

    def knows(self, router):
        """What was learnt, and what would be said next."""
        router.flush()
        assert router.statistics()["failed_updates"] == 0
        how = ("_ms", "_updates", "_per_minute", "_efficiency")  # it was learnt, not what
        figures = {name: value for name, value in router.statistics().items() if not name.endswith(how)}
        figures.pop("update_success_rate")
        assert figures["total_examples"] == len({decision_id for decision_id, _ in self.outcomes})
        performance = [one.to_dict() for one in router.agent_performance()]
        scores = {one.agent: one.score for one in router.rank("x")}  # among equals the order is that of additions
        return json.dumps([figures, performance, scores], allow_nan=False, sort_keys=True)

    def check(self, router):
        """Everything is there as it was given."""
        for decision_id, task in self.tasks.items():
            kept = router.decision(decision_id)
            for name in Task.model_fields:
                assert getattr(kept.task, name) == getattr(task, name), name
                assert type(getattr(kept.task, name)) is type(getattr(task, name)), name
            again = type(kept).model_validate_json(kept.model_dump_json())
            assert again.model_dump() == kept.model_dump()
        with closing(sqlite3.connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            query = "SELECT * FROM outcomes o LEFT JOIN payloads p ON p.seq = o.seq WHERE o.decision_id = ?"
            for decision_id, outcome in self.outcomes:
                (row,) = connection.execute(query, (decision_id,)).fetchall()
                for name in Outcome.model_fields:
                    expected = getattr(outcome.signals(), name, getattr(outcome, name))
                    found = as_kept(row, name)
                    assert found == expected, name

    def check_forgotten(self, router):
        """Of what is forgotten, numbers and names stay."""
        known = [(task.session_id, task.tenant) for task in self.tasks.values() if task.session_id]
        sessions = [(SESSION, None), *known][:4]
        for session_id, tenant in sessions:
            router.forget(session_id, tenant=tenant)
        for decision_id, task in self.tasks.items():
            kept = router.decision(decision_id).task
            forgotten = (task.session_id, task.tenant) in sessions
            assert kept.text == ("" if forgotten else task.text)
            assert kept.features == ({} if forgotten else task.features)
            assert kept.metadata == ({} if forgotten else task.metadata)
            assert (kept.task_type, kept.tenant, kept.step) == (task.task_type, task.tenant, task.step)

    def check_ported(self, router, known):
        """An export holds it all, and an import of it into another store is the identity, also the second time."""
        exported = self.folder / "out.jsonl"
        count = router.examples.export(exported, unanswered=True)
        rows = [json.loads(line) for line in exported.read_text().splitlines()]
        assert count == len(rows) >= len(self.tasks) + len(self.outcomes)
        copy = Trip(self.folder, "copy.db")
        copy.agents, copy.tasks, copy.outcomes = self.agents, self.tasks, self.outcomes
        with copy.opened(agents=list(self.agents.values())) as other:
            for times in ("once", "twice"):
                report = other.examples.import_from(exported)
                assert report.errors == [], times
                assert copy.knows(other) == known, times
            copy.check(other)


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.reliability)])
def test_every_value_is_refused_by_name_or_comes_back(count):
    fed = {"taken": Counter(), "refused": Counter()}

    @settings(max_examples=count // TRIP, **QUICKLY)
    @given(trips)
    def travel(trip):
        made = []
        for kind, fields in trip:
            record, blamed = make(kind, fields)
            fed["refused" if record is None else "taken"].update((kind, name) for name in blamed)
            made += [] if record is None else [record]
        with tempfile.TemporaryDirectory() as folder:
            journey = Trip(Path(folder))
            with journey.opened(agents=list(journey.agents.values())) as router:
                for record in made:
                    journey.take(router, record)
                known = journey.knows(router)
                journey.check(router)
            with journey.opened(agents=None) as router:
                assert {agent.name: agent for agent in router.agents} == journey.agents
                assert journey.knows(router) == known
                journey.check(router)
                journey.check_ported(router, known)
                journey.check_forgotten(router)
                assert journey.knows(router) == known

    travel()
    everything = {(kind, name) for kind in (Agent, Task, Outcome) for name in kind.model_fields}
    assert everything - fed["taken"].keys() == set()
    assert len(everything - fed["refused"].keys()) <= len(everything) / 10  # by chance, with 500 sets
    assert fed["taken"].total() > fed["refused"].total()
