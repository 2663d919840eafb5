import json
from itertools import pairwise

import pytest

from router_sdk.errors import CorruptArtifactError, StoreUnavailableError
from router_sdk.store.artifacts import MANIFEST, check_artifact, write_artifact
from router_sdk.store.snapshots import fingerprint


def fill(text):
    return lambda folder: (folder / "state.json").write_text(json.dumps(text)) and None


def restored(log, mark="m"):
    found = []
    cursor = log.store.snapshots.restore(
        "s", lambda cursor: mark, lambda folder: found.append(json.loads((folder / "state.json").read_text()))
    )
    return cursor, found[-1:] and found[-1]


def test_the_newest_snapshot_of_the_same_fingerprint_is_found(log):
    assert restored(log) == (0, [])
    log.store.snapshots.save("s", "m", 5, fill("five"))
    log.store.snapshots.save("s", "m", 9, fill("nine"))
    assert restored(log) == (9, "nine")
    assert restored(log, "other") == (0, [])
    log.store.snapshots.save("s", "m", 12, fill("twelve"))
    assert restored(log) == (12, "twelve")


def test_what_must_be_of_another_fingerprint_there_is_passed_over(log):
    for cursor, mark in ((5, "m"), (9, "n"), (12, "m")):
        log.store.snapshots.save("s", mark, cursor, fill(cursor))
    found = []

    def restored(mark, **options):
        return log.store.snapshots.restore("s", mark, found.append, **options)

    assert restored(lambda cursor: "m" if cursor < 10 else "n") == 5
    assert restored(lambda cursor: "n") == 9
    assert restored(lambda cursor: "m", oldest=True) == 5
    assert restored(lambda cursor: "m", after=5, oldest=True) == 12
    assert restored(lambda cursor: "m" if cursor < 10 else "n", after=5) == 0


@pytest.mark.parametrize(("step", "count"), [(1, 400), (512, 400), (3, 40), (0, 20)])
def test_older_snapshots_are_kept_at_growing_distances(log, step, count):
    cursors = [1 + step * number for number in range(count)]
    for cursor in cursors:
        log.store.snapshots.save("s", "m", cursor, lambda folder: None)
    rows = log.query("SELECT cursor FROM snapshots ORDER BY id")
    kept = [cursor for (cursor,) in rows]
    assert len(kept) == len(list((log.store.folder / "snapshots").iterdir())) == 8
    assert (kept[0], kept[-2:]) == (cursors[0], cursors[-2:])
    if step:
        distances = [(cursors[-1] - cursor) / step for cursor in kept[:-1]]
        assert max(far / near for far, near in pairwise(distances)) < 6, distances


@pytest.mark.parametrize("damage", ["change", "truncate", "remove", "add", "manifest"])
def test_a_damaged_snapshot_is_passed_over_for_an_older_one(log, damage, caplog):
    log.store.snapshots.save("s", "m", 5, fill("five"))
    log.store.snapshots.save("s", "m", 9, fill("nine"))
    (newest,) = (log.store.folder / "snapshots").glob("s-9-*")
    state = newest / "state.json"
    {
        "change": lambda: state.write_text('"none"'),
        "truncate": lambda: state.write_text(""),
        "remove": state.unlink,
        "add": lambda: (newest / "extra").touch(),
        "manifest": lambda: (newest / MANIFEST).write_text("{"),
    }[damage]()
    assert restored(log) == (5, "five")
    assert "trying an older one" in caplog.text


def test_a_state_that_cannot_be_read_is_passed_over(log, caplog):
    log.store.snapshots.save("s", "m", 5, lambda folder: (folder / "state.json").write_text("[1]") and None)

    def load(folder):
        raise CorruptArtifactError("not a mapping")

    assert log.store.snapshots.restore("s", lambda cursor: "m", load) == 0


def test_an_artifact_is_there_whole_or_not_at_all(tmp_path):
    def breaks(folder):
        (folder / "half").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_artifact(tmp_path / "models" / "one", breaks)
    assert list((tmp_path / "models").iterdir()) == []
    write_artifact(tmp_path / "models" / "one", fill("x"))
    check_artifact(tmp_path / "models" / "one")
    with pytest.raises(StoreUnavailableError, match="one"):
        write_artifact(tmp_path / "models" / "one", fill("y"))
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["one"]


def test_discarding_leaves_none(log):
    log.store.snapshots.save("s", "m", 5, fill("five"))
    log.store.snapshots.discard(log.store.snapshots.before(6))
    assert restored(log) == (0, [])
    log.store.snapshots.save("s", "m", 6, fill("six"))
    assert restored(log) == (6, "six")


def test_a_fingerprint_keeps_its_parts_apart():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint("a", "b") == fingerprint("a", "b")


def test_an_artifact_may_hold_a_folder_with_a_manifest_of_its_own(tmp_path):
    def nested(folder):
        write_artifact(folder / "encoder", fill("inner"))

    write_artifact(tmp_path / "version", nested)
    check_artifact(tmp_path / "version")
    (tmp_path / "version" / "encoder" / MANIFEST).write_text("{}")
    with pytest.raises(CorruptArtifactError, match=r"encoder/manifest\.json"):
        check_artifact(tmp_path / "version")
