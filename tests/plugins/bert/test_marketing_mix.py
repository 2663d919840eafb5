"""The marketing mix with a transformer in the chain: it learns from sessions in words, and is retrained."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from router_sdk import Router
from router_sdk.demo.marketing_mix import Analyst, marketing_mix_agents

EXAMPLES = Path(__file__).parents[3] / "examples" / "marketing_mix"


def example(name):
    spec = importlib.util.spec_from_file_location(f"marketing_mix_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def settings(tiny_encoder_folder, monkeypatch):
    monkeypatch.setenv("ROUTER_FIT_EXECUTOR", "thread")  # a child process is what other tests are about
    return {"model": str(tiny_encoder_folder), "wait_for_encoder": True, "update": "head"}


@pytest.mark.slow
def test_the_orchestrator_runs_with_a_transformer_in_its_chain_and_retrains_it(settings, store_path):
    module = example("orchestrator")
    orchestrator = module.Orchestrator(store_path, Analyst(1.0), bert=settings, seed=7)
    reports = [orchestrator.run_session() for _ in range(8)]
    fit = orchestrator.retrain()
    reports += [orchestrator.run_session() for _ in range(2)]
    played = [record for report in reports for record in report.iterations]
    assert {"bert"} <= {record.strategy for record in played}
    assert fit.strategy == "bert"
    assert fit.examples > 0
    assert fit.held_out > 0
    assert fit.after.value is not None
    assert fit.verdicts
    router = orchestrator.router
    assert router.examples[0].task.text.startswith("Iteration 1: MAPE=")
    if fit.passed:
        assert router.route(router.examples[-1].task).model_version in (None, fit.version)
    router.flush()
    assert router.statistics()["total_examples"] == len(played)
    orchestrator.close()


STATE = {
    "session_id": "20241208_143022",
    "iteration": 5,
    "mape": 12.3,
    "r2": 0.87,
    "mae": 900.0,
    "business_flags": 0,
    "tv_adstock_decay": 0.45,
    "industry": "CPG",
}
WORDS = {"business_analyst": "the signs of the coefficients look wrong", "data_scientist": "the error is far too large"}


def test_the_older_calls_keep_the_text_and_a_transformer_learns_and_retrains_from_it(settings, store_path, tmp_path):
    module = example("compatibility")
    goals = {"mape": {"goal": "min", "low": 5.0, "high": 30.0}}
    with Router(
        marketing_mix_agents(), [("bert", settings)], store_path, reward_metrics=goals, retrain=False, seed=0
    ) as router:
        learning = module.OrchestratorLearning(router)
        for number in range(40):
            right = list(WORDS)[number % 2]
            own = {"session_id": f"{number}", "state_text": f"Iteration {number}: {WORDS[right]}", "convergence": 0.45}
            outcome = {"mape": 8.0, "r2": 0.88, "decision": "hyperparameter_update", "correct_agent": right}
            learning.record_iteration({**STATE, **own}, ["stakeholder"], right, outcome)
        assert learning.get_statistics()["label_distribution"] == {"business_analyst": 20, "data_scientist": 20}
        first = router.examples[0]
        assert first.task.text == "Iteration 0: the signs of the coefficients look wrong"
        assert first.task.metadata == {"convergence": 0.45, "decision": "hyperparameter_update"}
        assert first.task.history == ("stakeholder",)
        assert first.signals.metrics == {"mape": 8.0, "r2": 0.88}
        assert first.reward == pytest.approx(0.88)
        for agent, words in WORDS.items():
            assert router.rank(f"Iteration 41: {words}")[0].agent == agent
        assert learning.export_training_data(tmp_path / "out.jsonl") == 40
        texts = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert texts[-1] == "Iteration 39: the error is far too large"
        assert learning.retrain(epochs=1, batch_size=4) in (True, False)
        assert router.models.report("bert", 1).examples > 0


def test_the_older_call_makes_words_of_a_state_without_any(make_router):
    module = example("compatibility")
    router = make_router(["thompson"], agents=marketing_mix_agents())
    module.OrchestratorLearning(router).record_iteration(STATE, [], "data_scientist", {"success": True})
    assert router.examples[0].task.text.startswith("Iteration 5: MAPE=12.3%, R2=0.87")
