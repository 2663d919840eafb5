"""The benchmarks run, and their tables can say "missed": tiny sizes, no claim about speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    """A script's output, as somebody sees it who runs it by itself."""
    finished = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(
    ("part", "lines"),
    [
        ("decision", ["p50 ÷ floor's", "p99 ÷ floor's"]),
        ("recorders", ["64 recording: p99"]),
        ("agents", ["1,000 agents"]),
        ("import", ["import router_sdk ÷"]),
    ],
)
def test_latency_prints_a_line_for_every_goal(part: str, lines: list[str]) -> None:
    table = run("latency.py", "--quick", "--only", part)
    for line in lines:
        assert line in table
    assert table.count("met") + table.count("missed") >= len(lines)


@pytest.mark.parametrize(
    ("part", "lines"),
    [
        ("callers", ["record by id, 64 threads", "record by decision, 64 threads", "arecord, 64 tasks"]),
        ("caller", ["record by id, one caller", "record by decision, one caller"]),
        ("replay", ["replay: read the log"]),
        ("restart", ["restart from a snapshot, 5,000 outcomes"]),
        ("processes", ["errors", "worst wait", "all together"]),
    ],
)
def test_store_prints_a_line_for_every_goal(part: str, lines: list[str]) -> None:
    table = run("store.py", "--quick", "--only", part)
    for line in lines:
        assert line in table
    assert table.count("met") + table.count("missed") >= len(lines)


def test_what_is_learnt_is_held_against_a_baseline(tmp_path: Path) -> None:
    """As ``router bench`` runs it: a figure that fell back is named, and makes it fail."""
    code = "from router_sdk.cli import main; main()"
    baseline = tmp_path / "baseline.json"

    def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "bench", "compare", "--only", "texts, no outcome yet", *arguments]
        environment = {**os.environ, "COLUMNS": "120"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    assert compare().returncode == 0
    assert compare("--baseline", str(baseline), "--write").returncode == 0
    figures = json.loads(baseline.read_text())
    assert compare("--baseline", str(baseline)).stdout.count("same") == 3
    figures["texts, no outcome yet"]["accuracy"] += 0.2
    baseline.write_text(json.dumps(figures))
    fell_back = compare("--baseline", str(baseline))
    assert fell_back.returncode == 1
    assert fell_back.stderr == "worse than the baseline allows: texts, no outcome yet: accuracy\n"


@pytest.fixture
def _scripts_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.mark.usefixtures("_scripts_importable")
def test_a_figure_is_held_against_its_goal_by_its_median() -> None:
    from measuring import Figure

    assert Figure("ratio", [1.0, 1.4, 9.0], goal=1.5).met
    assert not Figure("ratio", [1.0, 1.6, 1.7], goal=1.5).met
    assert Figure("rate", [80.0, 90.0, 10.0], goal=80.0, better="at least").met
    assert Figure("informs", [1.0]).met is None


@pytest.mark.usefixtures("_scripts_importable")
def test_the_baseline_has_every_figure() -> None:
    from compare import ALL, BASELINE, CASES, MEASURES

    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    assert set(baseline) == {*CASES, ALL}
    assert all(set(figures) == set(MEASURES) for figures in baseline.values())


@pytest.mark.usefixtures("_scripts_importable")
@pytest.mark.parametrize(
    ("measure", "baseline", "found", "verdict"),
    [
        ("regret", 100.0, 114.0, "same"),
        ("regret", 100.0, 116.0, "worse"),
        ("regret", 100.0, 84.0, "better"),
        ("accuracy", 0.8, 0.73, "same"),
        ("accuracy", 0.8, 0.71, "worse"),
        ("accuracy", 0.8, 0.89, "better"),
        ("accuracy", None, 0.5, "new"),
    ],
)
def test_a_change_counts_beyond_the_tolerance(measure: str, baseline: float | None, found: float, verdict: str) -> None:
    from compare import Line

    assert Line("a case", measure, baseline, found).verdict == verdict


@pytest.mark.usefixtures("_scripts_importable")
def test_over_all_cases_less_is_tolerated() -> None:
    from compare import ALL, Line

    assert Line(ALL, "regret", 100.0, 106.0).verdict == "worse"
    assert Line("a case", "regret", 100.0, 106.0).verdict == "same"


@pytest.mark.usefixtures("_scripts_importable")
def test_contestants_take_turns_and_change_who_is_first() -> None:
    from measuring import in_turn

    order: list[str] = []
    in_turn((lambda: order.append("a"), lambda: order.append("b")), 3)
    assert order == ["a", "b", "b", "a", "a", "b"]


@pytest.mark.usefixtures("_scripts_importable")
def test_the_built_log_is_one_that_a_router_accepts(tmp_path: Path) -> None:
    from million import AGENTS, build_log

    from router_sdk import Router

    build_log(tmp_path / "built.db", 300, labelled=0.1)
    with Router(AGENTS, ["thompson"], tmp_path / "built.db", seed=0) as router:
        assert router.statistics()["total_examples"] == 300
        assert router.status()["store"]["pending"] == 0


@pytest.mark.usefixtures("_scripts_importable")
@pytest.mark.parametrize("one_statement", [True, False])
def test_the_bare_writer_stores_what_it_acknowledges(tmp_path: Path, one_statement: bool) -> None:
    from bare_writers import GroupWriter, open_bare
    from recording import throughput

    writer = GroupWriter(tmp_path / "bare.db", one_statement=one_statement)
    ids = [f"{i:032x}" for i in range(100)]
    try:
        assert throughput(writer.record, ids, 8) > 0
    finally:
        writer.close()
    connection = open_bare(tmp_path / "bare.db")
    stored = {row[0] for row in connection.execute("SELECT decision_id FROM outcomes")}
    connection.close()
    assert stored == set(ids)
