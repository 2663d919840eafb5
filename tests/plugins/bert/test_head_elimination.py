"""Where one agent is right, texts find their agents by what nearby outcomes name and exclude."""

import numpy as np
import pytest
from head_cases import clusters
from router_sdk_bert.config import HeadConfig
from router_sdk_bert.head.elimination import by_elimination
from router_sdk_bert.head.head import make_head
from router_sdk_bert.head.neighbours import Neighbours
from router_sdk_bert.head.policies import ELIMINATION, Policies
from router_sdk_bert.head.rows import UNKNOWN, Facts, Row

from router_sdk.plugin import Agent

CODES = np.array([1, 2, 3, 4], dtype=np.int32)


def near(*rows):
    """Stored rows: cosine, code of who acted, and whether it succeeded."""
    cosines, acted, good = (np.array(column) for column in zip(*rows, strict=True))
    acted, good = acted.astype(np.int32), good.astype(np.float32)
    facts = Facts(acted, good, acted, 1.0 - good, np.ones(len(rows), np.float32), np.ones(len(rows), np.float32))
    return Neighbours(cosines.astype(np.float32), facts, np.zeros(len(rows), np.float32), np.arange(len(rows)))


def test_a_success_nearby_names_its_agent():
    left = by_elimination(near((0.9, 2, True), (0.5, 3, True)), CODES, [0.0, 1.0, 1.0, 0.0])
    assert left.favourite == left.chances.argmax() == 1
    assert left.named
    assert left.chances.sum() == pytest.approx(1.0)


def test_a_failure_nearby_excludes_and_those_left_are_alike():
    left = by_elimination(near((0.9, 1, False), (0.9, 3, False)), CODES, [0.0] * 4)
    assert left.weights[1] == left.weights[3] > max(left.weights[0], left.weights[2])
    assert not left.named


def test_of_those_left_whoever_succeeded_least_elsewhere_is_tried():
    left = by_elimination(near((0.1, 1, True), (0.9, 2, False)), CODES, [50.0, 0.0, 20.0, 5.0])
    assert left.favourite == 3


def test_many_distant_successes_do_not_outweigh_one_that_is_near():
    left = by_elimination(near(*[(0.4, 1, True)] * 30, (0.7, 2, True)), CODES, [9_000.0, 1.0, 0.0, 0.0])
    assert left.favourite == 1


def test_an_agent_without_a_code_is_one_that_nothing_is_known_of():
    left = by_elimination(near((0.9, 1, False)), np.array([1, UNKNOWN], dtype=np.int32), [0.0, 0.0])
    assert left.favourite == 1


def play(vectors, right, names, floor=0.02, seed=0):
    """Whether each task went to its agent; the policies of a head, as the strategy joins them."""
    head, policies = make_head(HeadConfig(), 0), Policies("auto")
    head.set_agents(names, {}, {})
    policies.prepare([Agent(name) for name in names])
    rng, hits = np.random.default_rng(seed), []
    for place, (vector, label) in enumerate(zip(vectors, right, strict=True)):
        estimate, shares = head.judge(vector, names), np.full(len(names), 1.0 / len(names))
        if estimate is not None:
            shares = np.array(policies.publish().choose([estimate], [vector], names, [""])[0].probabilities)
        shares = (1.0 - floor) * shares / shares.sum() + floor / len(names)
        agent = names[int(rng.choice(len(names), p=shares))]
        hits.append(agent == label)
        told = {"eligible": names, "propensity": float(shares[names.index(agent)]), "at": float(place)}
        row = Row(f"{place:032x}", place + 1, vector, agent=agent, reward=float(hits[-1]), **told)
        policies.learn(row, head.judge, head.memory.rewards)
        head.take(exclusive=policies.exclusive)
        policies.changed(head.learn(row), head.config.kept_after_change)
    return np.array(hits), policies


def test_among_many_agents_it_leads_and_finds_them():
    names = tuple(f"agent-{place:02d}" for place in range(20))
    vectors, right = clusters(450, names=names, per_name=1, seed=2)
    hits, policies = play(vectors, right, names)
    shares = policies.comparison.weights.of("")
    assert shares[ELIMINATION] == max(shares)
    assert hits[-100:].mean() > 0.8


def test_an_agent_with_hardly_any_traffic_is_found():
    names = ("most", "rare")
    vectors, side = clusters(1_600, names=names, per_name=1, seed=3)
    kept = np.random.default_rng(4).random(len(side)) < 0.06
    chosen = [place for place, name in enumerate(side) if name == "most" or kept[place]]
    right = [side[place] for place in chosen]
    hits, _ = play(vectors[chosen], right, names)
    rare = np.array([name == "rare" for name in right])
    assert rare.mean() < 0.07
    assert hits[rare][20:].mean() > 0.7


def test_where_several_succeed_it_has_no_say():
    names = tuple("abcd")
    policies = Policies("independent")
    policies.prepare([Agent(name) for name in names])
    vectors, right = clusters(60, names=names, seed=5)
    head = make_head(HeadConfig(labels="independent"), 0)
    head.set_agents(names, {}, {})
    for place, (vector, label) in enumerate(zip(vectors, right, strict=True)):
        told = {"eligible": names, "propensity": 0.25, "at": float(place)}
        row = Row(f"{place:032x}", place + 1, vector, agent=label, reward=1.0, **told)
        policies.learn(row, head.judge, head.memory.rewards)
        head.learn(row)
    estimate = head.judge(vectors[0], names)
    assert "elimination" not in policies.publish().choose([estimate], [vectors[0]], names, [""])[0].weights
    assert "elimination" not in policies.report()["policies"][""]
