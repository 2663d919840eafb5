"""What is told of learning, letters, agents and who answered lately; and outcomes that are joined."""

from types import SimpleNamespace

import pytest

from router_sdk import Agent, Decision, Task
from router_sdk.errors import RouterClosedError
from router_sdk.records import AgentSet, Distribution, Signals, Skipped
from router_sdk.records.outcome import NOTHING, Joined, Part, Revision
from router_sdk.store import agents as catalog
from router_sdk.store import events as journal
from router_sdk.store import rows
from router_sdk.store.agents import add_agents, catalog_version, read_agents, remove_agent
from router_sdk.store.coordination import add_intent, pending_intents
from router_sdk.store.events import (
    LearningEvent,
    dead_letters,
    learning_events,
    learning_totals,
    merged,
    sweep_pending,
    write_dead_letters,
    write_learning_events,
)
from router_sdk.store.identity import new_id
from router_sdk.store.lately import answered, passed
from router_sdk.store.rows import Entry
from router_sdk.store.tail import SIGNAL_COLUMNS, signals_of

NOW = 1_000.0


def ask(log, work, *arguments):
    return log.store.reader.query(lambda connection: work(connection, *arguments))


def at(monkeypatch, moment, *modules):
    for module in modules:
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: moment))


# -- learning


def event(strategy="s", kind="learn", samples=1, cursor=5, duration_ms=2.0, batch_size=3, **fields):
    return LearningEvent(strategy, kind, samples, cursor, duration_ms, batch_size, **fields)


def test_one_update_in_several_batches_is_one_event():
    parts = [
        event(samples=1, cursor=5, duration_ms=2.0, batch_size=3, before=0.1, after=0.2),
        event("t"),
        event(kind="replay"),
        event(samples=10, cursor=6, duration_ms=20.0, batch_size=30, before=0.3, after=0.4, error="first"),
        event(samples=100, cursor=7, duration_ms=200.0, batch_size=300, before=0.5, error="second", model_version=4),
    ]
    whole = event(samples=111, cursor=7, duration_ms=222.0, batch_size=333, before=0.5, error="first", model_version=4)
    assert merged(iter(parts)) == [whole, parts[1], parts[2]]
    assert merged([]) == []


def test_an_event_is_logged_as_it_was(log, monkeypatch):
    at(monkeypatch, NOW, journal)
    whole = event(before=0.25, after=0.75, error="e", model_version=4, status="refused", reason="r", fine_tuned=True)
    given = [whole, event(error="e", before=0.5), event(after=0.5, fine_tuned=False), event(before=0.5, after=0.0)]
    write_learning_events(log.writer, given)
    told = ask(log, learning_events, 10)[::-1]
    assert told[0] == {
        "at": NOW,
        "strategy": "s",
        "model_version": 4,
        "type": "learn",
        "status": "refused",
        "batch_size": 3,
        "samples": 1,
        "cursor": 5,
        "metrics_before": 0.25,
        "metrics_after": 0.75,
        "improvement": 0.5,
        "duration_ms": 2.0,
        "error": "e",
        "reason": "r",
        "fine_tuned": 1,
    }
    assert [each["status"] for each in told] == ["refused", "failed", "succeeded", "succeeded"]
    assert [each["improvement"] for each in told] == [0.5, None, None, -0.5]
    assert [each["fine_tuned"] for each in told] == [1, None, 0, None]
    assert [len(ask(log, learning_events, limit)) for limit in (0, 1, 4, 5)] == [0, 1, 4, 4]
    assert ask(log, learning_events, 1) == told[-1:]


def test_totals_keep_updates_and_fits_apart(log):
    names = ("total_updates", "successful_updates", "failed_updates", "avg_update_time_ms", "retrain_count")
    names += ("encoder_retrain_count", "refused_fits", "failed_fits", "avg_fit_time_ms")
    names += ("update_success_rate", "updates_per_minute", "learning_efficiency")
    nothing = (0,) * 9 + (None, 0, None)
    assert ask(log, learning_totals) == dict(zip(names, nothing, strict=True))
    updates = [event(duration_ms=float(each), error="e" if each == 1 else None) for each in range(1, 5)]
    fits = [event(kind="fit", duration_ms=10.0, fine_tuned=each) for each in (True, False, None)]
    ends = ("refused", "refused", "failed", "failed", "failed", "failed", "stopped")
    fits += [event(kind="fit", duration_ms=20.0, fine_tuned=True, status=end) for end in ends]
    write_learning_events(log.writer, [*updates, *fits, event(kind="replay", error="e", duration_ms=99.0)])
    counted = (4, 3, 1, 2.5, 3, 1, 2, 4, 17.0, 0.75, 0.4, None)
    assert ask(log, learning_totals) == dict(zip(names, counted, strict=True))


# -- letters


def test_letters_are_kept_newest_first_and_an_intent_ends_with_them(log, monkeypatch):
    at(monkeypatch, NOW, journal)
    intents = log.writer.transact(lambda connection, seq: [add_intent(connection, "import", {}) for _ in range(3)])
    write_dead_letters(log.writer, [("task", None, f"r{number}", None) for number in range(3)])
    assert len(ask(log, pending_intents)) == 3
    write_dead_letters(log.writer, [("outcome", "d", "why", "body")], intents[0])
    write_dead_letters(log.writer, [], intents[2])
    assert [intent.number for intent in ask(log, pending_intents)] == [intents[1]]
    newest = {"at": NOW, "kind": "outcome", "decision_id": "d", "reason": "why", "body": "body"}
    assert ask(log, dead_letters, 1) == [newest]
    assert [letter["reason"] for letter in ask(log, dead_letters, 3)] == ["why", "r2", "r1"]
    assert [len(ask(log, dead_letters, limit)) for limit in (0, 4, 5)] == [0, 4, 4]
    log.writer.close()
    write_dead_letters(log.writer, [])  # nothing is to be written
    with pytest.raises(RouterClosedError):
        write_dead_letters(log.writer, [], 1)


def swept(log):
    return log.query("SELECT seq FROM positions WHERE name = 'swept'")


def test_each_outcome_that_waits_is_swept_once_when_it_is_too_old(log, monkeypatch):
    lost = [log.decision() for _ in range(4)]
    for decision, told in zip(lost, (10.0, 20.0, 5.0, 40.0), strict=True):
        at(monkeypatch, told, rows)
        log.tell(decision, quality=0.5)  # 1, 2, 3, 4
    log.tell(log.decide(), quality=0.5)  # 6, whose decision is there

    def sweep(now):
        at(monkeypatch, now, journal)
        return sweep_pending(log.writer, 60.0)

    assert [sweep(70.0), swept(log)] == [0, []]  # as old as may be, no older
    assert [sweep(71.0), swept(log)] == [1, [(1,)]]
    assert [sweep(71.0), sweep(80.0), swept(log)] == [0, 0, [(1,)]]
    assert [sweep(81.0), swept(log)] == [2, [(3,)]]  # with the third, which was told earlier
    assert [sweep(101.0), swept(log)] == [1, [(6,)]]
    assert [sweep(500.0), swept(log)] == [0, [(6,)]]
    letters = ask(log, dead_letters, 10)[::-1]
    assert [letter["decision_id"] for letter in letters] == [decision.decision_id for decision in lost]
    assert [letter["at"] for letter in letters] == [71.0, 81.0, 81.0, 101.0]
    kind, reason, body = (letters[0][name] for name in ("kind", "reason", "body"))
    assert (kind, reason, body) == ("outcome", "its decision did not arrive within 60.0 s", None)
    assert log.query("SELECT count(*) FROM outcomes") == [(5,)]


def test_where_nothing_was_told_nothing_is_swept(log):
    log.decide()
    assert [sweep_pending(log.writer, 0.0), swept(log)] == [0, []]


# -- who answered lately


def decided(strategy, confidence=0.5, explored=False, source="routed", skipped=(), moment=NOW, version=None):
    drawn = Distribution(AgentSet([Agent("a")]), (1.0,), 0, confidence, None, None, strategy, version, 0.0)
    task = Task(task_type="bare")
    return Entry(decision=Decision(new_id(), "a", task, moment, 1.0, explored, drawn, source, skipped=skipped))


def test_who_answered_is_who_routed(log):
    assert (ask(log, answered), ask(log, passed)) == ([], [])
    step, other = Skipped("first", "abstained"), Skipped("first", "failed")
    log.writer.append(
        [
            decided("rare", 1.0, moment=9.0, skipped=(other,)),
            decided("often", 0.25, explored=True, moment=3.0, skipped=(step,), version=2),
            decided("often", 0.75, moment=1.0, skipped=(step, other), version=1),
            decided("often", 0.5, version=1, moment=2.0, skipped=(step,)),
            decided("never", source="observed", skipped=(step,)),
        ]
    )
    names = ("strategy", "decisions", "versions", "share", "mean_confidence", "explored", "last_at")
    lines = [("often", 3, {"1": 2, "2": 1}, 0.75, 0.5, 1 / 3, 3.0), ("rare", 1, {}, 0.25, 1.0, 0.0, 9.0)]
    assert ask(log, answered) == [dict(zip(names, line, strict=True)) for line in lines]
    assert ask(log, passed) == [
        {"strategy": "first", "reason": "abstained", "decisions": 3},
        {"strategy": "first", "reason": "failed", "decisions": 2},
    ]


def test_lately_reaches_over_a_thousand_decisions(log):
    skipped = (Skipped("first", "why"),)
    log.writer.append([decided("old", skipped=skipped), *(decided("new", skipped=skipped) for _ in range(1_000))])
    (line,) = ask(log, answered)
    assert (line["strategy"], line["decisions"], line["share"]) == ("new", 1_000, 1.0)
    assert ask(log, passed) == [{"strategy": "first", "reason": "why", "decisions": 1_000}]
    log.writer.append([decided("newest")])
    assert [line["share"] for line in ask(log, answered)] == [0.999, 0.001]


def test_the_newest_decisions_are_read_once_for_all_that_is_told_of_them(log):
    class Counting:
        def __init__(self, connection):
            self.connection, self.asked = connection, []

        def execute(self, *arguments):
            self.asked.append(arguments)
            return self.connection.execute(*arguments)

    def count(connection):
        counting = Counting(connection)
        answered(counting)
        return len(counting.asked)

    assert ask(log, count) == 1


# -- agents


def test_of_agents_each_change_is_a_row(log, monkeypatch):
    at(monkeypatch, NOW, catalog)
    assert (ask(log, catalog_version), ask(log, read_agents)) == (0, {})
    a, b, c = Agent("a", capabilities={"y", "x", "z"}), Agent("b"), Agent("c")
    add_agents(log.writer, [b, a])  # 1, 2
    add_agents(log.writer, [a, c, b])  # 3
    assert ask(log, catalog_version) == 3
    add_agents(log.writer, [a, b], fresh=True)  # 4, 5
    remove_agent(log.writer, a)  # 6
    remove_agent(log.writer, a)  # 7
    changed = Agent("b", description="new")
    add_agents(log.writer, [changed, a])  # 8, 9
    assert ask(log, catalog_version) == 9
    history = [("b", "active", 0), ("a", "active", 0), ("c", "active", 0), ("a", "active", 1), ("b", "active", 1)]
    history += [("a", "removed", 0), ("a", "removed", 0), ("b", "active", 0), ("a", "active", 0)]
    expected = [(seq, *row, NOW) for seq, row in enumerate(history, 1)]
    assert log.query("SELECT seq, name, status, fresh, at FROM agents ORDER BY seq") == expected
    found = ask(log, read_agents)
    assert list(found.items()) == [("b", ("active", changed)), ("a", ("active", a)), ("c", ("active", c))]
    remove_agent(log.writer, c)
    assert ask(log, read_agents)["c"] == ("removed", c)
    log.decide()
    assert log.query("SELECT seq FROM decisions ORDER BY seq") == [(11,)]


def test_a_record_is_spelt_one_way(log):
    add_agents(log.writer, [Agent("a", capabilities={"z", "y", "x"}, metadata={"q": 1, "p": 2})])
    ((record,),) = log.query("SELECT record FROM agents")
    assert '"capabilities": ["x", "y", "z"]' in record
    assert '"metadata": {"p": 2, "q": 1}' in record
    add_agents(log.writer, [Agent("a", capabilities=["x", "z", "y"], metadata={"p": 2, "q": 1})])
    assert ask(log, catalog_version) == 1


# -- outcomes joined


@pytest.mark.parametrize(("success", "fits"), [(0, 1), (1, 0), (None, None)])
def test_signals_are_what_the_columns_say(success, fits):
    found = signals_of((success, 0.5, -0.5, "b", fits, 1.5, 2.5, 3, '{"f1": 0.5}', "c"))
    truth = {0: False, 1: True, None: None}
    assert found == Signals(truth[success], 0.5, -0.5, "b", truth[fits], 1.5, 2.5, 3, {"f1": 0.5}, "c")
    assert (found.success, found.no_agent_fits) == (truth[success], truth[fits])
    assert found.success is truth[success]
    assert found.no_agent_fits is truth[fits]
    assert signals_of((None,) * len(SIGNAL_COLUMNS.split(", "))) == NOTHING


def test_parts_that_take_effect_together_are_one_revision():
    good, slow, bad = Signals(success=True), Signals(latency_ms=5.0), Signals(success=False)
    parts = [Part(2, 1.0, good), Part(2, 2.0, slow), Part(3, 3.0, good), Part(4, 4.0, bad), Part(4, 5.0, bad)]
    both, last = Signals(success=True, latency_ms=5.0), Signals(success=False, latency_ms=5.0)
    told = [Revision(0, 2, 2.0, 1.0, both, None), Revision(1, 4, 5.0, 1.0, last, both)]
    assert list(Joined().revisions(parts)) == told
    joined = Joined()
    assert [*joined.revisions(parts[:2]), *joined.revisions(parts[2:])] == told
    assert list(Joined().revisions([])) == []
    assert list(Joined().revisions(parts[:1])) == [Revision(0, 2, 1.0, 1.0, good, None)]
