"""PostgreSQL crashes under load, and so do writers: what was acknowledged is there, and nothing is there twice."""

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from router_sdk.store import Store

pytestmark = [pytest.mark.services, pytest.mark.reliability]

ROUNDS, LASTS_S = 50, 0.3
PROGRAM = """
import sys, threading, time
from router_sdk import Outcome
from router_sdk.errors import StoreUnavailableError
from router_sdk.store import Store
url, decision_id, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store(url, timeout_s=60.0)
print("ready", flush=True)
lock = threading.Lock()
def record(caller):
    number = first + caller * 1_000_000
    while True:
        outcome = Outcome(tokens=number)
        try:
            store.writer.append([store.entry(f"{number % 997:032x}", outcome, outcome.signals())])
        except StoreUnavailableError as error:
            with lock:
                print("refused", number, error, flush=True)
            time.sleep(0.05)
        else:
            with lock:
                print("there", number, flush=True)
        number += 1
for caller in range(8):
    threading.Thread(target=record, args=(caller,), daemon=True).start()
time.sleep(600)
"""


class Writer:
    """A process that records, and what it was told is on disk."""

    def __init__(self, url, number):
        command = [sys.executable, "-c", PROGRAM, url, "0" * 32, str(number * 10_000_000)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n"
        self.there, self.refused = [], []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self):
        for line in self._process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if not line.endswith("\n"):
                break
            (self.there if word == "there" else self.refused).append(int(rest.split()[0]))

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._thread.join()
        self._process.stdout.close()


def test_nothing_is_lost_or_written_twice(cluster, tmp_path):
    draw = random.Random(5)
    url = f"{cluster.url}&folder={tmp_path}/artifacts"
    Store(url).close()
    writers, ended = [Writer(url, number) for number in range(2)], []
    try:
        for number in range(2, 2 + ROUNDS):
            time.sleep(LASTS_S * draw.random())
            if draw.random() < 0.5:
                cluster.crash()
                time.sleep(0.1 * draw.random())
                cluster.start()
            else:
                victim = writers.pop(draw.randrange(2))
                victim.kill()
                ended.append(victim)
                writers.append(Writer(url, number))
        before = [len(writer.there) for writer in writers]
        deadline = time.monotonic() + 60.0
        while any(len(writer.there) <= count for writer, count in zip(writers, before, strict=True)):
            assert time.monotonic() < deadline, "who was left does not go on"
            time.sleep(0.05)
    finally:
        for writer in writers:
            writer.kill()
    with contextlib.closing(Store(url)) as store:
        rows = store.reader.query(lambda connection: connection.execute("SELECT seq, tokens FROM outcomes").fetchall())
    counts = Counter(tokens for _, tokens in rows)
    told = {number for writer in ended + writers for number in writer.there}
    assert len(told) > 20 * ROUNDS
    assert told - counts.keys() == set()
    assert [number for number, count in counts.items() if count > 1] == []
    assert sorted(seq for seq, _ in rows) == list(range(1, len(rows) + 1))
    refused = {number for writer in ended + writers for number in writer.refused}
    assert refused & counts.keys() == set(), "what was refused is there"
