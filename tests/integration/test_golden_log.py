"""The golden log: the same events lead to the same decisions, whoever rebuilds the house meanwhile."""

import pytest
from golden.play import DECISIONS, EVENTS, lines, make_events, play

TOLERANCE = 1e-9


def test_the_same_events_lead_to_the_same_decisions(tmp_path):
    decided, expected = play(lines(EVENTS), tmp_path / "golden.db"), lines(DECISIONS)
    assert len(decided) == len(expected) > 900
    for number, (ours, golden) in enumerate(zip(decided, expected, strict=True)):
        assert (ours["agent"], ours["strategy"]) == (golden["agent"], golden["strategy"]), f"decision {number}"
        assert ours["probabilities"] == pytest.approx(golden["probabilities"], abs=TOLERANCE), f"decision {number}"


def test_the_events_are_those_that_the_program_makes():
    assert lines(EVENTS) == make_events()


def test_every_kind_of_event_and_every_strategy_is_in_it():
    events = lines(EVENTS)
    assert len(events) == 2_000
    assert {next(key for key in event if key != "at") for event in events} == {
        *("route", "record", "observe", "add", "remove", "restart")
    }
    assert {one["strategy"] for one in lines(DECISIONS)} >= {"thompson", "heuristic", "uniform"}
