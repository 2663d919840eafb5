"""``router evaluate``: what another chain would have earned, in a table for people and as JSON for programs."""

import shutil

import pytest

from router_sdk import Outcome, Router, Task


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A log of an even choice, where one agent is the better by far."""
    folder = tmp_path_factory.mktemp("written")
    store, settings = folder / "router.db", {"seed": 1, "epsilon": 1.0, "learn_now": True, "retrain": False}
    with Router(["a", "b"], ["thompson"], store, **settings) as router:
        for number in range(400):
            decision = router.route(Task(task_type="xy"[number % 2], tenant="acme"))
            router.record(decision, Outcome(success=decision.agent == "b"))
        router.route("no outcome yet")
        router.observe("seen", agent="a", outcome=Outcome(success=True))
    return folder


@pytest.fixture
def told(written, cli):
    shutil.copytree(written, cli.folder, dirs_exist_ok=True)
    return cli


def test_the_verdict_stands_beside_the_numbers(told):
    shown = told.run("evaluate", "--strategy", "thompson", "--by-task-type", "--by-tenant").stdout
    for words in ("what served", "better: it would have earned more", "answered by", "By type of task", "acme"):
        assert words in shown
    assert "left out: 1" in shown


def test_a_program_gets_everything(told):
    found = told.json("evaluate", "--since", "1h")
    assert found["verdict"] == "better"
    assert found["value"]["mean"] > found["logged"]["mean"] + 0.3
    assert set(found["estimates"]) == {"doubly_robust", "inverse_propensity", "self_normalized", "switch"}
    assert [one["value"]["decisions"] for one in found["task_types"]] == [200, 200]
    assert found["left_out"] == {"no outcome": 1, "observed": 1}


def test_where_the_log_cannot_tell_it_says_how_much_more_it_takes(told):
    shown = " ".join(told.run("evaluate", "--task-type", "x", "--upto", "150", "--since", "all").stdout.split())
    assert "insufficient: the log is worth" in shown
    assert "more like these would do" in shown


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--version", "thompson"], "expected a strategy and a number", 2),
        (["--version", "thompson:3"], "no version 3", 2),
        (["--since", "soon"], "since: expected a position of the log, a decision's id or a time", 2),
        (["--estimator", "best"], "there is no 'best'", 2),
        (["--upto", "1"], "no decision", 2),
        (["--strategy", "nobody"], "nobody", 2),
    ],
)
def test_what_is_not_understood_is_said_in_a_line(told, arguments, words, code):
    assert words in told.fault("evaluate", *arguments, code=code)["message"]


def test_a_log_that_is_not_there_is_not_made(cli):
    cli.fault("evaluate", code=1)
    assert not cli.store.exists()


def test_another_configuration_is_judged_by_naming_its_file(told):
    (told.folder / "other.toml").write_text('strategies = ["thompson"]\nepsilon = 0.5\n')
    found = told.json("evaluate", "--config", "other.toml", "--store", str(told.store))
    assert 0.6 < found["value"]["mean"] < 0.85  # half of its choices are the floor's
