"""Which version serves: a person's choice holds, the log and the process agree, and what is old is given up."""

import re
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from fitted_strategy import Words
from rich.console import Console

from router_sdk import Agent, Outcome, Router
from router_sdk.cli.commands.status import status_tables
from router_sdk.errors import (
    InvalidInputError,
    NotTrainableError,
    StoreUnavailableError,
    UnknownStrategyError,
    UnknownVersionError,
)
from router_sdk.training.promoting import Promoter

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
PATIENCE_S = 20.0


def open_router(store: Path, **settings) -> Router:
    options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, **settings}
    return Router(agents=AGENTS, strategies=[Words, "heuristic"], store=store, **options)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "r.db"


@pytest.fixture
def taught():
    """A number that no text had yet, for each call; so that no fit is of the same examples."""
    numbers = iter(range(10**6))

    def teach(router, rounds=20):
        for _ in range(rounds):
            number = next(numbers)
            for word, agent in RIGHT.items():
                router.observe(f"{word} number {number}", agent=agent, outcome=Outcome(correct_agent=agent))
        router.flush()

    return teach


def wait_until(holds, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def serving(router):
    return router.status()["strategies"][0]["model_version"]


def follow(router):
    """What the learner does about once a second, now."""
    router._parts.promoter._again_at = 0.0
    router._parts.learner.submit(router._parts.promoter.follow).result()


def history(store):
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT version, held, reason FROM alias_history ORDER BY token").fetchall()


def history_of(store):
    with open_router(store) as router:
        return router.models.history("words")


# -- a person's choice


def test_after_a_rollback_no_fit_by_itself_moves_the_version(store, taught):
    with open_router(store) as router:
        taught(router)
        assert router.models.retrain(wait=True).state == "promoted"
        taught(router, 1)
        assert router.models.retrain(wait=True).state == "promoted"
        assert router.models.rollback("words") == 1
    automatic = {"retrain": True, "retrain_interval": 5, "retrain_cooldown_seconds": 0.0}
    with open_router(store, **automatic) as router:
        taught(router, 10)
        router._parts.learner.submit(router._parts.trainer.consider).result()
        assert router.models.newest_fit is None
        assert serving(router) == 1
        router.models.unpin("words")
        wait_until(lambda: serving(router) not in (1, None))
    assert [(version, held) for version, held, _ in history(store)[:5]] == [(1, 0), (2, 0), (1, 1), (1, 0), (3, 0)]


def test_a_rollback_that_fails_leaves_no_quarantine(store, taught):
    with open_router(store, keep_versions=1) as router:
        for _ in range(4):
            taught(router, 20)
            assert router.models.retrain(wait=True).state == "promoted"
        served = serving(router)
        with pytest.raises(UnknownVersionError):
            router.models.rollback("words", 1, to_seq=1)
        assert serving(router) == served
        assert [one.lifted_at is None for one in router.models.quarantines()] in ([], [False])


def test_whatever_ever_served_may_serve_again_and_the_history_says_who_said_so(store, taught):
    with open_router(store) as router:
        for _ in range(3):
            taught(router, 20)
            assert router.models.retrain(wait=True).state == "promoted"
        router.models.retrain(wait=True, mode="worse")
        assert router.models.rollback("words", 1, reason="the third is rude", actor="ada") == 1
        assert router.models.versions("words")[0].aliases == ("champion", "pinned")
        with pytest.raises(InvalidInputError, match="version 1 of 'words' serves now"):
            router.models.rollback("words", 1)
        with pytest.raises(UnknownVersionError, match=r"version 4 of 'words' never served, as \[1, 2, 3\] did"):
            router.models.rollback("words", 4)
        assert router.models.rollback("words", 0) is None
        with pytest.raises(InvalidInputError, match="'words' without any fit serves now"):
            router.models.rollback("words", 0)
        assert router.models.rollback("words", 3, actor="ada") == serving(router) == 3
        router.models.pin("words", 2, actor="bob")
        router.models.unpin("words")
    told = [(entry.version, entry.actor, entry.reason.partition(":")[0]) for entry in reversed(history_of(store))]
    assert [one[:2] for one in told[:3]] == [(1, "gate"), (2, "gate"), (3, "gate")]
    assert told[3:] == [
        (1, "ada", "rollback from 3"),
        (None, None, "rollback from 1"),
        (3, "ada", "rollback"),
        (2, "bob", "pinned by hand"),
        (2, None, "unpinned by hand"),
    ]


def test_a_fit_by_hand_of_what_is_pinned_is_judged_and_held(store, taught):
    with open_router(store) as router:
        taught(router)
        router.models.retrain(wait=True)
        assert router.models.pin("words") == 1
        assert router.models.versions("words")[0].aliases == ("champion", "pinned")
        taught(router, 1)
        fit = router.models.retrain(wait=True)
        assert (fit.state, fit.version.passed) == ("held", True)
        assert "version 1" in fit.words
        assert serving(router) == 1
        statistics = router.statistics()
        assert (statistics["retrain_count"], statistics["refused_fits"], statistics["failed_fits"]) == (1, 1, 0)
        assert router.models.promote("words", 2, pin=False).version == 2
        taught(router, 1)
        assert router.models.retrain(wait=True).state == "promoted"


def test_what_no_fit_ever_replaces_is_not_pinned(store, taught):
    with open_router(store) as router:
        taught(router)
        for change in (router.models.pin, router.models.unpin):
            with pytest.raises(NotTrainableError, match=r"'heuristic' learns online only: .*nothing to pin"):
                change("heuristic")
        with pytest.raises(UnknownStrategyError):
            router.models.pin("nobody")
        assert router.models.pin("words") is None, "a fit would replace it"
        assert [one["pinned"] for one in router.status()["strategies"]] == [True, False]


def test_pinning_may_choose_another_version_and_outlasts_a_restart(store, taught):
    with open_router(store) as router:
        for _ in range(2):
            taught(router)
            router.models.retrain(wait=True)
        assert router.models.pin("words", 1) == 1
        with pytest.raises(UnknownVersionError):
            router.models.pin("words", 7)
    with open_router(store) as router:
        assert serving(router) == 1
        assert router.status()["strategies"][0]["pinned"]
        router.models.unpin("words")
        router.models.unpin("words")
        assert not router.status()["strategies"][0]["pinned"]
    assert [held for _, held, _ in history(store)] == [0, 0, 1, 0]


def test_a_person_who_decides_while_a_fit_runs_is_not_overruled(store, taught, monkeypatch):
    with open_router(store) as router:
        for _ in range(2):
            taught(router)
            router.models.retrain(wait=True)
        taught(router, 1)
        begun, go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(Words, "before_fit", lambda self: (begun.set(), go_on.wait(PATIENCE_S)))
        fit = router.models.retrain()
        assert begun.wait(PATIENCE_S)
        assert router.models.rollback("words") == 1
        router.models.unpin("words")
        go_on.set()
        assert fit.wait(PATIENCE_S).state == "held"
        assert "was changed while version 3 was made" in fit.words
        assert serving(router) == 1
        assert not router.status()["upkeep"]["unfinished"]


# -- a tie, and what is unchanged


def test_the_same_examples_again_gain_nothing(store, taught):
    with open_router(store) as router:
        taught(router)
        assert router.models.retrain(wait=True).state == "promoted"
        fit = router.models.retrain(wait=True)
        assert fit.state == "refused"
        assert "from the same examples: nothing is gained" in fit.words
        taught(router, 1)
        assert router.models.retrain(wait=True).state == "promoted"


# -- the log and the process agree


def test_a_promotion_that_cannot_be_logged_changes_nothing(store, taught, monkeypatch):
    with open_router(store) as router:
        taught(router)
        router.models.retrain(wait=True)
        taught(router, 1)
        router.models.retrain(wait=True)
        learner, chain = router._parts.learner, router._parts.chain
        before = chain.stage("words")
        transact = router._parts.store.writer.transact

        def no_alias(work):
            def refused(connection, seq):
                connection.set_authorizer(
                    lambda action, table, *_: (
                        sqlite3.SQLITE_DENY
                        if (action, table) == (sqlite3.SQLITE_INSERT, "alias_history")
                        else sqlite3.SQLITE_OK
                    )
                )
                try:
                    return work(connection, seq)
                except sqlite3.DatabaseError as error:
                    raise StoreUnavailableError("the disk is full") from error
                finally:
                    connection.set_authorizer(None)

            return transact(refused)

        monkeypatch.setattr(router._parts.store.writer, "transact", no_alias)
        for move in (lambda: router.models.promote("words", 1), lambda: router.models.rollback("words")):
            with pytest.raises(StoreUnavailableError, match="disk is full"):
                move()
            assert chain.stage("words") is before
            assert learner.folding["words"].state is before.strategy
        monkeypatch.undo()
        assert router._parts.registry.champion("words").version == 2 == serving(router)
        assert router.route("refund").model_version == 2
        assert router.models.rollback("words") == 1


@pytest.mark.slow
@pytest.mark.parametrize("learning", [True, False])
def test_whoever_has_the_store_open_follows_a_moved_alias_within_two_seconds(store, taught, learning):
    with open_router(store) as router, open_router(store, learning=learning) as other:
        taught(router)
        router.models.retrain(wait=True)
        for moved in (1, None, 1):
            if serving(router) != moved:
                router.models.rollback("words", moved or 0)
            started = time.monotonic()
            wait_until(lambda wanted=moved: serving(other) == wanted)
            assert time.monotonic() - started < 2.0 * 5, "with room for a machine that is busy with other tests"


def test_who_follows_tries_again_until_it_can(store, taught, tmp_path):
    with open_router(store) as router, open_router(store) as other:
        taught(router)
        version = router.models.retrain(wait=True).version
        folder = tmp_path / "r.db.artifacts" / "versions" / version.folder
        hidden = folder.rename(tmp_path / "hidden")
        follow(other)
        assert serving(other) is None
        told = other.status()
        behind = told["strategies"][0]["behind"]
        assert "version 1 cannot be served here" in behind
        assert behind.endswith("; promote another version, or roll back")
        with (shown := Console(width=300)).capture() as lines:
            shown.print(*status_tables(told))
        assert re.search(r"Behind +words: version 1 cannot", lines.get())
        router.models.pin("words")
        follow(other)
        assert other.status()["strategies"][0]["behind"].endswith("it is pinned, no fit replaces it")
        router.models.unpin("words")
        follow(other)
        assert other.route("refund").strategy != "words"
        hidden.rename(folder)
        follow(other)
        assert serving(other) == 1
        assert other.status()["strategies"][0]["behind"] is None


def test_a_version_that_passed_is_promoted_by_who_comes_next(store, taught, monkeypatch):
    def killed(*_, **__):
        raise RuntimeError("the process ended here")

    with open_router(store) as router:
        taught(router)
        monkeypatch.setattr(Promoter, "promote_fitted", killed)
        fit = router.models.retrain()
        wait_until(lambda: not fit.running)
        assert fit.state == "failed"
        assert serving(router) is None
        assert [one["kind"] for one in router.status()["upkeep"]["unfinished"]] == ["promote"]
    monkeypatch.undo()
    with open_router(store) as router:
        wait_until(lambda: serving(router) == 1)
        assert router.status()["upkeep"]["unfinished"] == []
    assert [version for version, *_ in history(store)] == [1]


def test_a_version_that_passed_stays_a_candidate_where_another_was_chosen_since(store, taught, monkeypatch):
    def killed(*_, **__):
        raise RuntimeError("the process ended here")

    with open_router(store) as router:
        taught(router)
        router.models.retrain(wait=True)
        taught(router, 1)
        with monkeypatch.context() as patch:
            patch.setattr(Promoter, "promote_fitted", killed)
            fit = router.models.retrain()
            wait_until(lambda: not fit.running)
        router.models.pin("words", 1)
        router._parts.upkeep._settle()
        assert router.status()["upkeep"]["unfinished"] == []
        assert serving(router) == 1
        assert router.route("offer").model_version == 1


# -- what is old


def test_old_versions_are_given_up_but_not_what_serves_or_was_gone_back_to(store, taught, tmp_path):
    with open_router(store, keep_versions=2) as router:
        for _ in range(3):
            taught(router, 10)
            assert router.models.retrain(wait=True).state == "promoted"
        assert router.models.rollback("words") == 2
        router.models.unpin("words")
        for _ in range(4):
            taught(router, 5)
            assert router.models.retrain(wait=True).state == "promoted"
        there = {version.version for version in router.models.versions("words") if version.pruned_at is None}
        assert there == {2, 6, 7}  # gone back to, the one before, the one that serves
        folders = {path.name for path in (tmp_path / "r.db.artifacts" / "versions").iterdir()}
        assert folders == {version.folder for version in router.models.versions("words") if version.pruned_at is None}
        with pytest.raises(UnknownVersionError, match="keep_versions"):
            router.models.promote("words", 1)
        assert router.models.report("words", 1).version == 1
        assert router.models.rollback("words") == 6
    with open_router(store) as router:
        assert serving(router) == 6


def test_young_versions_are_kept_where_that_is_asked_for(store, taught):
    with open_router(store, keep_versions=1, keep_versions_days=1.0) as router:
        for _ in range(4):
            taught(router, 5)
            router.models.retrain(wait=True)
        assert all(version.pruned_at is None for version in router.models.versions("words"))


# -- pre-training, and what happens later


def test_what_was_pre_trained_and_is_imported_blocks_no_fit(store, tmp_path):
    rows = [(f"{word} number {number}", agent) for number in range(40) for word, agent in RIGHT.items()]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    with open_router(store) as router:
        assert router.models.pretrain([text for text, _ in rows], [label for _, label in rows]).state == "promoted"
        router.examples.import_from(tmp_path / "rows.csv")
        router.flush()
        fit = router.models.retrain(wait=True)
        assert fit.state == "promoted", fit.words
        report = router.models.report("words", 2)
        assert report.before.n_labelled == report.after.n_labelled > 10


def test_updates_fits_and_refusals_are_counted_apart_and_outcomes_once(store, taught):
    with open_router(store) as router:
        taught(router, 5)
        before = router.statistics()
        assert before["samples_processed"] == before["total_examples"] == 15
        router.models.retrain(wait=True)
        router.models.retrain(wait=True)
        for setting in ("raise", "worse"):
            fit = router.models.retrain(mode=setting)
            wait_until(lambda fit=fit: not fit.running)
        after = router.statistics()
        assert after["total_updates"] == before["total_updates"]
        assert (after["failed_updates"], after["samples_processed"]) == (0, 15)
        counted = {
            name: after[name] for name in ("retrain_count", "refused_fits", "failed_fits", "encoder_retrain_count")
        }
        assert counted == {"retrain_count": 1, "refused_fits": 2, "failed_fits": 1, "encoder_retrain_count": 0}
        assert after["avg_fit_time_ms"] > 0.0


# -- what others have still to read


def test_nothing_is_archived_that_another_process_has_still_to_save(store, taught):
    with open_router(store) as router, open_router(store) as other:
        other._parts.learner.submit(other._parts.upkeep.look).result()
        taught(router, 5)
        assert router.archive(2e9) == 0  # the other has saved nothing of it
        other.snapshot()
        other._parts.learner.submit(other._parts.upkeep.look).result()
        taught(router, 1)
        assert router.archive(2e9) == 15  # and of the newest three nothing yet
        other.close()
        assert router.archive(2e9) == 3
        assert router.statistics()["total_examples"] == 18
    with open_router(store) as router:
        assert router.statistics()["total_examples"] == 18
        assert router.status()["store"]["decisions"] == 0
