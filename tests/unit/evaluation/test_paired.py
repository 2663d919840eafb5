import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.evaluation.held_out import Answer, summarised
from router_sdk.evaluation.paired import compare, gain_of

SCORES = st.sampled_from([0.0, 0.25, 1.0])


def answer(number, score, *, favourite="a", label="a", labelled=True, weight=1.0, session=None, **fields):
    """What somebody said of one example."""
    told = {"answered": True, "confidence": 0.8, "chance": None, **fields}
    return Answer(
        decision_id=f"{number:032x}",
        seq=number,
        favourite=favourite,
        label=label if labelled else None,
        labelled=labelled,
        score=score,
        weight=weight,
        session=session,
        **told,
    )


def said(number, label, favourite, chances=None):
    """One labelled answer."""
    return answer(number, float(label == favourite), label=label, favourite=favourite, chances=chances)


def both(rows):
    """Two evaluations of rows of a label, who served, and the candidate."""
    pairs = [(said(n, label, old), said(n, label, new)) for n, (label, old, new) in enumerate(rows, 1)]
    return tuple(summarised([pair[side] for pair in pairs]) for side in (0, 1))


def labelled_pairs(rng, count, lost, won):
    """Scores of so many pairs, of which some are lost and some are won by the candidate."""
    drawn = rng.random(count)
    return [
        (answer(n, float(not lost <= one < lost + won)), answer(n, float(not one < lost)))
        for n, one in enumerate(drawn, 1)
    ]


@given(st.lists(st.tuples(SCORES, SCORES, st.sampled_from([1.0, 2.5, 20.0])), min_size=2, max_size=30))
def test_the_gain_is_the_difference_of_the_values(rows):
    pairs = [
        (answer(n, a, weight=w, labelled=False), answer(n, b, weight=w, labelled=False))
        for n, (a, b, w) in enumerate(rows)
    ]
    gain = gain_of(pairs)
    before, after = (summarised([pair[side] for pair in pairs]) for side in (0, 1))
    assert gain.mean == pytest.approx(after.value - before.value)
    assert gain.ess == pytest.approx(before.ess)
    assert -1.0 <= gain.low <= gain.mean <= gain.high <= 1.0


def test_with_labels_it_is_the_plain_paired_error_and_what_a_tie_proves():
    pairs = labelled_pairs(np.random.default_rng(0), 80, 0.2, 0.1)
    differences = np.array([b.score - a.score for a, b in pairs])
    assert gain_of(pairs).error == pytest.approx(np.hypot(differences.std(ddof=1) / 80**0.5, 1 / 82))


@pytest.mark.parametrize("count", [5, 50, 500])
def test_a_tie_proves_as_much_as_it_has_examples(count):
    """With no difference in ``n`` pairs, the share that differs is below 3 in n, with 95 % confidence."""
    gain = gain_of([(answer(n, 1.0), answer(n, 1.0)) for n in range(count)])
    assert gain.mean == 0.0
    assert gain.high == -gain.low
    assert 1.5 / count < gain.high < 3.0 / count + 0.1 / count**0.5


@pytest.mark.parametrize(("count", "lost", "won"), [(20, 0.0, 0.05), (60, 0.1, 0.1), (200, 0.05, 0.02), (15, 0.4, 0.1)])
def test_intervals_of_labelled_pairs_cover(count, lost, won):
    rng = np.random.default_rng(1)
    gains = [gain_of(labelled_pairs(rng, count, lost, won)) for _ in range(250)]
    assert np.mean([gain.low <= won - lost <= gain.high for gain in gains]) >= 0.93


def test_intervals_of_weighted_rewards_cover():
    """Agents are drawn with propensity .7 and .3; the candidate changes its mind on half of the tasks."""
    rng, covered = np.random.default_rng(2), 0
    for _ in range(150):
        pairs = []
        for n in range(200):
            kind, first = rng.random() < 0.5, rng.random() < 0.7
            reward = float(rng.random() < (0.5 if first else 0.8 if kind else 0.3))
            weight = 1 / 0.7 if first else 1 / 0.3
            new_first = not kind
            old = answer(n, reward if first else None, labelled=False, weight=weight)
            new = answer(n, reward if first == new_first else None, labelled=False, weight=weight)
            pairs.append((old, new))
        gain = gain_of(pairs)
        covered += gain.low <= 0.15 <= gain.high  # half of the tasks earn .8 instead of .5
    assert covered / 150 >= 0.92


def test_sessions_vary_as_a_whole():
    alone = [(answer(n, 1.0), answer(n, float(n % 40 > 3))) for n in range(200)]
    session = [
        (answer(n, 1.0, session=str(n // 4)), answer(n, float(n % 40 > 3), session=str(n // 4))) for n in range(200)
    ]
    assert gain_of(session).error > 1.5 * gain_of(alone).error
    one = gain_of([(answer(n, 1.0, session="s"), answer(n, 0.0, session="s")) for n in range(50)])
    assert (one.mean, one.low, one.high) == (-1.0, -1.0, 1.0)


def test_nothing_is_said_where_a_side_cannot_be_judged():
    assert gain_of([]) is None
    assert gain_of([(answer(1, None, labelled=False), answer(1, 0.5, labelled=False))]) is None


def test_agents_are_told_apart_by_label_and_without_labels_by_who_serves():
    found = compare(*both([("a", "a", "b")] * 3 + [("b", "b", "b")] + [(None, None, None)]), fresh_after=0)
    assert [(one.agent, one.share, one.gain.mean) for one in found.agents] == [
        ("a", 0.6, -1.0),
        ("b", 0.2, 0.0),
        (None, 0.2, 0.0),
    ]
    old = [answer(n, 0.5, labelled=False, favourite="ab"[n % 2]) for n in range(10)]
    new = [answer(n, 1.0, labelled=False, favourite="a") for n in range(10)]
    found = compare(summarised(old), summarised(new), fresh_after=0)
    assert [(one.agent, one.gain.pairs, one.gain.mean) for one in found.agents] == [("a", 5, 0.5), ("b", 5, 0.5)]


def test_without_labels_an_agent_that_is_ruined_shows_though_the_mean_is_better():
    """Each of three agents is drawn alike, and is right for one kind of task; who serves is wrong on most of kind a."""
    rng, sides = np.random.default_rng(5), ([], [])
    for number in range(900):
        kind, acted = rng.choice(list("abc"), p=[0.4, 0.4, 0.2]), rng.choice(list("abc"))
        reward = float(rng.random() < (0.9 if acted == kind else 0.1))
        for side, served in zip(sides, (True, False), strict=True):
            wrong = (kind == "a" and number % 10 < 8) if served else kind == "c"
            favourite = "b" if wrong else kind
            score = reward if favourite == acted else None
            side.append(answer(number, score, favourite=favourite, labelled=False, weight=3.0))
    found = compare(*map(summarised, sides), fresh_after=0, recent=900)
    assert found.recent.mean > 0.0
    gains = {one.agent: one.gain for one in found.agents}
    assert gains["c"].mean < -0.6
    assert gains["c"].at_most(1 - 0.025 / 3) < 0.0
    assert gains["b"].mean > 0.2  # whom what serves gives most of kind a, too


def test_the_newest_are_told_apart_and_all_fresh_ones_are_among_them():
    rows = [("a", "a", "b")] * 20 + [("a", "b", "a")] * 10
    assert compare(*both(rows), fresh_after=0).recent.pairs == 30
    found = compare(*both(rows), fresh_after=25, recent=10)
    assert (found.recent.pairs, found.recent.mean) == (10, 1.0)
    assert (found.forgotten.pairs, found.forgotten.mean) == (25, pytest.approx(-0.6))
    assert compare(*both(rows), fresh_after=15, recent=10).recent.pairs == 15


def test_old_labels_that_fresh_ones_contradict_are_set_aside():
    old = [("a", "a", "b")] * 10 + [("c", "c", "c")] * 10
    drift = compare(*both(old + [("b", "a", "b")] * 6), fresh_after=20)
    assert (drift.overturned, drift.forgotten.pairs, drift.forgotten.mean) == (10, 10, 0.0)
    assert drift.recent.mean == pytest.approx(6 / 16)
    few = compare(*both(old + [("b", "a", "b")] * 4), fresh_after=20)
    assert (few.overturned, few.forgotten.mean) == (0, -0.5)
    added = compare(*both(old + [("b", "a", "b")] * 6 + [("a", "a", "a")] * 5), fresh_after=20)
    assert (added.overturned, added.forgotten.mean) == (0, -0.5)  # its own come as often as before
    mixed = compare(*both(old + [("b", "a", "b")] * 5 + [("a", "a", "a")] * 6), fresh_after=20)
    assert (mixed.overturned, mixed.forgotten.mean) == (0, -0.5)  # most of what it is given is still its own


def test_the_divergence_is_that_of_kullback_and_leibler():
    chances = [((0.5, 0.5), (0.9, 0.1)), ((1.0, 0.0), (1.0, 0.0))]
    before, after = (summarised([said(n, "a", "a", pair[side]) for n, pair in enumerate(chances)]) for side in (0, 1))
    expected = (0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)) / 2
    assert compare(before, after, 0).divergence == pytest.approx(expected, abs=1e-4)
    assert compare(*both([("a", "a", "a")]), 0).divergence is None


def test_calibration_is_compared_where_both_answered():
    before = summarised([answer(n, float(n % 10 < 8), confidence=0.8) for n in range(100)])
    after = summarised([answer(n, float(n % 10 < 8), confidence=0.99) for n in range(100)])
    found = compare(before, after, 0).calibration
    assert (found.examples, found.before, found.after) == (100, pytest.approx(0.0, abs=1e-9), pytest.approx(0.19))
    assert 0.0 < found.low < 0.19
    assert compare(after, before, 0).calibration.low < 0.0
    silent = summarised([answer(1, 0.0, answered=False, confidence=None)])
    assert compare(silent, silent, 0).calibration is None
