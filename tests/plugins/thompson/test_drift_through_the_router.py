import hashlib
import json
import logging
import math

import numpy as np
import pytest

from router_sdk import Agent, Outcome, Router, Task

RATES = {"steady": 0.65, "star": 0.9, "poor": 0.5}
EVERY = 10


def live(seed, task_of):
    """Traffic of an agent that is good for 600 outcomes, bad for 300 and good again for 500."""
    rng, rates, traffic = np.random.default_rng(seed), dict(RATES), []
    with Router(agents=list(RATES), strategies=["thompson", "heuristic"], store=":memory:", seed=seed) as router:
        for number in range(1_400):
            rates["star"] = 0.25 if 600 <= number < 900 else RATES["star"]
            decision = router.route(task_of(rng))
            traffic.append(decision.agent == "star")
            router.record(decision, Outcome(success=bool(rng.random() < rates[decision.agent])))
            if number % EVERY == EVERY - 1:
                router.flush()
    return np.array(traffic)


KINDS = {
    "types": lambda rng: Task(task_type="sums"),
    "features": lambda rng: Task(features={"size": float(rng.random())}),
    "text": lambda rng: Task(f"please add up these numbers for me, {rng.integers(100)}"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "seeds"),
    [
        ("types", 5),
        pytest.param("features", 3, marks=pytest.mark.reliability),
        pytest.param("text", 4, marks=pytest.mark.reliability),
    ],
)
def test_an_agent_that_turns_bad_loses_its_traffic_and_regains_it_when_it_recovers(kind, seeds):
    played = [live(seed, KINDS[kind]) for seed in range(seeds)]
    for traffic in played:
        assert traffic[500:600].mean() > 0.8, "it had the traffic"
        assert traffic[800:900].mean() < 0.15, "it lost it within 200 outcomes"
    back = [traffic[1_300:].mean() > 0.5 for traffic in played]
    # Over words an agent is found again by the router's floor alone, which may pass it over in 400 outcomes.
    assert sum(back) >= (seeds - 1 if kind == "text" else seeds), "it regained it within 400"


AGENTS = [Agent("a", cost_usd=0.02), Agent("b")]


def told(router):
    report = next(each for each in router.status()["strategies"] if each["name"] == "thompson")
    ranks = [router.rank(task) for task in (Task(task_type="sums"), Task("sum this"), Task(features={"size": 2.0}))]
    return report["agents"], [[(one.agent, one.score) for one in rank] for rank in ranks]


def nan_in(path):
    array = np.load(path)
    array.flat[0] = np.nan
    np.save(path, array)


def minus_alpha(path):
    state = json.loads(path.read_text())
    name = next(iter(state["cells"]["sums"]))
    state["cells"]["sums"][name] = [5.0, -1.0]
    path.write_text(json.dumps(state))


def endless_cost(path):
    state = json.loads(path.read_text())
    state["cost"]["a"][1] = math.inf
    path.write_text(json.dumps(state))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("cells.json", minus_alpha),
        ("dense_mean.npy", nan_in),
        ("dense_sigma.npy", lambda path: np.save(path, -np.load(path))),
        ("text_precision.npy", lambda path: np.save(path, -np.load(path))),
        ("prices.json", endless_cost),
    ],
)
def test_a_state_that_cannot_be_is_refused_and_rebuilt_from_the_log(tmp_path, caplog, file, damage):
    settings = {"min_evidence": 1, "min_context_evidence": 1}
    make = {"agents": AGENTS, "strategies": [("thompson", settings)], "store": tmp_path / "router.db", "seed": 3}
    with Router(**make) as router:
        for number in range(90):
            task = (Task(task_type="sums"), Task(f"sum this, {number}"), Task(features={"size": number % 5}))[
                number % 3
            ]
            decision = router.route(task)
            router.record(decision, Outcome(success=decision.agent == "a", cost_usd=0.02))
        router.flush()
        expected = told(router)
        router.snapshot()
    damaged = list(tmp_path.rglob(file))
    assert damaged
    for path in damaged:
        damage(path)
        # The checksum is made right, so that only the state itself can tell.
        manifest = path.parent / "manifest.json"
        state = json.loads(manifest.read_text())
        state["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest.write_text(json.dumps(state))
    with caplog.at_level(logging.WARNING), Router(**make) as router:
        router.flush()
        assert told(router) == expected
    assert "not usable" in caplog.text
