"""Power loss: of everything written, only what was synced survives, and that holds every acknowledged outcome.

A small library, preloaded into the victim, keeps an image of the database and of its write-ahead log at each
``fsync``. The victim is this very file, run as a program.
"""

import os
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


@pytest.mark.slow
def test_what_was_acknowledged_was_synced(tmp_path) -> None:
    library = tmp_path / "synced_images.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, LIBRARY, "-ldl"], check=True)
    folder = tmp_path / "store"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LD_PRELOAD": str(library)},
    )
    with process:
        read = [process.stdout.readline() for _ in range(ACKNOWLEDGED)]
        process.kill()
        read += process.stdout.readlines()
    if not (folder / "preloaded.db.synced").exists():
        pytest.skip("the C library's fsync cannot be watched here")
    acknowledged = {line.strip() for line in read if line.endswith("\n")}

    after = tmp_path / "after the power loss.db"
    shutil.copy(folder / "router.db.synced", after)
    shutil.copy(folder / "router.db-wal.synced", f"{after}-wal")
    with closing(sqlite3.connect(after)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        joined = "SELECT decision_id FROM outcomes JOIN decisions USING (decision_id)"
        survived = {row[0] for row in connection.execute(joined)}
    assert len(acknowledged) >= ACKNOWLEDGED
    assert acknowledged <= survived


if __name__ == "__main__":
    victim(sys.argv[1])
