"""When an experiment is decided: what a winner needs, what makes a challenger lose, and that a verdict stays."""

import json
from dataclasses import replace

import numpy as np
import pytest

from router_sdk.errors import InvalidConfigError
from router_sdk.experiments.analysis import RUNNING, Verdict, analyse
from router_sdk.experiments.effects import pseudo_outcomes, sharpest_at
from router_sdk.loop_settings import ExperimentConfig

from .made_up import drawn, units

BETTER = {"count": 3_000, "means": (0.6, 0.8)}
EVEN = ExperimentConfig(challenger_share=0.5)


def verdict(made, settings=EVEN, before=RUNNING):
    return analyse(made, settings, 0.0, before).verdict


def test_a_better_challenger_wins():
    found = analyse(drawn(1, **BETTER), EVEN, 0.0)
    assert (found.verdict.decided, found.verdict.arm) == ("challenger", "new")
    assert "new is better by 0.2" in found.verdict.reason
    assert found.comparisons[0].improvement == pytest.approx(1 / 3, abs=0.1)
    assert found.comparisons[0].remaining is None
    assert found.weights == {"quality": 1.0}
    assert "feedback, latency" in found.notes[0]


def test_a_worse_one_loses_before_the_least_duration():
    found = verdict(drawn(1, 3_000, (0.8, 0.6), hours=10.0))
    assert found.decided == "champion"
    assert found.lost["new"].startswith("is worse by 0.")


@pytest.mark.parametrize(
    ("change", "options", "why"),
    [
        ({"min_units": 5_000}, {}, "5,000 of each are needed"),
        ({"min_duration_hours": 500.0}, {}, "of at least 500 hours"),
        ({"min_improvement": 0.9}, {}, "only: 90.0% are asked for"),
        ({"least_mean": 0.9}, {}, "too low to compare with"),
        ({"weights": {"feedback": 1.0}}, {}, "no metric that is weighed"),
        ({}, {"waited_h": 0.0, "window_h": 99.0}, "100 of each are needed"),
    ],
)
def test_what_a_winner_still_lacks_is_said(change, options, why):
    found = verdict(drawn(1, **BETTER, **options), EVEN.model_copy(update=change))
    assert found.decided == "running"
    assert why in found.reason


def test_what_may_be_chance_goes_on_until_the_longest_duration():
    same = drawn(1, 3_000, (0.7, 0.7))
    found = analyse(same, EVEN, 0.0)
    assert found.verdict.decided == "running"
    assert "may be chance" in found.verdict.reason
    ended = verdict(same, EVEN.model_copy(update={"max_duration_hours": 90.0}))
    assert ended.decided == "no winner"
    assert "after 90 hours nobody is surely better" in ended.reason


def test_a_verdict_stays_whatever_comes_later():
    won = verdict(drawn(1, **BETTER))
    assert verdict(drawn(1, 3_000, (0.8, 0.6)), before=won) is won
    assert Verdict(**json.loads(json.dumps(won.to_dict()))) == won


def test_one_challenger_that_lost_stays_out_and_the_other_may_win():
    arms = {"arms": ("old", "bad", "good")}
    settings = ExperimentConfig(challenger_share=0.3)
    first = verdict(drawn(1, 2_000, (0.6, 0.3, 0.6), 0.3, **arms), settings)
    assert (first.decided, set(first.lost)) == ("running", {"bad"})
    second = verdict(drawn(2, 6_000, (0.6, 0.9, 0.8), 0.3, **arms), settings, first)
    assert (second.decided, second.arm, second.lost) == ("challenger", "good", first.lost)
    third = verdict(drawn(2, 6_000, (0.6, 0.9, 0.3), 0.3, **arms), settings, first)
    assert (third.decided, set(third.lost)) == ("champion", {"bad", "good"})


def test_several_challengers_share_the_error():
    made = drawn(1, 2_000, (0.6, 0.6, 0.6), 0.3, arms=("old", "one", "two"))
    found = analyse(made, ExperimentConfig(challenger_share=0.3, alpha=0.1), 0.0)
    for place, comparison in enumerate(found.comparisons, start=1):
        ours, theirs = (
            pseudo_outcomes(made.values["quality"], made.arm == arm, made.probability) for arm in (place, 0)
        )
        assert comparison.difference == (ours - theirs).interval(0.05, sharpest_at((0.4, 0.3)))


def test_units_that_get_lost_make_it_invalid():
    made = drawn(1, **BETTER)
    kept = (made.arm == 0) | (np.arange(made.arm.size) % 5 > 0)
    found = verdict(units(made.arm[kept], made.values["quality"][kept], 0.5))
    assert found.decided == "invalid"
    assert "expected" in found.reason


def rail(found, kind, name):
    return next(one for one in found.comparisons[0].guardrails if (one.kind, one.name) == (kind, name))


def test_a_challenger_that_reports_less_is_not_believed():
    rng = np.random.default_rng(1)
    arm = rng.integers(0, 2, 4_000)
    quality = (rng.random(4_000) < np.where(arm == 1, 0.8, 0.6)).astype(float)
    quality[(arm == 1) & (rng.random(4_000) < 0.3)] = np.nan
    found = analyse(units(arm, quality), EVEN, 0.0)
    assert found.verdict.decided == "champion"
    assert "share of units with" in found.verdict.lost["new"]
    assert rail(found, "reported", "outcome").difference.mean == pytest.approx(-0.3, abs=0.03)


def test_a_slower_challenger_is_stopped():
    rng = np.random.default_rng(1)
    arm = rng.integers(0, 2, 3_000)
    metrics = {"latency": np.where(arm == 1, 0.5, 0.8) + 0.1 * rng.random(3_000)}
    settings = EVEN.model_copy(update={"weights": {"quality": 1.0}})
    found = verdict(units(arm, rng.random(3_000) < np.where(arm == 1, 0.99, 0.5), metrics=metrics), settings)
    assert found.decided == "champion"
    assert "latency differs by -0." in found.lost["new"]


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_chance_raises_no_guardrail(share):
    raised = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        arm = (rng.random(1_500) < share).astype(int)
        quality = np.where(rng.random(1_500) < 0.3, np.nan, rng.random(1_500) < 0.9)
        found = analyse(units(arm, quality, share, agent=rng.integers(0, 2, 1_500)), EVEN, 0.0)
        raised += any(one.state == "raised" for one in found.comparisons[0].guardrails)
    assert raised == 0


def test_a_guardrail_without_reports_says_so():
    found = analyse(drawn(1, 200, (0.7, 0.7)), EVEN, 0.0)
    assert rail(found, "metric", "latency").state == "insufficient"


def test_what_it_may_still_take():
    found = analyse(drawn(1, 400, (0.7, 0.7), hours=40.0, waited_h=0.0), EVEN, 0.0).comparisons[0].remaining
    assert 500 < found.units < 100_000
    assert found.hours == pytest.approx(found.units / 10.0 + 24.0, rel=0.05)
    begun = analyse(drawn(1, 20, (0.7, 0.7), hours=2.0, waited_h=0.0), EVEN, 0.0).comparisons[0].remaining
    assert begun.units == 180
    assert begun.assumption.startswith("9.5 units an hour as of late; how much")
    assert begun.assumption.endswith("; it runs 48 hours at least (min_duration_hours)")
    assert found.assumption.endswith("; 24 hours of that until the last unit closes (outcome_window_hours)")
    fast = analyse(drawn(1, 20, (0.7, 0.7), hours=0.001, waited_h=0.0), EVEN, 0.0).comparisons[0].remaining
    assert fast.assumption.startswith("19,000 units an hour as of late")
    assert "not known yet" in begun.assumption


def test_a_log_without_units():
    found = analyse(units([], []), EVEN, 0.0)
    assert found.verdict.decided == "running"
    assert found.arms[0].reported is None
    assert found.comparisons[0].path.units.size == 0
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_analysis_is_json():
    told = json.loads(json.dumps(analyse(drawn(1, **BETTER), EVEN, 0.0).to_dict(), allow_nan=False))
    assert told["verdict"]["decided"] == "challenger"
    assert set(told["comparisons"][0]["difference"]) == {"mean", "low", "high"}
    assert "path" not in told["comparisons"][0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"weights": {"quality": 0.0}}, "weights"),
        ({"rollout": (0.5, 0.1)}, "rise"),
        ({"rollout": (0.5,), "allocation": "bandit"}, "bandit"),
        ({"max_duration_hours": 10.0}, "longer"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(change, why):
    with pytest.raises((ValueError, InvalidConfigError), match=why):
        ExperimentConfig(**change)


def test_units_from_before_anything_was_recorded_say_nothing():
    rng = np.random.default_rng(7)
    arm = rng.integers(0, 2, 900)
    quality = (rng.random(900) < np.where(arm == 1, 0.85, 0.6)).astype(float)
    quality[:100] = np.nan
    late = analyse(units(arm, quality), EVEN, 0.0)
    alone = analyse(units(arm[100:], quality[100:]), EVEN, 0.0)
    assert late.comparisons[0].difference == alone.comparisons[0].difference
    assert late.arms[0].closed + late.arms[1].closed == 900
    assert (late.verdict.decided, late.verdict.arm) == ("challenger", "new")


def test_a_metric_that_comes_late_begins_where_it_comes():
    rng = np.random.default_rng(8)
    arm = rng.integers(0, 2, 1_200)
    quality = (rng.random(1_200) < 0.7).astype(float)
    feedback = (rng.random(1_200) < 0.5).astype(float)
    feedback[:200] = np.nan
    found = analyse(units(arm, quality, metrics={"feedback": feedback}), EVEN, 0.0).comparisons[0]
    assert found.metrics["feedback"].high - found.metrics["feedback"].low < 0.4
    assert found.difference.low < 0.0 < found.difference.high


def by_type(seed, chosen, works):
    """Units of two task types, on which arms choose agents and these do well by chance."""
    rng = np.random.default_rng(seed)
    arm, kind = rng.integers(0, 2, 2_000), rng.integers(0, 2, 2_000)
    agent = np.asarray(chosen)[arm, kind]
    quality = (rng.random(2_000) < np.asarray(works)[agent, kind]).astype(float)
    made = units(arm, quality, agent=agent)
    return replace(made, steps=replace(made.steps, task_type=kind, task_types=("ask", "tell")))


def rails(found):
    return {rail.name: rail.state for rail in found.comparisons[0].guardrails if rail.kind == "agent"}


def test_an_agent_that_gets_harder_tasks_is_not_held_against_a_challenger():
    found = analyse(by_type(9, [[0, 1], [0, 0]], [[0.9, 0.5], [0.1, 0.2]]), EVEN, 0.0)
    assert rails(found) == {"a": "not raised", "b": "not raised"}, "what b had is done better now"
    assert found.verdict.decided == "challenger"


def test_a_challenger_that_ruins_the_tasks_of_one_agent_loses_whatever_it_wins():
    found = analyse(by_type(9, [[0, 1], [1, 0]], [[0.2, 0.4], [0.9, 0.8]]), EVEN, 0.0)
    assert found.comparisons[0].difference.low > 0
    assert rails(found) == {"a": "not raised", "b": "raised"}
    assert found.verdict.decided == "champion"
    assert "quality of the tasks of b" in found.verdict.lost["new"]


def test_the_sequences_are_told_over_time_and_end_where_the_difference_stands():
    found = analyse(drawn(1, **BETTER), EVEN, 0.0)
    ((arm, told),) = json.loads(json.dumps(found.sequences(), allow_nan=False)).items()
    (comparison,) = found.comparisons
    assert arm == comparison.arm
    assert len({len(values) for values in told.values()}) == 1
    assert told["hours"] == sorted(told["hours"])
    assert [told[name][-1] for name in ("mean", "low", "high")] == pytest.approx([*comparison.difference])
    ((_, nothing),) = analyse(units([], []), EVEN, 0.0).sequences().items()
    assert nothing["mean"] == []
