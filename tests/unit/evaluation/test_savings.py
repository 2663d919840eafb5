import numpy as np
import pytest

from router_sdk.evaluation.savings import LEAST, against, best_single, cells_of, dearest
from router_sdk.experiments.savings import _reigns
from router_sdk.store.registry import Champion


def made(agent, kind, count, cost=None, reward=None):
    return [(agent, kind, reward, cost)] * count


def own(cells, agent):
    return {key: cell for key, cell in cells.items() if key[0] == agent}


def test_the_same_tasks_are_what_is_compared():
    cells = cells_of(
        made("dear", "code", 10, 0.5, 1.0)
        + made("dear", "chat", 5, 0.2, 0.5)
        + made("cheap", "chat", 15, 0.01, 1.0)
        + made("cheap", "code", 3, None, 1.0)
    )
    found = against("dearest", "dear", cells, own(cells, "dear"))
    assert (found.compared, found.unknown, found.incomparable) == (30, 3, 0)
    assert found.spent_usd == pytest.approx(5.0 + 1.0 + 0.15)
    assert found.baseline_usd == pytest.approx(5.0 + 20 * 0.2)  # 15 chats of the other would have cost .2 each
    assert found.saved_usd_interval == pytest.approx((2.85, 2.85))  # what never varies is certain
    assert found.saved_share == pytest.approx(2.85 / 9.0)
    assert found.reward == pytest.approx((10 + 2.5 + 15 + 3) / 33)
    assert found.baseline_reward == pytest.approx((13 * 1.0 + 20 * 0.5) / 33)
    assert "$6.15 were spent where dear would have spent $9.00" in found.words


def test_kinds_on_which_a_baseline_is_not_known_are_left_out_and_counted():
    cells = cells_of(
        made("a", "code", LEAST, 1.0, 1.0) + made("a", "chat", LEAST - 1, 1.0, 1.0) + made("b", "chat", 7, 0.1, 1.0)
    )
    found = against("a", "a", cells, own(cells, "a"))
    assert (found.compared, found.incomparable) == (2 * LEAST - 1, 7)
    assert found.saved_usd == 0.0
    nothing = against("b", "b", own(cells, "a"), cells_of(made("b", "poems", 7, 0.1, 1.0)))
    assert (nothing.compared, nothing.saved_usd, nothing.incomparable) == (0, None, 2 * LEAST - 1)
    assert "too little is known of what b costs" in nothing.words


def test_unknown_is_not_free():
    cells = cells_of(made("a", "code", 20, None, 1.0) + made("b", "code", 20, 0.5, 0.5))
    assert best_single(cells) == dearest(cells) == "b"
    found = against("a", "a", cells, own(cells, "a"))
    assert (found.spent_usd, found.unknown, found.incomparable) == (None, 20, 20)
    silent = cells_of(made("a", "code", 20, None, 1.0))
    assert best_single(silent) is None
    assert "report cost_usd" in against("best_single", None, silent, {}).words
    assert "nothing was recorded" in against("best_single", None, {}, {}).words


def test_the_best_single_agent_is_the_best_on_the_tasks_as_they_came():
    cells = cells_of(
        made("coder", "code", 10, 0.1, 1.0)
        + made("coder", "chat", 90, 0.1, 0.2)
        + made("talker", "code", 90, 0.2, 0.1)
        + made("talker", "chat", 10, 0.2, 0.9)
        + made("rare", "rare", 10, 9.0, 1.0)
    )
    assert best_single(cells) == "coder"  # .6 of each kind, where talker has .5; by its own mix it would have .28
    assert dearest(cells) == "talker"  # of rare it is not known what it costs elsewhere


def test_the_interval_holds_what_would_have_been_spent():
    """Agents are drawn by chance, as a router's floor does; the truth is drawn for each task, and hidden."""
    rng = np.random.default_rng(5)
    held = rewarded = 0
    for _ in range(400):
        kinds = rng.integers(0, 2, 200)
        theirs = rng.lognormal(kinds, 0.8)
        earned = rng.random(200) < 0.5 + 0.3 * kinds
        mine = rng.random(200) < 0.3
        log = [
            ("dear" if own else "cheap", f"k{kind}", float(good if own else 0.5), cost if own else 0.1)
            for own, kind, cost, good in zip(mine, kinds, theirs, earned, strict=True)
        ]
        cells = cells_of(log)
        found = against("dear", "dear", cells, own(cells, "dear"))
        truth = theirs.sum() - (theirs[mine].sum() + 0.1 * (~mine).sum())
        low, high = found.saved_usd_interval
        held += low <= truth <= high
        low, high = found.reward_difference_interval
        expected = np.where(mine, 0.0, 0.5 - (0.5 + 0.3 * kinds)).mean()
        rewarded += low <= expected <= high
    assert held / 400 >= 0.92
    assert rewarded / 400 >= 0.92


def entry(version, token, seq):
    return Champion(version, False, token, 0.0, "", seq)


@pytest.mark.parametrize(
    ("history", "reigns"),
    [
        ([], None),
        ([entry(1, 1, 50)], (0, 50)),
        ([entry(2, 2, 90), entry(1, 1, 50)], (50, 90)),
        ([entry(2, 4, 120), entry(2, 3, 90), entry(1, 2, 70), entry(1, 1, 50)], (50, 90)),  # pinned meanwhile
        ([entry(None, 3, 90), entry(1, 2, 50)], (50, 90)),  # rolled back to what was never fitted
        ([entry(1, 1, None)], None),  # an earlier release did not note where
    ],
)
def test_when_the_version_before_served(history, reigns):
    assert _reigns(history) == reigns


def test_what_is_the_same_but_for_the_order_of_adding_up_saves_nothing():
    actual = cells_of(made("a", "x", 37, 0.1, 1.0) + made("b", "x", 23, 0.1, 1.0))
    found = against("a", "a", actual, own(actual, "a"))
    assert found.spent_usd != found.baseline_usd
    assert (found.saved_usd, found.saved_usd_interval, found.saved_share) == (0.0, (0.0, 0.0), 0.0)
    assert found.words == "$6.00 were spent, as much as a would have spent"
