import numpy as np
import pytest

from router_sdk import Task
from router_sdk.errors import InvalidTaskError

TOO_LARGE = [
    {"text": "x" * 1_000_001},
    {"text": "x", "task_type": "t" * 201},
    {"text": "x", "tenant": "t" * 201},
    {"text": "x", "features": {f"f{number}": number for number in range(10_001)}},
    {"text": "x", "features": {"a": "x" * 600_000, "b": "x" * 600_000}},
    {"text": "x", "features": {"f" * 1_000_000: 1}},
    {"text": "x", "requires": {f"c{number}" for number in range(10_001)}},
    {"text": "x", "history": ["a"] * 10_001},
    {"text": "x", "metadata": {"all": "x" * 1_000_001}},
]


@pytest.mark.parametrize("fields", TOO_LARGE)
def test_what_is_too_large_is_refused_by_field_and_limit(fields):
    field = list(fields)[-1]
    with pytest.raises(InvalidTaskError, match=rf"Task: {field}.*(1000000|10000|200)\b"):
        Task(**fields)


def test_what_is_just_not_too_large_is_taken():
    features = {f"f{number}": "x" * 90 for number in range(10_000)}
    task = Task("x" * 1_000_000, features=features, history=["a"] * 10_000, requires=map(str, range(10_000)))
    assert Task.of(task.model_dump()) == task


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_nothing_to_route_by_is_refused(text):
    with pytest.raises(InvalidTaskError, match="nothing to route by"):
        Task(text)


@pytest.mark.parametrize("fields", [{"features": {"mape": 12.3}}, {"task_type": "code"}])
def test_features_or_a_type_are_enough(fields):
    assert Task(**fields).text == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "x" * 10_000_000},
        {"text": 5},
        {"text": None},
        {"text": "\ud800"},
        {"text": "x", "task_type": "../up"},
        {"text": "x", "tenant": "a/b"},
        {"text": "x", "features": {"mape": float("nan")}},
        {"text": "x", "features": {"mape": float("-inf")}},
        {"text": "x", "features": {"mape": [1, 2]}},
        {"text": "x", "features": {"mape": None}},
        {"text": "x", "features": {"": 1}},
        {"text": "x", "session_id": 7},
        {"text": "x", "session_id": "s" * 201},
        {"text": "x", "requires": 3},
        {"text": "x", "history": ["a/../b"]},
        {"text": "x", "max_cost_usd": -0.1},
        {"text": "x", "max_latency_ms": float("inf")},
        {"text": "x", "metadata": {"deep": "\udfff"}},
        {"text": "x", "metadata": {"number": float("inf")}},
        {"text": "x", "surprise": 1},
        *TOO_LARGE,
    ],
)
def test_a_malformed_field_is_a_named_error_of_bounded_length(fields):
    with pytest.raises(InvalidTaskError) as caught:
        Task(**fields)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("value", [5, None, b"bytes", {1: 2}, {"txt": "x"}, ["x"]])
def test_what_is_no_task_is_refused(value):
    with pytest.raises(InvalidTaskError):
        Task.of(value)


def test_metadata_nested_beyond_reason_is_refused():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InvalidTaskError):
        Task("x", metadata={"nested": nested})


def test_texts_mappings_and_tasks_are_tasks():
    task = Task("hello", session_id="s")
    assert Task.of(task) is task
    assert Task.of({"text": "hello", "session_id": "s"}) == task
    assert Task.of("hello") == Task("hello")
    assert Task.of(np.str_("hello")).text == "hello"


def test_feature_values_keep_their_kind():
    features = Task(features={"flag": True, "count": 3, "rate": 0.5, "kind": "new"}).features
    assert [type(value) for value in features.values()] == [bool, int, float, str]
