import copy
import dataclasses
import json
import pickle

import msgpack
import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from router_sdk import Agent, Decision, Task
from router_sdk.errors import InvalidInputError
from router_sdk.records import AgentSet, Distribution, Skipped

AGENTS = AgentSet([Agent("b", description="second"), Agent("a"), Agent("c")])


class Step(BaseModel):
    decision: Decision
    note: str = ""


def drawn(**changes):
    fields = {
        "agents": AGENTS,
        "weights": (0.1, 0.7, 0.2),
        "favourite": 1,
        "confidence": 0.65,
        "scores": {name: np.float32(score) for name, score in (("a", 0.1), ("b", 0.2), ("c", 0.2))},
        "evidence": lambda: {"seen": np.int64(3), "pair": (1, 2.5), "odd": float("nan")},
        "strategy": "thompson",
        "model_version": 4,
        "epsilon": 0.02,
    }
    return Distribution(**{**fields, **changes})


def decided(**changes):
    task = Task(
        "who?",
        features={"flag": True, "count": 2**62 + 1, "rate": 0.1, "kind": "new"},
        requires={"z", "y", "x"},
        history=["c", "a"],
        metadata={"deep": [1, None, {"x": 1.5}]},
        session_id="s",
        max_cost_usd=0.1,
    )
    fields = {
        "decision_id": "0" * 31 + "1",
        "agent": "a",
        "task": task,
        "at": 1795927722.3103766,
        "propensity": 0.7,
        "explored": False,
        "distribution": drawn(),
        "skipped": (Skipped("bert", "abstained"),),
        "vectors": {"e:fp32": np.array([0.1, -0.0, 3e-39], np.float32), "ids:fp32": np.array([5, 2**40])},
        "session_propensity": 0.5,
        "arm": "treatment",
        "arm_probability": 0.25,
    }
    return Decision(**{**fields, **changes})


NOBODY = drawn(weights=(), favourite=-1, scores=None, evidence=None, model_version=None, confidence=None)
EVERY = {
    "full": decided(),
    "nobody fits": decided(agent=None, distribution=NOBODY, vectors=None),
    "observed": decided(distribution=NOBODY, propensity=None, source="observed", skipped=(), arm=None, durable=True),
    "forgotten": decided(task=Task.model_construct(task_type="default", step=3)),
}

WAYS = {
    "json": lambda decision: Decision.model_validate_json(decision.model_dump_json()),
    "dict": lambda decision: Decision.model_validate(json.loads(json.dumps(decision.model_dump(), allow_nan=False))),
    "msgpack": lambda decision: Decision.model_validate(msgpack.unpackb(msgpack.packb(decision.model_dump()))),
    "checkpoint": lambda decision: Decision.model_construct(**msgpack.unpackb(msgpack.packb(decision.model_dump()))),
    "pickle": lambda decision: pickle.loads(pickle.dumps(decision)),
    "copy": copy.deepcopy,
    "field as json": lambda decision: Step.model_validate_json(Step(decision=decision).model_dump_json()).decision,
    "field as dict": lambda decision: Step.model_validate(Step(decision=decision).model_dump()).decision,
    "adapter": lambda decision: TypeAdapter(list[Decision]).validate_json(
        TypeAdapter(list[Decision]).dump_json([decision])
    )[0],
}


def parts(decision):
    """Everything about a decision that can be asked for."""
    fields = {field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)}
    vectors = (
        None
        if decision.vectors is None
        else {tag: (vector.dtype, vector.tolist()) for tag, vector in decision.vectors.items()}
    )
    found = fields.pop("distribution")
    shared = (found.agents.names, found.weights, found.favourite, found.cumulative, found.blob)
    told = (decision.probabilities, decision.ranking, decision.scores, decision.explain(), decision.strategy)
    kinds = {name: type(value) for name, value in decision.task}
    return {**fields, "vectors": vectors, "skipped": list(map(type, decision.skipped))}, shared, told, kinds


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("which", EVERY)
def test_a_decision_arrives_whole(which, way):
    decision = EVERY[which]
    assert parts(WAYS[way](decision)) == parts(decision)


def test_each_of_its_fields_travels():
    fields = {field.name for field in dataclasses.fields(Decision)} - {"distribution"}
    written = decided().model_dump()
    assert fields <= written.keys()
    assert {"strategy", "confidence", "probabilities", "ranking", "scores", "evidence", "eligible"} <= written.keys()
    assert decided().model_dump(include={"agent"}) == {"agent": "a"}
    assert Step(decision=decided()).model_dump(include={"decision": {"agent"}}) == {"decision": {"agent": "a"}}


def test_a_decision_is_a_field_as_it_is():
    decision = decided()
    assert Step(decision=decision).decision is decision
    assert Decision.model_validate(decision) is decision


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_schemas_of_interfaces_name_it(mode):
    schema = Step.model_json_schema(mode=mode)
    assert schema["properties"]["decision"] == {"$ref": "#/$defs/Decision"}
    assert {"Decision", "Task", "Vector"} <= schema["$defs"].keys()
    properties = schema["$defs"]["Decision"]["properties"]
    assert properties.keys() == decided().model_dump().keys()
    assert schema["$defs"]["Task"]["properties"]["max_cost_usd"]["anyOf"][0]["minimum"] == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"decision_id": "1"}, "decision_id"),
        ({"task": {"text": 5}}, "task.text"),
        ({"task": {"colour": "red"}}, "task.colour"),
        ({"eligible": ["a/../b", "a", "c"]}, "name"),
        ({"eligible": ["a", "a", "b", "c"]}, "agents"),
        ({"probabilities": {"a": 1.0}}, "probabilities"),
        ({"probabilities": {"a": 0.5, "b": 0.1, "c": 0.1}}, "probabilities"),
        ({"probabilities": {"a": -1.0, "b": 1.0, "c": 1.0}}, "probabilities"),
        ({"favourite": "d"}, "favourite"),
        ({"agent": "d"}, "agent"),
        ({"propensity": 1.5}, "propensity"),
        ({"at": float("nan")}, "at"),
        ({"vectors": {"e": {"dtype": "O", "data": ""}}}, "dtype"),
        ({"vectors": {"e": {"dtype": "<f4", "data": "AAA="}}}, "vectors"),
        ({"vectors": {"e": {"dtype": "<f3", "data": "AAA="}}}, "vectors"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_no_decision_is_refused_by_name(changes, field):
    written = {**decided().model_dump(), **changes}
    with pytest.raises(InvalidInputError, match=field):
        Decision.model_validate(written)
    with pytest.raises(ValidationError, match=field.rpartition(".")[2]):
        Step(decision=written)


@pytest.mark.parametrize("value", [None, "x", 5, []])
def test_other_values_are_refused(value):
    with pytest.raises(InvalidInputError, match="Decision"):
        Decision.model_validate(value)
    with pytest.raises(InvalidInputError, match="Decision"):
        Decision.model_validate_json(json.dumps(value))
