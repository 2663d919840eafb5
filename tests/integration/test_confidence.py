"""Confidence through a whole router: what strategies say, what comes of it, and what decisions say then."""

import json
import sqlite3

import pytest

from router_sdk import Agent, Decision, Outcome, Router
from router_sdk.plugin import Proposal, Strategy, StrategyConfig, StrategyServices

SAID = (0.95, 0.6)
COMES = {0.95: 0.5, 0.6: 0.25}


class Boasting(Strategy):
    """Says .95 of texts with an even number and .6 of others, always of the first agent."""

    name = "boasting"

    def propose(self, task, agents, context):
        chances = dict.fromkeys(agents.names, 0.0) | {agents.names[0]: 1.0}
        return Proposal(chances, confidence=SAID[int(task.text) % 2])


class Undecided(Strategy):
    """All of them alike, and says .5 of the first, until it prefers her a little."""

    name = "undecided"
    preferred = 0.0

    def propose(self, task, agents, context):
        rest = (1.0 - self.preferred) / len(agents.names)
        return Proposal({name: rest + self.preferred * (name == "a0") for name in agents.names}, confidence=0.5)


def opened(folder, agents=("a", "b"), **settings):
    boasting = Boasting(StrategyConfig(**settings), StrategyServices(folder))
    return Router(agents, [boasting, "heuristic"], folder / "log.db", seed=1)


def play(router, count):
    """Of four alike the favourite succeeds in two, or in one where less was said."""
    raised = [0, 0]
    for number in range(count):
        decision = router.route(str(number))
        kind = number % 2
        raised[kind] += 1
        share = COMES[SAID[kind]]
        success = int(raised[kind] * share) > int((raised[kind] - 1) * share)
        router.record(decision, Outcome(success=success and decision.agent == "a"))
    router.flush()


def test_it_is_what_comes_of_it_and_says_so(tmp_path):
    with opened(tmp_path) as router:
        first = router.route("0")
        assert (first.confidence, first.calibrated, first.raw_confidence) == (0.95, False, None)
        play(router, 400)
        sure, less = router.route("0"), router.route("1")
        assert (sure.calibrated, sure.raw_confidence, less.raw_confidence) == (True, 0.95, 0.6)
        assert sure.confidence == pytest.approx(0.5, abs=0.05)
        assert less.confidence == pytest.approx(0.25, abs=0.05)
        told = sure.explain()
        assert (told["calibrated"], told["raw_confidence"], told["confidence"]) == (True, 0.95, sure.confidence)
        stages = {stage["name"]: stage["calibration"] for stage in router.status()["strategies"]}
        assert stages["boasting"]["calibrated"]
        assert stages["heuristic"] == {
            "calibrated": False,
            "pairs": 0,
            "note": "0 outcomes of favourites are known, 50 are needed",
        }


def test_what_it_is_fitted_to_is_what_was_said_and_not_what_it_made_of_it(tmp_path):
    with opened(tmp_path) as router:
        play(router, 2_000)  # were it fitted to its own output, it would go down and down
        assert router.route("0").confidence == pytest.approx(0.5, abs=0.05)
        assert router.route("1").confidence == pytest.approx(0.25, abs=0.05)


def test_a_restart_a_replay_and_another_process_say_the_same(tmp_path):
    with opened(tmp_path) as router:
        play(router, 300)
        said = router.route("0").confidence
    with opened(tmp_path) as router:
        assert router.route("0").confidence == said
    with sqlite3.connect(tmp_path / "log.db") as log:
        log.execute("DELETE FROM snapshots")
    log.close()
    with opened(tmp_path) as router:
        assert router.route("0").confidence == said


def test_it_travels_and_stands_in_the_log(tmp_path):
    with opened(tmp_path) as router:
        play(router, 200)
        decision = router.route("0")
        for copy in (
            Decision.model_validate_json(decision.model_dump_json()),
            Decision.model_validate(decision.model_dump()),
        ):
            assert (copy.confidence, copy.calibrated, copy.raw_confidence) == (decision.confidence, True, 0.95)
        assert decision.to_dict()["calibrated"] is True
        router.flush()
        kept = router.decision(decision.decision_id)
        assert (kept.confidence, kept.calibrated, kept.raw_confidence) == (decision.confidence, True, 0.95)
        router.record(decision, Outcome(success=True))
        router.flush()
        router.examples.export(tmp_path / "all.jsonl")
        lines = map(json.loads, (tmp_path / "all.jsonl").read_text().splitlines())
        (line,) = (line for line in lines if line["decision_id"] == decision.decision_id)
        assert (line["confidence"], line["raw_confidence"]) == (decision.confidence, 0.95)
        said = router.route("0").confidence
    other = tmp_path / "other"
    other.mkdir()
    with opened(other) as router:
        router.examples.import_from(tmp_path / "all.jsonl")
        router.flush()
        assert router.route("0").confidence == said


def test_a_threshold_holds_against_what_comes_of_it(tmp_path):
    with opened(tmp_path, confidence_threshold=0.4) as router:
        assert [router.route(text).strategy for text in "01"] == ["boasting", "boasting"]
        play(router, 400)
        assert router.route("0").strategy == "boasting"
        passed = router.route("1").skipped[0]
        assert passed.strategy == "boasting"
        assert passed.reason.startswith("confidence 0.2")


def test_where_an_agent_comes_it_begins_again(tmp_path):
    with opened(tmp_path) as router:
        play(router, 200)
        assert router.route("0").calibrated
        router.add_agent(Agent("a", description="said more of itself"))
        assert router.route("0").calibrated, "it is no other agent"
        router.add_agent(Agent("c"))
        decision = router.route("0")
        assert (decision.confidence, decision.calibrated) == (0.95, False)
        note = router.status()["strategies"][0]["calibration"]["note"]
        assert note.startswith("agent 'c' came")
        play(router, 200)
        assert router.route("0").calibrated
        router.add_agent(Agent("c", description="anew"), fresh=True)
        assert not router.route("0").calibrated


def test_where_all_are_alike_every_choice_tells_and_where_one_is_preferred_hers(tmp_path):
    undecided = Undecided(StrategyConfig(), StrategyServices(tmp_path))
    agents = [f"a{number}" for number in range(10)]
    with Router(agents, [undecided], tmp_path / "log.db", seed=1, learn_now=True) as router:
        for number in range(60):
            router.record(router.route(str(number)), Outcome(success=number % 10 == 0))
        assert router.status()["strategies"][0]["calibration"]["pairs"] == 60
        assert router.route("?").confidence == pytest.approx(0.1, abs=0.05)
        undecided.preferred = 0.4
        favoured = 0
        for number in range(60):
            decision = router.route(str(number))
            favoured += decision.agent == "a0"
            router.record(decision, Outcome(success=True))
        assert 0 < favoured < 60
        assert router.status()["strategies"][0]["calibration"]["pairs"] == 60 + favoured
