"""The page in Chromium: every part of it, with what a person changes by it; skips where there is no browser."""

import json
import re
import threading

import httpx2
import pytest
from dashboard_visits import NASTY, SECONDS, record_some, said, served, to

pytestmark = pytest.mark.browser

PAGES = ["Overview", "Versions", "Experiments", "Health", "Try a task", "Label", "Sessions"]
FIRST_PAINT_MS, MOST_BYTES = 1_000, 300_000
WORST = ("serious", "critical")
PHONE = 390

BEYOND = """() => [...document.querySelectorAll("header *, main *")].filter(one =>
  one.getClientRects().length && one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".uplot, thead"))
  .map(one => one.outerHTML.slice(0, 120))"""
"""What lies beyond the right edge of the window."""
CUT = """() => [...document.querySelectorAll("main :is(th, td)")].filter(one =>
  one.getClientRects().length && !one.closest(".uplot, thead") && one.scrollWidth > one.clientWidth + 1)
  .map(one => one.outerHTML.slice(0, 120))"""
"""Cells that do not show all that is in them."""
KEEP_CHARTS = """
  let made;
  window.plots = [];
  Object.defineProperty(window, "uPlot", {
    get: () => made,
    set: (real) => { made = class extends real { constructor(...given) { super(...given); plots.push(this); } }; },
  });
"""
"""Charts are kept where a test finds them."""


def test_every_page_is_opened_in_light_dark_and_on_a_phone(visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for width, dark in ((1_200, False), (1_200, True), (PHONE, False)):
        window = visit(width=width, dark=dark)
        for name in PAGES:
            to(window, name)
            window.wait_for_timeout(300)
            assert window.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            assert window.evaluate(CUT) == [], (name, width)
            if width == PHONE:
                assert window.evaluate(BEYOND) == [], name
            text = window.locator("main").inner_text()
            assert not re.findall(r".{60}\d\.\d{4}|.{20}\d %", text), name
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
    window.get_by_label("Task", exact=True).press("Shift+Enter")
    window.get_by_label("Task", exact=True).press("End")
    assert window.get_by_label("Task", exact=True).input_value() == "refund <b>me</b>\n"
    assert window.get_by_text("is the favourite").count() == 0
    window.get_by_label("Task", exact=True).press("Enter")
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
    said_aloud = window.locator("figure .unseen[aria-live]").first
    while window.evaluate("!document.activeElement.matches('.plot')"):
        window.keyboard.press("Tab")
    assert "Home and End" in said_aloud.inner_text()
    assert said_aloud.bounding_box()["height"] > 10, "who sees it reads it, too"
    window.keyboard.press("Home")
    assert "router" in said_aloud.inner_text()
    assert window.locator(".scroll[tabindex]").count() == 0, "what does not scroll is no stop"
    window.get_by_role("button", name="Show fraud").press("Enter")
    window.get_by_role("button", name="Show fraud", pressed=False).wait_for()  # said once the chart has drawn it


def test_words_stand_left_and_numbers_right_on_an_axis_from_0(visit):
    window = visit(script=KEEP_CHARTS)
    said(window, "Who serves?")
    agents = window.get_by_role("table", name="Agents")
    for head, side in (("Agent", "left"), ("Reward", "right"), ("Cost", "right")):
        cell = agents.get_by_role("columnheader", name=head, exact=True)
        assert cell.evaluate("one => getComputedStyle(one).textAlign") == side
    row = agents.get_by_role("row").nth(1)
    assert row.get_by_role("rowheader").evaluate("one => getComputedStyle(one).textAlign") == "left"
    assert row.get_by_role("cell").last.evaluate("one => getComputedStyle(one).textAlign") == "right"
    assert re.search(r"\d ms$", row.get_by_role("cell").nth(4).inner_text())
    assert window.evaluate("plots.map(one => [one.scales.y.min, one.scales.y.max])") == [[0, 1], [0, 1]]
    assert re.fullmatch(r"0\.\d\d|1\.00", window.locator(".u-value").nth(1).inner_text())


def test_a_part_that_was_at_fault_is_drawn_once_it_can_be_read(visit):
    """The stream is told by hand, beginning anew each time that it ends."""
    window = visit(sign_in=False)
    answer = httpx2.get(f"{visit.address}/v1/overview", headers={"authorization": f"Bearer {visit.router.key}"}).json()
    fault = {"fault": "the disk is away"}
    told = [
        dict.fromkeys(answer, fault),
        {**answer, "activity": {**answer["activity"], **fault}},
        answer,
    ]
    phase = [0]

    def tell(route):
        events = [f"event: {part}\ndata: {json.dumps(one)}\n\n" for part, one in told[phase[0]].items()]
        route.fulfill(content_type="text/event-stream", body="".join(events))

    window.route("**/v1/overview/events", tell)
    window.get_by_label("Key").fill(visit.router.key)
    window.get_by_role("button", name="Sign in").click()
    said(window, "Not all can be read now: the disk is away.")
    assert window.get_by_text("Who serves?").count() == 0
    phase[0] = 1  # what is known from before is drawn, with the fault beside it
    window.get_by_role("table", name="Agents").wait_for()
    said(window, "Who serves?")
    said(window, "Not all can be read now")
    phase[0] = 2
    window.wait_for_function("() => document.getElementById('unread').textContent === ''")
    tables = {"": "Agents", "versions": "Versions of words", "experiments": "Arms of pays", "health": "Newest updates"}
    for path, table in tables.items():  # opened meanwhile, each draws what it shows once it is there
        phase[0] = 0
        window.goto(f"{visit.address}/#/{path}")
        window.reload()
        said(window, "Not all can be read now")
        assert window.get_by_role("table").count() == 0
        phase[0] = 2
        window.get_by_role("table", name=table, exact=True).wait_for()
        assert window.locator("canvas:visible").count() == {"": 2, "experiments": 1}.get(path, 0), path


def test_there_is_no_page_everywhere_and_the_way_home_is_said(visit):
    window = visit("#/nowhere")
    said(window, "Nothing is at #/nowhere.")
    assert window.title() == "No such page · Router"
    window.get_by_role("main").get_by_role("link", name="To the overview").click()
    said(window, "Who serves?")
    for nowhere in ("#/versions/7", "#/sessions/%E0%A4%A"):
        window.goto(f"{visit.address}/{nowhere}")
        said(window, f"Nothing is at {nowhere}.")


def test_an_empty_store_says_what_to_do_first(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("ROUTER_STRATEGIES", '["thompson"]')
    with served(tmp_path, "--insecure") as address, httpx2.Client(base_url=address) as client:
        window = browser.new_page()
        window.set_default_timeout(15 * SECONDS)
        window.goto(address)
        said(window, "What to do first")
        commands = window.locator("pre").all_inner_texts()
        paths = ("/v1/agents/billing", "/v1/route", "/v1/outcomes")
        assert [path for path, one in zip(paths, commands, strict=True) if f"{address}{path}" in one] == list(paths)
        assert not window.get_by_role("heading", name="Is it learning?").is_visible()
        assert "Bearer" not in "".join(commands)
        for name in ("billing", "fraud"):
            assert client.put(f"/v1/agents/{name}", json={}).status_code == 200
        made = client.post("/v1/route", json={"task": "I was charged twice"}).json()
        window.wait_for_function("() => document.querySelectorAll('.first-steps .done').length === 2")
        assert window.get_by_role("heading", name="Is it learning?").is_visible()
        assert window.get_by_text("A curve is drawn from 17 tasks on").count() == 2
        client.post("/v1/outcomes", json={"decision_id": made["decision_id"], "outcome": {"success": True}})
        window.get_by_text("What to do first").wait_for(state="detached")
        window.close()


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
    window.goto(f"{visit.address}/#/")
    window.get_by_label("Key").fill(visit.router.asker)
    window.get_by_role("button", name="Sign in").click()
    said(window, "The key asker may ask who gets a task.")
    assert window.title() == "Try a task · Router"
    to(window, "Overview")
    said(window, "This page is not for the key asker. It takes a key with the scope metrics.")
    window.get_by_role("main").get_by_role("link", name="Try a task").click()
    said(window, "Who would get it now, and why.")
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
