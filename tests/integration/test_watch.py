"""A version that passed the gate and earns less than what came before is rolled back, and stays away."""

import pytest
from fitted_strategy import Words

from router_sdk import Agent, Outcome, Router
from router_sdk.errors import GateRefusedError
from router_sdk.plugin import hookimpl
from router_sdk.store.registry import ROLLBACK_BY_ITSELF

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
ROUNDS = 30


@pytest.fixture
def store(tmp_path):
    return tmp_path / "r.db"


@pytest.fixture
def opened(store):
    def opened(**settings):
        options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, "learn_now": True, **settings}
        return Router(agents=AGENTS, strategies=[Words, "heuristic"], store=store, **options)

    return opened


@pytest.fixture
def numbers():
    return iter(range(10**6))


def teach(router, numbers, right=RIGHT, rounds=ROUNDS):
    """What somebody says of tasks that others handled."""
    for _ in range(rounds):
        for word, agent in right.items():
            router.observe(f"{word} number {next(numbers)}", agent=agent, outcome=Outcome(correct_agent=agent))
    router.flush()


def work(router, numbers, rounds=ROUNDS):
    """Tasks and how they went; who serves after each."""
    served = []
    for _ in range(rounds):
        for word, agent in RIGHT.items():
            decision = router.route(f"{word} number {next(numbers)}")
            router.record(decision, Outcome(success=decision.agent == agent))
            served.append(serving(router))
    look(router)
    return served


def look(router):
    """What the learner does about once a second, now."""
    router._parts.learner.submit(router._parts.watch.look).result()


def serving(router):
    return router._parts.chain.stages[0].model_version


def aliases(router):
    return {version.version: version.aliases for version in router.models.versions("words")}


def promoted(router, numbers, right=RIGHT):
    """A version of what was just said, which the gate believes."""
    teach(router, numbers, right)
    fit = router.models.retrain(wait=True)
    assert fit.state == "promoted", fit.words


MISLED = {**RIGHT, "refund": "fraud"}
"""What people say, though it is not so."""


def test_a_version_that_earns_less_is_rolled_back_and_stays_in_quarantine(opened, numbers):
    with opened() as router:
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers, MISLED)
        assert serving(router) == 2
        served = work(router, numbers)
        assert 1 in served[:100], "a third of all tasks fail from the start"
        assert serving(router) == 1
        newest = router._parts.registry.champion("words")
        assert newest.reason.startswith(f"{ROLLBACK_BY_ITSELF} from 2: ")
        assert not newest.pinned
        assert newest.actor == "watch"
        assert aliases(router) == {1: ("champion",), 2: ("quarantined",)}
        assert router.models.versions("words")[1].to_dict()["aliases"] == ["quarantined"]

        with pytest.raises(GateRefusedError, match=r"version 2 of 'words' was rolled back by itself.*force"):
            router.models.promote("words", 2)
        with pytest.raises(GateRefusedError, match=r"version 2 of 'words' is in quarantine.*force"):
            router.models.rollback("words", 2)
        router.models.promote("words", 2, force=True)
        work(router, numbers)
        assert aliases(router) == {1: (), 2: ("champion", "pinned")}, "a person's choice holds"


def test_what_was_learnt_under_it_may_go_into_quarantine_with_it(opened, numbers):
    with opened(watch={"quarantine": True}) as router:
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers, MISLED)
        work(router, numbers)
        assert serving(router) == 1
        (found,) = router.models.quarantines()
        assert (found.strategy, found.actor, found.lifted_at) == ("words", "watch", None)
        assert found.reason == f"{ROLLBACK_BY_ITSELF} from 2"
        router.flush()
        assert router.status()["quarantines"] != []
        router.models.lift(found.number)
        assert router.status()["quarantines"] == []


def test_what_served_before_that_serves_where_its_files_are_lost(opened, numbers, store):
    with opened() as router:
        promoted(router, numbers)
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers, MISLED)
        folder = router.models.versions("words")[1].folder
        (store.with_name("r.db.artifacts") / "versions" / folder / "words.json").write_text("{}")
        work(router, numbers)
        assert serving(router) == 1


def test_a_version_that_earns_as_much_is_proven_and_watched_no_more(opened, numbers):
    with opened(watch={"outcomes": 100}) as router:
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers)
        assert set(work(router, numbers, 40)) == {2}
        told = router.status()["watch"]["words"]
        assert (told["version"], told["proven"], told["mean"]) == (2, True, 1.0)
        low, high = told["gain"]
        assert -0.15 < low < 0.0 <= high


def test_a_restart_in_between_changes_nothing(opened, numbers):
    with opened() as router:
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers, MISLED)
        assert set(work(router, numbers, 3)) == {2}
    with opened() as router:
        look(router)
        assert router.status()["watch"]["words"]["outcomes"] == 9
        served = work(router, numbers)
        assert 1 in served[:90]


def test_a_quarantine_in_between_begins_the_shadow_anew(opened, numbers):
    with opened() as router:
        promoted(router, numbers)
        work(router, numbers)
        begun = router.status()["learner"]["head"]
        promoted(router, numbers, MISLED)
        work(router, numbers, 3)
        router.models.quarantine("words", from_seq=begun, reason="what they said was not so")
        look(router)
        assert router.status()["watch"] == {}, "what teaches nothing does not judge either"
        assert 1 in work(router, numbers)


def test_corrections_count_once(opened, numbers):
    with opened() as router:
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers)
        decisions = [router.route(f"{word} number {next(numbers)}") for word in RIGHT for _ in range(4)]
        for decision in decisions:
            router.record(decision, Outcome(success=False))
        for decision in decisions:
            router.record(decision, Outcome(success=True))
        look(router)
        told = router.status()["watch"]["words"]
        assert (told["outcomes"], told["mean"]) == (12, 1.0)
        assert serving(router) == 2


def test_another_process_may_have_been_faster(opened, numbers, monkeypatch):
    with opened() as router, opened() as other:
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers, MISLED)
        watch = router._parts.watch
        registry = watch._registry.champion
        work(other, numbers, 0)
        stale = registry("words")
        other._parts.learner.submit(other._parts.promoter.follow).result()
        other.models.promote("words", 1, pin=False)
        monkeypatch.setattr(watch._registry, "champion", lambda strategy: stale)
        work(router, numbers, 20)
        monkeypatch.undo()
        assert registry("words").version == 1
        assert aliases(other)[2] == ()


def test_it_can_be_switched_off(opened, numbers):
    with opened(watch={"enabled": False}) as router:
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers, MISLED)
        assert set(work(router, numbers)) == {2}


def test_plugins_are_told(store, numbers):
    told = []

    class Observer:
        @hookimpl
        def on_rollback(self, strategy, version):
            told.append((strategy, version))

    options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, "learn_now": True, "plugins": [Observer()]}
    with Router(agents=AGENTS, strategies=[Words, "heuristic"], store=store, **options) as router:
        promoted(router, numbers)
        work(router, numbers)
        promoted(router, numbers, MISLED)
        work(router, numbers)
    assert told == [("words", 1)]
