import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import OutcomeReward, Router, RouterConfig
from router_sdk.config import load_config
from router_sdk.errors import InvalidConfigError, InvalidRewardError
from router_sdk.records import Signals
from router_sdk.rewards import MetricGoal, checked_reward, with_metrics
from router_sdk.training.fit import portable_reward, reward_of

from ..doubles import Counting
from ..records.test_outcome_record import signals


@given(signals, st.sampled_from(["a", "b", None]), st.floats(0.1, 5), st.floats(0, 5), st.floats(0, 5))
def test_every_reward_lies_between_0_and_1(found, agent, quality, latency, cost):
    reward = OutcomeReward(quality, latency, cost)(found, agent)
    assert reward is None or 0.0 <= reward <= 1.0


@pytest.mark.parametrize(
    ("found", "agent", "expected"),
    [
        (Signals(), "a", None),
        (Signals(latency_ms=5.0, cost_usd=0.1, tokens=7), "a", None),
        (Signals(success=True), "a", 1.0),
        (Signals(success=False), "a", 0.0),
        (Signals(success=False, quality=0.9, feedback=1.0), "a", 0.0),
        (Signals(success=True, quality=0.4), "a", 0.4),
        (Signals(feedback=-1.0), "a", 0.0),
        (Signals(quality=0.5, feedback=1.0), "a", 0.75),
        (Signals(correct_agent="a"), "a", 1.0),
        (Signals(correct_agent="a"), "b", 0.0),
        (Signals(correct_agent="a"), None, 0.0),
        (Signals(no_agent_fits=True), None, 1.0),
        (Signals(no_agent_fits=True), "a", 0.0),
        (Signals(no_agent_fits=False), "a", None),
    ],
)
def test_what_an_outcome_is_worth(found, agent, expected):
    assert OutcomeReward()(found, agent) == expected


def test_speed_and_cheapness_count_by_their_weight_where_known():
    reward = OutcomeReward(quality=1.0, latency=1.0, cost=2.0)
    assert reward(Signals(quality=1.0, latency_ms=0.0, cost_usd=0.0), "a") == 1.0
    assert reward(Signals(quality=1.0), "a") == 1.0
    slow = reward(Signals(quality=1.0, latency_ms=1_000.0), "a")
    assert slow == pytest.approx((1 + 0.36788) / 2, abs=1e-4)
    dear = reward(Signals(quality=1.0, cost_usd=reward.cost_scale_usd), "a")
    assert dear == pytest.approx((1 + 2 * 0.36788) / 3, abs=1e-4)
    both = reward(Signals(quality=0.0, latency_ms=1_000.0, cost_usd=reward.cost_scale_usd), "a")
    assert both == pytest.approx((0.36788 + 2 * 0.36788) / 4, abs=1e-4)
    assert OutcomeReward(cost=1.0)(Signals(quality=1.0, latency_ms=1e9), "a") == 1.0
    assert OutcomeReward(latency=1.0)(Signals(quality=1.0, cost_usd=1e9), "a") == 1.0


@pytest.mark.parametrize(
    "fields",
    [{"quality": 0.0}, {"latency": -1.0}, {"cost": float("nan")}, {"latency_scale_ms": 0.0}, {"quality": float("inf")}],
)
def test_weights_out_of_range_are_refused(fields):
    with pytest.raises(InvalidConfigError):
        OutcomeReward(**fields)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.1, -0.1, "0.5", [1]])
def test_a_reward_function_is_held_to_its_promise(value):
    with pytest.raises(InvalidRewardError):
        checked_reward(lambda signals, agent: value, Signals(), "a")


def test_a_reward_function_that_raises_is_named():
    def broken(signals, agent):
        raise KeyError("mape")

    with pytest.raises(InvalidRewardError, match="KeyError"):
        checked_reward(broken, Signals(), "a")


MAPE = {"goal": "min", "low": 5.0, "high": 30.0}
R2 = {"goal": "max", "low": 0.5, "high": 1.0, "weight": 3.0}


@pytest.mark.parametrize(
    ("metrics", "others", "expected"),
    [
        ({"mape": 10.0}, {}, 0.8),
        ({"mape": 5.0}, {}, 1.0),
        ({"mape": 30.0}, {}, 0.0),
        ({"mape": -1e308}, {}, 1.0),
        ({"mape": 1e308}, {}, 0.0),
        ({"mape": 12}, {}, 0.72),
        ({"r2": 0.75}, {}, 0.5),
        ({"r2": 0.2}, {}, 0.0),
        ({"r2": 7.0}, {}, 1.0),
        ({"mape": 10.0, "r2": 0.75}, {}, (0.8 + 3 * 0.5) / 4),
        ({"mape": 10.0, "other": 99.0}, {}, 0.8),
        ({"mape": 10.0, "r2": "good", "decision": "hyperparameter_update"}, {}, 0.8),
        ({"mape": 10.0, "r2": True}, {}, 0.8),
        ({"other": 1.0}, {}, None),
        ({"mape": "12 %"}, {}, None),
        ({}, {}, None),
        ({"mape": 10.0}, {"quality": 0.4}, (0.8 + 0.4) / 2),
        ({"r2": 0.75}, {"feedback": 1.0}, (3 * 0.5 + 1.0) / 4),
        ({"mape": 10.0}, {"quality": 0.4, "feedback": -1.0}, (0.8 + 0.4 + 0.0) / 3),
        ({"mape": 10.0}, {"success": True}, 0.8),
        ({"mape": 10.0}, {"success": False}, 0.0),
        ({"mape": 10.0}, {"correct_agent": "b"}, 0.8),
        ({"other": 1.0}, {"success": True}, 1.0),
        ({"other": 1.0}, {"correct_agent": "b"}, 0.0),
    ],
)
def test_what_metrics_are_worth_beside_the_rest(metrics, others, expected):
    reward = OutcomeReward(metrics={"mape": MAPE, "r2": R2})
    assert reward(Signals(metrics=metrics, **others), "a") == pytest.approx(expected, abs=1e-12)
    assert OutcomeReward()(Signals(metrics=metrics, **others), "a") == OutcomeReward()(Signals(**others), "a")


def test_metrics_and_cost_are_weighed_like_any_benefit():
    reward = OutcomeReward(quality=1.0, cost=2.0, metrics={"mape": MAPE})
    assert reward(Signals(metrics={"mape": 10.0}, cost_usd=0.0), "a") == pytest.approx((0.8 + 2) / 3)
    assert reward(Signals(cost_usd=0.0), "a") is None


ends = st.floats(-1e300, 1e300)


@given(
    st.sampled_from(["min", "max"]),
    st.tuples(ends, ends).filter(lambda pair: pair[0] < pair[1]),
    st.floats(1e-6, 1e6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    signals,
)
def test_a_goal_is_worth_more_the_nearer_it_is_and_never_leaves_0_to_1(goal, span, weight, one, other, found):
    stated = MetricGoal(goal=goal, low=span[0], high=span[1], weight=weight)
    better, worse = (min, max) if goal == "min" else (max, min)
    assert 0.0 <= stated.worth(worse(one, other)) <= stated.worth(better(one, other)) <= 1.0
    assert stated.worth(better(span)) == 1.0
    assert stated.worth(worse(span)) == 0.0
    reward = OutcomeReward(metrics={"x": stated, "y": stated})
    value = reward(found._replace(metrics={"x": one, "y": other}), "a")
    assert 0.0 <= value <= 1.0


@pytest.mark.parametrize(
    ("goal", "field"),
    [
        ({}, "goal"),
        ({"goal": "lower", "low": 0, "high": 1}, "goal"),
        ({"goal": "min", "low": 1, "high": 1}, "low"),
        ({"goal": "min", "low": 2, "high": 1}, "low"),
        ({"goal": "min", "low": -1e308, "high": 1e308}, "low"),
        ({"goal": "min", "low": float("nan"), "high": 1}, "low"),
        ({"goal": "min", "low": 0, "high": float("inf")}, "high"),
        ({"goal": "min", "low": 0, "high": 1, "weight": 0}, "weight"),
        ({"goal": "min", "low": 0, "high": 1, "weight": 1e9}, "weight"),
        ({"goal": "min", "low": 0, "high": 1, "wieght": 1}, "wieght"),
        ("min", "mapping"),
    ],
)
def test_a_goal_that_is_not_understood_is_named_wherever_it_is_stated(goal, field):
    with pytest.raises(InvalidConfigError, match=rf"metrics.*mape.*{field}"):
        OutcomeReward(metrics={"mape": goal})
    with pytest.raises(InvalidConfigError, match=rf"reward_metrics.mape.*{field}"):
        RouterConfig.of(reward_metrics={"mape": goal})


def test_goals_come_from_arguments_files_and_the_environment(tmp_path, monkeypatch):
    stated = {"mape": MetricGoal(**MAPE)}
    assert RouterConfig.of(reward_metrics={"mape": MAPE}).reward_metrics == stated
    path = tmp_path / "router.toml"
    path.write_text("[reward_metrics.mape]\ngoal = 'min'\nlow = 5\nhigh = 30\n")
    assert load_config(path).reward_metrics == stated
    monkeypatch.setenv("ROUTER_REWARD_METRICS", json.dumps({"mape": MAPE}))
    assert RouterConfig.of().reward_metrics == stated
    with Router(["a"], [Counting], ":memory:") as router:
        assert router.reward == OutcomeReward(metrics=stated)


def test_goals_join_those_of_a_default_reward_and_are_refused_beside_another():
    base = OutcomeReward(cost=1.0, metrics={"mape": MAPE, "r2": R2})
    joined = with_metrics(base, {"r2": MetricGoal(**MAPE)})
    assert joined == OutcomeReward(cost=1.0, metrics={"mape": MAPE, "r2": MAPE})
    assert with_metrics(base, {}) is base

    def mine(signals, agent):
        return 0.5

    with pytest.raises(InvalidConfigError, match=r"reward_metrics.*mine"):
        Router(["a"], [Counting], ":memory:", reward=mine, reward_metrics={"mape": MAPE})


def test_a_child_process_is_told_of_the_goals():
    reward = OutcomeReward(latency=0.5, metrics={"mape": MAPE})
    described = json.loads(json.dumps(portable_reward(reward, None, None)))
    assert reward_of(described, None) == reward
