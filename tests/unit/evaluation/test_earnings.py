"""Whether a version is to blame: what is as good stays, also where the world changes; what is worse is found soon."""

import numpy as np
import pytest

from router_sdk.evaluation.earnings import Baseline, Earned, compare, gain_bounds
from router_sdk.loop_settings import WatchConfig

CONFIG = WatchConfig()
RUNS = 60
MOST = 320
STEP = 16
EASY, HARD = 0.93, 0.5
"""Chance of success where versions agree, and where they do not, because the task is hard."""


def outcomes(rng, count, *, differing=0.1, own=HARD, expects=0.7, fall=1.0):
    """What a version earns; where another one would choose otherwise, that one is surer than it should be."""
    found = []
    for _ in range(count):
        same = rng.random() >= differing
        success = rng.random() < (EASY if same else own) * fall
        kind = f"kind {rng.integers(4)}"
        found.append(Earned(kind, float(success), same, (EASY if same else expects) + rng.normal(0.0, 0.05)))
    return found


def before(rng, count=300, differing=0.1):
    return Baseline(outcomes(rng, count, differing=differing))


def rolled_back_after(seed, **kind):
    """After how many outcomes a version is rolled back, looked at every few; None where it is not."""
    rng = np.random.default_rng(seed)
    earlier, since = before(rng), outcomes(rng, MOST, **kind)
    looks = range(STEP, MOST + 1, STEP)
    return next((size for size in looks if compare(earlier, since[:size], CONFIG).fallen is not None), None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param({}, id="as good"),
        pytest.param({"differing": 0.2, "own": 0.85}, id="as good, and often otherwise"),
        pytest.param({"fall": 0.6}, id="the world changes"),
        pytest.param({"fall": 0.6, "differing": 0.25}, id="the world changes, and who learns disagrees more"),
        pytest.param({"own": 0.8}, id="better"),
    ],
)
def test_what_is_as_good_stays(kind):
    back = [seed for seed in range(RUNS) if rolled_back_after(seed, **kind) is not None]
    assert len(back) <= RUNS * CONFIG.alpha


@pytest.mark.parametrize(
    ("kind", "within"),
    [
        pytest.param({"differing": 0.85, "own": 0.15, "expects": 0.9}, 32, id="collapsed to one agent"),
        pytest.param({"differing": 0.5, "own": 0.25, "expects": 0.9}, 96, id="labels shuffled in part"),
        pytest.param({"differing": 0.12, "own": 0.1, "expects": 0.9}, 200, id="ruinous for one agent of ten"),
        pytest.param({"differing": 0.85, "own": 0.1, "expects": 0.9, "fall": 0.7}, 48, id="in a world that changes"),
    ],
)
def test_what_is_worse_is_found_soon(kind, within):
    found = [rolled_back_after(seed, **kind) or MOST + 1 for seed in range(RUNS)]
    assert np.quantile(found, 0.95) <= within


def test_what_nobody_expects_anything_of_counts_by_its_type():
    rng = np.random.default_rng(1)
    earlier = before(rng)
    since = [Earned("kind 0", 0.0, same=False) for _ in range(40)]
    assert compare(earlier, since, CONFIG).fallen is not None


def test_the_verdict_says_what_was_seen():
    rng = np.random.default_rng(2)
    earlier = before(rng, 100)
    verdict = compare(earlier, [Earned("kind 1", 1.0), Earned("never seen", 0.0, same=False, hoped=0.5)], CONFIG)
    assert (verdict.outcomes, verdict.mean, verdict.differing, verdict.fallen) == (2, 0.5, 0.5, None)
    assert 0.7 < verdict.expected < 1.0, "a type that is new is expected to be like all"


def test_bounds_of_the_gain_hold_it():
    missed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        earlier, since = before(rng), outcomes(rng, 200, fall=0.8)
        truth = (0.9 * EASY + 0.1 * HARD) * -0.2
        low, high = gain_bounds(earlier, since, 0.1)
        missed += not low <= truth <= high
    assert missed <= 4
