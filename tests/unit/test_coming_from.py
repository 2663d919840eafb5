"""What users of other systems wrote there is answered: in the document, and in the error about a setting of theirs."""

import re
from pathlib import Path

import pytest
from router_sdk_bert.config import BertConfig
from router_sdk_thompson import ThompsonConfig

from router_sdk import Example, Outcome, Router, RouterConfig, Task
from router_sdk.config import load_config
from router_sdk.errors import InvalidConfigError
from router_sdk.setting_names import SETTINGS

from .cli.test_cli_docs import ALL

TEXT = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| theirs"))
]
CODE = sorted({code for _, ours in ROWS for code in re.findall(r"`([^`]+)`", ours)})

PROMISED = """
record_iteration get_statistics export_training_data retrain train_incremental predict watch_for_new_data
export_model_for_deployment get_category_distribution add_samples predict_best_agent check_and_retrain
deploy_challenger route_request compare_models auto_promote_if_ready run_loop run_iteration check_triggers
--report-only --warmup-from min_examples_for_retrain max_training_examples use_dynamic_learning training_data_path
use_synthetic_data KAFKA_BOOTSTRAP_SERVERS KAFKA_OUTCOME_TOPIC ENABLE_KAFKA MODEL_BATCH_SIZE MODEL_BATCH_TIMEOUT
MODEL_STORAGE_PATH MODEL_SAVE_INTERVAL state_text agent_label actual_outcome product_name product_category_tree
details query response expert latency_ms token_count quality_score user_feedback feedback_text context_hash
dedupe_hash total_retrains last_retrain champion_model check_interval_seconds trigger_config generator_config
ab_test_config base_model_path teacher_model_path checkpoint_dir model_registry_dir batch_size eval_batch_size
learning_rate max_epochs replay_buffer_size replay_ratio knowledge_distillation_weight temperature ewc_lambda
l2_reg_weight min_accuracy_threshold max_forgetting_threshold online_learning streaming warmup safety evaluation
/api/learning/metrics /api/learning/agents/performance /api/learning/predict/agent-selection /api/learning/status
/health /model/info /predict /train/incremental
"""


def test_every_row_has_two_cells_and_none_is_empty():
    assert len(ROWS) > 80
    assert all(len(row) == 2 and all(row) for row in ROWS)


@pytest.mark.parametrize("theirs", PROMISED.split())
def test_what_neighbours_documented_has_a_row(theirs):
    assert any(re.search(rf"(?<![\w/]){re.escape(theirs)}(?![\w/])", row[0]) for row in ROWS)


def test_what_the_document_names_is_there():
    looked_at = 0
    for code in CODE:
        for name in re.findall(r"\brouter\.(\w+)", code):
            assert hasattr(Router, name), code
            looked_at += 1
        for name in re.findall(r"\bROUTER_(\w+)", code):
            assert name.lower() in RouterConfig.model_fields, code
            looked_at += 1
        for kind, name in re.findall(r"\b(Task|Outcome|Example)\.(\w+)", code):
            assert hasattr({"Task": Task, "Outcome": Outcome, "Example": Example}[kind], name) or name in (
                getattr({"Task": Task, "Outcome": Outcome}.get(kind, Example), "model_fields", ())
            ), code
            looked_at += 1
        if code.startswith("router "):
            command = ALL[max((name for name in ALL if code.startswith(name)), key=len)]
            options = {option for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r" (--[\w-]+)", code)) <= options, code
            looked_at += 1
    assert looked_at > 50


FITS = re.compile(r"\.(retrain|pretrain|fit_report|promote|rollback|experiments)\b")
EXPRESSIONS = [code for code in CODE if re.match(r"\[?router\.\w+[(\[]", code) and not FITS.search(code)]


def test_the_calls_are_such_as_can_be_made(make_router, tmp_path):
    router = make_router(["thompson"], agents=["a", "b"])
    path = tmp_path / "examples.jsonl"
    names = {
        "router": router,
        "path": path,
        "folder": tmp_path / "copy",
        "strategy": "thompson",
        "task": "x",
        "agent": "a",
        "outcome": Outcome(success=True),
        "texts": ["x", "y"],
        "labels": ["a", "b"],
    }
    calls = sorted((code for code in EXPRESSIONS if "..." not in code), key=lambda code: "import_from" in code)
    assert len(calls) > 15
    for code in calls:
        eval(code, names)


@pytest.mark.parametrize("theirs", SETTINGS)
def test_the_table_of_settings_is_the_one_that_errors_speak_from(theirs):
    assert [f"`{theirs}`", SETTINGS[theirs]] in ROWS


@pytest.mark.parametrize("theirs", SETTINGS)
def test_an_answer_names_settings_that_there_are(theirs):
    ours = SETTINGS[theirs]
    of_bert = re.findall(r"`(\w+)(?: = \"(\w+)\")?` in `\[strategy\.bert\]`", ours)
    for name, value in of_bert:
        assert name in BertConfig.model_fields
        BertConfig(**({name: value} if value else {}))
    others = (
        set(re.findall(r"`(\w+)`", ours)) - {name for name, _ in of_bert} - {"register_triggers", "register_checks"}
    )
    assert others <= {*RouterConfig.model_fields}, others


@pytest.mark.parametrize("theirs", sorted(set(SETTINGS) - set(RouterConfig.model_fields)))
def test_a_setting_of_a_neighbour_is_an_error_that_names_ours(theirs, tmp_path):
    answer = re.escape(f"{theirs} is here: {SETTINGS[theirs]}")
    with pytest.raises(InvalidConfigError, match=answer):
        Router(["a"], ["thompson"], ":memory:", **{theirs: 5})
    path = tmp_path / "router.json"
    path.write_text(f'{{"{theirs}": {{"x": 1}}}}')
    with pytest.raises(InvalidConfigError, match=answer):
        load_config(path)
    assert theirs not in ThompsonConfig.model_fields
    with pytest.raises(InvalidConfigError, match=answer):
        Router(["a"], [("thompson", {theirs: 5})], ":memory:")


def test_an_unknown_key_of_nobodys_is_answered_as_before():
    with pytest.raises(InvalidConfigError) as caught:
        RouterConfig.of(epsilom=0.1)
    assert "is here" not in str(caught.value)
