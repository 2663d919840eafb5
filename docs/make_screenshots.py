"""Makes the pictures of the service's page in ``docs/images``: ``python docs/make_screenshots.py``.

A made-up support desk is played against a real service, with a strategy that is fitted, an experiment and tasks that
wait for a label; then Chromium, driven by Playwright, looks at the page. The variable ``CHROMIUM`` names another one.
It says how long each step took. Fewer ``--tasks`` take less, but too little may be known then to say that it helps.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from router_sdk import Agent, Router

IMAGES = Path(__file__).with_name("images")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SETTINGS = """
strategies = ["bert", "thompson", "heuristic"]
store = "router.db"
retrain = false
epsilon = 0.2
fit_executor = "thread"
[gate]
latency = false
[strategy.bert]
update = "head"
"""
"""More is explored than by default, so that fewer tasks tell whether it helps; what else the machine does decides of no
version; and fits leave the encoder as it is, for else they are most of the work."""
AGENTS = [
    Agent("billing", description="invoices, refunds and double charges"),
    Agent("fraud", description="stolen cards and strange logins"),
    Agent("tech", description="errors, crashes and sync"),
    Agent("sales", description="plans, seats and discounts"),
]
KINDS = {
    "refund": ("billing", 4, ["I was charged twice for order {}", "Refund my invoice {}", "The bill of {} is wrong"]),
    "security": (
        "fraud",
        1,
        ["Somebody used my card, case {}", "A login from far away, ticket {}", "Account {} hacked"],
    ),
    "technical": ("tech", 3, ["The app crashes at step {}", "Error {} when I log in", "Sync fails with code {}"]),
    "sales": ("sales", 2, ["Which plan has {} seats?", "A discount for {} users?", "Upgrade us to {} seats"]),
}
USD = {"billing": 0.012, "fraud": 0.02, "tech": 0.008, "sales": 0.003}
MS = {"billing": 700.0, "fraud": 1_900.0, "tech": 1_200.0, "sales": 600.0}


class Picture(NamedTuple):
    """A window's size in pixels, the page in it, and which heading is at its top."""

    name: str
    page: str
    height: int
    width: int = 1_100
    dark: bool = False
    heading: str | None = None


PICTURES = [
    Picture("overview", "", 1_010),
    Picture("overview-dark", "", 1_010, dark=True),
    Picture("overview-phone", "", 812, 390),
    Picture("agents-phone", "", 812, 390, heading="Agents"),
    Picture("versions", "versions", 700),
    Picture("experiments", "experiments", 800),
    Picture("try", "try", 1_100),
    Picture("label", "label", 520),
]
_BEFORE_A_FIT, _WINDOW_HOURS = 250, 0.001
_DRAWN_MS = 700
"""Until the figures have come and are drawn."""
TRIED = "My card was charged twice"
MOST_BYTES = 150_000


def play(router: Router, count: int, seed: int, reported: float = 0.85) -> None:
    """So many tasks, most of them with what came of it."""
    rng = random.Random(seed)
    reports = []
    for number in range(count):
        kind = rng.choices(list(KINDS), [weight for _, weight, _ in KINDS.values()])[0]
        right, _, texts = KINDS[kind]
        text = rng.choice(texts).format(rng.randint(100, 999))
        decision = router.route({"text": text, "task_type": kind, "session_id": f"visit-{seed}-{number // 3}"})
        agent = str(decision.agent)
        if rng.random() < reported:
            outcome = {
                "success": rng.random() < (0.9 if agent == right else 0.35),
                "latency_ms": rng.gauss(MS[agent], 80.0),
                "cost_usd": USD[agent] * rng.uniform(0.8, 1.2),
            }
            reports.append((decision, outcome))
        if len(reports) >= 20:
            _record(router, reports)
            reports = []
    _record(router, reports)
    router.flush()


def _record(router: Router, reports: list[tuple[object, dict[str, object]]]) -> None:
    with ThreadPoolExecutor(20) as threads:  # so that they share a commit
        list(threads.map(lambda report: router.record(*report), reports))  # type: ignore[arg-type]


@contextmanager
def timed(words: str) -> Iterator[None]:
    """Say how long something took."""
    begun = time.perf_counter()
    yield
    print(f"{words}: {time.perf_counter() - begun:.0f} s")  # noqa: T201


def fill(folder: Path, tasks: int) -> None:
    """A store to look at."""
    (folder / "router.toml").write_text(SETTINGS, encoding="utf-8")
    with Router(config=folder / "router.toml", store=folder / "router.db", seed=1) as router:
        router.warm_up()
        for agent in AGENTS:
            router.add_agent(agent)
        for seed, reason in enumerate(("the first version", "twice as much is known"), 1):
            with timed(f"{_BEFORE_A_FIT} tasks"):
                play(router, _BEFORE_A_FIT, seed)
            with timed(f"fit {seed}"):
                router.models.retrain("bert", wait=True, reason=reason)
        router.experiments.start(
            "does-learning-pay",
            [{"name": "frozen", "learning": False}],
            challenger_share=0.3,
            outcome_window_hours=_WINDOW_HOURS,
        )
        with timed(f"{tasks - 2 * _BEFORE_A_FIT} tasks"):
            play(router, tasks - 2 * _BEFORE_A_FIT, 3)
        play(router, 12, 4, reported=0.0)
        router.dead_letter("outcome", "quality: expected a number in [0, 1], got 7")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The service on that store, and its address."""
    log = folder / "serve.log"
    command = [sys.executable, "-c", "from router_sdk.cli import main; main()", "serve", "--port", "0", "--insecure"]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=folder, stderr=stderr)
    try:
        while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())) or not _ready(found[1]):
            if process.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.1)
        yield found[1]
    finally:
        process.terminate()
        process.wait(60)


def _ready(address: str) -> bool:
    try:
        return bool(urlopen(f"{address}/readyz").status == 200)  # noqa: S310
    except URLError:
        return False


def look(address: str, pictures: Iterable[Picture] = PICTURES) -> None:
    """Take the pictures."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        sys.exit("Chromium is not installed; the variable CHROMIUM may name it")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for one in pictures:
            context = browser.new_context(
                viewport={"width": one.width, "height": one.height}, color_scheme="dark" if one.dark else "light"
            )
            window = context.new_page()
            window.goto(f"{address}/#/{one.page}")
            window.get_by_text("Live", exact=True).wait_for()
            if one.page == "try":
                window.get_by_label("Task", exact=True).fill(TRIED)
                window.get_by_label("Task", exact=True).press("Enter")
                window.get_by_text("is the favourite").wait_for()
            window.wait_for_timeout(_DRAWN_MS)
            if one.heading:
                title = window.get_by_role("heading", name=one.heading, exact=True)
                title.evaluate("one => one.closest('section').scrollIntoView()")
            path = IMAGES / f"{one.name}.png"
            window.screenshot(path=path)
            size = path.stat().st_size
            print(f"{path.name}: {size / 1_000:.0f} kB")  # noqa: T201
            if size > MOST_BYTES:
                sys.exit(f"{path.name} has more than {MOST_BYTES / 1_000:.0f} kB")
            context.close()
        browser.close()


def main() -> None:
    """Play, serve, look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_500, help="how many are played")
    parser.add_argument("--store", type=Path, help="a folder that is filled, or was by an earlier run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.store or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "router.db").exists():
            fill(folder, asked.tasks)
        with served(folder) as address, timed("pictures"):
            look(address)


if __name__ == "__main__":
    main()
