"""What the leader of all machines publishes: under its lease alone, nothing large, and nothing that was forgotten."""

import math
import shutil

import pytest

from router_sdk.engine import RenewedLease, Shelf
from router_sdk.errors import CorruptArtifactError
from router_sdk.store import Store
from router_sdk.store.leadership import Mark
from router_sdk.store.shared_leadership import LEADER, SharedLeadership


class Lease(RenewedLease):
    """One that is held under the number that it is given."""

    def __init__(self):
        self.number = 0

    @property
    def held(self):
        return self.number

    def seek(self):
        pass

    def release(self):
        self.number = 0


class FolderShelf(Shelf):
    """A folder that all machines reach."""

    def __init__(self, root):
        self._root = root

    def put(self, kind, name, folder):
        shutil.copytree(folder, self._root / kind / name)

    def fetch(self, kind, name, target):
        if (self._root / kind / name).is_dir():
            shutil.copytree(self._root / kind / name, target)
        return (self._root / kind / name).is_dir()

    def remove(self, kind, name):
        shutil.rmtree(self._root / kind / name, ignore_errors=True)

    def abandoned(self, kind, known, older_than_s=3_600.0):
        assert older_than_s == -math.inf
        return sorted(path.name for path in (self._root / kind).glob("*") if path.name not in known)


@pytest.fixture
def shelf(tmp_path):
    return FolderShelf(tmp_path / "shelf")


@pytest.fixture
def machines(tmp_path, shelf):
    """Two of them, on one log; nobody leads."""
    store = Store(tmp_path / "router.db")
    yield [
        SharedLeadership(Lease(), shelf, store.writer, store.reader, tmp_path / f"machine-{number}")
        for number in range(2)
    ]
    store.close()


def lead(machine, number):
    machine._lease.number = number
    assert machine.take()


def publish(machine, cursor, size=1):
    def fill(folder):
        (folder / "s").mkdir()
        (folder / "s" / "state").write_bytes(b"\x00" * size)

    machine.publish({"s": Mark(cursor, "mark")}, fill)


def newest(machine):
    machine._read_at = -math.inf
    return machine.newest()


def on(shelf):
    return shelf.abandoned(LEADER, (), -math.inf)


def test_who_follows_asks_once_and_fetches_what_the_leader_published(machines, shelf, tmp_path):
    leader, follower = machines
    lead(leader, 3)
    assert not follower.take()
    assert not follower.asked()
    follower.ask()
    leader._read_at = -math.inf
    assert leader.asked()
    publish(leader, 7)
    leader._read_at = -math.inf
    assert not leader.asked()
    told = newest(follower)
    assert told.marks == {"s": Mark(7, "mark")}
    (tmp_path / "fetched").mkdir()
    follower.fetch(told, tmp_path / "fetched")
    assert (tmp_path / "fetched" / "s" / "state").read_bytes() == b"\x00"
    publish(leader, 8)
    assert on(shelf) == [newest(leader).name]


def test_a_former_leader_that_wakes_publishes_nothing(machines, shelf):
    former, leader = machines
    lead(former, 3)
    former._lease.number = 0  # it knows that it fell silent, and nobody has published since
    publish(former, 5)
    assert (newest(former), on(shelf)) == (None, [])
    former._lease.number = 3  # it does not know it yet
    lead(leader, 4)
    publish(leader, 7)
    publish(former, 9)
    assert newest(former).marks == {"s": Mark(7, "mark")}
    assert on(shelf) == [newest(leader).name]


def test_what_was_forgotten_is_withdrawn_and_what_a_killed_leader_left_goes(machines, shelf, tmp_path):
    leader, other = machines
    lead(leader, 3)
    publish(leader, 7)
    told = newest(leader)
    assert other.withdraw(8, 0.0) == []
    assert (newest(leader), on(shelf)) == (None, [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorruptArtifactError):
        other.fetch(told, tmp_path / "empty")
    publish(leader, 9)
    (tmp_path / "half").mkdir()
    shelf.put(LEADER, "3-of-a-killed-one", tmp_path / "half")
    leader.close()
    lead(other, 5)
    assert on(shelf) == [newest(other).name]


def test_a_large_state_is_not_sent_about(machines, shelf, monkeypatch):
    monkeypatch.setattr("router_sdk.store.shared_leadership._LARGEST_BYTES", 10)
    leader, _ = machines
    lead(leader, 3)
    publish(leader, 7, size=11)
    assert (newest(leader), on(shelf)) == (None, [])
    lead(leader, 4)  # and with a new lease it is weighed again
    publish(leader, 8, size=10)
    assert newest(leader).marks == {"s": Mark(8, "mark")}
