"""What arrays of a batch teach is what the examples teach one by one, to the same bits."""

import json
import random
from itertools import pairwise

import pytest
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy

from router_sdk.plugin import Agent, AgentSet, ExampleColumns, Signals, Task
from router_sdk.testing import make_example, make_services, revise

AGENTS = AgentSet([Agent("a"), Agent("b"), Agent("c")])
SETTINGS = [
    {},
    {"change_threshold": None},
    {"change_detector": "adwin"},
    {"half_life_s": None},
    {"half_life_s": 20.0},
    {"contextual": False, "labels": "ignore"},
    {"objectives": {"max_cost_usd": 0.002}},
]


def lessons(count, *, corrected=0.0, text=0.0):
    """Outcomes of three agents, of which one fails from the middle on and recovers; now and then nobody acted."""
    rng = random.Random(f"{count} {corrected} {text}")
    found = []
    for number in range(1, count + 1):
        agent = rng.choice(["a", "a", "b", "c", None])
        chance = 0.1 if agent == "a" and count // 3 < number < count // 2 else 0.8
        reward = None if rng.random() < 0.05 else rng.choice([float(rng.random() < chance), rng.random() * chance])
        said = Signals(quality=reward, latency_ms=rng.choice([None, 80.0]), cost_usd=rng.choice([None, 0.001]))
        task = Task("words" if rng.random() < text else "", task_type=rng.choice("stuv"))
        found.append(make_example(agent, reward, number=number, task=task, signals=said, eligible=AGENTS.names))
        if rng.random() < corrected:
            found.append(revise(found[-1], 1.0, seq=found[-1].seq))
    return found


def taught(settings, batches, tmp_path):
    made = ThompsonStrategy(ThompsonConfig(**settings), make_services())
    made.prepare(AGENTS)
    for kind, batch in batches:
        made.learn(batch) if kind == "examples" else made.learn_columns(ExampleColumns.of(batch))
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    made.save(folder)
    return {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(map(str, settings)) or "default")
@pytest.mark.parametrize("more", [{}, {"corrected": 0.02}, {"text": 0.002}], ids=lambda more: "".join(more) or "plain")
def test_columns_teach_what_examples_teach(settings, more, tmp_path):
    learnt = lessons(3_000, **more)
    one_by_one = taught(settings, [("examples", learnt)], tmp_path)
    whole = taught(settings, [("columns", learnt)], tmp_path)
    cuts = [0, 7, 500, 501, 1_400, 2_999, len(learnt)]
    pieces = [("columns", learnt[start:end]) for start, end in pairwise(cuts)]
    assert whole == one_by_one
    assert taught(settings, pieces, tmp_path) == one_by_one


def test_a_change_was_among_what_was_taught(tmp_path):
    made = ThompsonStrategy(ThompsonConfig(), make_services())
    made.learn_columns(ExampleColumns.of(lessons(3_000)))
    assert made.report()["agents"]["a"]["changes"] == 2
    assert made.report()["agents"]["b"]["changes"] == 0


def test_nothing_teaches_nothing():
    made = ThompsonStrategy(ThompsonConfig(), make_services())
    made.learn_columns(ExampleColumns.of([]))
    assert made.report()["events"] == 0
