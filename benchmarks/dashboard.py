"""What the service's page costs while it is open: the server's processor time with and without viewers, the browser's.

``python benchmarks/dashboard.py [--decisions 20000] [--seconds 20] [--viewers 3]``; Playwright and Chromium must be
there for the browser's part. Rounds without and with viewers alternate, at 10,000 decisions a minute, each with an
outcome, sent in batches so that the requests themselves cost little.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from router_sdk import Router

KINDS = {"refund": "billing", "security": "fraud", "technical": "tech", "sales": "sales"}
PER_MINUTE = 10_000
BATCH = 100
ROUNDS = 3
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
_TICK = os.sysconf("SC_CLK_TCK")


def task(rng: random.Random) -> dict[str, str]:
    """A task of a kind."""
    kind = rng.choice(list(KINDS))
    return {"text": f"{kind} {rng.randint(1, 999)}", "task_type": kind}


def outcome(rng: random.Random, kind: str, agent: str) -> dict[str, Any]:
    """What came of it."""
    right = KINDS[kind] == agent
    return {"success": rng.random() < (0.9 if right else 0.4), "latency_ms": rng.uniform(300, 900), "cost_usd": 0.004}


def fill(store: Path, count: int) -> None:
    """A store with so many decisions and outcomes."""
    rng = random.Random(1)
    with Router(store=store, strategies=["thompson"], seed=1) as router:
        for name in KINDS.values():
            router.add_agent(name)
        for _ in range(count // 500):
            tasks = [task(rng) for _ in range(500)]
            decisions = router.route_batch(tasks)
            reports = [
                (decision, outcome(rng, one["task_type"], str(decision.agent)), None)
                for decision, one in zip(decisions, tasks, strict=True)
            ]
            asyncio.run(router.arecord_batch(reports))


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """The service on a store, and its process."""
    log = folder / "serve.log"
    command = [sys.executable, "-c", "from router_sdk.cli import main; main()", "serve", "--port", "0", "--insecure"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=folder, stderr=stderr, env={**os.environ, "ROUTER_STRATEGIES": '["thompson"]'}
        )
    try:
        while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())) or not _ready(found[1]):
            time.sleep(0.1)
            if process.poll() is not None:
                sys.exit(log.read_text())
        yield found[1], process.pid
    finally:
        process.terminate()
        process.wait(60)


def _ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


@contextmanager
def loaded(address: str) -> Iterator[None]:
    """Decisions and outcomes, so many a minute."""
    ended = threading.Event()

    def send() -> None:
        rng = random.Random(2)
        due = time.monotonic()
        with httpx2.Client(base_url=address, timeout=60) as client:
            while not ended.is_set():
                tasks = [task(rng) for _ in range(BATCH)]
                made = client.post("/v1/route", json={"tasks": tasks}).json()["decisions"]
                reports = [
                    {"decision_id": one["decision_id"], "outcome": outcome(rng, of["task_type"], one["agent"])}
                    for one, of in zip(made, tasks, strict=True)
                ]
                client.post("/v1/outcomes", json={"outcomes": reports})
                due += 60.0 * BATCH / PER_MINUTE
                ended.wait(max(due - time.monotonic(), 0.0))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def listening(address: str, viewers: int) -> Iterator[None]:
    """So many who listen to the page's events."""
    ended = threading.Event()

    def listen() -> None:
        with httpx2.Client(timeout=60) as client, client.stream("GET", f"{address}/v1/overview/events") as told:
            for _ in told.iter_raw():
                if ended.is_set():
                    return

    for _ in range(viewers):
        threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def seconds_of(pid: int) -> float:
    """Processor time that a process has taken, with all below it."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        stats[int(path.parent.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICK)
    found, total = {pid}, 0.0
    for one in sorted(stats):  # who was started later has the higher number, mostly
        if one in found or stats[one][0] in found:
            found.add(one)
            total += stats[one][1]
    return total


def share(pid: int, seconds: float) -> float:
    """Of one processor, over a while."""
    before, begun = seconds_of(pid), time.monotonic()
    time.sleep(seconds)
    return (seconds_of(pid) - before) / (time.monotonic() - begun)


def browser_share(address: str, seconds: float) -> tuple[float, float, float] | None:
    """The browser's share with the page open and with an empty one, and the first paint in ms."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if CHROMIUM is None:
        return None
    with sync_playwright() as driver:
        shares = []
        paint = 0.0
        for path in ("about:blank", address):
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(path)
            if path == address:
                page.get_by_text("Live", exact=True).wait_for()
                paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            time.sleep(3)
            shares.append(share(os.getpid(), seconds))
            browser.close()
    return shares[1], shares[0], paint


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=20_000, help="in the log beforehand")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--viewers", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        fill(folder / "router.db", asked.decisions)
        with served(folder) as (address, pid), loaded(address):
            time.sleep(3)
            measure: Callable[[], float] = lambda: share(pid, asked.seconds)  # noqa: E731
            without, watched = [], []
            for _ in range(ROUNDS):
                without.append(measure())
                with listening(address, asked.viewers):
                    time.sleep(3)  # the first look reads what there is
                    watched.append(measure())
            gaps = [with_them - alone for with_them, alone in zip(watched, without, strict=True)]
            print(f"server, {PER_MINUTE:,} decisions a minute, {asked.decisions:,} before:")
            print(f"  without viewers {statistics.median(without):.1%} of a core ({_spread(without)})")
            print(f"  with {asked.viewers}        {statistics.median(watched):.1%} ({_spread(watched)})")
            print(f"  the page        {statistics.median(gaps):+.1%} ({_spread(gaps)}); goal 2 %")
            found = browser_share(address, asked.seconds)
            if found is None:
                print("browser: Playwright or Chromium is not installed")
            else:
                page, empty, paint = found
                print(f"browser: {page - empty:.1%} of a core (page {page:.1%}, empty {empty:.1%}); goal 5 %")
                print(f"first paint {paint:.0f} ms; goal 1,000")


def _spread(values: list[float]) -> str:
    return f"{min(values):.1%} to {max(values):.1%}"


if __name__ == "__main__":
    main()
