"""The benchmarks run, and their tables can say "missed": tiny sizes, no claim about speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked_programs
import numpy as np
import pytest

from router_sdk import Router
from router_sdk.plugin import AgentSet, RouteContext, Strategy, Task

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    """A script's output, as somebody sees it who runs it by itself."""
    finished = forked_programs.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "lines"),
    [
        ("decision", ["p50 ÷ floor's", "p99 ÷ floor's"]),
        ("recorders", ["64 recording: p99"]),
        ("experiment", ["route during an experiment, each a unit: p50", "500 sessions: p99"]),
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
        pytest.param("replay", ["replay: read the log"], marks=pytest.mark.benchmark),
        ("restart", ["restart from a snapshot, 5,000 outcomes"]),
        pytest.param("processes", ["errors", "worst wait", "all together"], marks=pytest.mark.benchmark),
    ],
)
def test_store_prints_a_line_for_every_goal(part: str, lines: list[str]) -> None:
    table = run("store.py", "--quick", "--only", part)
    for line in lines:
        assert line in table
    assert table.count("met") + table.count("missed") >= len(lines)


def test_experiments_print_a_line_for_every_goal() -> None:
    table = run("experiments.py", "--quick", "--only", "aa", "--only", "power")
    for line in ("A/A, 50/50", "A/A, 90/10", "A/A, rollout", "A/A, bandit", ".80 → .85 at 50/50"):
        assert line in table
    assert table.count("met") + table.count("missed") >= 5


@pytest.mark.reliability
def test_what_is_learnt_is_held_against_a_baseline(tmp_path: Path) -> None:
    """As ``router bench`` runs it: a figure that fell back is named, and makes it fail."""
    code = "from router_sdk.cli import main; main()"
    baseline = tmp_path / "baseline.json"

    def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "bench", "compare", "--only", "texts, no outcome yet", *arguments]
        environment = {**os.environ, "COLUMNS": "120"}
        return forked_programs.run(command, capture_output=True, text=True, env=environment, timeout=120)

    assert compare().returncode == 0
    assert compare("--baseline", str(baseline), "--write").returncode == 0
    figures = json.loads(baseline.read_text())
    figures["texts, no outcome yet"]["accuracy"] += 0.2
    baseline.write_text(json.dumps(figures))
    fell_back = compare("--baseline", str(baseline))
    assert (fell_back.returncode, fell_back.stdout.count("same")) == (1, 2)
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


def made_up(seed: int, rounds: int = 60) -> Any:
    """Short texts that belong to five agents, with hashed words for vectors."""
    from bert_texts import AGENTS, make_texts
    from feedback_streams import FeedbackStream

    from router_sdk.testing import HashedWordsEncoder

    made = make_texts(rounds, seed)
    texts, names = [text for text, _ in made], list(AGENTS)
    right = np.array([names.index(agent) for _, agent in made])
    vectors = np.array(HashedWordsEncoder().encode(texts))
    return FeedbackStream(texts, np.eye(len(names))[right], names, {}, vectors=vectors, right=right)


@pytest.mark.usefixtures("_scripts_importable")
def test_feedback_is_played_by_the_router_and_its_peers_and_the_best_of_a_row_stands_out(tmp_path: Path) -> None:
    from bandit_peers import LinUCB
    from feedback_figures import Column, Results, Run, right_choices
    from feedback_players import BOUNDS, CELLS, peer, routed

    def played(out: Path) -> Run:
        run = Run(Results(out), range(2))
        linucb = peer(lambda arms, width, seed: LinUCB(arms, width, seed, 0.25, 0.02))
        contestants = {"chain": routed(["thompson", "heuristic"]), "LinUCB": linucb, **CELLS, **BOUNDS}
        run.play("made up", {"texts": made_up}, contestants, right_choices)
        return run

    run, again = played(tmp_path / "figures.json"), played(tmp_path / "again.json")
    of_row = run.results.figures["made up"]["texts"]
    assert of_row["oracle"]["all"] == {0: 1.0, 1: 1.0}
    assert of_row["chain"]["ece"].keys() == {1}, "calibration is of both seeds together"
    for name, measures in again.results.figures["made up"]["texts"].items():
        assert measures["all"] == of_row[name]["all"], "one seed gives the same figures twice"
    table = run.results.table("made up", "A title", [Column("right", "texts", "all")], bounds=BOUNDS)
    lines = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()}
    best = run.results.best("made up", "texts", "all", ["chain", "LinUCB", "Beta cells"])
    assert "**" in lines[str(best)]
    assert sum("±" in line for line in lines.values()) == 2
    read = Results()
    read.read(tmp_path / "figures.json")
    assert read.figures == run.results.figures


@pytest.mark.usefixtures("_scripts_importable")
def test_what_no_strategy_answered_is_nobodys_confidence() -> None:
    from feedback_players import NOBODY, Clock, follow

    class Silent(Strategy):
        name = "silent"

        def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> None:
            return None

    stream = made_up(0).cut(20)
    with Router(stream.agents, [Silent], ":memory:") as router:
        played = follow(router, Clock(), stream)
    assert (played.chosen >= 0).all()
    assert set(played.favourite) == {NOBODY}


@pytest.mark.usefixtures("_scripts_importable")
def test_the_written_out_linucb_is_a_ridge_regression_with_its_bound() -> None:
    from bandit_peers import LinUCB

    rng = np.random.default_rng(0)
    policy, contexts = LinUCB(2, 3, 0, alpha=0.5), rng.normal(size=(40, 3)).astype(np.float32)
    rewards = rng.random(40)
    for turn, (context, reward) in enumerate(zip(contexts, rewards, strict=True)):
        policy.update(context, 0, reward, turn, turn)
    x = np.column_stack([contexts, np.ones(40)])
    inverse = np.linalg.inv(np.eye(4) + x.T @ x)
    assert np.allclose(policy.weights[0], inverse @ x.T @ rewards, atol=1e-4)
    for context in contexts:
        row = np.append(context, 1.0)
        known = row @ inverse @ x.T @ rewards + 0.5 * np.sqrt(row @ inverse @ row)
        unknown = 0.5 * np.sqrt(row @ row)
        assert policy.choose(context, rng) == int(unknown > known)


@pytest.mark.usefixtures("_scripts_importable")
def test_the_gap_recovered_is_half_of_it_in_any_order_and_most_in_the_best() -> None:
    from feedback_labelled import recovered

    rng = np.random.default_rng(0)
    gain = rng.integers(-1, 2, 300) + 0.3
    assert recovered([np.zeros(300)], [gain]) == pytest.approx(0.5)
    assert recovered([gain], [gain]) + recovered([-gain], [gain]) == pytest.approx(1.0)
    assert recovered([gain], [gain]) > 1.0 > 0.5 > recovered([-gain], [gain])
    one_after_the_other = np.array([1.0, 0.0, 0.0, 1.0])
    assert recovered([np.array([4.0, 3.0, 2.0, 1.0])], [one_after_the_other]) == pytest.approx(0.5)


@pytest.mark.usefixtures("_scripts_importable")
def test_a_table_is_played_with_one_floor_for_all() -> None:
    from bandit_peers import MissingError, Policy
    from tables import EPSILON, WithFloor, as_bandit, located

    rng = np.random.default_rng(0)
    columns = np.column_stack([rng.normal(5.0, 3.0, (200, 3)), np.ones(200)])
    classes = [str(number) for number in rng.integers(0, 4, 200)]
    problem = as_bandit(columns, classes, 0)
    assert np.allclose((problem.contexts**2).sum(1).mean(), 3 / 4)  # what never changes says nothing
    assert (problem.rewards.sum(1) == 1.0).all()
    assert sorted(problem.rewards.argmax(1)) == sorted(int(each) for each in classes)

    class Stubborn(Policy):
        heard: tuple[Any, ...] = ()

        def choose(self, context: Any, rng: np.random.Generator) -> int:
            return 0

        def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
            self.heard += (context.tolist(), arm, reward, then)

    peer = WithFloor(Stubborn(), 4, scale=2.0)
    chosen = peer.choose_many(np.zeros((40_000, 3)), rng)
    assert (chosen != 0).mean() == pytest.approx(EPSILON * 3 / 4, rel=0.15)
    peer.update_many(np.ones((2, 1)), np.array([1, 3]), np.array([0.0, 1.0]), 7)
    assert peer.policy.heard == ([2.0], 1, 0.0, 7, [2.0], 3, 1.0, 8)
    with pytest.raises(MissingError, match="pip install"):
        located("no-such-distribution", "a.csv")


@pytest.mark.usefixtures("_scripts_importable")
def test_a_difference_is_taken_seed_by_seed() -> None:
    from feedback_figures import paired

    steady = paired({0: 0.5, 1: 0.9, 2: 0.1}, {0: 0.4, 1: 0.8, 2: 0.0})
    assert steady.mean == pytest.approx(0.1)
    assert steady.half == pytest.approx(0.0, abs=1e-9)
    assert paired({0: 0.5, 1: 0.9}, {0: 0.4, 1: 0.6}).half == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert str(paired({0: 0.5}, {0: 0.4})) == "+0.100"


def test_off_policy_tells_errors_and_coverage_of_every_estimator() -> None:
    table = run("off_policy.py", "--quick", "--only", "floor")
    for name in ("inverse_propensity", "self_normalized", "doubly_robust", "switch"):
        assert table.count(name) == 2
    assert "refused: 100%" in table  # 300 rounds tell too little
