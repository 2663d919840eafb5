"""Which shares come next: never below the floor, towards what earns more, and a step at a time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.experiments.allocation import first_shares, next_shares, next_step
from router_sdk.experiments.analysis import RUNNING, Verdict, analyse
from router_sdk.loop_settings import ExperimentConfig

from .made_up import drawn

BANDIT = ExperimentConfig(allocation="bandit", challenger_share=0.1)
STEPS = ExperimentConfig(rollout=(0.1, 0.25, 0.5))
means = st.floats(0.05, 0.95)


def analysis(means, count=400, settings=BANDIT, share=0.3, **options):
    found = analyse(drawn(1, count, means, share, arms=("old", "new", "newer")[: len(means)], **options), settings, 0.0)
    return replace(found, verdict=RUNNING)


@given(st.lists(means, min_size=2, max_size=3), st.integers(0, 400))
def test_shares_sum_to_one_and_none_is_below_the_floor(rates, count):
    found = analysis(rates, count)
    shares = next_shares(found, BANDIT)
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) >= 0.1 - 1e-12
    assert shares == next_shares(found, BANDIT)


def test_who_earns_more_gets_more():
    assert next_shares(analysis((0.3, 0.9)), BANDIT) == pytest.approx((0.1, 0.9))
    assert next_shares(analysis((0.9, 0.3)), BANDIT) == pytest.approx((0.9, 0.1))
    level = next_shares(analysis((0.6, 0.6)), BANDIT)
    assert 0.1 < level[1] < 0.9


def test_until_much_was_reported_shares_are_those_of_the_beginning():
    assert next_shares(analysis((0.3, 0.9), 20), BANDIT) == first_shares(2, BANDIT) == (0.9, 0.1)


def test_who_lost_gets_nothing():
    found = replace(analysis((0.5, 0.9, 0.5)), verdict=Verdict(lost={"new": "is worse"}))
    shares = next_shares(found, BANDIT)
    assert shares[1] == 0.0
    assert sum(shares) == pytest.approx(1.0)


def test_a_rollout_grows_step_by_step_with_its_units():
    some, more = analysis((0.7, 0.7), 500, STEPS), analysis((0.7, 0.7), 1_200, STEPS)
    assert first_shares(2, STEPS) == pytest.approx((0.9, 0.1))
    assert next_step(some, STEPS, 0.1) == 0.25  # some 150 closed units of the challenger
    assert next_step(some, STEPS, 0.25) == 0.25
    assert next_step(more, STEPS, 0.25) == 0.5
    assert next_step(more, STEPS, 0.5) == 0.5


def test_it_does_not_grow_while_something_speaks_against_it():
    good = analysis((0.7, 0.7), 1_200, STEPS)
    assert next_step(analysis((0.7, 0.6), 1_200, STEPS), STEPS, 0.1) == 0.1
    assert next_step(replace(good, verdict=Verdict("champion")), STEPS, 0.1) == 0.1
    assert next_step(replace(good, sample_ratio=replace(good.sample_ratio, p_value=1e-6)), STEPS, 0.1) == 0.1
    (comparison,) = good.comparisons
    raised = replace(comparison, guardrails=(replace(comparison.guardrails[0], state="raised"),))
    assert next_step(replace(good, comparisons=(raised,)), STEPS, 0.1) == 0.1
