"""The page in Chromium: every part of it, with what a person changes by it; skips where there is no browser."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import pytest

from router_sdk import Router
from router_sdk.records import SCOPES

pytestmark = pytest.mark.browser

ROUTER = [sys.executable, "-c", "from router_sdk.cli import main; main()"]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PAGES = ["Overview", "Versions", "Experiments", "Health", "Try a task", "Label", "Sessions"]
RIGHT = {"refund": "billing", "stolen": "fraud"}
NASTY = "<img src=x onerror=\"document.title='taken'\">"
FIRST_PAINT_MS, MOST_BYTES = 1_000, 300_000
WORST = ("serious", "critical")
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
        router.reader = router.keys.create("reader", scopes=["metrics"])[1]
        yield tmp_path, router


@pytest.fixture
def visit(browser, place):
    """Open the page in a window of its own: ``visit(width=1200, dark=False)``; what its console says is a fault."""
    folder, router = place
    faults, contexts = [], []
    with served(folder) as address:

        def open_it(path="", *, width=1_200, dark=False, sign_in=True):
            context = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
            )
            contexts.append(context)
            window = context.new_page()
            window.set_default_timeout(15 * SECONDS)
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
    assert faults == []


def to(window, name):
    window.get_by_role("navigation").get_by_role("link", name=name).click()
    window.get_by_role("heading", level=1).wait_for(state="attached")


def said(window, words):
    window.get_by_text(words).first.wait_for()


def test_every_page_is_opened_in_light_dark_and_on_a_phone(visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for width, dark in ((1_200, False), (1_200, True), (375, False)):
        window = visit(width=width, dark=dark)
        for name in PAGES:
            to(window, name)
            window.wait_for_timeout(300)
            assert window.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            assert window.title() == f"{name} · Router"
            found = axe.Axe().run(window).response["violations"]
            bad = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in WORST]
            assert bad == [], (name, width, dark)


def test_a_version_is_rolled_back_and_promoted_by_hand(visit):
    window = visit("#/versions")
    said(window, "Version 2 serves since")
    window.get_by_role("button", name="Roll back").click()
    said(window, "What served when version 2 first came, version 1, serves again")
    window.get_by_role("button", name="Yes").click()
    said(window, "Roll back words: done.")
    said(window, "Version 1 serves since")
    window.get_by_role("button", name="Promote words version 2").click()
    window.get_by_label("Why, for the history").fill("tried <b>by hand</b>")
    window.keyboard.press("Enter")
    said(window, "Promote words version 2: done.")
    said(window, "Version 2 serves since")
    window.get_by_text("What served when").first.click()
    assert window.get_by_text("tried <b>by hand</b>").count() >= 1
    with httpx2.Client(headers={"authorization": f"Bearer {visit.router.key}"}) as client:
        rows = client.get(f"{visit.address}/v1/models/words/history").json()["rows"]
    assert [row["version"] for row in rows[:2]] == [2, 1]
    window.get_by_role("button", name="Unpin").click()
    window.get_by_role("button", name="No", exact=True).click()
    assert window.get_by_role("dialog").count() == 0
    window.get_by_role("button", name="Unpin").click()
    window.get_by_role("button", name="Yes").click()
    window.get_by_role("button", name="Pin", exact=True).wait_for()


def test_labels_are_given_by_single_keys_and_corrected(visit):
    router = visit.router
    window = visit("#/label")
    first = router.examples.ask_about(1)[0]
    said(window, first.task.text)
    names = list(first.probabilities)
    window.keyboard.press("2")
    said(window, f"Recorded: {names[1]}. 1 so far.")
    assert router.examples.of(first.decision_id).label == names[1]
    window.keyboard.press("b")
    said(window, first.task.text)
    window.keyboard.press("n")
    said(window, "Recorded: no agent fits. 2 so far.")
    known = router.examples.of(first.decision_id)
    assert known.labelled
    assert known.label is None
    window.get_by_label("Answer by single keys").uncheck()
    window.keyboard.press("1")
    window.wait_for_timeout(200)
    assert window.get_by_text("2 so far").count() == 1


def test_a_task_is_tried_and_a_session_read(visit):
    window = visit("#/try")
    window.get_by_label("Task", exact=True).fill("refund <b>me</b>")
    window.get_by_label("Features").fill("amount=120")
    before = visit.router.status()["store"]["decisions"]
    window.get_by_role("button", name="Who would get it?").click()
    said(window, "billing is the favourite")
    assert visit.router.status()["store"]["decisions"] == before
    window.get_by_label("Features").fill("amount")
    window.get_by_role("button", name="Who would get it?").click()
    said(window, "write name=value")
    to(window, "Sessions")
    window.get_by_role("link", name=NASTY).first.click()
    said(window, f"Session {NASTY}")
    said(window, f"refund {NASTY}")
    said(window, "reward 1.00")
    assert window.title() != "taken"


def test_what_happens_is_seen_while_it_happens(visit):
    window = visit()
    for question in ("Who serves?", "Why?", "Does it help?"):
        said(window, question)
    tasks = window.locator("dl.figures dd.value").first
    before = int(tasks.inner_text().replace(",", ""))
    threading.Thread(target=record_some, args=(visit.router, 12)).start()
    window.wait_for_function(
        "before => +document.querySelector('dl.figures dd.value').textContent.replace(',', '') >= before + 12",
        arg=before,
    )
    assert window.locator("canvas").count() == 2


def test_it_is_worked_by_keyboard_alone(visit):
    window = visit()
    window.reload()
    said(window, "Who serves?")
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.textContent") == "Skip to the content"
    window.keyboard.press("Enter")
    assert window.evaluate("document.activeElement.id") == "main"
    to(window, "Overview")
    window.locator(".plot").first.focus()
    window.keyboard.press("Home")
    said_aloud = window.locator("figure .unseen[aria-live]").first
    assert "router" in said_aloud.inner_text()


def test_a_wrong_key_opens_nothing_and_a_smaller_one_less(visit, browser):
    window = visit(sign_in=False)
    window.get_by_label("Key").fill(visit.router.reader)
    window.get_by_role("button", name="Sign in").click()
    to(window, "Versions")
    said(window, "it takes the scope admin")
    assert window.get_by_role("button", name="Roll back").count() == 0
    to(window, "Label")
    said(window, "It takes a key with the scope record.")
    window.get_by_role("button", name="Sign out").click()
    window.get_by_label("Key").wait_for()
    assert window.evaluate("sessionStorage.length + document.cookie.length + localStorage.length") == 0
    context = browser.new_context()  # whose console may say that it was refused
    other = context.new_page()
    other.goto(visit.address)
    other.get_by_label("Key").fill("rk_wrong")
    other.get_by_role("button", name="Sign in").click()
    other.get_by_text("This key is unknown, or was revoked.").wait_for()
    context.close()


def test_it_is_painted_at_once_and_is_small(visit):
    paints, sizes = [], []
    for _ in range(3):
        window = visit()
        paints.append(window.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        loaded = window.evaluate(
            "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
            ".reduce((sum, one) => sum + one.transferSize, 0)"
        )
        sizes.append(loaded)
    assert min(paints) <= FIRST_PAINT_MS, paints
    assert max(sizes) <= MOST_BYTES, sizes
