"""``forget``: not one byte of a session's words is left in any file, whoever else has the store open.

The other process is this very file, run as a program.
"""

import json
import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import forked_programs
import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.plugin import Proposal, Strategy, StrategyConfig
from router_sdk.testing import make_services

AGENTS = ("billing", "fraud", "sales")
SESSION = "session-of-mrs-zebrawood"
WORDS = {
    "text": "my quokka account was emptied",
    "feature": "axolotl tariff",
    "feature name": "numbat_balance",
    "metadata": "the pangolin branch",
    "response": "please call the okapi desk",
    "feedback": "worse than a blobfish",
    "error": "TapirError: no such customer",
    "session": SESSION,
}
LONG = "narwhal " * 4_000  # runs over many pages
ALL_WORDS = (*WORDS.values(), LONG[:16])


class Memory(Strategy):
    """Remembers the words of every example until it is told to forget, as a nearest-neighbour strategy does."""

    name = "memory"
    needs_text = True

    def __init__(self, tmp_path) -> None:
        super().__init__(StrategyConfig(), make_services(tmp_path / "services"))
        self.texts: dict[str, str] = {}

    def propose(self, task, agents, context):
        return Proposal({name: 1 / len(agents) for name in agents.names})

    def learn(self, examples) -> None:
        self.texts |= {example.decision_id: example.task.text for example in examples}

    def forget_examples(self, decision_ids) -> None:
        for decision_id in decision_ids:
            self.texts.pop(decision_id, None)

    def save(self, folder: Path) -> None:
        (folder / "texts.json").write_text(json.dumps(self.texts))

    def load(self, folder: Path) -> None:
        self.texts = json.loads((folder / "texts.json").read_text())


class Quoting(Strategy):
    """Quotes what it was given in its error messages, as a good many libraries do."""

    name = "quoting"

    def propose(self, task, agents, context):
        raise ValueError(f"cannot parse {task.text!r}")

    def learn(self, examples) -> None:
        raise ValueError(f"cannot learn {examples[0].task.text!r}")


def tell(router: Router, session: str = SESSION, text: str = WORDS["text"] + LONG) -> str:
    """Say every word of the session in the place where it belongs."""
    features = {"tariff": WORDS["feature"], WORDS["feature name"]: 12.5}
    task = Task(text, session_id=session, features=features, metadata={"branch": WORDS["metadata"]})
    decision = router.route(task)
    router.record(decision, Outcome(success=True, response=WORDS["response"] + LONG))
    router.record(decision, Outcome(feedback=-1.0, feedback_text=WORDS["feedback"]))
    router.record(decision.decision_id, Outcome(error=WORDS["error"]))
    return decision.decision_id


def files_of(path: Path) -> list[Path]:
    return [file for file in path.parent.rglob("*") if file.is_file()]


def left_in(path: Path, words=ALL_WORDS) -> set[tuple[str, str]]:
    """Which words still stand in which file."""
    raw = {file: file.read_bytes() for file in files_of(path)}
    return {(word, file.name) for word in words for file, content in raw.items() if word.encode() in content}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "router.db"


def hold_open(path: str) -> None:
    """Another process on the same store: it reads, routes and learns, and says ``ok`` after each line it is sent."""
    with Router(AGENTS, ["thompson"], path, batch_events=1) as router:
        for line in sys.stdin:
            if line.strip() == "work":
                router.record(router.route("unrelated"), Outcome(success=True))
                router.flush()
                router.snapshot()
                assert len(router.examples) > 0
            sys.stdout.write("ok\n")
            sys.stdout.flush()


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, str(path)]
    with forked_programs.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()
        assert process.wait(30) == 0


def ask(process: subprocess.Popen[str], what: str) -> None:
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ok\n"


def test_no_byte_of_a_forgotten_session_is_left_while_others_hold_the_store_open(tmp_path, path) -> None:
    with another_process(path) as other, Router(AGENTS, [Memory(tmp_path), "thompson"], path, batch_events=1) as router:
        mine = [tell(router) for _ in range(3)]
        kept = tell(router, "another-session", "a harmless question")
        router.snapshot()
        ask(other, "work")
        assert {word for word, _ in left_in(path)} == {*ALL_WORDS}  # the search finds what is there

        assert router.forget(SESSION) == 3
        gone = {WORDS["text"], SESSION}  # the other session said the other words too
        assert left_in(path, gone) == set()
        router.forget("another-session")
        assert left_in(path) == set()
        ask(other, "work")
        assert left_in(path) == set()

        decisions = [router.decision(decision_id) for decision_id in (*mine, kept)]
        assert [decision.task.text for decision in decisions] == [""] * 4
        router.flush()
        assert router.statistics()["total_examples"] == 6
    assert left_in(path) == set()


def test_numbers_and_labels_outlive_the_words(path) -> None:
    with Router(AGENTS, ["thompson"], path, batch_events=1) as router:
        tell(router)
        router.flush()
        before = router.agent_performance(), router.status()["strategies"][0]["agents"]
        router.forget(SESSION)
        assert (router.agent_performance(), router.status()["strategies"][0]["agents"]) == before
    with Router(AGENTS, ["thompson"], path) as reopened:
        assert reopened.agent_performance() == before[0]
        assert reopened.examples[-1].signals.feedback == -1.0


def test_words_in_dead_letters_go_too(tmp_path, path) -> None:
    rows = [
        {"text": WORDS["text"], "session_id": SESSION, "agent": "nobody-of-that-name", "success": True},
        {"text": WORDS["text"], "session_id": SESSION, "agent": "billing", "quality": WORDS["response"]},
        {"text": "kept for the other session", "session_id": "another-session", "agent": "nobody-of-that-name"},
    ]
    lines = [*map(json.dumps, rows), f'{{"session_id": "{SESSION}", "text": "{WORDS["feedback"]}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with Router(AGENTS, ["thompson"], path) as router:
        assert router.examples.import_from(tmp_path / "rows.jsonl").rejected == 4
        tell(router)
        router.forget(SESSION)
        assert left_in(path) == set()
        assert len(router.dead_letters()) == 4  # that there was something, and why it was refused, stays
        assert "another-session" in router.dead_letters()[1]["body"]


def test_words_that_a_faulty_strategy_quoted_go_too(tmp_path, path) -> None:
    quoting = Quoting(StrategyConfig(), make_services(tmp_path / "services"))
    with Router(AGENTS, [quoting, "thompson"], path, batch_events=1) as router:
        decision_id = tell(router, text=WORDS["text"])
        router.flush()
        assert router.decision(decision_id).skipped[0].strategy == "quoting"
        router.forget(SESSION)
        assert left_in(path) == set()
        assert router.decision(decision_id).skipped[0].strategy == "quoting"
        assert router.statistics()["failed_updates"] > 0


def test_another_process_s_memories_do_not_come_back_with_its_next_snapshot(tmp_path, path) -> None:
    with (
        Router(AGENTS, ["thompson"], path, batch_events=1) as router,
        Router(AGENTS, [Memory(tmp_path)], path, batch_events=1_000) as other,
    ):
        tell(router)
        other.flush()  # the other has learnt it, and will not look again for a long time
        router.forget(SESSION)
        other._parts.learner.snapshot()  # what its timer does every ``snapshot_seconds``
        assert left_in(path) == set()


def test_short_session_ids_leave_no_copies_where_the_index_was_rearranged(path) -> None:
    chance = random.Random(4)
    sessions = [f"s{chance.getrandbits(44):011x}" for _ in range(400)]
    told = [chance.choice(sessions) for _ in range(1_600)]
    with Router(AGENTS, ["thompson"], path) as router:
        router.observe_batch([(Task("a task", session_id=session), "billing", None) for session in told])
        router.forget("nobody")  # empties the write-ahead log
        raw, rows = path.read_bytes(), Counter(told)
        # A row and its place in the index make two; where there are more, SQLite left a copy behind.
        moved = [session for session in sessions if raw.count(session.encode()) > 2 * rows[session]]
        assert moved
        for session in moved:
            router.forget(session)
        assert left_in(path, moved) == set()


def test_a_reader_that_holds_old_pages_is_waited_for(path) -> None:
    def rows_with_text() -> int:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT count(*) FROM payloads WHERE text IS NOT NULL").fetchone()[0]

    with Router(AGENTS, ["thompson"], path) as router, closing(sqlite3.connect(path)) as reader:
        tell(router)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM payloads WHERE text IS NOT NULL").fetchone() == (1,)
        forgetting = threading.Thread(target=router.forget, args=(SESSION,))
        forgetting.start()
        while rows_with_text():
            assert forgetting.is_alive()
        assert left_in(path)  # the log still serves the reader
        reader.execute("ROLLBACK")
        forgetting.join(20)
        assert left_in(path) == set()
        assert router.forget(SESSION) == 0


if __name__ == "__main__":
    hold_open(sys.argv[1])
