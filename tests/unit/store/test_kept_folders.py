import errno
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from router_sdk.store import snapshots as kept_folders
from router_sdk.store.snapshots import KeptFolder, KeptFolders, link_folder

fcntl = pytest.importorskip("fcntl")

HOLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_SH)
print("held", flush=True)
input()
"""


@pytest.fixture
def parts(tmp_path):
    return KeptFolders(tmp_path / "store")


@pytest.fixture
def source(tmp_path):
    return folder(tmp_path / "source")


def folder(path, **files):
    (path / "inner").mkdir(parents=True)
    for name, text in {"a": "first", "inner/b": "second", **files}.items():
        (path / name).write_text(text)
    return path


def standing(parts):
    return sorted(path.name for path in parts._folder.iterdir())


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@contextmanager
def locked(path, kind):
    """As another process holds a folder: locks belong to what was opened, not to who opened it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


# -- links


def test_a_folder_is_filled_with_links_to_every_file(source, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    link_folder(source, target)
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*")) == ["a", "inner", "inner/b"]
    for name in ("a", "inner/b"):
        assert (target / name).samefile(source / name)
    link_folder(source, tmp_path / "made" / "for it")
    assert (source / "a").stat().st_nlink == 3


def test_where_there_are_no_links_there_are_copies(source, tmp_path, monkeypatch):
    def link(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    link_folder(source, tmp_path / "target")
    assert (tmp_path / "target" / "inner" / "b").read_text() == "second"
    assert not (tmp_path / "target" / "a").samefile(source / "a")


# -- keeping


def test_what_is_kept_stands_under_the_digest_of_its_content(parts, source, tmp_path):
    held = parts.keep(source)
    digests = {"a": hashlib.sha256(b"first"), "inner/b": hashlib.sha256(b"second")}
    whole = "".join(f"{name}\0{digest.hexdigest()}\n" for name, digest in digests.items())
    name = hashlib.sha256(whole.encode()).hexdigest()[:32]
    assert held.path == tmp_path / "store" / "parts" / name
    assert os.fspath(held) == str(held.path)
    assert standing(parts) == [name]
    assert (held.path / "a").samefile(source / "a")
    assert (held.path / "inner" / "b").samefile(source / "inner" / "b")
    assert held.path.parent.stat().st_mode & 0o777 == 0o700


def test_equal_content_is_kept_once_and_other_content_elsewhere(parts, source, tmp_path):
    other = tmp_path / "other"
    folder(other / "equal")
    folder(other / "changed", a="First")
    folder(other / "named", c="")
    first = parts.keep(source)
    second = parts.keep(other / "equal")
    others = [parts.keep(other / "changed"), parts.keep(other / "named")]
    assert first.path == second.path
    assert (second.path / "a").samefile(source / "a")
    assert (other / "equal" / "a").stat().st_nlink == 1
    assert len({first.path, *(one.path for one in others)}) == len(standing(parts)) == 3


def test_what_is_kept_outlasts_the_folder_it_came_from(parts, source):
    held = parts.keep(source)
    shutil.rmtree(source)
    parts.sweep()
    assert (held.path / "inner" / "b").read_text() == "second"


def test_a_place_that_is_there_is_taken_as_it_is(parts, source, monkeypatch):
    place = parts.keep(source).path
    monkeypatch.setattr(kept_folders, "link_folder", None)
    assert parts.keep(source).path == place


@pytest.mark.parametrize("number", [None, errno.EEXIST, errno.ENOTEMPTY])
def test_somebody_who_was_faster_is_as_good(parts, source, monkeypatch, number):
    def link(source, draft):
        assert draft.name.startswith(".draft-")
        assert draft.parent == parts._folder
        link_folder(source, draft)
        shutil.copytree(source, parts._folder / kept_folders._digest(source))
        if number is not None:
            raise OSError(number, "there is one")

    monkeypatch.setattr(kept_folders, "link_folder", link)
    held = parts.keep(source)
    assert standing(parts) == [held.path.name]
    assert not (held.path / "a").samefile(source / "a")


def test_what_cannot_be_kept_leaves_no_draft(parts, source, monkeypatch):
    def link(source, draft):
        (draft / "half").touch()
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(kept_folders, "link_folder", link)
    with pytest.raises(OSError, match="full"):
        parts.keep(source)
    assert standing(parts) == []


# -- what happens between finding a place and holding it


def test_a_place_that_goes_before_it_is_held_is_made_again(parts, source, monkeypatch):
    place, calls = parts._place, []

    def going(source, name):
        found = place(source, name)
        calls.append(name)
        if len(calls) < 3:
            shutil.rmtree(found)
        return found

    monkeypatch.setattr(parts, "_place", going)
    held = parts.keep(source)
    assert len(calls) == 3
    assert (held.path / "a").read_text() == "first"


@pytest.mark.parametrize("replaced", [False, True])
def test_a_place_that_is_renamed_before_it_is_locked_is_not_held(parts, source, monkeypatch, replaced):
    place = parts.keep(source).path
    opened, flock = [], fcntl.flock

    def late(descriptor, kind):
        opened.append(descriptor)
        place.rename(place.with_name("away"))
        if replaced:
            place.mkdir()
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    assert KeptFolders._hold(place) is None
    assert len(opened) == 1
    assert not is_open(opened[0])


# -- how long


def test_a_place_is_swept_once_nobody_holds_it(parts, source):
    first, second = parts.keep(source), parts.keep(source)
    place = first.path
    first.release()
    first.release()
    parts.sweep()
    assert place.is_dir()
    second.release()
    assert place.is_dir()
    parts.sweep()
    assert standing(parts) == []
    assert (source / "a").read_text() == "first"
    assert parts.keep(source).path == place


def test_who_is_forgotten_holds_nothing(parts, source):
    held = parts.keep(source)
    descriptor = held._descriptor
    assert is_open(descriptor)
    del held
    assert not is_open(descriptor)
    parts.sweep()
    assert standing(parts) == []


def test_releasing_closes_once(tmp_path, monkeypatch):
    closed = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", closed.append)
        for descriptor in (0, 1, 7):
            held = KeptFolder(tmp_path, descriptor)
            held.release()
            held.release()
            del held
        for nothing in (KeptFolder(tmp_path), KeptFolder(tmp_path, -1)):
            nothing.release()
        del nothing
    assert closed == [0, 1, 7]


def test_one_is_swept_and_another_that_serves_stays(parts, source, tmp_path):
    names = ["one", "two", "three"]
    held = {name: parts.keep(folder(tmp_path / name, a=name)) for name in names}
    for name in ("one", "three"):
        held[name].release()
    parts.sweep()
    assert standing(parts) == [held["two"].path.name]
    assert (held["two"].path / "a").read_text() == "two"


def test_many_may_hold_a_place_and_its_holder_keeps_a_sweep_out(parts, source):
    held = parts.keep(source)
    with locked(held.path, fcntl.LOCK_SH):
        pass
    with pytest.raises(BlockingIOError), locked(held.path, fcntl.LOCK_EX):
        pass
    held.release()
    with locked(held.path, fcntl.LOCK_EX):
        pass


@pytest.mark.parametrize("kind", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_what_another_process_holds_is_left(parts, source, kind):
    held = parts.keep(source)
    held.release()
    with locked(held.path, kind):
        parts.sweep()
        assert standing(parts) == [held.path.name]
    parts.sweep()
    assert standing(parts) == []


def test_a_killed_process_holds_nothing(parts, source):
    held = parts.keep(source)
    command = [sys.executable, "-S", "-c", HOLDER, str(held.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        held.release()
        parts.sweep()
        assert standing(parts) == [held.path.name]
        process.kill()
        process.wait()
    parts.sweep()
    assert standing(parts) == []


# -- sweeping


def test_where_nothing_was_ever_kept_nothing_is_swept_or_made(parts, tmp_path):
    parts.sweep()
    assert list(tmp_path.iterdir()) == []


def test_what_is_being_written_is_not_swept(parts, source):
    parts.keep(source).release()
    (parts._folder / ".draft-mine").mkdir()
    (parts._folder / ".draft-of-a-process-that-was-killed").mkdir()
    os.utime(parts._folder / ".draft-of-a-process-that-was-killed", (0, 0))
    (parts._folder / "0").mkdir()
    parts.sweep()
    assert standing(parts) == [".draft-mine"]


def test_a_place_is_renamed_before_it_is_emptied_and_let_go_of_then(parts, source, monkeypatch):
    place = parts.keep(source).path
    seen, flock = [], fcntl.flock

    def locking(descriptor, kind):
        seen.append((descriptor, kind))
        flock(descriptor, kind)

    def emptying(doomed, ignore_errors):
        assert (doomed / "inner" / "b").read_text() == "second"
        assert is_open(seen[0][0])
        seen.append((doomed.name, ignore_errors, place.exists()))

    monkeypatch.setattr(fcntl, "flock", locking)
    monkeypatch.setattr(shutil, "rmtree", emptying)
    parts.sweep()
    assert seen[0][1] == fcntl.LOCK_EX | fcntl.LOCK_NB
    assert seen[1:] == [(f".draft-{place.name}-{os.getpid()}", True, False)]
    assert not is_open(seen[0][0])


def test_a_sweep_that_finds_it_held_lets_go_of_it(parts, source, monkeypatch):
    held = parts.keep(source)
    opened, flock = [], fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, kind: opened.append(descriptor) or flock(descriptor, kind))
    parts.sweep()
    assert len(opened) == 1
    assert not is_open(opened[0])
    assert held.path.is_dir()


def test_what_goes_meanwhile_keeps_nobody_from_the_rest(parts, source, monkeypatch):
    place = parts.keep(source).path
    ghost = parts._folder / "ghost"
    monkeypatch.setattr(type(place), "iterdir", lambda folder: iter([ghost, place]))
    parts.sweep()
    assert not place.exists()
