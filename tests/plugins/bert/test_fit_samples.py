import numpy as np
from router_sdk_bert.finetuning.samples import category, from_agents, from_examples

from router_sdk.plugin import Agent, AgentSet, Signals, Task
from router_sdk.testing import make_example

AGENTS = AgentSet([Agent("a", examples=["do this", "do that"]), Agent("b")])
VECTOR = np.ones(3, dtype=np.float32)


def samples(*examples, **more):
    return from_examples(examples, AGENTS, **{"tag": "bert:int8", "fresh_after": 0, **more})


def test_both_kinds_of_feedback_come_along():
    told = [
        make_example("a", 0.25, number=1, task="one"),
        make_example("a", 0.0, number=2, task="two", signals=Signals(correct_agent="b")),
        make_example("b", None, number=3, task="three", signals=Signals(no_agent_fits=True)),
        make_example("a", None, number=4, task="four"),
    ]
    found, gone = samples(*told)
    assert [(one.text, one.label, one.labelled, one.agent, one.reward) for one in found] == [
        ("one", None, False, "a", 0.25),
        ("two", "b", True, "a", 0.0),
        ("three", None, True, None, None),
    ]
    assert gone == 0
    assert [category(one) for one in found] == ["a", "b", None]


def test_what_has_no_text_any_more_is_left_out_and_counted():
    nameless = make_example("a", 1.0, number=1, task=Task(task_type="sums"))
    found, gone = samples(nameless, make_example("a", 1.0, number=2))
    assert len(found) == 1
    assert gone == 1


def test_feedback_on_agents_that_left_is_left_out():
    told = [make_example("gone", 1.0), make_example("gone", 1.0, number=2, signals=Signals(correct_agent="gone"))]
    assert samples(*told) == ([], 0)
    (kept,), _ = samples(make_example("gone", 0.0, signals=Signals(correct_agent="a")))
    assert (kept.label, kept.agent) == ("a", None)


def test_what_came_after_the_last_fit_is_fresh():
    told = [make_example("a", 1.0, number=number) for number in (1, 2, 3)]
    found, _ = samples(*told, fresh_after=told[1].seq)
    assert [one.fresh for one in found] == [False, False, True]


def test_logged_embeddings_are_used_where_they_are_of_this_encoder():
    told = [
        make_example("a", 1.0, number=1, vectors={"bert:int8": VECTOR}),
        make_example("a", 1.0, number=2, vectors={"bert:fp32": VECTOR}),
    ]
    found, _ = samples(*told)
    assert found[0].vector is VECTOR
    assert found[1].vector is None


def test_agents_examples_are_labels():
    assert [(one.text, one.label) for one in from_agents(AGENTS, fresh=False)] == [("do this", "a"), ("do that", "a")]
