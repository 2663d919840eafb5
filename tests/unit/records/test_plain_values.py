import datetime
import enum
import json
import math
from collections import OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent, Outcome, Task
from router_sdk.errors import InvalidAgentError, InvalidOutcomeError, InvalidTaskError
from router_sdk.records.plain import exact, plain, told


class Level(enum.IntEnum):
    HIGH = 3


class Words(str):
    __slots__ = ()


class Tensor:
    """What torch's are to us: a shape, a type without a kind, and ``tolist``."""

    shape = ()
    dtype = object()

    def tolist(self):
        return 0.25


SAME = [
    (np.bool_(True), True),
    (np.int64(2**62 + 1), 2**62 + 1),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.float32(0.1), 0.10000000149011612),
    (np.float16(0.5), 0.5),
    (np.longdouble(0.5), 0.5),
    (np.array(7), 7),
    (np.array("x"), "x"),
    (np.str_("x"), "x"),
    (Words("x"), "x"),
    (Level.HIGH, 3),
    (Tensor(), 0.25),
    (Decimal("0.1"), 0.1),
    (Decimal(3), 3.0),
    (Fraction(1, 4), 0.25),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array([np.longdouble(0.5)]), [0.5]),
    ({np.str_("k"): [np.int8(1), (np.float32(2), {"x"})]}, {"k": [1, (2.0, {"x"})]}),
    (MappingProxyType({"k": np.int8(1)}), {"k": 1}),
]


def types_in(value):
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return {type(value)}.union(*map(types_in, inner))


@pytest.mark.parametrize(("given", "expected"), SAME)
def test_what_stands_for_a_plain_value_becomes_it(given, expected):
    found = plain(given)
    assert found == expected
    assert types_in(found) == types_in(expected)


@pytest.mark.parametrize(
    "value",
    [None, b"x", 1j, np.complex64(1), np.datetime64(1, "ns"), np.timedelta64(1, "ns"), datetime.date(2026, 1, 1)],
)
def test_what_stands_for_none_is_left_alone(value):
    assert plain(value) is value


@pytest.mark.parametrize(
    "value",
    [Fraction(1, 3), Decimal("0.1234567890123456789"), np.longdouble("0.1"), Decimal("1e999"), -Decimal("1e999")],
)
def test_a_number_that_would_lose_digits_is_refused(value):
    with pytest.raises(ValueError, match=r"float\(value\)"):
        plain(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_the_float_that_is_written_like_it(value):
    assert plain(Decimal(repr(value))) == plain(Fraction(value)) == exact(np.float64(value)) == value


@pytest.mark.parametrize("value", [2**53 + 1, 10**400, True, "1", None, [1.0], np.array([1.0]), 1j])
def test_only_what_a_float_holds_is_exact(value):
    with pytest.raises(ValueError, match="number"):
        exact(value)


def test_nan_and_infinity_are_left_to_be_refused_as_such():
    assert math.isnan(exact(np.float32("nan")))
    assert math.isnan(exact(Decimal("NaN")))
    assert exact(np.float32("inf")) == math.inf


def test_whatever_a_strategy_says_of_itself_can_be_told_as_json():
    pair = namedtuple("pair", "left right")
    said = OrderedDict(
        [
            ("n", np.float32("nan")),
            (3, Fraction(1, 3)),
            (None, b"x"),
            ("long", 2**70),
            ("pair", pair(np.int8(1), {"s"})),
        ]
    )
    found = told(said)
    assert found == {"n": None, "3": 1 / 3, "None": "b'x'", "long": str(2**70), "pair": {"left": 1, "right": ["s"]}}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("record", "fault", "field", "value", "kept"),
    [
        (Outcome, InvalidOutcomeError, "success", np.bool_(False), False),
        (Outcome, InvalidOutcomeError, "tokens", np.int64(5), 5),
        (Outcome, InvalidOutcomeError, "quality", np.float32(0.5), 0.5),
        (Outcome, InvalidOutcomeError, "feedback", np.int64(-1), -1.0),
        (Outcome, InvalidOutcomeError, "metrics", {"m": np.array(2.5)}, {"m": 2.5}),
        (Outcome, InvalidOutcomeError, "origin", np.str_("user"), "user"),
        (Outcome, InvalidOutcomeError, "cost_usd", Decimal("0.0023"), 0.0023),
        (Agent, InvalidAgentError, "cost_usd", np.float64(0.5), 0.5),
        (Agent, InvalidAgentError, "enabled", np.bool_(False), False),
        (Agent, InvalidAgentError, "examples", np.array(["x", "y"]), ("x", "y")),
        (Agent, InvalidAgentError, "metadata", {"a": [np.int64(1)]}, {"a": [1]}),
        (Task, InvalidTaskError, "features", {"a": np.int64(2**60), "b": np.bool_(True)}, {"a": 2**60, "b": True}),
        (Task, InvalidTaskError, "step", np.uint8(3), 3),
        (Task, InvalidTaskError, "requires", np.array(["sql"]), frozenset({"sql"})),
        (Outcome, InvalidOutcomeError, "quality", np.float32("nan"), None),
        (Outcome, InvalidOutcomeError, "tokens", np.int64(2**53 + 1), None),
        (Outcome, InvalidOutcomeError, "tokens", np.float64(5), None),
        (Outcome, InvalidOutcomeError, "latency_ms", 2**53 + 1, None),
        (Outcome, InvalidOutcomeError, "metrics", {"m": Fraction(1, 3)}, None),
        (Agent, InvalidAgentError, "cost_usd", "0.5", None),
        (Agent, InvalidAgentError, "cost_usd", True, None),
        (Agent, InvalidAgentError, "enabled", "yes", None),
        (Agent, InvalidAgentError, "metadata", {"a": [2**63]}, None),
        (Task, InvalidTaskError, "features", {"a": np.float32("inf")}, None),
        (Task, InvalidTaskError, "features", {"a": Fraction(1, 3)}, None),
        (Task, InvalidTaskError, "features", {"a": np.datetime64(1, "ns")}, None),
        (Task, InvalidTaskError, "text", b"bytes", None),
    ],
)
def test_near_types_are_kept_exactly_or_refused_by_name(record, fault, field, value, kept):
    base = {Agent: {"name": "a"}, Task: {"text": "x"}, Outcome: {"success": True}}[record]
    if kept is not None:
        found = getattr(record(**{**base, field: value}), field)
        assert found == kept
        assert types_in(found) == types_in(kept)
        return
    with pytest.raises(fault, match=f": {field}[:.]"):
        record(**{**base, field: value})


def test_what_can_be_read_once_is_not_lost_over_another_field():
    with pytest.raises(InvalidTaskError, match="step"):
        Task("x", requires=(name for name in ("sql",)), step=np.int64(3))
    assert Task("x", requires=(name for name in ("sql",))).requires == {"sql"}


@pytest.mark.parametrize("fields", [{"quality": None}, {"metrics": {}}, {"metrics": {}, "origin": "user"}])
def test_an_outcome_of_nothing_is_refused(fields):
    with pytest.raises(InvalidOutcomeError, match="at least one part"):
        Outcome(**fields)
