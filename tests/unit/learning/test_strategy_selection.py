"""Strategies of a chain, compared by what their favourites would have earned."""

import numpy as np
import pytest

from router_sdk import Task
from router_sdk.errors import CorruptArtifactError
from router_sdk.learning.strategy_selection import StrategySelection
from router_sdk.numerics import recency
from router_sdk.testing.examples import make_example as example

NAMES = ("a", "b", "c", "d")
BOTH = ("first", "second")


def play(selection, right, count=1_200, seed=0, sharp=0.9, kind="default", floor=0.02):
    """The best one decides: ``right`` is the chance of each that its favourite is the right one of four agents."""
    rng = np.random.default_rng(seed)
    asked = []
    for number in range(1, count + 1):
        truth = rng.integers(4)
        places = [truth if rng.random() < chance else rng.integers(4) for chance in right]
        best = int(np.argmax(selection.weights.of(kind)))
        asked.append(best)
        chances = np.full(4, (1 - sharp) / 3)
        chances[places[best]] = sharp
        chances = floor / 4 + (1 - floor) * chances
        acted = rng.choice(4, p=chances)
        liked = {name: NAMES[place] for name, place in zip(BOTH, places, strict=True)}
        told = example(
            NAMES[acted],
            float(acted == truth),
            number=number,
            propensity=float(chances[acted]),
            eligible=NAMES,
            favourites=liked,
        )
        selection.learn([told])
    return np.array(asked)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("sharp", [0.7, 0.98])
def test_the_first_stays_where_it_is_the_better(seed, sharp):
    asked = play(StrategySelection(BOTH), (0.9, 0.7), seed=seed, sharp=sharp)
    assert np.mean(asked == 0) > 0.95


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("sharp", [0.7, 0.98])
def test_another_one_answers_soon_where_that_is_the_better(seed, sharp):
    asked = play(StrategySelection(BOTH), (0.55, 0.8), seed=seed, sharp=sharp)
    assert np.mean(asked[600:] == 1) > 0.9


def test_types_of_tasks_that_were_not_heard_of_for_long_make_room(monkeypatch, tmp_path):
    monkeypatch.setattr(recency, "MOST_KINDS", 16)
    selection, again = StrategySelection(BOTH), StrategySelection(BOTH)
    told = [
        example(
            "a" if number % 3 else "b",
            float(number % 3 > 0),
            number=number,
            task=Task(task_type="often" if number % 10 == 0 else f"id {number}"),
            eligible=NAMES,
            favourites={"first": "a", "second": "b"},
        )
        for number in range(1, 201)
    ]
    selection.learn(told[:150])
    selection.save(tmp_path)
    again.load(tmp_path)
    for one in told[150:]:
        selection.learn([one])
    again.learn(told[150:])
    assert selection._comparison.state() == again._comparison.state()
    assert len(selection.report()) == len(selection._comparison.state()["selection"]["kinds"]) + 1 == 17
    assert selection._comparison.state()["selection"]["kinds"]["often"][0] == 20


def test_one_that_has_no_answer_neither_wins_nor_loses():
    selection, begins = StrategySelection(BOTH), StrategySelection(BOTH).weights.of("default")
    told = [example("a", 0.0, number=n, propensity=0.9, eligible=NAMES, favourites={"first": "a"}) for n in (1, 2, 3)]
    selection.learn(told)
    assert selection.weights.of("default") == begins


def test_what_others_preferred_who_stood_in_the_chain_before_says_nothing():
    selection, begins = StrategySelection(BOTH), StrategySelection(BOTH).weights.of("default")
    gone = ({"third": "a", "fourth": "b"}, {"third": "a", "second": "b"})
    selection.learn(
        [example("a", 1.0, number=n, propensity=0.9, eligible=NAMES, favourites=gone[n % 2]) for n in range(1, 9)]
    )
    assert selection.weights.of("default") == begins


def test_what_was_observed_or_corrected_or_compared_by_nobody_counts_nothing():
    selection = StrategySelection(BOTH)
    liked = {"first": "a", "second": "b"}
    selection.learn(
        [
            example("a", 1.0, number=1, propensity=None, eligible=NAMES, favourites=liked),
            example("a", 1.0, number=2, propensity=0.9, eligible=NAMES),
            example("a", None, number=3, propensity=0.9, eligible=NAMES, favourites=liked),
        ]
    )
    assert selection.weights.of("default") == StrategySelection(BOTH).weights.of("default")


def test_it_is_saved_and_read_back(tmp_path):
    selection, other = StrategySelection(BOTH), StrategySelection(BOTH)
    play(selection, (0.5, 0.8), count=200)
    selection.save(tmp_path)
    other.load(tmp_path)
    assert other.report() == selection.report()
    play(selection, (0.5, 0.8), count=100, seed=9)
    play(other, (0.5, 0.8), count=100, seed=9)
    assert other.weights.of("default") == selection.weights.of("default")
    with pytest.raises(CorruptArtifactError):
        StrategySelection(("first", "third")).load(tmp_path)
