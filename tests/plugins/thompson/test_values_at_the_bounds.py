"""Whatever number the door takes can be learnt, many times over, corrected, saved, and read again."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy

from router_sdk import OutcomeReward
from router_sdk.plugin import Agent, AgentSet, Outcome, Task
from router_sdk.testing import FixedContext, make_example, make_services, revise

MOST = 1e30
ENCODERS = {TextFeatures.name: TextFeatures(TextFeatures.Config())}
AGENTS = AgentSet([Agent("a", cost_usd=1e9, latency_ms=1e12), Agent("b", cost_usd=5e-324), Agent("c")])
CONFIGS = {
    "as_it_is": {},
    "logits": {"likelihood": "logistic"},
    "straight": {"fourier_features": 0, "sampling": "independent"},
    "quick_to_forget": {"half_life_s": 1.0, "change_threshold": 0.5},
    "budgets": {
        "objectives": {
            "cost": 1.0,
            "latency": 1.0,
            "max_cost_usd": 1e-9,
            "window": {"seconds": 1.0, "max_latency_ms": 1e-9, "max_cost_usd": 1e9},
        }
    },
    "budgets_by_tasks": {"objectives": {"window": {"tasks": 1, "max_cost_usd": 1e-9}}},
}
numbers = st.one_of(
    st.sampled_from([MOST, -MOST, 2**63 - 1, -(2**63), 1e15, 1e-300, 5e-324, -0.0, 0, 1, True]),
    st.floats(-MOST, MOST),
    st.integers(-(2**63), 2**63 - 1),
)
features = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.one_of(numbers, st.sampled_from("uvw")), min_size=1)
outcomes = st.fixed_dictionaries(
    {"quality": st.sampled_from([0.0, 5e-324, 0.5, 1.0])},
    optional={
        "cost_usd": st.sampled_from([0.0, 5e-324, 0.002, 1e9]),
        "latency_ms": st.sampled_from([0.0, 5e-324, 850.0, 1e12]),
        "feedback": st.sampled_from([-1.0, 5e-324, 1.0]),
    },
)
events = st.lists(
    st.tuples(features, st.sampled_from(["", "some words"]), st.sampled_from("abc"), outcomes, outcomes),
    min_size=1,
    max_size=6,
)


def built(config):
    strategy = ThompsonStrategy(
        ThompsonConfig(**{"min_context_evidence": 1.0, "fourier_features": 8, **config}),
        make_services(encoders=ENCODERS),
    )
    strategy.prepare(AGENTS)
    return strategy


def lessons(events, first, rounds):
    """The events, several times in turn, each followed by a correction, days apart."""
    reward, number = OutcomeReward(), first
    for _ in range(rounds):
        for told, text, agent, said, corrected in events:
            now, then = Outcome(**said).signals(), Outcome(**corrected).signals()
            one = make_example(
                agent,
                reward(now, agent),
                number=number,
                task=Task(text, features=told),
                signals=now,
                eligible=AGENTS.names,
            )
            one = replace(one, at=86_400.0 * number, first_at=86_400.0 * number)
            joined = now.updated(then)
            yield one
            yield replace(revise(one, reward(joined, agent), signals=then), at=one.at + 1.0)
            number += 1


def answers(strategy, events):
    context = FixedContext(encoders=ENCODERS)
    return [strategy.propose(Task(text, features=told), AGENTS, context) for told, text, *_ in events]


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=4)
@given(events=events)
@example(events=[({"x": MOST}, "", "a", {"quality": 1.0, "cost_usd": 1e9}, {"quality": 0.0, "latency_ms": 1e12})])
@example(
    events=[
        ({"x": 1e-300}, "w", "a", {"quality": 1.0}, {"quality": 0.0}),
        ({"x": MOST}, "w", "b", {"quality": 0.0}, {"quality": 1.0}),
    ]
)
def test_it_is_learnt_saved_and_read_again(tmp_path_factory, name, events):
    strategy, again = built(CONFIGS[name]), built(CONFIGS[name])
    strategy.learn(list(lessons(events, 1, 8)))
    folder = tmp_path_factory.mktemp("state")
    strategy.save(folder)
    again.load(folder)
    more = list(lessons(events, 1_000, 1))
    for one in (strategy, again):
        one.learn(more)
        one.save(tmp_path_factory.mktemp("more"))
    found = answers(strategy, events)
    assert [None if one is None else dict(one.probabilities) for one in found] == [
        None if one is None else dict(one.probabilities) for one in answers(again, events)
    ]
    for proposal in found:
        if proposal is not None:
            assert all(math.isfinite(share) for share in proposal.probabilities.values())
            assert sum(proposal.probabilities.values()) == pytest.approx(1.0)
    json.dumps([strategy.report(), strategy.expected()], allow_nan=False)


def test_what_is_taken_back_after_a_change_leaves_no_count_below_zero(tmp_path):
    """A correction is weighed by where its outcome stood in time: about, not quite, as it was weighed when it came."""
    turned = [
        ({"x": 1}, "", "a", {"quality": 1.0}, {"quality": 0.0}),
        ({"x": 1}, "", "b", {"quality": 0.0}, {"quality": 1.0}),
    ]
    strategy, again = built({"contextual": False}), built({"contextual": False})
    strategy.learn(list(lessons(turned, 1, 12)))
    strategy.save(tmp_path)
    again.load(tmp_path)
    assert again.report()["agents"] == strategy.report()["agents"]
