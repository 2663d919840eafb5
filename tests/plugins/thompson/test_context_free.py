import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy

from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError, Signals, Task
from router_sdk.testing import FixedContext, make_example, make_services, revise

AGENTS = AgentSet([Agent("a"), Agent("b"), Agent("c")])
TASK = Task(task_type="sums")
LASTING = ThompsonConfig(half_life_s=None, change_threshold=None, min_evidence=0)


def strategy(config=LASTING, agents=AGENTS):
    made = ThompsonStrategy(config, make_services())
    made.prepare(agents)
    return made


def tallies(made, task_type="sums"):
    return {
        name: (here.mass, here.reward)
        for name, (here, _) in zip("abc", made._evidence.tally(task_type, "abc"), strict=True)
    }


def ask(made, task=TASK, agents=AGENTS):
    return made.propose(task, agents, FixedContext())


def lesson(agent, reward, number, **more):
    return make_example(agent, reward, number=number, task=TASK, eligible=AGENTS.names, **more)


def test_a_correction_replaces_what_it_corrects():
    made = strategy()
    first = lesson("a", 1.0, 1)
    second = revise(first, 0.25)
    made.learn([first, second, lesson("b", None, 2)])
    assert tallies(made)["a"] == (1.0, 0.25)
    made.learn([revise(second, None, signals=Signals())])
    assert tallies(made)["a"] == pytest.approx((0.0, 0.0))
    assert tallies(made)["b"] == (0.0, 0.0)


def test_a_label_is_a_full_row_and_is_taken_back_exactly():
    made = strategy()
    first = lesson("a", 0.0, 1, signals=Signals(success=False))
    labelled = revise(first, 0.0, signals=Signals(correct_agent="b"))
    made.learn([first])
    before = tallies(made)
    made.learn([labelled])
    assert tallies(made) == {"a": (1.0, 0.0), "b": (1.0, 1.0), "c": (1.0, 0.0)}
    made.learn([revise(labelled, 0.0, signals=Signals(correct_agent="c"))])
    assert tallies(made) == {"a": (1.0, 0.0), "b": (1.0, 0.0), "c": (1.0, 1.0)}
    assert before == {"a": (1.0, 0.0), "b": (0.0, 0.0), "c": (0.0, 0.0)}


def test_labels_can_be_independent_or_ignored():
    for labels, expected in (("independent", {"b": (1.0, 1.0)}), ("ignore", {})):
        made = strategy(LASTING.model_copy(update={"labels": labels}))
        made.learn([lesson("a", 0.0, 1, signals=Signals(success=False, correct_agent="b"))])
        assert tallies(made) == {"a": (1.0, 0.0), "b": (0.0, 0.0), "c": (0.0, 0.0), **expected}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60),
    st.integers(0, 60),
)
@settings(max_examples=40, deadline=None)
def test_batches_do_not_matter(told, cut):
    config = ThompsonConfig(half_life_s=20.0, min_evidence=0)
    first = [lesson(agent, reward, number) for number, (agent, reward, _) in enumerate(told, 1)]
    stream = [*first, *[revise(each, new) for each, (_, _, new) in zip(first, told, strict=True)]]
    whole, parts = strategy(config), strategy(config)
    whole.learn(stream)
    parts.learn(stream[:cut])
    parts.learn(stream[cut:])
    assert tallies(whole) == tallies(parts)
    assert ask(whole).probabilities == ask(parts).probabilities


def test_an_old_observation_counts_half_after_a_half_life():
    made = strategy(ThompsonConfig(half_life_s=100.0, min_evidence=0))
    made.learn([lesson("a", 1.0, 1), lesson("b", 1.0, 101)])
    assert tallies(made)["a"] == pytest.approx((0.5, 0.5))
    made.learn([lesson("b", 1.0, 100_000)])
    assert tallies(made)["a"] == pytest.approx((0.0, 0.0))
    assert tallies(made)["b"] == pytest.approx((1.0, 1.0))


def test_a_new_task_type_starts_from_the_rate_elsewhere():
    made = strategy()
    for number in range(1, 200):
        made.learn([lesson("abc"[number % 3], float(number % 3 == 1), number)])
    found = ask(made, Task(task_type="brand new"))
    assert found.scores["b"] > 0.9
    assert found.scores["a"] < 0.1
    assert found.evidence()["agents"]["b"]["borrowed"] == 20.0


def test_a_stated_rate_is_a_prior_of_bounded_mass():
    agents = AgentSet([Agent("a", success_rate=1.0), Agent("b", success_rate=0.2), Agent("c")])
    made = strategy(agents=agents)
    assert ask(made, agents=agents).scores["a"] > 0.9
    made.learn([lesson("a", 0.0, number) for number in range(1, 101)])
    assert ask(made, agents=agents).scores["a"] < 0.15


def test_it_abstains_until_the_type_has_been_seen():
    made = strategy(ThompsonConfig(min_evidence=3))
    made.learn([lesson("a", 1.0, 1), lesson("a", 1.0, 2)])
    assert ask(made) is None
    made.learn([lesson("b", 0.0, 3)])
    assert ask(made) is not None
    assert ask(made) is ask(made)
    assert [(proposal.probabilities, agents) for proposal, agents in made.published()] == [
        (ask(made).probabilities, AGENTS)
    ]


@pytest.mark.parametrize("bad", ['{"events": 1}', "not json", None])
def test_a_broken_snapshot_is_refused(tmp_path, bad):
    made = strategy()
    made.learn([lesson("a", 1.0, 1)])
    made.save(tmp_path)
    path = tmp_path / "cells.json"
    path.write_text(path.read_text().replace("[1.0, 1.0]", "[1.0, 3.0]") if bad is None else bad)
    fresh = strategy()
    with pytest.raises(CorruptArtifactError):
        fresh.load(tmp_path)
    assert tallies(fresh)["a"] == (0.0, 0.0)


def test_it_loses_an_agent_that_turns_bad_and_finds_it_again():
    made = strategy(ThompsonConfig())
    rng_rates = {"a": 0.6, "b": 0.9, "c": 0.5}
    number = 0
    rng = np.random.default_rng(11)

    def live(rounds):
        nonlocal number
        share = []
        for _ in range(rounds):
            number += 1
            found = ask(made)
            chances = np.full(3, 1 / 3) if found is None else np.array(list(found.probabilities.values()))
            chances = 0.98 * chances + 0.02 / 3
            agent = "abc"[min(int(np.searchsorted(np.cumsum(chances), rng.random())), 2)]
            share.append(agent == "b")
            made.learn([lesson(agent, float(rng.random() < rng_rates[agent]), number)])
        return share

    traffic = live(500)
    assert np.mean(traffic[-100:]) > 0.8
    rng_rates["b"] = 0.2
    traffic = live(300)
    assert np.mean(traffic[200:]) < 0.15
    rng_rates["b"] = 0.9
    traffic = live(500)
    assert np.mean(traffic[400:]) > 0.5


def test_evidence_stays_finite():
    made = strategy(ThompsonConfig(half_life_s=1.0))
    made.learn([lesson("abc"[number % 3], float(number % 2), number) for number in range(1, 3_000)])
    assert all(math.isfinite(number) for pair in tallies(made).values() for number in pair)
