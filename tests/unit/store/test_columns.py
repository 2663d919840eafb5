"""A batch as columns and as objects: the same examples, whatever an outcome says and however the log is cut."""

import json
import random

import numpy as np
import pytest

from router_sdk import Agent, OutcomeReward, Task
from router_sdk.learning.performance import Performance
from router_sdk.records import ExampleColumns
from router_sdk.records.columns import cells_of
from router_sdk.store.agents import add_agents

COLUMNS = [
    *("decision_id", "seq", "decision_seq", "agent", "task_type", "reward", "at"),
    *("success", "quality", "latency_ms", "cost_usd"),
]

MORE = [{"feedback": 0.5}, {"correct_agent": "b"}, {"no_agent_fits": True}, {"metrics": {"m": 1.0}}, {"agent": "b"}]


class ReadWhole(OutcomeReward):
    """The same rewards, of which the log does not know that: each outcome is read whole."""


def told(rng, odd):
    """What an outcome says; with a probability of ``odd`` more than how it went."""
    fields = {"success": rng.random() < 0.6, "latency_ms": rng.choice([None, 20.0]), "tokens": rng.choice([None, 7])}
    if rng.random() < 0.7:
        fields["quality"] = rng.random()
    if rng.random() < odd:
        more = [
            {"feedback": 0.5},
            {"correct_agent": "b"},
            {"no_agent_fits": True},
            {"metrics": {"m": 1.0}},
            {"agent": "b"},
        ]
        fields |= rng.choice(more)
    return {name: value for name, value in fields.items() if value is not None}


def fill(log, rng, *, odd, again, early):
    """Decisions and outcomes in any order: some told twice, some before their decision is in the log."""
    waiting = []
    for _ in range(60):
        decision = log.decision(agent=rng.choice(["a", "b", None]), task=Task("x", task_type=rng.choice("st")))
        outcome = log.entry(decision, **told(rng, odd))
        if rng.random() < early:
            log.writer.append([outcome])
            waiting.append(decision)
            continue
        log.decide(decision)
        log.writer.append([outcome])
        if rng.random() < again:
            log.tell(decision, **told(rng, odd))
        if waiting and rng.random() < 0.5:
            log.decide(waiting.pop())


def read(log, reward, most):
    tail, cursor = log.store.tail(reward), 0
    head = tail.head()
    while cursor < head:
        batch = tail.read(cursor, head, most)
        yield batch
        cursor = batch.upto
    tail.close()


@pytest.mark.parametrize("most", [1_000, 90, 17])
@pytest.mark.parametrize("weights", [{}, {"latency": 0.5, "cost": 0.2}])
@pytest.mark.parametrize(
    ("odd", "again", "early"), [(0, 0, 0), (0.1, 0, 0), (0, 0.1, 0), (0.1, 0.1, 0), (0.9, 0.5, 0), (0.1, 0.1, 0.1)]
)
def test_columns_say_what_objects_say(log, odd, again, early, weights, most):
    fill(log, random.Random(f"{odd} {again} {early}"), odd=odd, again=again, early=early)
    found, wanted, others = [], [], 0
    for batch in read(log, OutcomeReward(**weights), most):
        columns, examples = batch.columns, batch.examples
        assert len(columns) == len(examples)
        assert list(zip(*(getattr(columns, name) for name in COLUMNS), strict=True)) == list(map(cells_of, examples))
        assert columns.others == ExampleColumns.of(examples).others
        assert all(columns.examples[place] is example for place, example in columns.others.items())
        others += len(columns.others)
        found += [(example, example.task, example.eligible) for example in examples]
    for batch in read(log, ReadWhole(**weights), 1_000):
        wanted += [(example, example.task, example.eligible) for example in batch.examples]
    assert found == wanted
    assert (others > 0) == (odd + again + early > 0)


@pytest.mark.parametrize("most", [1_000, 90, 17])
@pytest.mark.parametrize(("odd", "again", "early"), [(0, 0, 0), (0.1, 0.1, 0), (0.9, 0.5, 0.1)])
def test_figures_are_the_same_to_the_last_bit_from_columns(log, tmp_path, odd, again, early, most):
    fill(log, random.Random(f"{odd} {again}"), odd=odd, again=again, early=early)
    objects, columns = Performance(), Performance()
    for batch in read(log, OutcomeReward(), most):
        columns.learn_columns(batch.columns)
    for batch in read(log, ReadWhole(), 1_000):
        objects.learn(batch.examples)
    states = []
    for number, figures in enumerate((objects, columns)):
        folder = tmp_path / str(number)
        folder.mkdir()
        figures.save(folder)
        states.append(json.loads((folder / "performance.json").read_text()))
    assert states[0] == states[1]
    spent = [[each.spending.mean(agent, "latency_ms") for agent in ("a", "b", "")] for each in (objects, columns)]
    assert spent[0] == spent[1] == pytest.approx([20.0] * 3)


def test_an_agent_that_was_added_afresh_has_no_past_in_columns(log):
    fill(log, random.Random(1), odd=0, again=0, early=0)
    add_agents(log.writer, [Agent("a")], fresh=True)
    fill(log, random.Random(2), odd=0.1, again=0.1, early=0)
    found = [example for batch in read(log, OutcomeReward(), 50) for example in batch.examples]
    assert found == [example for batch in read(log, ReadWhole(), 50) for example in batch.examples]


def test_nothing_in_the_log_is_no_column(log):
    assert list(read(log, OutcomeReward(), 100)) == []
    log.decide()
    (batch,) = read(log, OutcomeReward(), 100)
    assert (len(batch.columns), batch.examples) == (0, [])


def test_what_was_foretold_of_a_few_is_read_of_these_alone(log):
    fill(log, random.Random(3), odd=0.1, again=0, early=0)
    foretell = "UPDATE decisions SET favourite = -(seq % 3 = 0), confidence = seq / 1000.0"
    log.writer.transact(lambda connection, seq: connection.execute(foretell) and None)
    columns = log.tail.read(0, log.tail.head(), 1_000).columns
    places = [place for place in range(len(columns)) if place not in columns.others][:20]
    said = []
    log.tail._connection.set_trace_callback(said.append)
    found = columns.foretold(places)
    (query,) = [text for text in said if "confidence" in text]
    assert json.dumps([columns.decision_seq[place] for place in places]) in query
    assert 0 < len([told for told in found if told is not None]) < 20
    whole = list(columns.forecasts)
    assert [whole[place] for place in places] == found
    assert whole == [example.forecast for example in columns.examples]
    said.clear()
    everywhere = range(len(columns))
    assert columns.foretold(everywhere) == whole
    assert said == []


def test_tasks_and_vectors_of_a_few_are_read_at_once_also_where_a_batch_is_objects(log):
    fill(log, random.Random(4), odd=0.1, again=0.1, early=0.1)
    columns = log.tail.read(0, 64, 64).columns
    assert len(columns) > 8
    said = []
    log.tail._connection.set_trace_callback(said.append)
    found = columns.carried(range(len(columns)))
    assert len(said) == 2
    assert found == [(example.task, example.vectors) for example in columns.examples]
    assert len(said) == 2


def texts(log, count, **odd):
    """Decisions with two logged vectors each, and an outcome; what is said of one place differs there."""
    for number in range(count):
        vector = np.array([number, 1.0], np.float32)
        decision = log.decision(agent="a")
        decision.vectors = {"one:x": vector, "two:x": vector[:1]}
        for name, value in odd.get(f"at{number}", {}).items():
            setattr(decision, name, value)
        log.decide(decision)
        log.tell(decision, success=True)
    return log.tail.read(0, log.tail.head(), 1_000).columns


def test_what_texts_were_decided_by_is_read_of_these_alone(log):
    columns = texts(log, 70)
    said = []
    log.tail._connection.set_trace_callback(said.append)
    found = columns.texts([3, 5, 4], "one:x")
    log.tail._connection.set_trace_callback(None)
    assert found.vector.tolist() == [[3.0, 1.0], [5.0, 1.0], [4.0, 1.0]]
    assert found.vector.dtype == np.float32
    assert list(found.propensity) == [0.5] * 3
    assert found.eligible == [("a", "b")] * 3
    assert len([query for query in said if "vectors" in query]) == 1
    of_objects = ExampleColumns.of(columns.examples).texts([3, 5, 4], "one:x")
    assert np.array_equal(of_objects.vector, found.vector)
    assert of_objects[:2] == (found.eligible, list(found.propensity))
    assert columns.texts([1], "three:x") is None, "not logged"


ODD = {
    "features": {"task": Task("x", features={"size": 1.0})},
    "observed": {"propensity": None, "source": "observed"},
    "not encoded": {"vectors": None},
}


@pytest.mark.parametrize("why", ODD)
def test_where_one_task_is_more_than_a_text_they_are_read_as_objects(log, why):
    columns = texts(log, 70, at7=ODD[why])
    assert columns.texts(range(70), "one:x") is None
    assert columns.texts(range(8, 70), "one:x").vector.shape == (62, 2)
    assert ExampleColumns.of(columns.examples).texts(range(70), "one:x") is None


def test_vectors_of_several_widths_are_a_list(log):
    columns = texts(log, 70, at7={"vectors": {"one:x": np.ones(3, np.float16)}})
    found = columns.texts(range(70), "one:x").vector
    assert [(vector.dtype, len(vector)) for vector in found[6:9]] == [("<f4", 2), ("<f2", 3), ("<f4", 2)]
