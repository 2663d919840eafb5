import json

import numpy as np
import pytest
from pydantic import ValidationError
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy, priors_from_log, save_table

from router_sdk import Router
from router_sdk.plugin import Agent, AgentSet, Task
from router_sdk.testing import FixedContext, make_example, make_services

AGENTS = AgentSet([Agent("a"), Agent("b"), Agent("c", success_rate=0.1)])
LASTING = {"half_life_s": None, "change_threshold": None}


def strategy(agents=AGENTS, **fields):
    made = ThompsonStrategy(ThompsonConfig(**{**LASTING, **fields}), make_services())
    made.prepare(agents)
    return made


def ask(made, kind="sums", text="", agents=AGENTS):
    return made.propose(Task(text, task_type=kind), agents, FixedContext(text=text))


def lessons(rates, kind="sums", each=200, first=1):
    rng, count = np.random.default_rng(2), len(rates)
    names = list(rates)
    return [
        make_example(
            names[n % count], float(rng.random() < rates[names[n % count]]), number=first + n, task=Task(task_type=kind)
        )
        for n in range(each * count)
    ]


TABLE = {"sums": {"a": {"rate": 0.9, "mass": 20}, "c": {"rate": 0.6, "mass": 4}}}


@pytest.mark.parametrize("as_file", [False, True])
def test_a_table_of_priors_answers_on_the_first_day(tmp_path, as_file):
    save_table(TABLE, tmp_path / "priors.json")
    made = strategy(priors=tmp_path / "priors.json" if as_file else TABLE)
    found = ask(made)
    assert found.scores["a"] == pytest.approx((0.5 + 18) / 21)
    assert found.scores["c"] == pytest.approx((0.5 + 2.4) / 5)
    assert found.scores["b"] == 0.5
    assert found.evidence()["agents"]["a"]["evidence"] == 0.0
    assert ask(made, kind="unknown") is None
    assert ask(made, text="what is one and one").scores == found.scores


def test_the_content_of_a_file_belongs_to_the_configuration(tmp_path):
    path = tmp_path / "priors.json"
    save_table(TABLE, path)
    before = repr(ThompsonConfig(priors=path))
    save_table({"sums": {"a": {"rate": 0.2, "mass": 20}}}, path)
    assert repr(ThompsonConfig(priors=path)) != before


def test_evidence_overrules_a_wrong_table():
    made = strategy(priors=TABLE)
    made.learn(lessons({"a": 0.1, "b": 0.8}, each=100))
    found = ask(made)
    assert max(found.probabilities, key=found.probabilities.get) == "b"
    assert found.scores["a"] < 0.3


@pytest.mark.parametrize(
    "table",
    [
        {"sums": {"a": {"rate": 1.2, "mass": 1}}},
        {"sums": {"a": {"rate": 0.5, "mass": 0}}},
        {"sums": {"a": {"rate": 0.5, "mass": 101}}},
        {"sums": {"a": {"rate": 0.5}}},
        {"sums": {"a": {"rate": float("nan"), "mass": 1}}},
        "no-such-file.json",
    ],
)
def test_a_malformed_table_is_refused(table):
    with pytest.raises((ValidationError, OSError)):
        ThompsonConfig(priors=table)


def test_another_types_posterior_is_a_discounted_start():
    made = strategy(inherit={"new": {"from": "sums", "discount": 0.05}}, min_evidence=1)
    made.learn(lessons({"a": 0.9, "b": 0.2, "c": 0.5}))
    made.learn(lessons({"a": 0.1, "b": 0.9, "c": 0.5}, kind="letters", first=1_000))
    inherited, pooled = ask(made, "new"), ask(made, "other")
    assert pooled is None
    assert inherited.scores["a"] == pytest.approx(0.85, abs=0.1)
    assert inherited.evidence()["agents"]["a"]["borrowed"] == pytest.approx(10.0)
    made.learn(lessons({"a": 0.0, "b": 1.0}, kind="new", each=20, first=5_000))
    assert max((found := ask(made, "new")).probabilities, key=found.probabilities.get) == "b"


def test_a_type_cannot_start_from_itself():
    with pytest.raises(ValidationError, match="itself"):
        ThompsonConfig(inherit={"new": {"from": "new"}})


def test_one_tenants_posterior_is_anothers_prior(tmp_path):
    donor = strategy()
    donor.learn(lessons({"a": 0.9, "b": 0.2, "c": 0.5}))
    table = donor.prior_table(discount=0.1)
    assert table["sums"]["a"]["mass"] == pytest.approx(20.0)
    assert json.loads(json.dumps(table)) == table
    heir = strategy(priors=table)
    assert ask(heir).scores["a"] == pytest.approx(ask(donor).scores["a"], abs=0.07)
    assert ask(heir).scores["b"] == pytest.approx(ask(donor).scores["b"], abs=0.07)
    assert donor.prior_table(discount=1.0, most_mass=7.0)["sums"]["b"]["mass"] == 7.0
    with pytest.raises(ValueError, match="discount"):
        donor.prior_table(discount=0.0)


def logged(seed, rounds=4_000):
    """A policy that sends easy tasks to the poor agent, with its propensities; the rates over all tasks are known."""
    rng, found = np.random.default_rng(seed), []
    for number in range(1, rounds + 1):
        easy = rng.random() < 0.5
        chance = 0.9 if easy else 0.1
        agent, propensity = ("b", chance) if rng.random() < chance else ("a", 1.0 - chance)
        rate = {"a": (0.7, 0.9), "b": (0.2, 0.8)}[agent][int(easy)]
        found.append(
            make_example(
                agent,
                float(rng.random() < rate),
                number=number,
                task=Task(task_type="sums"),
                propensity=propensity,
            )
        )
    return found


def test_another_policys_log_is_weighed_by_its_propensities():
    log = logged(0)
    naive = np.mean([each.reward for each in log if each.agent == "b"])
    table = priors_from_log(log, clip=20.0, most_mass=50.0)
    assert naive > 0.7
    assert table["sums"]["b"]["rate"] == pytest.approx(0.5, abs=0.05)
    assert table["sums"]["a"]["rate"] == pytest.approx(0.8, abs=0.05)
    assert 0.0 < table["sums"]["b"]["mass"] <= 50.0
    # A tight clip trades variance for bias.
    assert 0.5 < priors_from_log(log, clip=2.0)["sums"]["b"]["rate"] < naive
    assert ask(strategy(priors=table)).scores["a"] > 0.7


def test_observed_outcomes_weigh_one():
    seen = [make_example("a", 1.0, number=n, task=Task(task_type="sums"), propensity=None) for n in range(1, 7)]
    table = priors_from_log([*seen, make_example("a", None, number=9, task=Task(task_type="sums"))])
    assert table == {"sums": {"a": {"rate": 1.0, "mass": 6.0}}}


@pytest.mark.parametrize(("clip", "most_mass"), [(0.5, 10.0), (10.0, 0.0), (10.0, 101.0)])
def test_bounds_are_checked(clip, most_mass):
    with pytest.raises(ValueError, match="clip"):
        priors_from_log([], clip=clip, most_mass=most_mass)


def test_a_routers_log_makes_a_table_for_another(tmp_path):
    with Router(agents=["a", "b"], strategies=["heuristic"], store=tmp_path / "one.db", seed=1) as one:
        for number in range(60):
            decision = one.route(Task("sum this", task_type="sums"))
            one.record(decision, {"success": decision.agent == "a" and number % 10 > 0})
        table = priors_from_log(one.examples)
    settings = {"priors": table}
    with Router(agents=["a", "b"], strategies=[("thompson", settings)], store=tmp_path / "two.db", seed=1) as two:
        decision = two.route(Task(task_type="sums"))
        assert decision.strategy == "thompson"
        assert decision.ranking[0] == "a"
