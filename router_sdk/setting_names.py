"""Names of settings that are none here: misspelt variables ``ROUTER_…``, and what neighbouring systems call theirs.

A misspelt variable would be passed over in silence, and with it the privacy or the store that somebody thinks is set.
``docs/coming-from.md`` has the table of neighbours' names, too, for people.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from router_sdk.errors import InvalidConfigError
from router_sdk.spelling import nearest

if TYPE_CHECKING:
    from pydantic import ValidationError

PREFIX = "ROUTER_"
"""Before the name of each setting, in any case."""

ALLOW_VARIABLE = "ROUTER_PLUGINS"
"""Comma-separated entry-point names; where it is set, no other plugin is loaded, and none where it is empty."""

_OTHERS = frozenset({ALLOW_VARIABLE, "ROUTER_BENCH_DATA"})
"""Variables that are no settings, but read elsewhere: by ``plugins``, and by the benchmarks."""

_TESTS = "ROUTER_TEST_"
_SERVICE = re.compile(
    r"ROUTER_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes and Docker set by themselves where a service is called ``router``, or ``router-something``."""


def check_environment(settings: Collection[str]) -> None:
    """Look for variables that would be passed over.

    Args:
        settings: Names of all settings, in lower case.

    Raises:
        InvalidConfigError: if one is unknown, nested or empty; suggests the nearest name.
    """
    known = {PREFIX + name.upper() for name in settings}
    for given, value in os.environ.items():
        name = given.upper()
        if not name.startswith(PREFIX) or name in _OTHERS or name.startswith(_TESTS):
            continue
        if name in known:
            if not value.strip():
                raise InvalidConfigError(f"{given} is empty: give a value, or unset it")
        elif not _SERVICE.fullmatch(name):
            raise InvalidConfigError(_unknown_variable(given, known))


def _unknown_variable(given: str, known: Collection[str]) -> str:
    whole, nested, _ = given.upper().partition("__")
    if nested and whole in known:
        return f"{given}: nested variables are not read; give all of it in {whole}, lists and mappings as JSON"
    elsewhere = SETTINGS.get(given[len(PREFIX) :].lower())
    if elsewhere is not None:
        return f"{given} is set, and there is no such setting; {given[len(PREFIX) :].lower()} is here: {elsewhere}"
    near = nearest(given, {*known, *_OTHERS})
    hint = f"did you mean {near}?" if near else "variables of other programs must not begin with ROUTER_"
    return f"{given} is set, and there is no such setting; {hint}"


SETTINGS = {
    "min_examples_for_retrain": "`min_examples`",
    "max_training_examples": "`fit_window` in `[strategy.bert]`",
    "use_dynamic_learning": "`learning` (outcomes teach at once) and `retrain` (fits start by themselves)",
    "training_data_path": "`router.examples.import_from(path)`, or `router import PATH`",
    "use_synthetic_data": "`router.models.pretrain(texts, labels)`; later `use_synthetic_data` in `[strategy.bert]`",
    "check_interval_seconds": "nothing to set: triggers are asked after each update, and about once a second",
    "trigger_config": "`retrain_interval`, `retrain_cooldown_seconds`, and the section `triggers`; see `router loop`",
    "min_new_samples": "`retrain_interval`",
    "cooldown_hours": "`retrain_cooldown_seconds`, in seconds",
    "schedule_interval_hours": "`triggers.schedule_hours`",
    "quality_drop_threshold": "`triggers.quality_drop_threshold`, of the mean reward",
    "quality_window_hours": "`triggers.quality_window_hours`",
    "error_rate_threshold": "`triggers.error_rate_threshold`",
    "error_window_hours": "`triggers.error_window_hours`",
    "generator_config": "`training` for fits; for files what `router.examples.export` takes",
    "min_quality_score": "`training.min_quality`; `router.examples.export(path, min_quality_score=...)` for a file",
    "min_user_feedback": "`training.min_feedback`; `router.examples.export(path, min_user_feedback=...)` for a file",
    "deduplicate": "`training.dedupe`; `router.examples.export(path, deduplicate=...)` for a file",
    "include_existing_data": "`training.existing`; `router.examples.export(path, include_existing_data=...)` for files",
    "existing_data_path": "`training.existing`; `router.examples.export(path, existing_data_path=...)` for a file",
    "format_type": '`router.examples.export(path, format="chatml")`, or `"alpaca"`, `"completion"`',
    "ab_test_config": '`promotion = "experiment"`, and the section `experiment`; see `router loop`',
    "initial_challenger_traffic": "`experiment.challenger_share`",
    "min_improvement_threshold": "`experiment.min_improvement`, of the champion's mean",
    "promotion_threshold": "`experiment.min_improvement`: what wins is promoted",
    "min_duration_hours": "`experiment.min_duration_hours`",
    "min_samples_per_version": "`experiment.min_units`, of sessions, or decisions without one",
    "metrics": "`experiment.weights` names them; `reward_metrics` says what a number in `Outcome.metrics` teaches",
    "metric_weights": "`experiment.weights`; `reward_metrics` for what is learnt",
    "enable_auto_promotion": "`experiment.auto_promotion`",
    "base_model_path": "`model` in `[strategy.bert]`",
    "teacher_model_path": 'the version that serves is the teacher: `strategy = "distillation"` in `[strategy.bert]`',
    "checkpoint_dir": "the folder `STORE.artifacts` beside the store",
    "model_registry_dir": "the folder `STORE.artifacts` beside the store",
    "model_storage_path": "`store`, the file; versions stand beside it",
    "model_save_interval": "`snapshot_seconds`",
    "model_batch_size": "`batch_events`",
    "model_batch_timeout": "`batch_seconds`",
    "eval_batch_size": "nothing to set: each text is encoded by itself, so that its vector never depends on others",
    "batch_size": "`batch_events` for what is learnt at once, `batch_size` in `[strategy.bert]` for fits",
    "learning_rate": "`learning_rate` in `[strategy.bert]`",
    "max_epochs": "`epochs` in `[strategy.bert]`",
    "epochs": "`epochs` in `[strategy.bert]`",
    "replay_buffer_size": "`replay_size` in `[strategy.bert]`",
    "replay_ratio": "`replay_share` in `[strategy.bert]`, and `training.replay_ratio` of all that is trained on",
    "knowledge_distillation_weight": "`distillation_weight` in `[strategy.bert]`",
    "temperature": "`distillation_temperature` in `[strategy.bert]`",
    "ewc_lambda": "`ewc_lambda` in `[strategy.bert]`",
    "l2_reg_weight": "`weight_decay` in `[strategy.bert]`",
    "old_validation_data_path": '`gate={"validation": path}`, a file of tasks that nobody was taught',
    "min_accuracy_threshold": '`gate={"minimum_accuracy": 0.8}`; by default as good as what serves',
    "max_forgetting_threshold": '`gate={"forgetting": 0.05}`, which it is by itself',
    "online_learning": "`batch_events`, `batch_seconds`, and each strategy's own settings in `[strategy.NAME]`",
    "streaming": "`router stream --from URL`, with `batch_events` and `batch_seconds`",
    "warmup": "`router.models.warm_start(folder, texts, labels)`, or `router warm-up`; without a checkpoint "
    "`router pretrain`",
    "safety": "`gate`: each check of a new version, and its threshold; `watch`: when one that serves is rolled back "
    "by itself",
    "evaluation": "`router.evaluate(texts, labels)`, and `held_out` for what judges a fit",
}
"""Their name, and what answers to it, in Markdown."""


def in_our_words(error: ValidationError) -> str:
    """What to write instead of the unknown keys that an error names, where another system knows them; else nothing."""
    return "".join(f"; {name} is here: {SETTINGS[name]}" for name in _unknown_keys(error) if name in SETTINGS)


def _unknown_keys(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        if fault["type"] == "extra_forbidden":
            yield str(fault["loc"][-1])
