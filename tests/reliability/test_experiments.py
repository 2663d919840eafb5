"""How often live experiments err over many, with looks all along: at most as often as docs/experiments.md says."""

import numpy as np
import pytest
from experiment_streams import decisions, played, sessions

from router_sdk.loop_settings import ExperimentConfig

pytestmark = pytest.mark.reliability

ALPHA = 0.05
WAYS = [
    ({"challenger_share": 0.5}, 1, 1_000),
    ({"challenger_share": 0.1}, 1, 1_000),
    ({"rollout": (0.1, 0.25, 0.5)}, 20, 200),
    ({"challenger_share": 0.1, "allocation": "bandit"}, 20, 200),
]


@pytest.mark.parametrize(("way", "updates", "experiments"), WAYS)
def test_equal_arms_are_decided_in_no_more_than_alpha(way, updates, experiments):
    settings = ExperimentConfig(**way, min_improvement=0.0)
    streams = (sessions(np.random.default_rng([11, seed]), 2_000) for seed in range(experiments))
    decided = sum(played(stream, settings, updates).decided(settings)[0] != "running" for stream in streams)
    assert decided <= ALPHA * experiments


@pytest.mark.parametrize("gain", [0.1, -0.1])
@pytest.mark.parametrize(("way", "updates", "experiments"), WAYS)
def test_the_wrong_one_wins_in_no_more_than_one_of_a_hundred(way, updates, experiments, gain):
    settings = ExperimentConfig(**way)
    streams = (sessions(np.random.default_rng([12, seed]), 2_000, gain) for seed in range(experiments // 5))
    wrong = "champion" if gain > 0 else "challenger"
    found = sum(played(stream, settings, updates).decided(settings)[0] == wrong for stream in streams)
    assert found <= 0.01 * experiments / 5


@pytest.mark.parametrize("mean", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_rare_failures_do_not_deceive(mean, share):
    settings = ExperimentConfig(challenger_share=share, min_improvement=0.0, min_units=20, guardrails={})
    streams = (decisions(np.random.default_rng([13, seed]), 4_000, mean, mean) for seed in range(400))
    decided = sum(played(stream, settings).decided(settings)[0] != "running" for stream in streams)
    assert decided <= ALPHA * 400


def test_a_difference_is_found_with_a_thousand_units_an_arm():
    settings = ExperimentConfig(challenger_share=0.5, weights={"quality": 1.0})
    needed = []
    for seed in range(200):
        verdict, closed = played(decisions(np.random.default_rng([14, seed]), 8_000, 0.8, 0.85), settings).decided(
            settings
        )
        needed.append(closed / 2 if verdict == "challenger" else np.inf)
    assert np.median(needed) <= 1_000
