"""A simulated day: time, what happens in it, the report, and a verdict that can fail."""

import json
import time

import pytest

from router_sdk.demo.support_desk import WORLDS
from router_sdk.errors import InvalidInputError
from router_sdk.soak import SoakConfig, SoakReport, run_soak
from router_sdk.soak.day import day
from router_sdk.soak.virtual_time import VirtualTime

COUNTS = ("fits", "promoted", "refused", "planted", "stopped", "regressions", "rollbacks")


def test_hours_pass_for_the_whole_process_and_end_with_it():
    real = time.time(), time.monotonic()
    with VirtualTime() as clock:
        clock.skip(7_200.0)
        assert time.time() - real[0] == pytest.approx(7_200.0, abs=5.0)
        assert time.monotonic() - real[1] == pytest.approx(7_200.0, abs=5.0)
        assert clock.passed_s == 7_200.0
    assert time.time() - real[0] < 5.0


def test_a_day_has_every_world_and_every_mishap_whatever_its_length():
    for hours, per_hour in ((24.0, 20), (3.0, 120)):
        moments = list(day(hours, per_hour, seed=1))
        assert len(moments) == pytest.approx(hours * per_hour, rel=0.2)
        assert sum(one.after_s for one in moments) / 3_600.0 == pytest.approx(hours, rel=0.1)
        assert [*dict.fromkeys(one.world for one in moments)] == [*WORLDS]
        happened = [mishap for one in moments for mishap in one.mishaps]
        assert sorted(set(happened)) == ["bad candidate", "forced candidate", "restart"]
        assert len(happened) == 7
        assert [one.message.task for one in day(hours, per_hour, seed=1)] == [one.message.task for one in moments]


@pytest.fixture(scope="module")
def played():
    return run_soak(SoakConfig(hours=2.0, per_hour=130, strategies=("thompson", "heuristic"), seed=2))


@pytest.mark.slow
def test_who_learns_earns_more_than_who_was_frozen_and_nothing_is_broken(played):
    assert played.violations == ()
    assert played.restarts == 3
    assert [name for name in COUNTS if getattr(played, name)] == [], "nothing of this chain is fitted"
    assert set(played.by_phase) == {world.name for world in WORLDS}
    assert played.improvement > 0.01, "the world changes, and one of them learns it"
    assert played.success


def test_a_report_is_kept_and_read_again(played, tmp_path):
    played.write(tmp_path / "soak.json")
    assert SoakReport.read(tmp_path / "soak.json") == played
    told = json.loads((tmp_path / "soak.json").read_text())
    assert {"success", "improvement", "regressions", "rollbacks", "violations"} <= told.keys()
    (tmp_path / "other.json").write_text("[]")
    for path in (tmp_path / "other.json", tmp_path / "none.json"):
        with pytest.raises(InvalidInputError, match="run router soak first"):
            SoakReport.read(path)


@pytest.mark.reliability
def test_a_whole_day_with_a_transformer_lets_nothing_bad_through():
    pytest.importorskip("router_sdk_bert")
    played = run_soak(SoakConfig(hours=24.0, per_hour=100, seed=3))
    print(json.dumps({**played.to_dict(), "events": [one.what for one in played.events]}, indent=1))
    assert (played.regressions, played.violations) == (0, ())
    assert (played.planted, played.stopped) == (4, 4)
    assert played.success
    assert played.duration_s <= 300.0
