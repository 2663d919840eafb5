"""``router experiments`` from beginning to end, for people and for programs."""

import json

import pytest

from router_sdk import Outcome, Router


@pytest.fixture
def live(desk, monkeypatch):
    """A store with agents, and a way to let tasks go through it."""
    monkeypatch.setenv("ROUTER_STRATEGIES", '["thompson"]')
    monkeypatch.setenv("ROUTER_EPSILON", "0.2")

    def work(count=60):
        with Router(store=desk.store, retrain=False) as router:
            for number in range(count):
                one = router.route(f"task {number}")
                router.record(one, Outcome(success=one.agent == "billing"))

    desk.work = work
    return desk


def test_from_the_start_to_the_end(live):
    told = live.json("experiments", "start", "first", "--strategies", "heuristic,thompson", "--share", "0.4")
    assert [(arm["name"], arm["share"]) for arm in told["arms"]] == [("champion", 0.6), ("chain", 0.4)]
    live.work()
    shown = live.json("experiments", "show", "first")
    assert sum(arm["decisions"] for arm in shown["arms"]) == 60
    assert shown["analysis"]["verdict"]["decided"] == "running"
    words = live.run("experiments", "show", "first").stdout
    assert "0 closed units against 0 of the champion, 100 of each are needed" in " ".join(words.split())
    assert "the chain heuristic, thompson" in " ".join(words.split())
    assert [name in words for name in ("Guardrails", "Who was chosen", "Units by arm")] == [True, True, True]
    assert list(shown["sequences"]) == ["chain"]
    assert live.json("experiments", "report", "first")["page"] == "experiment-first.html"
    assert "not decided yet" in (live.folder / "experiment-first.html").read_text(encoding="utf-8")
    status = " ".join(live.run("status").stdout.split())
    assert "Experiment first Shares champion 60%, chain 40%" in status
    assert "more units" in status
    assert "chain, serves" in live.run("experiments", "stop", "first", "--winner", "chain").stdout
    assert "Won the chain of chain, which serves all" in " ".join(live.run("status").stdout.split())
    (listed,) = live.json("experiments", "list")["experiments"]
    assert (listed["status"], listed["winner"], listed["serves"]) == ("stopped", "chain", True)
    assert "stopped" in live.run("experiments", "list").stdout
    live.run("experiments", "stop", "first", "--reason", "I was wrong", "--actor", "me")
    assert live.json("experiments", "list")["experiments"][0]["serves"] is False


def test_arms_from_a_file_shadows_and_frozen_ones(live):
    told = {"challengers": [{"name": "other", "strategies": ["thompson"], "shadow": True}], "min_units": 40}
    (live.folder / "arms.json").write_text(json.dumps(told))
    shown = live.json("experiments", "start", "aside", "--arms", "arms.json", "--set", "min_duration_hours=1")
    assert (shown["settings"]["min_units"], shown["settings"]["min_duration_hours"]) == (40, 1.0)
    live.work(10)
    assert "shadow" in live.run("experiments", "show", "aside").stdout
    assert live.json("experiments", "show", "aside")["arms"][1]["decisions"] == 10
    frozen = live.json("experiments", "start", "static", "--frozen")["arms"][1]
    assert (frozen["name"], frozen["learning"]) == ("frozen", False)


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["start", "x"], "name a challenger", 2),
        (["start", "x", "--version", "seven"], "such as bert:7", 2),
        (["start", "x", "--arms", "missing.toml"], "no such file", 2),
        (["start", "x y", "--frozen"], "letters, digits", 2),
        (["start", "x", "--frozen", "--set", "nonsense=1"], "nonsense", 2),
        (["show", "x"], "no experiment", 1),
        (["stop", "x"], "no experiment", 1),
    ],
)
def test_what_cannot_be_meant_is_said(live, arguments, words, code):
    assert words in live.fault("experiments", *arguments, code=code)["message"]


def test_nothing_was_ever_begun(live):
    assert "There was none" in live.run("experiments", "list").stdout


def test_a_decision_says_which_arm_made_it_and_a_shadows_that_nobody_acted_on_it(live):
    live.run("experiments", "start", "first", "--strategies", "heuristic", "--share", "0.4")
    live.run("experiments", "start", "aside", "--strategies", "heuristic", "--shadow")
    live.work(20)
    with Router(store=live.store, read_only=True) as router:
        query = "SELECT source, decision_id, parent_decision_id FROM decisions ORDER BY seq"
        rows = router._parts.store.reader.query(lambda connection: connection.execute(query).fetchall())
    served = {decision_id for source, decision_id, _ in rows if source == "routed"}
    shadow, parent = next((one, parent) for source, one, parent in rows if source == "shadow")
    told = " ".join(live.run("explain", shadow).stdout.split())
    assert f"arm aside/chain, a shadow: nobody acted on it, but on {parent}" in told
    assert "router record" not in told
    assert parent in served
    arm = live.json("explain", parent)["arm"]
    chance = {"first/champion": "60%", "first/chain": "40%"}[arm]
    assert f"arm {arm}, to which {chance} of the units came" in " ".join(live.run("explain", parent).stdout.split())
