"""Grades, rare successes and texts that say nothing: what is learnt does not depend on how large rewards are."""

import numpy as np
import pytest
from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.features.hashed_text import TEXT_ENCODER, text_ids
from router_sdk_thompson.posteriors.noise_calibration import LEAST, MOST, NoiseCalibration

from router_sdk.plugin import Agent, AgentSet, Task
from router_sdk.testing import FixedContext, make_example, make_services

ENCODERS = {TextFeatures.name: TextFeatures(TextFeatures.Config())}


def words_of(rng, kind):
    return f"{kind}{rng.integers(3)} {kind}{rng.integers(3)} number {rng.integers(50)}"


def live(rewards, rounds, seed, agents=4, floor=0.02):
    """Route texts and learn; ``rewards(rng, right)`` gives what comes of a choice. Shares of right choices by turn."""
    names = AgentSet([Agent(f"agent-{place}") for place in range(agents)])
    made = ThompsonStrategy(ThompsonConfig(min_context_evidence=0, min_evidence=0), make_services(encoders=ENCODERS))
    made.prepare(names)
    rng, right = np.random.default_rng(seed), np.zeros(rounds)
    for number in range(1, rounds + 1):
        kind = int(rng.integers(agents))
        text = words_of(rng, "abcdefgh"[kind])
        found = made.propose(Task(text), names, FixedContext(text=text, encoders=ENCODERS))
        shares = np.full(agents, 1.0 / agents) if found is None else np.array(list(found.probabilities.values()))
        shares = (1.0 - floor) * shares + floor / agents
        chosen = int(rng.choice(agents, p=shares / shares.sum()))
        reward, right[number - 1] = rewards(rng, kind, chosen)
        lesson = make_example(
            names.names[chosen],
            reward,
            number=number,
            task=text,
            eligible=names.names,
            propensity=float(shares[chosen]),
            vectors={TEXT_ENCODER.tag: text_ids(text)},
        )
        made.learn([lesson])
    return made, right


def graded(high, low):
    return lambda rng, kind, chosen: (high if chosen == kind else low, chosen == kind)


@pytest.mark.slow
@pytest.mark.parametrize(("high", "low"), [(1.0, 0.0), (0.9, 0.7), (0.6, 0.5), (0.12, 0.1)])
def test_grades_that_differ_by_little_are_learnt_as_surely_as_success_and_failure(high, low):
    _, right = live(graded(high, low), 700, seed=5)
    assert right[-200:].mean() > 0.9


def test_the_same_outcomes_on_another_scale_lead_to_about_the_same():
    shares = [live(graded(*pair), 500, seed=8)[1].mean() for pair in ((1.0, 0.0), (0.55, 0.45))]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)


def test_where_texts_say_nothing_the_better_agent_leads_all_the_same():
    def rare(rng, kind, chosen):
        return float(rng.random() < (0.3 if chosen == 2 else 0.05)), chosen == 2

    _, good = live(rare, 1_500, seed=3, agents=5)
    assert good[-400:].mean() > 0.7


def test_where_texts_say_who_is_right_they_answer():
    made, _ = live(graded(1.0, 0.0), 500, seed=4)
    assert made.report()["policies"]["default"]["text"] > 0.9


def test_what_somebody_else_chose_with_success_is_imitated():
    names = AgentSet([Agent(f"agent-{place}") for place in range(5)])
    made = ThompsonStrategy(ThompsonConfig(), make_services(encoders=ENCODERS))
    made.prepare(names)
    rng = np.random.default_rng(2)
    for number in range(1, 201):
        kind = int(rng.integers(4))  # the last one never acts
        text = words_of(rng, "abcd"[kind])
        made.learn(
            [make_example(f"agent-{kind}", 1.0, number=number, task=text, eligible=names.names, propensity=None)]
        )
    for kind in range(4):
        text = words_of(rng, "abcd"[kind])
        found = made.propose(Task(text), names, FixedContext(text=text, encoders=ENCODERS))
        assert found.probabilities[f"agent-{kind}"] > 0.5


def test_several_agents_observed_at_one_task_say_that_success_is_not_exclusive():
    names = AgentSet([Agent(f"agent-{place}") for place in range(3)])
    made = ThompsonStrategy(ThompsonConfig(), make_services(encoders=ENCODERS))
    made.prepare(names)
    rng, number = np.random.default_rng(2), 0
    for _ in range(60):
        text = words_of(rng, "x")
        for place, rate in enumerate((0.8, 0.6, 0.7)):
            number += 1
            reward = float(rng.random() < rate)
            made.learn(
                [
                    make_example(
                        names.names[place], reward, number=number, task=text, eligible=names.names, propensity=None
                    )
                ]
            )
    assert made._contexts.comparison.feedback.others(presumed=True) is None


def test_noise_falls_where_texts_say_more_than_was_dared_and_rises_where_less():
    timid, bold = NoiseCalibration(3.0), NoiseCalibration(3.0)
    for _ in range(2_000):
        timid.note(0.3, 0.2, 0.1)
        bold.note(0.3, -0.2, 0.1)
    assert timid.noise == pytest.approx(LEAST)
    assert bold.noise == pytest.approx(MOST)
    assert NoiseCalibration.restored(bold.state()).state() == bold.state()
    with pytest.raises(ValueError, match="range"):
        NoiseCalibration.restored([9.0, 0.0, 0.0])
