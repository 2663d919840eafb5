"""What docs/outcomes.md promises of rewards is computed, and its blocks are run."""

import re
import tomllib
from pathlib import Path

import pytest

from router_sdk import Outcome, RouterConfig, Task

TEXT = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text(encoding="utf-8")
PIECES = re.split(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
CLAIM = re.compile(r"\| `(Outcome\(.*\))` \| (\S+) \|$", re.MULTILINE)


def test_every_number_is_what_the_code_says(capsys):
    """Blocks and tables in their order: each table speaks of the reward that the block above it made."""
    names, checked = {}, 0
    for prose, language, block in zip(PIECES[::3], [*PIECES[1::3], ""], [*PIECES[2::3], ""], strict=True):
        for report, told in CLAIM.findall(prose):
            found = names["reward"](eval(report, names).signals(), "billing")
            assert ("nothing" if found is None else found) == (
                told if told == "nothing" else pytest.approx(float(told), abs=5e-4)
            ), report
            checked += 1
        if language == "python":
            exec(compile(block, "outcomes.md", "exec"), names)
    assert checked == len(re.findall(r"^\|.*`Outcome\(.*\|$", TEXT, re.MULTILINE)) > 30
    parts = re.search(r"\| reward from then on \|\n\|---\|---\|\n((?:\|.*\n)+)", TEXT)
    told = [float(line.rsplit("|", 2)[1]) for line in parts[1].splitlines()]
    assert capsys.readouterr().out.strip() == str(told)
    assert names["rewards"] == told


def test_the_settings_of_its_file_are_understood():
    (block,) = [block for language, block in zip(PIECES[1::3], PIECES[2::3], strict=True) if language == "toml"]
    stated = RouterConfig.of(**tomllib.loads(block)).reward_metrics["mape"]
    assert stated.worth(10.0) == pytest.approx(0.8)


def test_what_else_it_says(make_router):
    """A label speaks of who did not act, silence is no outcome, and what teaches nothing is counted."""
    router = make_router(["thompson"], agents=["billing", "fraud"], epsilon=0.0)
    task = Task("x", task_type="refund")
    for _ in range(10):
        router.route(task)
    router.flush()
    assert router.statistics()["total_examples"] == 0
    for _ in range(10):
        router.observe(task, "billing", Outcome(success=True, correct_agent="fraud"))
    router.observe(task, "billing", Outcome(latency_ms=5.0))
    router.flush()
    best, other = router.rank(task)
    assert (best.agent, other.agent) == ("fraud", "billing")
    assert best.probability > 0.9
    assert router.statistics()["taught_nothing"] == 1
    router.observe(task, "billing", Outcome(success=True, agent="fraud"))
    assert router.examples[-1].agent == "fraud"
