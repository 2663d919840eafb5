"""Several processes on one store that fit at once: one version each time, and who comes too late changes nothing."""

import sqlite3
import time
from contextlib import closing
from itertools import pairwise

import pytest
from killable import LIMIT_S, Living, champions

INTERVAL = 30


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "router.db"


@pytest.fixture
def living(store):
    """Processes on the store that are closed at the end."""
    opened = []

    def make(**settings):
        opened.append(Living(store, ["words"], **settings))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def rounds(request):
    return 20 if request.config.getoption("--reliability") else 2


def agree(processes, store):
    """All serve the same version, which is the one that the log says."""
    settled = [one.tell("settled") for one in processes]
    serving = [one["serving"]["words"] for one in settled]
    assert len(set(serving)) == 1
    assert serving[0] == champions(store).get("words")
    assert [one["behind"] for one in settled] == [{}] * len(processes)


def test_two_processes_that_are_told_to_fit_at_once_make_one_version(store, living, tmp_path, rounds):
    processes = [living(), living()]
    for number in range(rounds):
        processes[number % 2].tell("record", f"session-{number}", "x", 10, number)
        asked = tmp_path / f"asked-{number}"
        asked.mkdir()
        for one in processes:  # whoever is first goes on once the other has asked as well
            one.begin("fit_when", "words", str(asked), len(processes))
        ends = [one.end_of() for one in processes]
        made = [version for *_, version in ends if version is not None]
        assert made == [number + 1]
        ((state, words, _),) = [end for end in ends if end[2] is None]
        assert state == "stopped"
        assert words in ("another process fits on this store", "another process has fitted this strategy meanwhile")
        agree(processes, store)
    assert len(processes[0].tell("fits", "words")) == rounds


@pytest.mark.slow
def test_triggers_in_two_processes_never_fit_from_the_same_examples(store, living, rounds):
    automatic = {"retrain": True, "retrain_interval": INTERVAL, "retrain_cooldown_seconds": 0.0}
    processes = [living(**automatic), living(**automatic)]
    for number in range(rounds):
        processes[0].begin("record", f"session-{number}", "x", INTERVAL // 2, 2 * number)
        processes[1].tell("record", f"other-{number}", "x", INTERVAL // 2, 2 * number + 1)
        processes[0].end_of()
        for one in processes:
            one.tell("idle")
    fits = processes[0].tell("fits", "words")
    assert rounds <= len(fits) <= rounds + rounds // 2  # late feedback makes a decision fresh again
    assert [version for *_, version in fits] == [1 + place for place in range(len(fits))]
    cursors = [0, *(cursor for _, cursor, _ in fits)]
    query = "SELECT count(DISTINCT decision_id) FROM outcomes WHERE seq > ? AND seq <= ?"
    with closing(sqlite3.connect(store)) as connection:
        for before, after in pairwise(cursors):
            # it was due by so many; of those that the other process had just recorded some are for the next
            assert connection.execute(query, (before, after)).fetchone()[0] >= INTERVAL // 2
    agree(processes, store)


@pytest.mark.slow
def test_who_has_lost_the_lock_cannot_promote(store, living, tmp_path):
    stale, fast = living(), living()
    stale.tell("record", "session", "x", 20, 1)
    stale.begin("promote_when", "words", str(tmp_path / "go on"))
    lock = store.with_name(store.name + ".artifacts") / "fit.lock"
    deadline = time.monotonic() + LIMIT_S
    while not (tmp_path / "go on-waits").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        assert fast.tell("fit", "words")[0] == "stopped"
        lock.unlink()  # somebody tidied up: now two processes believe that they are alone
        fast.tell("record", "another", "x", 20, 2)
        fast.tell("fit", "words")
        fast.tell("settled")
        served = champions(store)["words"]
        assert served is not None
    finally:
        (tmp_path / "go on").touch()
    state, words = stale.end_of()
    assert state == "held"
    assert "was changed while version" in words
    assert champions(store)["words"] == served
    agree([stale, fast], store)
