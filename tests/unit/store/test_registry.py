"""The registry: numbers, tokens, who may change what serves, and what is given up."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from router_sdk import Task
from router_sdk.errors import ChampionMovedError
from router_sdk.records import ModelVersion
from router_sdk.store import registry as registry
from router_sdk.store.coordination import add_intent, pending_intents
from router_sdk.store.events import Fresh, LastFit, LearningEvent, fresh_examples, last_fit, write_learning_events
from router_sdk.store.registry import (
    NEVER,
    ROLLBACK,
    ROLLBACK_BY_ITSELF,
    Champion,
    add_version,
    alias_token,
    before,
    champion,
    champions,
    forgotten_after,
    move_version,
    prune_versions,
    rollbacks_in_a_row,
    safety_totals,
    set_champion,
    versions,
)

NOW = 1_000.0


@pytest.fixture
def log(open_log):
    """Nothing here is about the disk."""
    return open_log(":memory:")


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(value=NOW)
    monkeypatch.setattr(registry, "time", SimpleNamespace(time=lambda: now.value))
    return now


def add(log, strategy="s", **fields):
    given = {"kind": "fit", "parent": None, "upto": 7, "samples": 5, "passed": True, "reason": "better"}
    given |= {"folder": "f", "settings": {}, "metrics": {}, "fine_tuned": False, "data_hash": "h"}
    return add_version(log.writer, strategy, **{**given, "unless_forgotten_after": 0, **fields})


def ask(log, work, *arguments):
    return log.store.reader.query(lambda connection: work(connection, *arguments))


def serve(log, version, strategy="s", reason="promoted", pinned=False, **fields):
    return set_champion(log.writer, strategy, version, reason, pinned=pinned, **fields)


def test_each_strategy_counts_its_versions_from_one(log):
    made = [add(log, strategy)[0] for strategy in ("s", "s", "other", "s")]
    assert [(version.strategy, version.version) for version in made] == [("s", 1), ("s", 2), ("other", 1), ("s", 3)]
    assert [version.version for version in ask(log, versions, "s")] == [1, 2, 3]
    assert [version.version for version in ask(log, versions, "other")] == [1]
    assert ask(log, versions, "nobody") == []


@pytest.mark.parametrize(("passed", "fine_tuned"), [(True, False), (False, True)])
def test_a_version_is_read_as_it_was_registered(log, clock, passed, fine_tuned):
    fields = {"kind": "pretrain", "parent": 4, "upto": 11, "samples": 12, "passed": passed, "reason": "because"}
    fields |= {"folder": "s-1", "settings": {"epochs": 3}, "metrics": {"loss": [0.5, None]}}
    fields |= {"fine_tuned": fine_tuned, "data_hash": "abc"}
    made, intent = add(log, **fields)
    assert made == ModelVersion(strategy="s", version=1, at=NOW, **fields)
    assert intent is None
    (found,) = ask(log, versions, "s")
    assert found == made
    assert (found.passed, found.fine_tuned) == (passed, fine_tuned)
    assert {type(found.passed), type(found.fine_tuned)} == {bool}
    assert (found.pruned_at, found.aliases) == (None, ())


def test_a_version_that_may_remember_a_forgotten_session_is_not_registered(log):
    first, second = (log.decide(task=Task("x", session_id="s1")) for _ in range(2))
    third = log.decide(task=Task("x", session_id="s2"))
    log.forget("s1")
    log.forget("s2")
    assert log.query("SELECT seq FROM forgotten") == [(4,), (5,)]
    assert ask(log, forgotten_after, 5) == {}
    assert ask(log, forgotten_after, 4) == {5: [third.decision_id]}
    everything = {4: [first.decision_id, second.decision_id], 5: [third.decision_id]}
    assert ask(log, forgotten_after, 3) == everything
    assert list(everything) == list(ask(log, forgotten_after, 0)) == [4, 5]
    assert add(log, unless_forgotten_after=4, promote_after=0) is None
    assert (ask(log, versions, "s"), ask(log, pending_intents)) == ([], [])
    assert add(log, unless_forgotten_after=5)[0].version == 1


def test_the_intent_to_promote_stands_with_the_version(log):
    assert add(log, promote_after=None)[1] is None
    assert ask(log, pending_intents) == []
    made, number = add(log, promote_after=0, reason="won")
    (intent,) = ask(log, pending_intents)
    assert (intent.number, intent.kind) == (number, "promote")
    assert intent.body == {"strategy": "s", "version": made.version, "after": 0, "reason": "won"}
    assert made.version == 2


def test_before_anything_serves_there_is_the_strategy_as_it_is(log):
    assert Champion(None, False, 0, 0.0, "nothing was ever promoted") == NEVER
    assert NEVER.pinned is False
    assert ask(log, champion, "s") == NEVER
    assert ask(log, champions, "s") == []
    assert ask(log, alias_token) == 0


def test_the_newest_entry_of_a_strategys_history_serves(log, clock):
    for _ in range(2):
        add(log)
    assert serve(log, 1) == 1
    clock.value = NOW + 1
    assert serve(log, 7, strategy="other") == 2
    assert serve(log, 2, reason="chosen", pinned=True) == 3
    assert ask(log, alias_token) == 3
    newest, oldest = Champion(2, True, 3, NOW + 1, "chosen", 1), Champion(1, False, 1, NOW, "promoted", 1)
    assert ask(log, champions, "s") == [newest, oldest]
    assert [ask(log, champions, "s", limit) for limit in (0, 1, 2)] == [[], [newest], [newest, oldest]]
    assert ask(log, champion, "s") == newest
    assert newest.pinned is ask(log, champion, "s").pinned
    assert ask(log, champion, "other") == Champion(7, False, 2, NOW + 1, "promoted", 1)
    assert [version.aliases for version in ask(log, versions, "s")] == [(), ("champion", "pinned")]
    assert [version.status for version in ask(log, versions, "s")] == ["deprecated", "active"]
    assert serve(log, 1) == 4
    assert [version.aliases for version in ask(log, versions, "s")] == [("champion",), ()]
    assert serve(log, None) == 5
    assert [version.aliases for version in ask(log, versions, "s")] == [(), ()]
    assert ask(log, champion, "s").version is None


def test_only_who_judged_against_what_serves_may_change_it(log):
    assert serve(log, 1, after=0) == 1
    assert serve(log, 9, strategy="other") == 2  # another strategy's token fences nobody off
    assert serve(log, 2, after=1) == 3
    for token in (0, 1, 2, 4):
        with pytest.raises(ChampionMovedError, match=r"'s' was changed while version 3 was made; it stays a candidate"):
            serve(log, 3, after=token)
    assert [entry.token for entry in ask(log, champions, "s")] == [3, 1]
    assert serve(log, 3, after=3) == 4
    assert serve(log, 4) == 5  # a person asks nobody
    assert [entry.version for entry in ask(log, champions, "s")] == [4, 3, 2, 1]


@pytest.mark.parametrize("after", [None, 0, 1])
def test_an_intent_to_promote_is_finished_whether_or_not_it_could_be(log, after):
    serve(log, 1)
    wanted = log.writer.transact(lambda connection, seq: [add_intent(connection, "promote", {"n": n}) for n in (1, 2)])
    if after == 0:
        with pytest.raises(ChampionMovedError):
            serve(log, 2, after=after, intent=wanted[0])
    else:
        serve(log, 2, after=after, intent=wanted[0])
    assert [intent.number for intent in ask(log, pending_intents)] == wanted[1:]
    assert len(ask(log, champions, "s")) == (1 if after == 0 else 2)
    serve(log, 3)  # fulfils none
    assert len(ask(log, pending_intents)) == 1


@pytest.mark.parametrize(
    ("served", "number", "found"),
    [
        ([1], 1, None),
        ([1, 2], 2, 1),
        ([1, 2], 1, None),
        ([1, 2, 1], 1, None),
        ([1, 2, 3, 2], 2, 1),
        ([1, None], None, 1),
        ([None, 1], 1, None),
        ([None, 1], None, None),
        ([3, 1, 2], 2, 1),
    ],
)
def test_before_a_version_came_another_served(served, number, found):
    history = [Champion(version, False, token, 0.0, "") for token, version in enumerate(served, 1)]
    assert before(history[::-1], number) == found


def folders(log, count, strategy="s", clock=None):
    for number in range(1, count + 1):
        if clock is not None:
            clock.value = NOW + number
        add(log, strategy, folder=f"{strategy}-{number}")


@pytest.mark.parametrize("keep", [0, 1, 2, 3, 4])
def test_the_newest_versions_are_kept(log, clock, keep):
    folders(log, 3)
    folders(log, 1, "other")
    clock.value = NOW + 5
    gone = ["s-3", "s-2", "s-1"][keep:]
    assert prune_versions(log.writer, "s", keep, None) == gone
    pruned = {version.folder: version.pruned_at for version in ask(log, versions, "s")}
    assert pruned == {name: NOW + 5 if name in gone else None for name in ("s-1", "s-2", "s-3")}
    assert ask(log, versions, "other")[0].pruned_at is None
    clock.value = NOW + 6
    assert prune_versions(log.writer, "s", keep, None) == []
    assert {version.pruned_at for version in ask(log, versions, "s")} <= {NOW + 5, None}


def test_what_was_given_up_counts_no_more_among_the_newest(log):
    folders(log, 4)
    serve(log, 4)
    assert prune_versions(log.writer, "s", 1, None) == ["s-3", "s-2", "s-1"]
    folders(log, 1)
    assert prune_versions(log.writer, "s", 1, None) == []
    serve(log, 5)
    serve(log, None)
    assert prune_versions(log.writer, "s", 1, None) == ["s-4"]


@pytest.mark.parametrize(("keep_s", "gone"), [(None, 4), (0.5, 4), (1.0, 3), (1.5, 3), (2.0, 2), (3.0, 1), (4.0, 0)])
def test_young_versions_are_kept_beyond_the_newest(log, clock, keep_s, gone):
    folders(log, 4, clock=clock)  # made at NOW + 1 … NOW + 4
    clock.value = NOW + 5
    assert prune_versions(log.writer, "s", 0, keep_s) == ["s-4", "s-3", "s-2", "s-1"][4 - gone :]


def test_many_that_are_kept_keep_no_old_one_alive(log, clock):
    folders(log, 4, clock=clock)
    clock.value = NOW + 100
    assert prune_versions(log.writer, "s", 3, 10.0) == ["s-1"]


@pytest.mark.parametrize(
    ("history", "kept"),
    [
        ([], []),
        ([(1, "won"), (2, "won")], [1, 2]),
        ([(1, "won"), (2, "won"), (3, "won")], [2, 3]),
        ([(1, "won"), (2, "won"), (1, "rollback to 1"), (3, "won"), (4, "won")], [1, 3, 4]),
        ([(1, "won"), (2, "a rollback"), (3, "won"), (4, "won")], [3, 4]),
        ([(2, "won"), (None, "won")], [2]),
        ([(1, "won"), (2, "won"), (None, "rollback to nothing")], [2]),
        ([(1, "won"), (2, "won"), (3, "won"), (2, "rollback to 2")], [1, 2]),
    ],
)
def test_what_serves_what_was_rolled_back_to_and_what_a_rollback_would_go_to_are_kept(log, history, kept):
    folders(log, 5)
    for version, reason in history:
        serve(log, version, reason=reason)
    serve(log, 5, strategy="other")  # needs none of ours
    prune_versions(log.writer, "s", 0, None)
    assert [version.version for version in ask(log, versions, "s") if version.pruned_at is None] == kept


def test_where_a_fit_was_tried_last(log, monkeypatch):
    assert ask(log, last_fit, "s") == (LastFit(0, 0, None), 0)
    monkeypatch.setattr("router_sdk.store.events._boot", lambda: "this start of the machine")
    for number, (strategy, kind) in enumerate([("s", "fit"), ("s", "begin"), ("s", "learn"), ("other", "fit")], 1):
        clocks = {"time": lambda number=number: NOW + number, "monotonic": lambda number=number: 5.0 * number}
        monkeypatch.setattr("router_sdk.store.events.time", SimpleNamespace(**clocks))
        write_learning_events(log.writer, [LearningEvent(strategy, kind, 1, 10 * number, 1.0, 1)])
    assert ask(log, last_fit, "s") == (LastFit(2, 20, NOW + 2, 10.0), 4)
    assert ask(log, last_fit, "other") == (LastFit(4, 40, NOW + 4, 20.0), 4)
    assert ask(log, last_fit, "s", 2) == (LastFit(0, 0, None), 4)  # nothing newer
    monkeypatch.setattr("router_sdk.store.events._boot", lambda: "the next one")
    assert ask(log, last_fit, "s") == (LastFit(2, 20, NOW + 2), 4)


def test_decisions_with_something_new_are_counted_once_wherever_the_count_is_cut(log):
    decisions = [log.decide() for _ in range(3)]  # 1, 2, 3
    for place, quality in ((0, 0.5), (1, 0.9), (2, 0.5), (0, 0.9), (1, 0.9)):  # 4 to 8
        log.tell(decisions[place], quality=quality)

    def count(cursor, most, least=None):
        known, steps = Fresh(cursor, cursor, 0, 0), 0
        while (further := ask(log, fresh_examples, known, most, least)) != known:
            known, steps = further, steps + 1
        assert steps <= 1 + 5 // most
        return known

    for most in (1, 2, 3, 10):
        assert [count(cursor, most).heard for cursor in range(3, 9)] == [3, 3, 3, 2, 1, 0]
        assert count(3, most) == (3, 8, 3, 3)
        assert [count(3, most, least).good for least in (0.4, 0.9, 1.0)] == [3, 2, 0]


def entry(reason, *, pinned=False, token=0):
    return Champion(1, pinned, token, NOW, reason)


@pytest.mark.parametrize(
    ("newest_first", "count"),
    [
        ([], 0),
        (["gate: better"], 0),
        (["rollback by itself: it earned less", "gate: better"], 1),
        (["gate: better", "rollback by itself: it earned less", "gate: better"], 1),
        (["rollback by itself", "gate", "rollback by itself", "gate", "rollback by itself", "gate"], 3),
        (["gate", "gate", "rollback by itself", "gate"], 0),  # the second of them held until the third came
        (["rollback by itself", "gate", "gate", "rollback by itself", "gate"], 1),
        (["unpinned by hand", "rollback by itself", "gate"], 0),
        (["rollback by itself", "gate", "rollback from 3", "rollback by itself"], 1),
    ],
)
def test_rollbacks_in_a_row_are_counted_until_a_version_held_or_a_person_chose(newest_first, count):
    history = [entry(reason, pinned=reason == "rollback from 3") for reason in newest_first]
    assert rollbacks_in_a_row(history) == count


def test_a_version_may_move_alone(log):
    folders(log, 2)
    folders(log, 2, "other")
    first = ask(log, versions, "s")[0]
    move_version(log.writer, first, "elsewhere")
    assert [version.folder for version in ask(log, versions, "s")] == ["elsewhere", "s-2"]
    assert [version.folder for version in ask(log, versions, "other")] == ["other-1", "other-2"]
    assert ask(log, versions, "s")[0] == replace(first, folder="elsewhere")


def test_a_version_serves_whatever_its_number(log):
    add(log)
    log.writer.transact(lambda connection, seq: connection.execute("UPDATE model_versions SET version = 999") and None)
    serve(log, 999)
    assert [version.aliases for version in ask(log, versions, "s")] == [("champion",)]
    assert add(log)[0].version == 1_000


def test_how_often_candidates_pass_and_versions_are_rolled_back(log):
    nothing = {"gate_pass_rate": None, "refused_candidates": 0, "rollbacks": 0}
    nothing |= {"rollback_frequency": None, "violations": 0}
    assert ask(log, safety_totals) == nothing
    for passed in (True, True, False, True):
        add(log, passed=passed)
    serve(log, 1)
    serve(log, 2)
    serve(log, 4)
    serve(log, 2, reason=f"{ROLLBACK_BY_ITSELF} from 4: it earned less", quarantine=4)
    serve(log, 1, reason=f"{ROLLBACK} from 2")
    told = {"gate_pass_rate": 0.75, "refused_candidates": 1, "rollbacks": 2}
    told |= {"rollback_frequency": 2 / 3, "violations": 1}
    assert ask(log, safety_totals) == told
