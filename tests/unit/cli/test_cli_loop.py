"""``router loop``: fits once, by hand, or until it is told to end, and reads a neighbour's configuration."""

import json
import os
import signal
import subprocess
import sys

import forked_programs
import pytest

from router_sdk import Outcome, Router
from router_sdk.cli.loop_file import read_loop_file, told_of
from router_sdk.config import RouterConfig
from router_sdk.errors import InvalidConfigError
from router_sdk.setting_names import SETTINGS

pytestmark = pytest.mark.usefixtures("words_installed", "words_alone")

AGENTS = ("billing", "sales")

THEIRS = {
    "check_interval_seconds": 3600,
    "trigger_config": {
        "min_new_samples": 1000,
        "schedule_interval_hours": 168,
        "quality_drop_threshold": 0.1,
        "quality_window_hours": 24,
        "error_rate_threshold": 0.2,
        "error_window_hours": 24,
        "cooldown_hours": 24,
        "enable_sample_count_trigger": True,
        "enable_schedule_trigger": False,
        "enable_quality_trigger": True,
        "enable_error_trigger": True,
    },
    "generator_config": {
        "min_quality_score": 0.7,
        "min_user_feedback": 1,
        "deduplicate": True,
        "format_type": "chatml",
        "include_existing_data": True,
        "existing_data_path": "old.jsonl",
    },
    "ab_test_config": {
        "initial_challenger_traffic": 0.1,
        "min_improvement_threshold": 0.05,
        "promotion_threshold": 0.05,
        "min_duration_hours": 48,
        "min_samples_per_version": 100,
        "enable_auto_promotion": True,
        "metrics": ["quality"],
        "metric_weights": {"quality": 1.0},
    },
}


@pytest.fixture
def taught(cli):
    """A store with forty labelled examples."""
    with Router(AGENTS, ["words"], cli.store, retrain=False) as router:
        teach(router)
    return cli


def teach(router, rounds=20):
    for number in range(rounds):
        for agent in AGENTS:
            router.observe(f"{agent} please {number}", agent, Outcome(correct_agent=agent, success=True))


# -- once, by hand, and the status


def test_once_fits_what_is_due_and_then_says_why_nothing_is(taught):
    first, end = taught.lines("loop", "--once")[0]
    assert (first["event"], first["reason"]) == ("fit_started", "40 fresh examples")
    assert (end["event"], end["version"]) == ("fit_ended", 1)
    (waits,) = taught.lines("loop", "--once")[0]
    assert waits["event"] == "not_due"
    assert waits["reason"].startswith("cooldown: ")
    assert "not due words: cooldown" in taught.run("loop", "--once").stdout


def test_once_ends_with_1_where_a_fit_failed(taught, monkeypatch):
    monkeypatch.setenv("ROUTER_STRATEGY", '{"words": {"mode": "raise"}}')
    shown = taught.run("loop", "--once", code=1).stdout
    assert "fit failed words: the loss is not finite" in shown


def test_by_hand_with_a_reason(taught):
    assert "fit ended words v1" in taught.run("loop", "--trigger", "--reason", "new labels").stdout
    assert taught.json("versions")["versions"][0]["trigger"] == "new labels"
    assert "fitted for: new labels" in " ".join(taught.run("versions").stdout.split())
    assert "refused words v2" in taught.run("loop", "--trigger").stdout  # on the same examples nothing is gained


def test_the_status_tells_who_serves_what_was_refused_and_what_comes_next(taught):
    shown = " ".join(taught.run("loop", "--status").stdout.split())
    assert "the strategy without any fit: nothing was ever promoted" in shown
    assert "example_count 40 10 due: 40 fresh examples" in shown
    assert "schedule - - off: set triggers.schedule_hours" in shown
    taught.run("retrain")
    taught.run("retrain", "--set", "mode=worse")
    for command in (["loop", "--status"], ["status"]):
        shown = " ".join(taught.run(*command).stdout.split())
        assert "version 1 since 20" in shown
        assert "Refused last version 2 of 20" in shown
        assert "(fitted for: by hand): it did worse than what served before on" in shown
        assert "no_regression" not in shown
        assert "Next fit example_count: 10 more fresh examples to come; cooldown: " in shown
    (told,) = taught.json("loop", "--status")["models"]
    assert (told["serving"]["version"], told["refused"]["model_version"]) == (1, 2)
    assert [one["trigger"] for one in told["triggers"]["readings"]] == [
        "example_count",
        "quality_drop",
        "drift",
        "manual",
    ]
    assert taught.json("status")["models"][0]["serving"] == told["serving"]


def test_what_excludes_each_other(taught):
    assert "exclude each other" in taught.fault("loop", "--once", "--status", code=2)["message"]
    error = taught.fault("loop", "--store", "none.db", code=1)
    assert error["type"] == "StoreUnavailableError"


def test_a_chain_without_a_fit_has_no_loop(taught, monkeypatch):
    monkeypatch.setenv("ROUTER_STRATEGIES", '["thompson"]')
    assert taught.fault("loop", code=1)["type"] == "NotTrainableError"
    assert "Nothing in the chain has a fit" in taught.run("loop", "--status").stdout


# -- until it is told to end


@pytest.mark.parametrize("ending", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.reliability)])
def test_it_follows_the_store_tells_what_happens_and_ends_in_order(taught, ending):
    command = [sys.executable, "-c", "from router_sdk.cli.app import app; app()", "loop", "--json"]
    environment = {**os.environ, "ROUTER_RETRAIN_COOLDOWN_SECONDS": "0", "ROUTER_RETRAIN_INTERVAL": "20"}
    with forked_programs.Popen(
        command, cwd=taught.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        events = []

        def until(name):
            while not events or events[-1]["event"] != name:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                events.append(json.loads(line))
            return events[-1]

        assert until("following")["reason"].startswith("asks example_count")
        assert until("fit_started")["reason"] == "40 fresh examples"
        assert until("fit_ended")["version"] == 1
        assert "promoted" in {event["event"] for event in events}
        taught.run("rollback", "words")  # by another process
        assert until("rolled_back")["reason"] == "the strategy without any fit serves, rollback from 1"
        process.send_signal(getattr(signal, ending))
        assert until("ended")["reason"] == "as told"
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    assert taught.json("status")["upkeep"]["unfinished"] == []


# -- a neighbour's file


def read(tmp_path, told, name="loop.json"):
    path = tmp_path / name
    path.write_text(json.dumps(told))
    return read_loop_file(path)


def test_a_neighbours_file_is_understood_key_by_key(tmp_path):
    found = read(tmp_path, THEIRS)
    assert found.settings == {
        "retrain_interval": 1000,
        "retrain_cooldown_seconds": 86_400.0,
        "triggers": {
            "schedule_hours": 168,
            "quality_drop_threshold": 0.1,
            "quality_window_hours": 24,
            "error_rate_threshold": 0.2,
            "error_window_hours": 24,
            "off": ["schedule"],
        },
        "training": {"min_quality": 0.7, "min_feedback": 1, "dedupe": True, "existing": "old.jsonl"},
        "promotion": "experiment",
        "experiment": {
            "challenger_share": 0.1,
            "min_improvement": 0.05,
            "min_duration_hours": 48,
            "min_units": 100,
            "auto_promotion": True,
            "weights": {"quality": 1.0},
        },
    }
    config = RouterConfig.of(**found.settings)
    assert (config.triggers.off, config.triggers.error_rate_threshold) == (("schedule",), 0.2)
    keys = {f"{section}.{key}" for section, told in THEIRS.items() if isinstance(told, dict) for key in told} | {
        "check_interval_seconds"
    }
    named = {line.split(" ")[0].rstrip(":") for line in told_of(found)}
    assert named == keys  # none is passed over
    for place, instead in found.left.items():
        assert instead == SETTINGS[place.rpartition(".")[2]]


@pytest.mark.parametrize(
    ("told", "existing"),
    [
        ({"include_existing_data": True, "existing_data_path": "old.jsonl"}, "old.jsonl"),
        ({"existing_data_path": "old.jsonl"}, "old.jsonl"),
        ({"include_existing_data": False, "existing_data_path": "old.jsonl"}, None),
        ({"include_existing_data": True}, None),
    ],
)
def test_a_file_beside_the_log_is_taken_where_they_want_it(tmp_path, told, existing):
    found = read(tmp_path, {"generator_config": told})
    assert found.settings.get("training", {}).get("existing") == existing
    assert len(list(told_of(found))) == len(told)


def test_a_switch_sets_the_threshold_that_nobody_set(tmp_path):
    found = read(tmp_path, {"trigger_config": {"enable_error_trigger": True, "enable_schedule_trigger": True}})
    assert found.settings == {"triggers": {"error_rate_threshold": 0.2, "schedule_hours": 168.0}}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"trigger_config": {"min_samples": 5}}, "trigger_config.min_samples: neither a setting here"),
        ({"trigger_config": {"min_new_samples": "many"}}, "expected a number"),
        ({"trigger_config": {"enable_moon_trigger": True}}, "there is no such trigger; here are error_rate"),
        ({"trigger_config": {"enable_error_trigger": 1}}, "expected true or false"),
        ({"trigger_config": 5}, "expected named settings"),
        ({"trigger_config": {}, "nonsense": 1}, "nonsense: neither"),
        ({"ab_test_config": {"nonsense": 1}}, "ab_test_config.nonsense: neither"),
        ({"ab_test_config": {"min_duration_hours": "two"}}, "expected a number"),
        ({"ab_test_config": {"enable_auto_promotion": 1}}, "expected true or false"),
        ({"ab_test_config": {"metric_weights": []}}, "expected weights by metric"),
    ],
)
def test_what_nobody_knows_is_an_error(tmp_path, told, words):
    with pytest.raises(InvalidConfigError, match=words):
        read(tmp_path, told)


def test_our_own_files_are_none_of_theirs(tmp_path):
    assert read(tmp_path, {"epsilon": 0.1}) is None
    assert read(tmp_path, [1]) is None
    assert read_loop_file(tmp_path / "router.toml") is None
    assert read_loop_file(None) is None
    assert read(tmp_path, {**THEIRS, "epsilon": 0.1}).settings["epsilon"] == 0.1


def test_the_loop_says_what_it_takes_and_goes_by_it(taught):
    (taught.folder / "loop.json").write_text(json.dumps(THEIRS))
    shown = taught.run("loop", "--once", "--config", "loop.json", "--store", "router.db").stdout
    assert "trigger_config.min_new_samples = 1000: retrain_interval = 1000" in shown
    assert "ab_test_config.initial_challenger_traffic = 0.1: experiment.challenger_share = 0.1" in shown
    assert "ab_test_config.promotion_threshold is not taken: " in shown
    assert "not due words: example_count: 960 more fresh examples to come" in shown
    told = taught.json("loop", "--status", "--config", "loop.json")
    assert told["models"][0]["triggers"]["cooldown"]["threshold"] == 86_400.0
    assert any(line.startswith("generator_config.format_type is not taken") for line in told["configuration"])
    error = taught.fault("status", "--config", "loop.json", code=2)
    assert "trigger_config is here" in error["message"]
