"""Which of two strategies that learn answers, through a whole router."""

import sqlite3

import pytest

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.plugin import Proposal, Strategy, StrategyConfig, StrategyServices, hookimpl

AGENTS = ("a", "b", "c")


class Guessing(Strategy):
    """Prefers the agent that its word of the text names; it counts what it learns."""

    word = 0

    def __init__(self, config, services):
        super().__init__(config, services)
        self.learnt = 0

    def propose(self, task, agents, context):
        name = task.text.split()[self.word]
        if name not in agents.names:
            return None
        return Proposal({one: 0.8 if one == name else 0.2 / (len(agents) - 1) for one in agents.names})

    def learn(self, examples):
        self.learnt += len(examples)


class Mistaken(Guessing):
    name = "mistaken"
    word = 0


class Right(Guessing):
    name = "right"
    word = 1


def opened(folder, first=None, **settings):
    services = StrategyServices(folder)
    chain = [Mistaken(StrategyConfig(confidence_threshold=first), services), Right(StrategyConfig(), services)]
    return Router(
        [Agent(name) for name in AGENTS], [*chain, "heuristic"], folder / "log.db", seed=1, learn_now=True, **settings
    )


def play(router, count, task_type="default"):
    for number in range(count):
        right = AGENTS[number % 3]
        said = right if number % 4 == 0 else AGENTS[(number + 1) % 3]
        decision = router.route(Task(f"{said} {right}", task_type=task_type))
        router.record(decision, Outcome(success=decision.agent == right))
    router.flush()


class Both:
    @hookimpl
    def register_strategies(self):
        return [Mistaken, Right]


def test_an_arm_of_the_same_strategies_answers_as_the_champion_does(tmp_path):
    chain = ["mistaken", "right", "heuristic"]
    agents = [Agent(name) for name in AGENTS]
    with Router(agents, chain, tmp_path / "log.db", seed=1, learn_now=True, plugins=[Both()]) as router:
        play(router, 200)
        router.experiments.start("aa", [{"name": "same", "strategies": chain}], challenger_share=0.5)
        play(router, 1)
        told = [router.route(Task("a b", session_id=str(number))) for number in range(40)]
        arms = {one.arm: {each.strategy.partition("@")[0] for each in told if each.arm == one.arm} for one in told}
        assert arms == {"aa/champion": {"right"}, "aa/same": {"right"}}
        share = router.status()["selection"]["default"]
        play(router, 60)
        assert router.status()["selection"]["default"]["right"] >= share["right"] - 0.01


def test_an_arm_of_other_strategies_finds_its_best_one_too_and_a_restart_finds_it_again(tmp_path):
    agents = [Agent(name) for name in AGENTS]

    def made():
        return Router(agents, ["heuristic"], tmp_path / "log.db", seed=1, learn_now=True, plugins=[Both()])

    def asked(router):
        told = [router.route(Task("a b", session_id=str(number))) for number in range(40)]
        return {one.arm: one.strategy for one in told}

    arms = [
        {"name": "other", "strategies": ["mistaken", "right"]},
        {"name": "frozen", "strategies": ["mistaken", "right"], "learning": False},
    ]
    with made() as router:
        router.experiments.start("ab", arms, challenger_share=0.4)
        assert asked(router)["ab/other"] == "mistaken@ab.other"
        play(router, 300)
        first = asked(router)
        assert (first["ab/other"], first["ab/frozen"]) == ("right@ab.other", "mistaken@ab.frozen")
        (told,) = router.status()["experiments"]
        assert told["selection"]["other"]["default"]["right"] > 0.9
    with made() as router:
        assert asked(router) == first
        assert router.status()["experiments"][0]["selection"] == told["selection"]


@pytest.mark.parametrize("learning", [True, False])
def test_an_arm_begins_with_what_the_log_says_of_strategies_of_these_names_unless_it_begins_now(tmp_path, learning):
    agents = [Agent(name) for name in AGENTS]
    arms = [
        {"name": "same", "strategies": ["mistaken", "right"], "learning": learning},
        {"name": "new", "strategies": ["mistaken", "right"], "begin": "now"},
        {"name": "shadow", "strategies": ["mistaken", "right"], "shadow": True},
    ]
    chain = ["mistaken", "right", "heuristic"]
    with Router(agents, chain, tmp_path / "log.db", seed=1, learn_now=True, plugins=[Both()]) as router:
        play(router, 200)
        router.experiments.start("aa", arms, challenger_share=0.3)
        told = router.status()["experiments"][0]["selection"]
        assert told["same"] == told["shadow"] == router.status()["selection"]
        assert told["new"]["default" if "default" in told["new"] else ""]["mistaken"] > 0.9


TASK = Task("a b")


def test_the_first_answers_until_another_one_earns_more_and_the_decision_says_who_and_why(tmp_path):
    with opened(tmp_path) as router:
        before = router.route(TASK)
        assert (before.strategy, before.skipped) == ("mistaken", ())
        assert before.favourites == {"mistaken": "a", "right": "b"}
        play(router, 200)
        after = router.route(TASK)
        assert after.strategy == "right"
        assert [tuple(step) for step in after.skipped] == [("mistaken", "right earns more on tasks of this type")]
        assert after.explain()["favourites"] == {"mistaken": "a", "right": "b"}
        assert after.probabilities["b"] == pytest.approx(0.8 * 0.98 + 0.02 / 3)
        assert after.propensity == after.probabilities[after.agent]
        share = router.status()["selection"]["default"]
        assert share["right"] > 0.9
        assert router.decision(after.decision_id).favourites == after.favourites
        assert type(after).model_validate_json(after.model_dump_json()).favourites == after.favourites
        known, unknown = router.route_batch([TASK, Task("a nobody")])
        assert (known.strategy, known.favourites) == ("right", after.favourites)
        assert (unknown.strategy, unknown.favourites) == ("mistaken", {})


def test_a_restart_and_a_replay_ask_the_same_first(tmp_path):
    with opened(tmp_path) as router:
        play(router, 200)
        said = router.status()["selection"]
    with opened(tmp_path) as router:
        assert (router.route(TASK).strategy, router.status()["selection"]) == ("right", said)
    with sqlite3.connect(tmp_path / "log.db") as log:
        log.execute("DELETE FROM snapshots")
    log.close()
    with opened(tmp_path) as router:
        assert (router.route(TASK).strategy, router.status()["selection"]) == ("right", said)


@pytest.mark.parametrize(("settings"), [{"first": 0.1}, {"first": 0.0}, {"tenancy": "separate"}])
def test_who_sets_a_threshold_or_keeps_tenants_apart_gets_the_chain_in_its_order(tmp_path, settings):
    with opened(tmp_path, **settings) as router:
        play(router, 100)
        decision = router.route(TASK)
        assert (decision.strategy, decision.favourites) == ("mistaken", {})
        assert router.status()["selection"] is None


def test_what_others_would_have_done_is_asked_less_often_once_it_is_clear(tmp_path):
    with opened(tmp_path) as router:
        for number in range(300):
            right = AGENTS[number % 3]
            decision = router.route(f"{right} {AGENTS[(number + 1) % 3]}")
            router.record(decision, Outcome(success=decision.agent == right))
        compared = [bool(router.route(TASK).favourites) for _ in range(40)]
        assert sum(compared) == 5
