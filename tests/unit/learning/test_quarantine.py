"""Who heeds a quarantine, and how: beside reports, fits and versions, archives, and who cannot."""

import sqlite3
import threading
import time
from contextlib import closing

import pytest
from fitted_strategy import Words

from router_sdk import Outcome, Router, Task
from router_sdk.errors import InvalidInputError, StoreUnavailableError, UnknownStrategyError
from router_sdk.testing import make_services

from ..doubles import Counting

AGENTS = ["billing", "fraud", "sales"]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
PATIENCE_S = 20.0


def wait_until(holds, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def open_router(store, strategies, **settings):
    return Router(AGENTS, strategies, store, **{"retrain": False, "fit_executor": "thread", "seed": 1, **settings})


def observe(router, *qualities, agent="billing"):
    """The position of the log behind these outcomes."""
    for quality in qualities:
        router.observe("x", agent, Outcome(quality=quality))
    router.flush()
    return head(router)


def teach(router, rounds=20, right=RIGHT):
    for number in range(rounds):
        for word, agent in right.items():
            router.observe(f"{word} number {number} {id(right)}", agent, Outcome(correct_agent=agent))
    router.flush()
    return head(router)


def head(router):
    return router.status()["learner"]["head"]


def unheeded(router):
    return router.status()["learner"]["unheeded"]


class Gated(Counting):
    """Learns when it is let, once it is told to wait."""

    name = "gated"
    waiting, learning, let_go = False, threading.Event(), threading.Event()

    def learn(self, examples):
        if type(self).waiting:
            self.learning.set()
            assert self.let_go.wait(PATIENCE_S)
        super().learn(examples)


def test_requests_are_served_by_what_there_was_until_all_is_learnt_again(tmp_path):
    with open_router(tmp_path / "router.db", [Gated]) as router:
        good = observe(router, *[0.0] * 20, agent="billing")
        observe(router, *[1.0] * 20, agent="billing")
        observe(router, *[1.0] * 5, agent="fraud")
        before = router.rank("x")
        try:
            Gated.waiting = True
            going_back = threading.Thread(
                target=lambda: router.models.quarantine("gated", from_seq=good, to_seq=good + 40, reason="paid for")
            )
            going_back.start()
            assert Gated.learning.wait(PATIENCE_S)
            assert router.rank("x") == before
            router.record(router.route("x"), Outcome(quality=0.0))  # it is on disk, and learnt afterwards
        finally:
            Gated.waiting = False
            Gated.let_go.set()
            going_back.join()
        assert router.rank("x") != before
        assert router.rank("x")[0][0] == "fraud"


# -- who leaves it out, and who does not


def test_reports_and_calibration_go_on_counting(tmp_path):
    with open_router(tmp_path / "router.db", [Counting]) as router:
        for number in range(60):
            router.record(router.route("x"), Outcome(quality=number % 2))
        router.flush()
        before = (router.statistics(), router.agent_performance(), router.status()["strategies"][0]["calibration"])
        router.models.quarantine(from_seq=10, to_seq=80, reason="a judge went wild")
        assert sum(count for count, _ in router.strategy("counting").cells.values()) == 25
        for _ in range(20):
            router.record(router.route("x"), Outcome(quality=0.5))
        router.flush()
        assert router.statistics()["total_examples"] == before[0]["total_examples"] + 20
        assert sum(one.executions for one in router.agent_performance()) == 80
        assert sum(one.executions for one in before[1]) == 60
        assert router.status()["strategies"][0]["calibration"]["pairs"] > before[2]["pairs"] > 15
        assert len(router.examples[:]) == 80


def test_one_strategy_may_leave_out_what_another_learns(tmp_path):
    class Other(Counting):
        name = "other"

    with open_router(tmp_path / "router.db", [Counting, Other]) as router:
        end = observe(router, 1.0, 1.0, 0.0)
        number = router.models.quarantine("other", from_seq=0, to_seq=end - 4, reason="x")
        assert [router.strategy(name).state["billing", "default"][0] for name in ("counting", "other")] == [3, 2]
        (told,) = router.status()["quarantines"]
        assert (told["number"], told["strategy"], told["from_seq"], told["upto_seq"]) == (number, "other", 0, end - 4)
        assert number == end + 1
        with pytest.raises(UnknownStrategyError):
            router.models.quarantine("nobody", from_seq=0, reason="x")
        with pytest.raises(InvalidInputError, match="reason"):
            router.models.quarantine("other", from_seq=0, reason=" ")


def test_who_may_not_write_may_not_say_so(tmp_path):
    with open_router(tmp_path / "router.db", [Counting]) as router:
        end = observe(router, 1.0, 0.0)
        router.models.quarantine(from_seq=0, to_seq=end - 1, reason="x")
    with open_router(tmp_path / "router.db", [Counting], read_only=True) as router:
        assert router.strategy("counting").state["billing", "default"] == (1, 0)
        with pytest.raises(StoreUnavailableError):
            router.models.quarantine(from_seq=0, reason="x")


def test_who_does_not_learn_goes_back_to_the_last_good_checkpoint(tmp_path):
    store = tmp_path / "router.db"
    with open_router(store, [Counting]) as router:
        good = observe(router, *[1.0] * 4)
        router.snapshot()
        bad = observe(router, *[0.0] * 4)
        router.snapshot()
    with open_router(store, [Counting], learning=False) as still:
        assert still.strategy("counting").state["billing", "default"] == (8, 4_000)
        still.models.quarantine(from_seq=good, to_seq=bad, reason="x")
        wait_until(lambda: still.strategy("counting").state["billing", "default"] == (4, 4_000))


# -- fits and versions


def test_a_fit_leaves_it_out_and_says_so(tmp_path):
    with open_router(tmp_path / "router.db", [Words, "heuristic"]) as router:
        good = teach(router)
        teach(router, right={"refund": "sales", "stolen": "sales", "offer": "billing"})
        end = head(router)
        router.models.quarantine("words", from_seq=good, reason="a mislabelled batch")
        fit = router.models.retrain("words", wait=True)
        assert fit.state == "promoted", fit.words
        assert router.strategy("words").table == RIGHT
        assert fit.version.left_out == ((good, end),)
        assert unheeded(router) == {}


def test_a_version_keeps_what_it_was_fitted_with_and_status_says_so(tmp_path):
    with open_router(tmp_path / "router.db", [Words, "heuristic"]) as router:
        good = teach(router)
        bad = teach(router, right={"other": "sales"})
        assert router.models.retrain("words", wait=True).state == "promoted"
        number = router.models.quarantine(from_seq=good, to_seq=bad, reason="x")
        assert "version 1 was fitted with what is quarantined" in unheeded(router)["words"]
        assert "other" in router.strategy("words").table
        router.models.lift(number)
        assert unheeded(router) == {}


def test_a_fit_of_what_is_quarantined_meanwhile_is_stopped_and_begun_anew(tmp_path, monkeypatch):
    reading, go_on = threading.Event(), threading.Event()

    def before_fit(strategy):
        reading.set()
        assert go_on.wait(PATIENCE_S)

    with open_router(tmp_path / "router.db", [Words, "heuristic"]) as router:
        good = teach(router)
        end = teach(router, right={"other": "sales"})
        with monkeypatch.context() as patched:
            patched.setattr(Words, "before_fit", before_fit)
            fit = router.models.retrain("words")
            assert reading.wait(PATIENCE_S)
            router.models.quarantine(from_seq=good, to_seq=end, reason="x")
            go_on.set()
            assert fit.wait(PATIENCE_S).state == "stopped", fit.words
        assert "quarantined by now" in fit.words
        assert router.models.versions() == []
        again = router.models.retrain("words", wait=True)
        assert (again.state, again.version.left_out) == ("promoted", ((good, end),))
        assert "other" not in router.strategy("words").table


def test_a_rollback_may_quarantine_what_came_since(tmp_path):
    with open_router(tmp_path / "router.db", [Words, "heuristic"]) as router:
        teach(router)
        assert router.models.retrain("words", wait=True).state == "promoted"
        good = teach(router, right={"early": "fraud"})
        teach(router, right={"late": "sales"})
        assert router.models.retrain("words", wait=True).state == "promoted"
        assert router.models.rollback("words", to_seq=good) == 1
        remembered = {word for word, _ in router.strategy("words").memory.values()}
        assert (remembered, unheeded(router)) == ({*RIGHT, "early"}, {})
        (told,) = router.models.quarantines()
        assert (told.strategy, told.from_seq, told.reason) == ("words", good, "rollback from 2")
        with pytest.raises(InvalidInputError, match="begins behind a position"):
            router.models.rollback("words", to_seq=head(router))


def test_a_rollback_to_no_position_names_its_argument(make_router):
    with pytest.raises(InvalidInputError, match=r"^to_seq"):
        make_router(strategies=["thompson"]).models.rollback("thompson", to_seq="yesterday")


def test_a_strategy_without_any_fit_goes_back_too(tmp_path):
    with open_router(tmp_path / "router.db", [Counting]) as router:
        good = observe(router, 1.0, 0.5)
        observe(router, 0.0, 0.0)
        assert router.models.rollback("counting", to_seq=good) is None
        assert router.strategy("counting").state["billing", "default"] == (2, 1_500)
        observe(router, 1.0)
        assert router.strategy("counting").state["billing", "default"] == (3, 2_500)


# -- where it cannot be done, or not wholly


def test_where_the_past_is_archived_the_last_good_checkpoint_serves_and_what_is_missing_is_said(tmp_path, caplog):
    store = tmp_path / "router.db"
    with open_router(store, [Counting]) as router:
        begin = head(router)
        observe(router, *[1.0] * 4)
        router.archive(time.time() + 1)
        good = observe(router, *[1.0] * 4)
        bad = observe(router, *[0.0] * 4)
        router.models.quarantine(from_seq=good, to_seq=bad, reason="x")
        assert router.strategy("counting").state["billing", "default"] == (8, 8_000)
        assert unheeded(router) == {}, "nothing is missing"
        router.archive(time.time() + 1)
        number = router.models.quarantine(from_seq=begin, to_seq=begin + 2, reason="no snapshot is that old")
        assert router.strategy("counting").state["billing", "default"] == (8, 8_000)
        assert "the log before is archived" in unheeded(router)["counting"]
        router.models.lift(number)
        assert (router.strategy("counting").state["billing", "default"], unheeded(router)) == ((8, 8_000), {})
        router.models.quarantine(from_seq=good - 4, to_seq=good - 2, reason="one is from before")
        assert router.strategy("counting").state["billing", "default"] == (4, 4_000)
        assert "lacks what was archived" in unheeded(router)["counting"]
    assert "counting does not hold exactly what it is to hold" in caplog.text
    with open_router(store, [Counting]) as router:
        assert router.strategy("counting").state["billing", "default"] == (4, 4_000)
        told = [one["status"] for one in router.status(last=50)["learning_events"] if one["type"] == "quarantine"]
        assert sorted(told) == ["failed", "failed", "succeeded", "succeeded"]


def test_what_an_older_form_of_state_held_of_the_archive_is_lost_and_that_is_said(tmp_path, monkeypatch, caplog):
    with open_router(tmp_path / "router.db", [Counting]) as router:
        observe(router, *[1.0] * 4)
        router.archive(time.time() + 1)
        end = observe(router, 1.0)
    monkeypatch.setattr(Counting, "state_version", Counting.state_version + 1)
    with open_router(tmp_path / "router.db", [Counting]) as router:
        assert router.strategy("counting").state["billing", "default"] == (1, 1_000)
        assert unheeded(router).keys() == {"counting"}
        assert f"of the positions 0 to {end - 2}: no state that may be used holds it" in unheeded(router)["counting"]
    assert "counting does not hold exactly what it is to hold" in caplog.text


def test_a_lift_of_what_is_archived_loses_nothing_else(tmp_path):
    with open_router(tmp_path / "router.db", [Counting]) as router:
        router.snapshot()
        good = observe(router, *[1.0] * 4)
        router.snapshot()
        bad = observe(router, *[0.0] * 4)
        number = router.models.quarantine(from_seq=good, to_seq=bad, reason="x")
        observe(router, *[1.0] * 4)
        router.archive(time.time() + 1)
        router.models.lift(number)
        assert router.strategy("counting").state["billing", "default"] == (8, 8_000)
        assert "archived" in unheeded(router)["counting"]
        observe(router, 1.0)
        assert router.strategy("counting").state["billing", "default"] == (9, 9_000)


def test_who_cannot_be_made_again_goes_on_as_it_is_until_the_next_start(tmp_path):
    class Peculiar(Counting):
        name = "peculiar"

        def __init__(self, config, services, more=None):
            super().__init__(config, services)
            if more is None:
                raise TypeError("more, please")

    def peculiar():
        return Peculiar(Peculiar.Config(), make_services(tmp_path / "services"), "more")

    with open_router(tmp_path / "router.db", [peculiar()]) as router:
        good = observe(router, 1.0, 1.0)
        bad = observe(router, 0.0, 0.0)
        number = router.models.quarantine(from_seq=good, to_seq=bad, reason="x")
        observe(router, 1.0)
        assert router.strategy("peculiar").state["billing", "default"] == (5, 3_000)
        assert "cannot go back" in unheeded(router)["peculiar"]
        router.models.lift(number)
        assert unheeded(router) == {}
        router.models.quarantine(from_seq=good, to_seq=bad, reason="x")
        assert router.status()["learner"]["broken"] == []
    with open_router(tmp_path / "router.db", [peculiar()]) as router:
        assert router.strategy("peculiar").state["billing", "default"] == (3, 3_000)
        assert unheeded(router) == {}


def test_each_tenants_state_goes_back(tmp_path):
    with open_router(tmp_path / "router.db", [Counting], tenancy="separate") as router:
        for tenant in ("acme", "zenith"):
            for quality in (1.0, 0.0):
                router.observe(Task("x", tenant=tenant), "billing", Outcome(quality=quality))
        router.flush()
        router.models.quarantine(from_seq=head(router) - 6, to_seq=head(router) - 2, reason="x")
        states = router._parts.chain.stage("counting").tenants.states
        assert {tenant: states.of(tenant).strategy.state for tenant in ("acme", "zenith")} == {
            "acme": {("billing", "default"): (1, 1_000)},
            "zenith": {("billing", "default"): (1, 0)},
        }


def test_checkpoints_outlive_forget_without_what_was_forgotten(tmp_path):
    class Remembering(Counting):
        name = "remembering"

        def forget_examples(self, decision_ids):
            self.lessons = [lesson for lesson in self.lessons if lesson[0] not in decision_ids]

    with open_router(tmp_path / "router.db", [Remembering]) as router:
        router.observe(Task("x", session_id="s"), "billing", Outcome(quality=1.0))
        good = observe(router, 1.0, 1.0)
        router.snapshot()
        bad = observe(router, *[0.0] * 4)
        assert router.forget("s") == 1
        with closing(sqlite3.connect(tmp_path / "router.db")) as connection, connection:
            connection.execute("DELETE FROM outcomes WHERE seq <= ?", (good,))  # so that it is from there, or nowhere
        router.models.quarantine(from_seq=good, to_seq=bad, reason="x")
        assert router.strategy("remembering").state["billing", "default"] == (3, 3_000)
        assert len(router.strategy("remembering").lessons) == 2
