"""Which arm a unit comes to: always the same one, in the shares that are told, and as few as possible change hands."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from router_sdk import Task
from router_sdk.routing.assignment import Assignment, Sessions, pieces_of, shares_of
from router_sdk.routing.chain import Chain
from router_sdk.store.identity import new_id

WHOLE = 2**32


@st.composite
def steps(draw):
    """Shares of a champion and up to three challengers, and how they change."""
    names = ["champion", *draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))]
    told = []
    for _ in range(draw(st.integers(1, 6))):
        raw = draw(st.lists(st.integers(0, 100), min_size=len(names), max_size=len(names)).filter(sum))
        told.append({name: one / sum(raw) for name, one in zip(names, raw, strict=True)})
    return told


def owner(pieces, place):
    return next(name for end, name in pieces if place < end)


@given(steps())
def test_the_shares_are_what_is_told_and_the_pieces_are_the_whole(told):
    pieces = pieces_of(told, "champion")
    ends = [end for end, _ in pieces]
    assert ends == sorted(set(ends))
    assert ends[-1] == WHOLE
    held = shares_of(pieces)
    assert sum(held.values()) == WHOLE
    for name, share in told[-1].items():
        assert held.get(name, 0) == pytest.approx(share * WHOLE, abs=4)


@given(steps(), st.lists(st.integers(0, WHOLE - 1), min_size=50, max_size=50))
def test_a_step_moves_nobody_who_need_not_move(told, places):
    for before, after in pairwise(told):
        past = told[: told.index(before) + 1]
        old, new = pieces_of(past, "champion"), pieces_of([*past, after], "champion")
        for place in places:
            was, comes = owner(old, place), owner(new, place)
            if was != comes and was != "champion":
                assert after.get(was, 0.0) < before.get(was, 0.0)
            if was != comes and comes != "champion":
                assert after[comes] > before.get(comes, 0.0)


def test_a_rollout_takes_from_the_champion_alone():
    rollout = [{"champion": 1 - share, "a": share} for share in (0.1, 0.25, 0.5)]
    for count in (1, 2):
        old, new = pieces_of(rollout[:count], "champion"), pieces_of(rollout[: count + 1], "champion")
        for place in range(0, WHOLE, WHOLE // 997):
            assert owner(old, place) == "champion" or owner(new, place) == owner(old, place)


def assignment(experiment="words", sessions=None, shares=None):
    shares = shares or {"champion": 0.7, "a": 0.2, "b": 0.1}
    chains = {name: Chain([], 0.0) for name in shares}
    return Assignment(experiment, chains, chains["champion"], pieces_of([shares], "champion"), sessions or Sessions())


def test_units_come_in_the_shares_that_are_told():
    arms = assignment()
    counted = Counter(arms.of(Task("x"), new_id())[1] for _ in range(20_000))
    expected = {"words/champion": 14_000, "words/a": 4_000, "words/b": 2_000}
    distance = sum((counted[name] - wanted) ** 2 / wanted for name, wanted in expected.items())
    assert distance < chi2.ppf(0.999, 2)


def test_another_experiment_divides_the_same_units_otherwise():
    one, other = assignment("one"), assignment("other")
    sessions = [Task("x", session_id=str(number)) for number in range(5_000)]
    both = Counter((one.of(task, "")[1][4:], other.of(task, "")[1][6:]) for task in sessions)
    assert both["a", "a"] / 5_000 == pytest.approx(0.04, abs=0.01)


def test_a_session_is_one_unit_and_its_tenants_own():
    arms = assignment(shares={"champion": 0.5, "a": 0.5})
    for session in range(50):
        told = {arms.of(Task("x", session_id=f"s{session}"), new_id()) for _ in range(5)}
        assert len(told) == 1
    tenants = {
        tenant: [arms.of(Task("x", session_id=f"s{session}", tenant=tenant), "0")[1] for session in range(50)]
        for tenant in ("acme", "umbrella")
    }
    assert tenants["acme"] != tenants["umbrella"]


def test_a_session_in_flight_keeps_its_arm_and_the_chance_with_which_it_came():
    sessions = Sessions()
    first = assignment(sessions=sessions, shares={"champion": 0.9, "a": 0.1})
    before = {number: first.of(Task("x", session_id=str(number)), "0") for number in range(200)}
    second = assignment(sessions=sessions, shares={"champion": 0.1, "a": 0.9})
    for number, was in before.items():
        now = second.of(Task("x", session_id=str(number)), "0")
        assert now[1:] == was[1:]
    sessions.forget(None, "0")
    assert len(sessions.known) == 199
    fresh = [second.of(Task("x", session_id=f"new {number}"), "0") for number in range(200)]
    assert {round(chance, 6) for _, _, chance in fresh} == {0.1, 0.9}


def test_sessions_are_forgotten_at_a_bound(monkeypatch):
    monkeypatch.setattr("router_sdk.routing.assignment._SESSIONS", 10)
    sessions = Sessions()
    arms = assignment(sessions=sessions)
    for number in range(50):
        arms.of(Task("x", session_id=str(number)), "0")
    assert len(sessions.known) == 10


def test_an_arm_that_cannot_be_served_is_answered_for_and_is_no_part_of_it():
    chains = {"champion": Chain([], 0.0)}
    pieces = pieces_of([{"champion": 0.5, "a": 0.5}], "champion")
    arms = Assignment("words", chains, chains["champion"], pieces, Sessions())
    told = Counter(arms.of(Task("x", session_id=str(number % 200)), "0")[1:] for number in range(400))
    assert told.keys() == {("words/champion", 0.5), (None, None)}


def test_a_session_of_an_arm_that_is_made_nowhere_and_lost_is_answered_for():
    sessions, champion = Sessions(), Chain([], 0.0)
    shares = ({"champion": 0.5, "a": 0.5}, {"champion": 1.0, "a": 0.0})
    tasks = [Task("x", session_id=f"s{number}") for number in range(50)]
    for steps in (shares[:1], shares):  # an arm that cannot be made here holds half of the units, and then none
        arms = Assignment("words", {"champion": champion}, champion, pieces_of(steps, "champion"), sessions)
        found = Counter(arms.of(task, new_id()) for task in tasks)
        assert found.keys() == {(champion, "words/champion", 0.5), (champion, None, None)}
