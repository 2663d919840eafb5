"""Visits to the page in Chromium: a service over a store with something of everything, and windows that look at it."""

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import pytest

from router_sdk import Router
from router_sdk.records import SCOPES

ROUTER = [sys.executable, "-c", "from router_sdk.cli import main; main()"]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
RIGHT = {"refund": "billing", "stolen": "fraud"}
NASTY = "<img src=x onerror=\"document.title='taken'\">" + "x" * 70
"""A name that is markup, and longer than any column."""
SECONDS = 1_000


def record_some(router, count):
    reports = []
    for i in range(count):
        word = ("refund", "stolen")[i % 2]
        decision = router.route({"text": f"{word} {i}", "task_type": word, "session_id": f"visit {i // 4}"})
        if i % 8 != 7:
            right = {"correct_agent": RIGHT[word]} if i % 3 == 0 else {"success": decision.agent == RIGHT[word]}
            reports.append((decision, {**right, "latency_ms": 100.0 + i, "cost_usd": 0.01}))
    with ThreadPoolExecutor(16) as threads:  # so that many share a commit
        list(threads.map(lambda report: router.record(*report), reports))
    router.flush()


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def ready(address):
    try:
        return httpx2.get(f"{address}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


@contextmanager
def served(folder, *options):
    """``router serve`` in a folder, and its address; ended as a supervisor ends it."""
    log = folder / "serve.log"
    with log.open("w") as stderr:
        process = subprocess.Popen([*ROUTER, "serve", "--port", "0", *options], cwd=folder, stderr=stderr)
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())) or not ready(found[1]):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield found[1]
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def place(tmp_path, words_installed, monkeypatch):
    """A folder with a store: two versions of one strategy, an experiment, dead letters, and names that are markup."""
    monkeypatch.delenv("ROUTER_STRATEGIES", raising=False)
    (tmp_path / "router.toml").write_text(
        'strategies = ["words", "thompson"]\nstore = "router.db"\nretrain = false\nfit_executor = "thread"\n'
        "min_examples = 5\n[experiment]\nmin_duration_hours = 1000.0\n"
    )
    monkeypatch.chdir(tmp_path)
    with Router(config=tmp_path / "router.toml") as router:
        for name in ("billing", "fraud", NASTY):
            router.add_agent({"name": name, "description": NASTY})
        record_some(router, 60)
        for _ in range(2):
            router.models.retrain("words", wait=True)
            record_some(router, 20)
        router.experiments.start("pays", [{"name": "frozen", "learning": False}], min_duration_hours=1000.0)
        record_some(router, 60)
        router.record(router.route({"text": f"refund {NASTY}", "session_id": NASTY}), {"success": True})
        router.dead_letter("outcome", f"cannot be read: {NASTY}")
        router.key = router.keys.create("ops", scopes=SCOPES)[1]
        router.asker = router.keys.create("asker", scopes=["route"])[1]
        router.reader = router.keys.create("reader", scopes=["metrics"])[1]
        yield tmp_path, router


@pytest.fixture
def visit(browser, place):
    """Open the page in a window of its own: ``visit(width=1200, dark=False)``; what its console says is a fault."""
    folder, router = place
    faults, contexts = [], []
    with served(folder) as address:

        def open_it(path="", *, width=1_200, dark=False, sign_in=True, script=""):
            context = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
            )
            contexts.append(context)
            window = context.new_page()
            window.set_default_timeout(15 * SECONDS)
            window.add_init_script(script)
            window.on("console", lambda told: faults.append(told.text) if told.type in ("error", "warning") else None)
            window.on("pageerror", lambda error: faults.append(str(error)))
            window.goto(f"{address}/{path}")
            if sign_in:
                window.get_by_label("Key").fill(router.key)
                window.get_by_role("button", name="Sign in").click()
                window.get_by_text("Live", exact=True).wait_for()
            return window

        open_it.address, open_it.router = address, router
        yield open_it
        for context in contexts:
            context.close()
    assert faults == [], faults


def to(window, name):
    """Go to a page by its link."""
    window.get_by_role("navigation").get_by_role("link", name=name).click()
    window.get_by_role("heading", level=1).wait_for(state="attached")


def said(window, words):
    """Wait until it says so somewhere."""
    window.get_by_text(words).first.wait_for()
