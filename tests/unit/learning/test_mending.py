"""One event that hurts a fold: it is found, kept as a dead letter, and the rest is learnt, saved and agreed upon."""

import json

import pytest
from fitted_strategy import Words
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk import Outcome, Router
from router_sdk.errors import StoreUnavailableError, StrategyError
from router_sdk.learning.mending import MOST_IN_A_ROW
from router_sdk.testing import make_services

from ..doubles import Counting

POISON = 0.125
"""A quality that no strategy below can learn from."""


class Hurt(Counting):
    """Applies what comes before the poison of a batch, and then raises."""

    name = "hurt"

    def learn(self, examples):
        for example in examples:
            self.hurt_by(example)
            super().learn([example])

    def hurt_by(self, example):
        if example.signals.quality == POISON:
            self.cells["a", "torn"] = (1, 1)
            raise ValueError("my card is 4111")


class Unsaved(Counting):
    """Takes everything, and then cannot be saved."""

    name = "unsaved"

    def save(self, folder):
        if any(reward == POISON for _, _, reward, _ in self.lessons):
            raise OverflowError("what is inf in JSON?")
        super().save(folder)


class Broken(Hurt):
    """Raises whatever it is told."""

    name = "broken"

    def hurt_by(self, example):
        raise KeyError("no such thing")


class Starved(Hurt):
    """Has no memory left."""

    name = "starved"

    def hurt_by(self, example):
        raise MemoryError


class Clinging(Counting):
    """Remembers who acted by decision, and cannot forget."""

    name = "clinging"

    def forget_examples(self, decision_ids):
        raise LookupError("never heard of it")


def state_of(router, name):
    return router.strategy(name).lessons, router.strategy(name).state


def told(router, *qualities, agent="billing"):
    """Observe an outcome of each quality; the decisions."""
    return [router.observe("x", agent, Outcome(quality=quality)) for quality in qualities]


def letters(router):
    query = "SELECT kind, decision_id, reason FROM dead_letters ORDER BY id"
    return router._parts.store.reader.query(lambda connection: connection.execute(query).fetchall())


def snapshots(router):
    query = "SELECT DISTINCT strategy FROM snapshots ORDER BY strategy"
    return [name for (name,) in router._parts.store.reader.query(lambda c: c.execute(query).fetchall())]


@pytest.mark.parametrize("kind", [Hurt, Unsaved])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_the_event_is_found_and_everything_else_is_learnt_and_saved(make_router, kind, one_by_one):
    router = make_router([kind], learn_now=one_by_one)
    decisions = told(router, 0.5, 1.0, POISON, 0.25, 0.75, 0.0)
    router.flush()
    router.snapshot()
    lessons, state = state_of(router, kind.name)
    assert [decision_id for decision_id, *_ in lessons] == [d.decision_id for d in decisions if d is not decisions[2]]
    assert state == {("billing", "default"): (5, 2_500)}
    error = {"hurt": "ValueError", "unsaved": "OverflowError"}[kind.name]
    assert letters(router) == [("learn", decisions[2].decision_id, f"{kind.name} cannot learn from it: {error}")]
    learner = router.status()["learner"]
    assert (learner["broken"], learner["refused"]) == ([], {kind.name: 1})
    assert learner["snapshots"] == dict.fromkeys(learner["snapshots"], learner["head"])
    assert router.statistics()["total_examples"] == 6, "the others learn it"


@pytest.mark.parametrize("kind", [Hurt, Unsaved])
def test_what_is_said_later_of_its_decision_is_not_learnt_and_before_stays(make_router, kind):
    router = make_router([kind], learn_now=True)
    first, second = told(router, 0.5, POISON)
    for decision in (first, second):
        router.record(decision, Outcome(quality=POISON))
        router.record(decision, Outcome(quality=1.0))
    router.snapshot()
    assert state_of(router, kind.name)[1] == {("billing", "default"): (1, 500)}
    assert [decision_id for _, decision_id, _ in letters(router)] == [second.decision_id, first.decision_id]


qualities = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0, POISON])), max_size=20)


@settings(max_examples=8)
@given(qualities, st.sampled_from([Hurt, Unsaved]), st.booleans())
def test_all_processes_agree_wherever_they_begin(tmp_path_factory, events, kind, one_by_one):
    path = tmp_path_factory.mktemp("store") / "router.db"

    def opened(**settings):
        return Router(["billing", "coder"], [kind], path, retrain=False, seed=1, **settings)

    with opened(learn_now=one_by_one) as live, opened() as beside:
        decisions = [live.route("x") for _ in range(6)]
        for which, quality in events:
            live.record(decisions[which], Outcome(quality=quality))
        for router in (live, beside):
            router.flush()
            router.snapshot()
        found = state_of(live, kind.name)
        assert state_of(beside, kind.name) == found
        assert live.status()["learner"]["broken"] == []
    with opened() as restarted:
        assert state_of(restarted, kind.name) == found
        restarted._parts.store.writer.transact(lambda connection, seq: connection.execute("DELETE FROM snapshots"))
    with opened() as replayed:
        replayed.snapshot()
        assert state_of(replayed, kind.name) == found


def test_a_strategy_that_cannot_learn_anything_is_set_aside_and_takes_few_events_with_it(make_router):
    for _ in range(MOST_IN_A_ROW + 3):  # as commands do: a process for each outcome
        router = make_router([Broken, Counting], learn_now=True)
        told(router, 0.5)
        router.close()
    router = make_router([Broken, Counting], learn_now=True)
    told(router, *[1.0] * 20)
    assert len(letters(router)) == MOST_IN_A_ROW
    learner = router.status()["learner"]
    assert learner["faults"] == {"broken": "it learns from nothing any more: KeyError"}
    assert router.strategy("counting").state == {("billing", "default"): (31, 25_500)}
    assert learner["snapshots"]["counting"] > learner["snapshots"]["broken"]
    router.snapshot()
    assert router.archive(before=2**37) == 31
    assert router.forget("nobody's") == 0


def test_within_one_process_too_and_what_it_can_learn_after_that_it_learns(make_router):
    class Mendable(Broken):
        name = "mendable"
        whole = False

        def hurt_by(self, example):
            if not self.whole:
                super().hurt_by(example)

    router = make_router([Mendable], learn_now=True)
    told(router, *[0.5] * 12)
    assert router.status()["learner"]["broken"] == ["mendable"]
    assert len(letters(router)) == MOST_IN_A_ROW
    router.close()
    Mendable.whole = True
    router = make_router([Mendable], learn_now=True)
    assert router.status()["learner"]["broken"] == []
    assert router.strategy("mendable").state == {("billing", "default"): (4, 2_000)}
    router.snapshot()
    Mendable.whole = False
    told(router, 0.5)
    assert router.status()["learner"]["broken"] == [], "it has learnt since"


def test_starting_again_takes_no_more_events_with_it(make_router):
    """Nothing was saved after what a strategy could not learn: the next start reads it all again."""
    router = make_router([Broken, Counting], snapshot_seconds=600.0)
    for _ in range(3):
        told(router, *[0.5] * 6)
        router.flush()
        router._parts.store.writer.transact(lambda connection, seq: connection.execute("DELETE FROM snapshots"))
        beside = make_router([Broken, Counting])
        assert len(letters(beside)) <= MOST_IN_A_ROW
    assert beside.status()["learner"]["broken"] == ["broken"]


def test_what_the_machine_lacks_is_no_events_fault(make_router):
    router = make_router([Starved, Counting], learn_now=True)
    told(router, 0.5)
    assert letters(router) == []
    assert router.status()["learner"]["faults"] == {"starved": "MemoryError"}
    assert router.strategy("counting").state == {("billing", "default"): (1, 500)}


def test_a_fault_that_passes_costs_nothing(make_router):
    class Flickering(Counting):
        name = "flickering"
        faults = 1

        def learn(self, examples):
            super().learn(examples)
            if Flickering.faults:
                Flickering.faults -= 1
                raise RuntimeError("half done")

    router = make_router([Flickering], learn_now=True)
    told(router, 0.5, 1.0)
    assert router.strategy("flickering").state == {("billing", "default"): (2, 1_500)}
    assert (letters(router), router.status()["learner"]["faults"]) == ([], {})


def test_a_strategy_of_which_no_second_can_be_made_is_set_aside(make_router, tmp_path):
    class Special(Hurt):
        def __init__(self, special):
            super().__init__(self.Config(), make_services(tmp_path))

    router = make_router([Special("one"), Counting], learn_now=True)
    told(router, POISON, 0.5)
    assert router.status()["learner"]["broken"] == ["hurt"]
    assert router.strategy("counting").state == {("billing", "default"): (2, 625)}


def test_a_strategy_that_cannot_forget_learns_anew_from_a_log_without_it(make_router):
    router = make_router([Clinging, Counting], learn_now=True)
    router.record(router.route({"text": "a secret", "session_id": "s"}), Outcome(quality=0.5))
    told(router, 1.0)
    router.snapshot()
    assert router.forget("s") == 1
    assert router.status()["learner"]["faults"] == {}
    assert router.strategy("clinging").state == router.strategy("counting").state
    assert snapshots(router) == ["calibration", "clinging", "counting", "drift", "performance", "selection"]


def test_a_version_is_mended_from_what_was_fitted(make_router):
    class Careful(Words):
        def learn(self, examples):
            for example in examples:
                if example.task.text == "poison":
                    raise ValueError
                super().learn([example])

    router = make_router([Careful], retrain=False, fit_executor="thread")
    for number in range(60):
        router.observe(f"refund number {number}", "billing", Outcome(correct_agent="billing"))
    assert router.models.retrain("words", wait=True).state == "promoted"
    kept = dict(router.strategy("words").memory)
    router.observe("poison", "billing", Outcome(correct_agent="billing"))
    last = router.observe("offer", "coder", Outcome(correct_agent="coder"))
    router.flush()
    assert router.strategy("words").table == {"refund": "billing"}
    assert router.strategy("words").memory == {**kept, last.decision_id: ("offer", "coder")}
    assert (len(letters(router)), router.status()["learner"]["faults"]) == (1, {})


def test_letters_are_on_disk_before_a_state_that_goes_without_them(make_router, monkeypatch):
    router = make_router([Hurt], learn_now=True)
    told(router, 0.5)
    router.snapshot()
    folding = router._parts.learner.folding

    def full(writer, refusals):
        raise StoreUnavailableError("the disk is full")

    module = __import__(type(folding).__module__, fromlist=["write_refusals"])
    monkeypatch.setattr(module, "write_refusals", full)
    told(router, POISON)
    with pytest.raises(StoreUnavailableError):
        router.snapshot()
    monkeypatch.undo()
    router.snapshot()
    assert len(letters(router)) == 1


def test_a_message_of_ours_is_quoted_and_nobody_elses(make_router, store_path):
    class Ours(Hurt):
        name = "ours"

        def hurt_by(self, example):
            raise StrategyError("a reward of a kind that I do not know")

    router = make_router([Ours, Hurt], learn_now=True)
    told(router, POISON)
    assert [reason for *_, reason in letters(router)] == [
        "ours cannot learn from it: StrategyError: a reward of a kind that I do not know",
        "hurt cannot learn from it: ValueError",
    ]
    assert "4111" not in json.dumps(router.status())
