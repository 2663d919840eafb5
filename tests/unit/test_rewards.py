import functools
import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import OutcomeReward
from router_sdk.errors import InvalidConfigError, InvalidRewardError
from router_sdk.records import Signals
from router_sdk.rewards import checked_reward, reward_fingerprint

from .records.test_outcome_record import signals


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


def scaled(factor):
    return lambda signals, agent: factor


@dataclass(frozen=True)
class Weighted:
    weight: float

    def __call__(self, signals, agent):
        return self.weight


class Named:
    fingerprint = "v2"

    def __call__(self, signals, agent):
        return 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda signals, agent: 1.0, lambda signals, agent: 0.0),
        (lambda signals, agent: signals.quality, lambda signals, agent: signals.feedback),
        (scaled(0.1), scaled(0.2)),
        (Weighted(0.1), Weighted(0.2)),
        (OutcomeReward(), OutcomeReward(cost=1.0)),
        (OutcomeReward(), Named()),
    ],
)
def test_rewards_that_differ_have_different_fingerprints(one, other):
    assert reward_fingerprint(one) != reward_fingerprint(other)


def test_equal_rewards_have_one_fingerprint():
    assert reward_fingerprint(scaled(0.1)) == reward_fingerprint(scaled(0.1))
    assert reward_fingerprint(Weighted(0.1)) == reward_fingerprint(Weighted(0.1))
    assert "v2" in reward_fingerprint(Named())
    assert reward_fingerprint(functools.partial(scaled(1), agent="a"))


def test_a_fingerprint_is_the_same_in_every_process():
    program = (
        "from router_sdk.rewards import reward_fingerprint\n"
        "def mine(signals, agent):\n"
        "    return 1.0 if agent in {'a', 'bee', 'sea', 'dee'} else (lambda x: x)(0.5)\n"
        "print(reward_fingerprint(mine))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout != ""
