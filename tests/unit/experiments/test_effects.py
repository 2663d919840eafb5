"""Differences between arms: right whatever is missing and however shares change, and rarely wrong at any look."""

from dataclasses import replace

import numpy as np
import pytest
from experiment_streams import by_step, played, sessions
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router_sdk.evaluation.sequential import mean_sequence
from router_sdk.experiments.effects import composite, pseudo_outcomes, sharpest_at, units_needed
from router_sdk.loop_settings import ExperimentConfig

ALPHA = 0.05


def gap(values, arm, probability):
    return pseudo_outcomes(values, arm == 1, probability) - pseudo_outcomes(values, arm == 0, probability)


@st.composite
def columns(draw):
    count = draw(st.integers(2, 40))
    value = st.one_of(st.floats(0, 1), st.just(np.nan))
    return (
        draw(arrays(float, count, elements=value)),
        draw(arrays(np.int64, count, elements=st.integers(0, 1))),
        draw(arrays(float, count, elements=st.floats(0.05, 1))),
    )


@given(columns(), st.integers(1, 39))
def test_no_pseudo_outcome_depends_on_a_later_unit(told, cut):
    values, arm, probability = told
    whole, part = gap(values, arm, probability), gap(values[:cut], arm[:cut], probability[:cut])
    np.testing.assert_allclose(whole.values[:cut], part.values)
    np.testing.assert_allclose(whole.squares[:cut], part.squares)


@given(columns())
def test_who_swaps_the_arms_turns_the_sign(told):
    values, arm, probability = told
    one, other = gap(values, arm, probability), gap(values, 1 - arm, probability)
    np.testing.assert_allclose(one.values, -other.values, atol=1e-12)
    sequence = one.sequence(ALPHA, 1_000.0)
    np.testing.assert_allclose(sequence, -other.sequence(ALPHA, 1_000.0)[:, ::-1], atol=1e-9)


@given(columns())
def test_a_unit_counts_once_whatever_its_arm_reported(told):
    """Nothing that another arm's units report reaches an arm's residuals."""
    values, arm, probability = told
    mine = arm == 1
    found = pseudo_outcomes(values, mine, probability)
    silent = ~mine | np.isnan(values)
    assert np.all((found.values[silent] >= 0.0) & (found.values[silent] <= 1.0))


def test_what_is_missing_by_other_shares_in_each_arm_does_not_shift_the_difference():
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        arm = (rng.random(4_000) < 0.1).astype(int)
        values = np.where(rng.random(4_000) < np.where(arm == 1, 0.05, 0.5), np.nan, rng.random(4_000) ** (1 + arm))
        found.append(gap(values, arm, np.where(arm == 1, 0.1, 0.9)).values.mean())
    assert np.mean(found) == pytest.approx(1 / 3 - 1 / 2, abs=3 * np.std(found) / np.sqrt(len(found)))


def test_a_rare_metric_does_not_distort_the_composite():
    """Feedback of 5 % of the units, who all are unhappy: the mean over units that have any part would say otherwise."""
    apart, together = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        arm = (rng.random(4_000) < 0.5).astype(int)
        half = np.full(4_000, 0.5)
        values = {"quality": 0.7 + 0.2 * rng.random(4_000), "feedback": np.full(4_000, 0.1)}
        values["feedback"][rng.random(4_000) > np.where(arm == 1, 0.06, 0.04)] = np.nan
        worth = [
            composite({name: pseudo_outcomes(column, arm == one, half) for name, column in values.items()},
                      {"quality": 0.6, "feedback": 0.4}) for one in (0, 1)
        ]  # fmt: skip
        apart.append((worth[1] - worth[0]).values.mean())
        assert worth[1].values.mean() == pytest.approx(0.6 * 0.8 + 0.4 * 0.1, abs=0.02)
        mixed = np.where(np.isnan(values["feedback"]), values["quality"], 0.6 * values["quality"] + 0.04)
        together.append(mixed[arm == 1].mean() - mixed[arm == 0].mean())
    assert abs(np.mean(apart)) < 0.002 < abs(np.mean(together))


def test_a_metric_that_weighs_half_is_off_by_half():
    arm, half = np.array([0, 1, 1, 0]), np.full(4, 0.5)
    part = pseudo_outcomes(np.array([0.1, 0.9, 0.3, 0.5]), arm == 1, half)
    whole = composite({"quality": part, "latency": part}, {"quality": 0.5, "latency": 0.5})
    np.testing.assert_allclose(whole.values, part.values)
    np.testing.assert_allclose(whole.squares, part.squares / 2)
    assert part.squares[-1] > 0


def test_shares_that_grow_while_tasks_become_easier_do_not_favour_the_newcomer():
    held, naive = 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        ease = np.linspace(0.3, 0.8, 3_000)
        share = np.where(np.arange(3_000) < 1_500, 0.1, 0.5)
        arm = (rng.random(3_000) < share).astype(int)
        values = (rng.random(3_000) < ease).astype(float)
        low, high = gap(values, arm, np.where(arm == 1, share, 1 - share)).interval(ALPHA, 2_000.0)[1:]
        held += low <= 0.0 <= high
        naive.append(values[arm == 1].mean() - values[arm == 0].mean())
    assert held >= 38
    assert np.mean(naive) > 0.05


def test_rare_failures_of_a_small_arm_deceive_nobody():
    """Of .95 a tenth of the units: without the imagined deviations more than alpha is called better."""
    with_them = without = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        arm = (rng.random(4_000) < 0.1).astype(int)
        values = (rng.random(4_000) < 0.95).astype(float)
        pseudo = gap(values, arm, np.where(arm == 1, 0.1, 0.9))
        looks = np.arange(1_000, 4_000, 50)
        with_them += bool((pseudo.sequence(ALPHA, 5_555.0)[looks, 0] > 0).any())
        without += bool((mean_sequence(pseudo.values, ALPHA, 5_555.0)[looks, 0] > 0).any())
    assert with_them <= 0.03 * 300 < without


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_equal_arms_are_rarely_told_apart_by_session_and_often_by_step(share):
    settings = ExperimentConfig(challenger_share=share, min_improvement=0.0)
    wrong = by_decision = 0
    for seed in range(60):
        stream = sessions(np.random.default_rng([7, seed]), 1_000)
        found = played(stream, settings)
        wrong += found.decided(settings)[0] != "running"
        chance = np.where(found.arm == 1, share, 1.0 - share)
        steps = by_step(stream.units(found.arm, chance, 0.0))
        pseudo = gap(steps.values["quality"], steps.arm, steps.probability)
        looks = pseudo.sequence(ALPHA, sharpest_at((share, 1 - share)))[500::100]
        by_decision += bool(((looks[:, 0] > 0) | (looks[:, 1] < 0)).any())
    assert wrong <= 4, "of 60, at most 5 % in the long run"
    assert by_decision >= 24


def test_what_each_look_says_stands_in_the_path_of_the_last():
    settings = ExperimentConfig(challenger_share=0.5)
    found = played(sessions(np.random.default_rng(3), 600, 0.1), settings).analysis
    path = found.comparisons[0].path
    for place in (40, 120, 239):
        upto = int(path.units[place])
        again = played(replace_count(sessions(np.random.default_rng(3), 600, 0.1), upto), settings).analysis
        assert again.comparisons[0].difference == pytest.approx((path.mean[place], path.low[place], path.high[place]))


def replace_count(stream, count):
    """The first sessions of a stream."""
    steps = int(np.searchsorted(stream.unit, count))
    told = {name: both[:, :steps] for name, both in stream.told.items()}
    return replace(
        stream, at=stream.at[:count], chance=stream.chance[:count], unit=stream.unit[:steps],
        agent=stream.agent[:steps], task_type=stream.task_type[:steps], told=told,
    )  # fmt: skip


def test_how_many_units_a_difference_takes():
    rng = np.random.default_rng(1)
    arm = (rng.random(20_000) < 0.5).astype(int)
    values = (rng.random(20_000) < np.where(arm == 1, 0.85, 0.8)).astype(float)
    pseudo = gap(values, arm, np.full(20_000, 0.5))
    assert 1_500 < units_needed(pseudo, 0.05, ALPHA, 2_000.0) < 2_500
    assert units_needed(pseudo, 0.025, ALPHA, 2_000.0) > 4 * units_needed(pseudo, 0.05, ALPHA, 2_000.0)
