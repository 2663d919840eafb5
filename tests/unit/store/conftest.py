import threading
import time
from contextlib import contextmanager

import pytest

from router_sdk import Agent, Decision, Outcome, OutcomeReward, Task
from router_sdk.records import AgentSet
from router_sdk.routing.sampling import uniform
from router_sdk.store import Store
from router_sdk.store.coordination import finish_intent, pending_intents
from router_sdk.store.erasure import empty_write_ahead_log, erase_session
from router_sdk.store.identity import new_id
from router_sdk.store.retention import begin_archive, go_on_archiving
from router_sdk.store.rows import Entry

AGENTS = AgentSet([Agent("a"), Agent("b")])


class Log:
    """A store with short words for what tests do to it."""

    def __init__(self, path, **options):
        self.path = path
        self.store = Store(path, **options)
        self.writer = self.store.writer
        self.tail = self.store.tail(OutcomeReward())

    def decision(self, agent="a", task=None, agents=AGENTS, at=None):
        moment = time.time() if at is None else at
        return Decision(new_id(moment), agent, task or Task("x"), moment, 0.5, False, uniform(agents))

    def decide(self, decision=None, **fields):
        decision = decision or self.decision(**fields)
        self.writer.append([Entry(decision=decision)])
        return decision

    def entry(self, decision, outcome_id=None, carried=None, **fields):
        outcome = Outcome(**fields)
        return self.store.entry(
            decision.decision_id, outcome, outcome.signals(), outcome_id=outcome_id, decision=carried
        )

    def tell(self, decision, outcome_id=None, **fields):
        self.writer.append([self.entry(decision, outcome_id, **fields)])

    def forget(self, session):
        """Erase a session from the log's files; the ids of its decisions."""
        intent, erasure = erase_session(self.writer, session, self.store.privacy)
        empty_write_ahead_log(self.writer)
        self.writer.transact(lambda connection, seq: finish_intent(connection, intent))
        return list(erasure.decisions)

    def archive(self, before, cursor):
        """Move decisions made before a time, that stand before a position, to a file."""
        number = begin_archive(self.writer, before, cursor)
        (intent,) = (one for one in self.store.reader.query(pending_intents) if one.number == number)
        return go_on_archiving(self.writer, self.store.engine, intent)

    @contextmanager
    def held(self):
        """While the writer's thread stands still: another one holds what it needs."""
        holding, go_on = threading.Event(), threading.Event()

        def hold():
            with self.writer._busy:
                self.writer._at_work = True
                holding.set()
                go_on.wait()
                self.writer._at_work = False

        thread = threading.Thread(target=hold)
        thread.start()
        holding.wait()
        try:
            yield
        finally:
            go_on.set()
            thread.join()

    def lessons(self, steps=(), most=10_000):
        """All revisions, read in pieces that end at ``steps`` and hold at most ``most`` positions."""
        found, cursor = [], 0
        for head in [*steps, self.tail.head()]:
            while cursor < head:
                batch = self.tail.read(cursor, head, most)
                found += [(e.decision_id, e.seq, e.revision, e.reward, e.previous_reward) for e in batch.examples]
                cursor = batch.upto
        return found

    def query(self, text):
        return self.store.reader.query(lambda connection: connection.execute(text).fetchall())

    def bytes(self):
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        return b"".join(file.read_bytes() for file in files if file.exists())

    def close(self):
        self.tail.close()
        self.store.close()


@pytest.fixture
def open_log(store_path):
    opened = []

    def make(path=store_path, **options):
        opened.append(Log(path, **options))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


@pytest.fixture
def log(open_log):
    return open_log()
