"""Power loss: of everything written, only what was synced survives, and that holds every acknowledged outcome.

A small library, preloaded into the victim, keeps an image of the database and of its write-ahead log at each
``fsync``. The victim is this very file, run as a program.
"""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from router_sdk import Outcome, Router

LIBRARY = Path(__file__).with_name("synced_images.c")
COMPILER = shutil.which("cc")
ACKNOWLEDGED = 400

pytestmark = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and COMPILER), reason="needs a C compiler and LD_PRELOAD"
)


def victim(folder: str) -> None:
    """Route and record until killed; one line to stdout for each acknowledged outcome."""
    with (Path(folder) / "preloaded.db").open("wb") as file:
        os.fsync(file.fileno())  # its image shows that the library is at work
    router = Router(agents=["billing", "fraud"], strategies=["thompson"], store=Path(folder) / "router.db", seed=0)

    def call() -> None:
        for turn in count():
            decision = router.route(f"turn {turn}")
            router.record(decision, Outcome(success=True, response="x" * 2_000))
            os.write(sys.stdout.fileno(), f"{decision.decision_id}\n".encode())

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """What keeps the images."""
    made = tmp_path_factory.mktemp("library") / "synced_images.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", made, LIBRARY, "-ldl"], check=True)
    return made


def lose_power(library: Path, folder: Path, after: int) -> set[str]:
    """Route and record there until the power goes after so many outcomes; which ones were acknowledged."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LD_PRELOAD": str(library)},
    )
    with process:
        read = [process.stdout.readline() for _ in range(after)]
        process.kill()
        read += process.stdout.readlines()
    if not (folder / "preloaded.db.synced").exists():
        pytest.skip("the C library's fsync cannot be watched here")
    return {line.strip() for line in read if line.endswith("\n")}


def left_by(folder: Path, place: Path) -> Path:
    """The store as it is found once the power is back, in a folder of its own, where it may be lost again."""
    place.mkdir()
    for name in ("router.db", "router.db-wal"):
        image = folder / f"{name}.synced"
        if image.exists():
            shutil.copy(image, place / name)
            shutil.copy(image, place / f"{name}.synced")  # what is not written again is on disk
    return place


@pytest.mark.slow
def test_what_was_acknowledged_was_synced(library, tmp_path, request) -> None:
    """The power goes again and again under one store, at drawn moments; without ``--reliability`` once."""
    thorough, chance = request.config.getoption("--reliability"), random.Random(0)
    (folder := tmp_path / "store").mkdir()
    acknowledged: set[str] = set()
    for number in range(150 if thorough else 1):
        after = chance.randrange(1, ACKNOWLEDGED) if number else ACKNOWLEDGED
        told = lose_power(library, folder, after)
        assert len(told) >= after
        acknowledged |= told
        folder = left_by(folder, tmp_path / f"after loss {number}")
        shutil.copytree(folder, looked_at := tmp_path / "looked at", dirs_exist_ok=True)
        with closing(sqlite3.connect(looked_at / "router.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            joined = "SELECT decision_id FROM outcomes JOIN decisions USING (decision_id)"
            survived = {row[0] for row in connection.execute(joined)}
        shutil.rmtree(looked_at)
        assert acknowledged <= survived, f"loss {number} took {len(acknowledged - survived)} of them"
    with Router(agents=["billing", "fraud"], strategies=["thompson"], store=folder / "router.db") as router:
        router.flush()
        assert router.statistics()["total_examples"] == len(survived)


if __name__ == "__main__":
    victim(sys.argv[1])
