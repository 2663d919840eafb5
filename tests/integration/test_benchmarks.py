"""The benchmarks run, and their tables can say "missed": tiny sizes, no claim about speed."""

from __future__ import annotations

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
