import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from router_sdk.errors import CorruptArtifactError, StoreUnavailableError
from router_sdk.private_files import write_private
from router_sdk.store import artifacts
from router_sdk.store.artifacts import (
    MANIFEST,
    check_artifact,
    entry,
    files_in,
    plain_name,
    read_state,
    remove,
    remove_strangers,
    set_aside,
    sha256,
    sync,
    write_artifact,
)

NOW = 1_000_000.0
MIB = 1 << 20


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return path.stat().st_mode & 0o777


def raising(error):
    raise error


def aged(path, seconds):
    os.utime(path, (NOW - seconds, NOW - seconds), follow_symlinks=False)
    return path


@pytest.fixture
def at_now(monkeypatch):
    monkeypatch.setattr(artifacts, "time", SimpleNamespace(time=lambda: NOW, time_ns=lambda: 77))


# -- names


@pytest.mark.parametrize("name", ["a", "0", "Z9", "thompson-12-0f", "a_b.c+d-e", "a..b", "aü", "a" * 201])
def test_a_plain_name_is_one(name, tmp_path):
    assert plain_name(name) == name
    assert entry(tmp_path, name) == tmp_path / name


ELSEWHERE = ["", ".", "..", ".a", "-a", "_a", "a.", "a/b", "/a", "a\\b", "a\n", "a b", "a:b", "ü"]


@pytest.mark.parametrize("name", [*ELSEWHERE, "a" * 202, None, 5, b"a", Path("a"), ["a"]])
def test_a_name_that_could_lead_elsewhere_leads_nowhere(name, tmp_path):
    with pytest.raises(CorruptArtifactError) as caught:
        entry(tmp_path, name)
    assert str(caught.value) == f"{repr(name)[:80]} is no name of a folder beside the store"


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_a_symbolic_link_leads_nowhere(target, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(CorruptArtifactError, match=r"^link is a symbolic link; nothing beside the store is one$"):
        entry(tmp_path, "link")


# -- files


def test_the_digest_of_a_large_file_is_remembered_while_it_looks_the_same(tmp_path):
    for size, remembered in ((MIB - 1, False), (MIB, True)):
        path = tmp_path / str(size)
        path.write_bytes(b"a" * size)
        before = sha256(path)
        assert before == hashlib.sha256(b"a" * size).hexdigest()
        state = path.stat()
        path.write_bytes(b"b" * size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        changed = hashlib.sha256(b"b" * size).hexdigest()
        assert sha256(path) == (before if remembered else changed)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
        assert sha256(path) == changed
    linked = tmp_path / "link"
    linked.hardlink_to(path)
    assert sha256(linked) == changed
    other = tmp_path / "other"
    other.write_bytes(b"c" * MIB)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    assert sha256(other) == hashlib.sha256(b"c" * MIB).hexdigest()


def test_files_are_found_in_order_and_folders_are_none(tmp_path):
    for name in ("b", "a/z", "a/b/c", "c/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in files_in(tmp_path)] == ["a/b/c", "a/z", "b", "c/d"]
    (tmp_path / "a" / "link").symlink_to("z")
    with pytest.raises(CorruptArtifactError, match=f"^{tmp_path.name}: link is a symbolic link$"):
        files_in(tmp_path)


@pytest.mark.parametrize("fails", [False, True])
def test_files_and_folders_are_pushed_to_the_disk_and_closed(tmp_path, monkeypatch, fails):
    (tmp_path / "file").touch()
    seen = []

    def fsync(descriptor):
        seen.append((descriptor, os.fstat(descriptor).st_ino))
        if fails:
            raise OSError("no disk")

    monkeypatch.setattr(os, "fsync", fsync)
    for path in (tmp_path / "file", tmp_path):
        if fails:
            with pytest.raises(OSError, match="no disk"):
                sync(path)
        else:
            sync(path)
        assert seen[-1][1] == path.stat().st_ino
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(seen[-1][0])
    assert len(seen) == 2


def test_a_private_file_is_its_owners_alone_and_replaces_another(tmp_path):
    path = tmp_path / "inner" / "deep" / "file"
    for text in ("first", "zweite ü"):
        write_private(path, text)
        assert path.read_text(encoding="utf-8") == text
        assert [mode(path), mode(path.parent), mode(path.parent.parent)] == [0o600, 0o700, 0o700]
        assert names(path.parent) == ["file"]


@pytest.mark.parametrize("trouble", ["text", "folder", "interrupt", "late interrupt"])
def test_a_private_file_that_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch, trouble):
    path, seen = tmp_path / "file", []
    replace = Path.replace

    def interrupted(draft, target):
        seen.append((draft.parent, draft.name[:7], draft.read_text(), mode(draft)))
        if trouble == "late interrupt":
            replace(draft, target)
        raise KeyboardInterrupt

    if trouble == "folder":
        path.mkdir()
        with pytest.raises(StoreUnavailableError, match=r"^file cannot be written: .*; try again later$"):
            write_private(path, "new")
    elif trouble == "text":
        path.write_text("old")
        with pytest.raises(UnicodeEncodeError):
            write_private(path, "\ud800")
        assert path.read_text() == "old"
    else:
        path.write_text("old")
        monkeypatch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_private(path, "new")
        assert seen == [(tmp_path, ".draft-", "new", 0o600)]
        assert path.read_text() == ("new" if trouble == "late interrupt" else "old")
    assert names(tmp_path) == ["file"]


# -- artefacts


def fill(folder):
    (folder / "a").write_text("first")
    (folder / "inner").mkdir()
    (folder / "inner" / "b").write_text("second")
    (folder / "a").chmod(0o664)
    (folder / "inner").chmod(0o775)


def test_an_artifact_is_sealed_and_on_disk_before_it_is_in_place(tmp_path, monkeypatch):
    folder, synced = tmp_path / "store" / "models" / "one", []

    def noting(path):
        synced.append((path.name, folder.exists()))
        sync(path)

    monkeypatch.setattr(artifacts, "sync", noting)
    drafts = []

    def filling(draft):
        drafts.append(draft)
        fill(draft)

    write_artifact(folder, filling)
    assert [(draft.parent, draft.name[:7]) for draft in drafts] == [(folder.parent, ".draft-")]
    draft = drafts[0].name
    assert synced == [("a", False), ("b", False), (MANIFEST, False), ("inner", False), (draft, False), ("models", True)]
    sums = {"a": hashlib.sha256(b"first").hexdigest(), "inner/b": hashlib.sha256(b"second").hexdigest()}
    assert (folder / MANIFEST).read_text() == json.dumps({"sha256": sums}, indent=1)
    assert [mode(folder / name) for name in ("a", "inner/b", MANIFEST)] == [0o600] * 3
    assert [mode(path) for path in (folder, folder / "inner", folder.parent, folder.parent.parent)] == [0o700] * 4
    assert names(folder.parent) == ["one"]
    check_artifact(folder)


def test_an_artifact_whose_filling_is_interrupted_leaves_nothing(tmp_path):
    for name, error in (("one", KeyboardInterrupt()), ("two", OSError(28, "full"))):
        with pytest.raises((KeyboardInterrupt, StoreUnavailableError)) as caught:
            write_artifact(tmp_path / name, lambda draft, error=error: fill(draft) or raising(error))
    assert str(caught.value) == "two cannot be written: full; try again later"
    assert names(tmp_path) == []


@pytest.fixture
def one(tmp_path):
    write_artifact(tmp_path / "one", fill)
    return tmp_path / "one"


def test_whatever_differs_from_the_manifest_is_named_in_order(one):
    (one / "extra").touch()
    (one / "inner" / "b").write_text("changed")
    with pytest.raises(CorruptArtifactError) as caught:
        check_artifact(one)
    assert str(caught.value) == "one: extra, inner/b do not match the manifest"
    (one / "extra").unlink()
    (one / "inner" / "b").write_text("second")
    check_artifact(one)
    (one / "a").unlink()
    with pytest.raises(CorruptArtifactError, match=r"^one: a do not match the manifest$"):
        check_artifact(one)


def test_a_long_list_of_what_differs_is_cut(one):
    wrong = [f"x{number:03}" for number in range(100)]
    for name in wrong:
        (one / name).touch()
    with pytest.raises(CorruptArtifactError) as caught:
        check_artifact(one)
    assert str(caught.value) == f"one: {', '.join(wrong)[:300]} do not match the manifest"


MANIFESTS = {
    "is none": None,
    "is a list": "[]",
    "is a number": "5",
    "names no sums": "{}",
    "names no files": '{"sha256": ["a", "inner/b"]}',
    "is cut off": '{"sha256": {',
    "is too deep": "[" * 100_000,
    "is no text": b"\xff",
}


@pytest.mark.parametrize("what", [*MANIFESTS, "is a folder", "is a link"])
def test_a_manifest_that_is_none_is_said_to_be(one, what):
    manifest = one / MANIFEST
    content = MANIFESTS.get(what, manifest.read_bytes())
    manifest.unlink()
    if what == "is a folder":
        manifest.mkdir()
    elif what == "is a link":
        (one.parent / "elsewhere").write_bytes(content)
        manifest.symlink_to(one.parent / "elsewhere")
    elif content is not None:
        manifest.write_bytes(content if isinstance(content, bytes) else content.encode())
    expected = "is a symbolic link" if what == "is a link" else r"the manifest cannot be read \(.*\)$"
    with pytest.raises(CorruptArtifactError, match=f"^one: .*{expected}"):
        check_artifact(one)


def test_a_manifest_is_read_up_to_16_mebibytes(one):
    with (one / MANIFEST).open("ab") as file:
        file.write(b" " * (16 * MIB - file.tell()))
        file.flush()
        check_artifact(one)
        file.write(b" ")
    with pytest.raises(CorruptArtifactError, match=r"there is none of a size to be read"):
        check_artifact(one)


def test_what_cannot_be_loaded_is_corrupt_whatever_it_raises(tmp_path):
    loaded = []
    read_state(tmp_path, loaded.append)
    assert loaded == [tmp_path]
    own = CorruptArtifactError("own words")
    with pytest.raises(CorruptArtifactError, match=r"^own words$"):
        read_state(tmp_path, lambda folder: raising(own))
    other = KeyError("x")
    with pytest.raises(CorruptArtifactError) as caught:
        read_state(tmp_path, lambda folder: raising(other))
    assert str(caught.value) == f"{tmp_path.name}: cannot be loaded: KeyError: 'x'"
    assert caught.value.__cause__ is other


# -- what goes


@pytest.mark.parametrize("earlier", [0, 8, 9, 10, 12])
def test_a_damaged_folder_is_set_aside_and_the_newest_ten_are_kept(one, tmp_path, at_now, caplog, earlier):
    aside = tmp_path / "damaged"
    for number in range(earlier):
        (aside / f"snapshots-x-{number + 9}" / "inner").mkdir(parents=True)  # two digits come after one
    aged(one, 5_000)  # when it was written says nothing of when it is set aside
    target = aside / f"{tmp_path.name}-one-77"
    set_aside(one, tmp_path)
    assert names(tmp_path) == ["damaged"]
    check_artifact(target)
    left = [f"snapshots-x-{number + 9}" for number in range(max(0, earlier - 9), earlier)]
    assert names(aside) == sorted([*left, target.name])
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, f"one is damaged, and was set aside as {target}")
    ]
    set_aside(one, tmp_path / "none")  # which is not there any more
    assert len(caplog.records) == 1
    assert not (tmp_path / "none").exists()


def test_setting_aside_passes_over_what_cannot_be_deleted(one, tmp_path, at_now):
    aside = tmp_path / "damaged"
    aside.mkdir()
    aged(one, 0)
    for number in range(10):
        (aside / f"x-{number}").mkdir()
    (aside / "file").touch()
    (aside / "link").symlink_to("nowhere")
    set_aside(one, tmp_path)
    assert names(aside) == ["file", "link", f"{tmp_path.name}-one-77", *(f"x-{number}" for number in range(1, 10))]


@pytest.mark.parametrize("trouble", ["no folder", "no rename"])
def test_what_cannot_be_set_aside_stays_and_is_said(one, tmp_path, monkeypatch, caplog, trouble):
    if trouble == "no folder":
        (tmp_path / "damaged").touch()
    else:
        monkeypatch.setattr(Path, "rename", lambda path, target: raising(OSError("full")))
    set_aside(one, tmp_path)
    check_artifact(one)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.records[0].getMessage().startswith("one is damaged and cannot be set aside: ")


def test_removing_takes_one_entry_and_nothing_elsewhere(one, tmp_path, caplog):
    (tmp_path / "outside").mkdir()
    (tmp_path / "models" / "two").mkdir(parents=True)
    (tmp_path / "models" / "link").symlink_to(tmp_path / "outside")
    remove(tmp_path / "models", "none")
    assert caplog.records == []
    for name in ("../outside", "link", None):
        remove(tmp_path / "models", name)
    assert [record.getMessage()[:20] for record in caplog.records] == ["nothing is deleted: "] * 3
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    remove(tmp_path / "models", "two")
    remove(tmp_path, "one")
    assert names(tmp_path) == ["models", "outside"]
    assert names(tmp_path / "models") == ["link"]


def test_strangers_go_after_an_hour(tmp_path, at_now):
    folder, outside = tmp_path / "models", tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    ages = {"known": 9_000, "young": 3_599.5, "hour": 3_600, "old": 3_600.5, ".draft-x": 9_000, ".draft-y": 1}
    for name, age in ages.items():
        (folder / name / "inner").mkdir(parents=True)
        aged(folder / name, age)
    (folder / "file").touch()
    aged(folder / "file", 9_000)
    (folder / "link").symlink_to(outside)
    aged(folder / "link", 9_000)
    gone = remove_strangers(folder, {"known", "young"})
    assert sorted(gone) == [".draft-x", "file", "link", "old"]
    assert names(folder) == [".draft-y", "hour", "known", "young"]
    assert names(outside) == ["inner"]
    assert remove_strangers(folder, ["known"]) == remove_strangers(tmp_path / "none", []) == []


def test_a_stranger_that_goes_meanwhile_keeps_nobody_from_the_rest(tmp_path, at_now, monkeypatch):
    aged(tmp_path, 9_000)
    (tmp_path / "old").mkdir()
    aged(tmp_path / "old", 9_000)
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([tmp_path / "ghost", tmp_path / "old"]))
    deleted = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors: deleted.append((path.name, ignore_errors)))
    assert remove_strangers(tmp_path, ()) == ["old"]
    assert deleted == [("old", True)]
