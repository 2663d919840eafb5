"""Killed at any step of what takes several: whoever comes next finishes it, and nothing is lost, doubled or left over.

By default at some of the steps, with ``--reliability`` at each.
"""

import json

import pytest
from killable import KilledError, Living, bytes_beside, champions, logged

from router_sdk.errors import RouterError

CHAIN = ["words", ("thompson", {"fourier_features": 8})]
"""With few features: a start with the usual 192 takes a third of a second to look whether they can be."""
SECRET, OTHER = "xylophone", "harmless"


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "router.db"


class Scene:
    """A store with some history, and what is known of it."""

    def __init__(self, store, tmp_path):
        self.store, self.tmp_path = store, tmp_path
        self.living = Living(store, CHAIN)
        self.kills = 0  # each may hit between an outcome's commit and its acknowledgement
        for session, secret in (("mrs-zebrawood", SECRET), ("another", OTHER)):
            for part in range(8):
                self.living.tell("record", f"{session}-{part}", secret, 3, part)
        self.living.tell("fit", "words")
        self.living.tell("export", str(store.parent / "export.jsonl"))
        self.living.tell("snapshot")
        lines = [{"text": f"imported {n}", "label": "sales"} for n in range(150)]
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def order(self, name):
        """What is done, and cut off."""
        return {
            "forget": ("forget", "mrs-zebrawood-0"),
            "archive": ("archive",),
            "bring": ("bring", str(self.tmp_path / "in.jsonl")),
            "fit": ("fit", "words"),
            "pretrain": ("pretrain", "words", "mrs-zebrawood-0", SECRET),
            "snapshot": ("snapshot",),
            "record": ("record", "more", OTHER, 4, 99),
            "rollback": ("rollback", "words"),
            "promote": ("promote", "words", 1),
        }[name]

    def restart(self):
        """Come next, finish, and look."""
        self.kills += 1
        acknowledged = self.living.acknowledged
        self.living = Living(self.store, CHAIN)
        self.living.acknowledged |= acknowledged
        return self.living.tell("settled")

    def check(self, settled, *, imported=(0,)):
        """All acknowledged is there once, what serves is what the log says, and what was forgotten is nowhere."""
        ids, acknowledged = logged(self.store), self.living.acknowledged.keys()
        assert acknowledged <= ids
        strangers = len(ids - acknowledged)
        assert any(0 <= strangers - brought <= self.kills for brought in imported), strangers
        assert settled["examples"] == settled["executions"] == len(ids)
        assert settled["broken"] == []
        assert settled["behind"] == {}
        assert {name: number for name, number in settled["serving"].items() if number} == {
            name: number for name, number in champions(self.store).items() if number
        }

    def left(self, secret):
        return sorted(
            str(path.relative_to(self.store.parent))
            for path, content in bytes_beside(self.store.parent)
            if secret.encode() in content
        )


LONG = [pytest.param(name, marks=pytest.mark.slow) for name in ("archive", "fit", "forget", "pretrain", "snapshot")]
ORDERS = ["bring", "record", "rollback", "promote", *LONG]


@pytest.mark.parametrize("name", ORDERS)
def test_cut_off_at_any_step_it_is_finished_by_who_comes_next(store, tmp_path, name, request):
    thorough = request.config.getoption("--reliability")
    scene = Scene(store, tmp_path)
    if name in ("rollback", "promote"):
        scene.living.tell("record", "one-more", OTHER, 2, 5)
        scene.living.tell("fit", "words")
    step = 1
    while True:
        if name == "snapshot":
            scene.living.tell("record", "more", OTHER, 1, step)
        try:
            told = scene.living.tell(*scene.order(name), kill_at=step)
        except KilledError:
            settled = scene.restart()
        else:
            went_back = name == "rollback" and not champions(store).get("words")  # cut off behind its last step
            assert went_back or not isinstance(told, RouterError), told
            break
        scene.check(settled, imported=[150 * n for n in range(scene.kills + 1)] if name == "bring" else (0,))
        if name == "forget":
            scene.living.tell("record", "mrs-zebrawood-0", SECRET, 2, step)  # to be forgotten again
        elif name == "fit":
            assert scene.living.tell("fit", "words")[0] in (
                "promoted",
                "refused",
            )  # nothing that was left is in its way
            scene.check(scene.living.tell("settled"))
            scene.living.tell("record", "more", OTHER, 1, step)
        step += 1 if thorough else max(2, step)
    assert scene.kills >= 2
    scene.living.tell("settled")
    if name == "bring":  # an import that was cut off once its intent was logged was finished, and this was another one
        assert len(logged(store) - scene.living.acknowledged.keys()) % 150 == 0
    scene.living.close()


@pytest.mark.slow
def test_a_forgotten_session_is_in_no_byte_wherever_erasure_was_cut_off(store, tmp_path, request):
    thorough = request.config.getoption("--reliability")
    scene = Scene(store, tmp_path)
    assert {"router.db-wal", "export.jsonl"} <= {path.rpartition("/")[2] for path in scene.left(SECRET)}
    scene.living.tell("pretrain", "words", "mrs-zebrawood-1", SECRET)
    scene.living.tell("archive")
    sessions = [f"mrs-zebrawood-{part}" for part in range(8)]
    step = 1
    for session in sessions:
        while True:
            try:
                scene.living.tell("forget", session, kill_at=step)
            except KilledError:
                scene.check(scene.restart())
                step += 1 if thorough else 7
                continue
            break
        step = step if not thorough else 1
    scene.check(scene.living.tell("settled"))
    assert scene.left(SECRET) == []
    for session in sessions:
        assert scene.left(session) == []
    assert scene.left(OTHER)  # the search finds what is there
    scene.living.close()
    assert scene.left(SECRET) == []
