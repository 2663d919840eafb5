"""A neighbour's file for its training loop, or for its online learner, in our settings.

A loop's has sections ``trigger_config``, ``generator_config`` and ``ab_test_config``; an online learner's has
``online_learning``, ``streaming``, ``warmup``, ``safety`` and ``evaluation``. Nothing is passed over in silence: each
key is a setting here, or is named with what answers to it, or is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router_sdk.config import RouterConfig
from router_sdk.errors import InvalidConfigError
from router_sdk.setting_names import SETTINGS

_ONLINE = ("online_learning", "streaming", "warmup", "safety", "evaluation")
_SECTIONS = ("trigger_config", "generator_config", "ab_test_config", *_ONLINE)
_MARKS = {*_SECTIONS, "check_interval_seconds"}
"""One of these makes a file a neighbour's."""

_NUMBERS: Mapping[str, tuple[str, float]] = {
    "min_new_samples": ("retrain_interval", 1),
    "cooldown_hours": ("retrain_cooldown_seconds", 3_600.0),
    "schedule_interval_hours": ("triggers.schedule_hours", 1),
    "quality_drop_threshold": ("triggers.quality_drop_threshold", 1),
    "quality_window_hours": ("triggers.quality_window_hours", 1),
    "error_rate_threshold": ("triggers.error_rate_threshold", 1),
    "error_window_hours": ("triggers.error_window_hours", 1),
    "min_quality_score": ("training.min_quality", 1),
    "min_user_feedback": ("training.min_feedback", 1),
}
"""Their name in ``trigger_config`` or ``generator_config``, ours, and what to multiply by."""

_ONLINE_NUMBERS: Mapping[str, str] = {
    "learning_rate": "strategy.bert.learning_rate",
    "ewc_lambda": "strategy.bert.ewc_lambda",
    "batch_size": "batch_events",
    "batch_timeout": "batch_seconds",
    "save_interval": "snapshot_seconds",
    "min_accuracy_threshold": "gate.minimum_accuracy",
    "max_forgetting_threshold": "gate.forgetting",
    "held_out": "held_out",
}
"""Their name in a section of an online learner, and ours."""

STREAM_KEYS: Mapping[str, str] = {
    "bootstrap_servers": "hosts",
    "kafka_bootstrap_servers": "hosts",
    "topic": "topic",
    "kafka_topic": "topic",
    "group_id": "group",
    "checkpoint": "warmup_from",
    "warmup_from": "warmup_from",
    "data": "warmup_data",
    "data_path": "warmup_data",
}
"""Their name in ``streaming`` or ``warmup``, and what ``router stream`` calls it: ``LoopFile.stream``."""

_COMPARED: Mapping[str, str] = {
    "initial_challenger_traffic": "experiment.challenger_share",
    "min_improvement_threshold": "experiment.min_improvement",
    "min_duration_hours": "experiment.min_duration_hours",
    "min_samples_per_version": "experiment.min_units",
}
"""Their name in ``ab_test_config``, and ours."""

_METRICS = {
    "quality_score": "quality",
    "user_feedback": "feedback",
    "positive_feedback": "feedback",
    "positive_feedback_rate": "feedback",
    "latency_ms": "latency",
}
"""Their names for what an experiment weighs, and ours; others are names in ``Outcome.metrics``."""

_SWITCHES: Mapping[str, tuple[str, str | None, float | None]] = {
    "sample": ("example_count", None, None),
    "count": ("example_count", None, None),
    "schedule": ("schedule", "triggers.schedule_hours", 168.0),
    "quality": ("quality_drop", None, None),
    "error": ("error_rate", "triggers.error_rate_threshold", 0.2),
}
"""A word in the name of an ``enable_…``; our trigger, the setting without which there is none, and their default."""


@dataclass(slots=True)
class LoopFile:
    """What a neighbour's file comes to.

    Attributes:
        settings: Of ours; those of a section are mappings.
        taken: Each key that is taken with its value, and what it is here.
        existing: What it says of a file beside the log.
        left: Each key that is not, and what to use instead.
        stream: What it says of the stream to follow, see ``STREAM_KEYS``.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    existing: dict[str, Any] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    stream: dict[str, str] = field(default_factory=dict)

    def take(self, theirs: str, given: Any, ours: str, value: Any) -> None:
        """Set one of ours; dots lead into sections."""
        self.taken[f"{theirs} = {json.dumps(given)}"] = f"{ours} = {json.dumps(value)}"
        self.put(ours, value)

    def put(self, ours: str, value: Any) -> None:
        """Set one of ours, which nobody gave."""
        *sections, name = ours.split(".")
        within = self.settings
        for section in sections:
            within = within.setdefault(section, {})
        within[name] = value


def read_loop_file(path: Path | None) -> LoopFile | None:
    """Read a neighbour's file; None where it is one of ours, or nobody's.

    Raises:
        InvalidConfigError: if it has a key that neither they nor we know, or a value that cannot be meant.
    """
    if path is None or path.suffix.lower() != ".json":
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # whoever reads it as ours says what is wrong
    if not isinstance(told, dict) or _MARKS.isdisjoint(told):
        return None
    found = LoopFile()
    for name, value in told.items():
        if name in _SECTIONS:
            if not isinstance(value, dict):
                raise InvalidConfigError(f"{path.name}: {name}: expected named settings, got {value!r:.60}")
            for theirs, given in value.items():
                _section(found, path, f"{name}.{theirs}", theirs, given)
        elif name in RouterConfig.model_fields:
            found.settings[name] = value
        else:
            found.left[name] = _answer(path, name, name)
    _existing(found)
    return found


def _existing(found: LoopFile) -> None:
    """A file beside the log is trained on where they say so, or say nothing but which."""
    given = found.existing
    wanted, file = given.get("include_existing_data", True), given.get("existing_data_path")
    for name, value in given.items():
        place = f"generator_config.{name}"
        if wanted and file is not None:
            found.take(place, value, "training.existing", file)
        else:
            found.left[place] = (
                "`training.existing`, once it names a file" if wanted else "no file is wanted, and none taken"
            )


def _section(found: LoopFile, path: Path, place: str, theirs: str, given: Any) -> None:
    if place.partition(".")[0] in _ONLINE:
        _online(found, path, place, theirs, given)
    elif place.startswith("ab_test_config."):
        found.put("promotion", "experiment")
        _compared(found, path, place, theirs, given)
    elif theirs in _NUMBERS:
        ours, factor = _NUMBERS[theirs]
        found.take(place, given, ours, _number(path, place, given) * factor)
    elif theirs == "deduplicate":
        found.take(place, given, "training.dedupe", given)
    elif theirs in ("existing_data_path", "include_existing_data"):
        found.existing[theirs] = given
    elif place.startswith("trigger_config.enable_"):
        _switch(found, path, place, theirs, given)
    else:
        found.left[place] = _answer(path, place, theirs)


def _online(found: LoopFile, path: Path, place: str, theirs: str, given: Any) -> None:
    if theirs in _ONLINE_NUMBERS:
        found.take(place, given, _ONLINE_NUMBERS[theirs], _number(path, place, given))
    elif theirs in STREAM_KEYS and place.startswith(("streaming.", "warmup.")):
        servers = isinstance(given, list) and all(isinstance(one, str) for one in given)
        if not isinstance(given, str) and not servers:
            raise InvalidConfigError(f"{path.name}: {place}: expected a text, got {given!r:.60}")
        found.stream[STREAM_KEYS[theirs]] = ",".join(given) if servers else given
        found.taken[f"{place} = {json.dumps(given)}"] = f"`router stream`: {STREAM_KEYS[theirs]}"
    else:
        found.left[place] = _answer(path, place, theirs)


def _number(path: Path, place: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise InvalidConfigError(f"{path.name}: {place}: expected a number, got {given!r:.60}")
    return given


def _compared(found: LoopFile, path: Path, place: str, theirs: str, given: Any) -> None:
    """Their A/B test of each new version is an experiment here."""
    if theirs in _COMPARED:
        found.take(place, given, _COMPARED[theirs], _number(path, place, given))
    elif theirs == "enable_auto_promotion":
        if not isinstance(given, bool):
            raise InvalidConfigError(f"{path.name}: {place}: expected true or false, got {given!r:.60}")
        found.take(place, given, "experiment.auto_promotion", given)
    elif theirs == "metric_weights":
        if not isinstance(given, dict) or not given:
            raise InvalidConfigError(f"{path.name}: {place}: expected weights by metric, got {given!r:.60}")
        weights = {_METRICS.get(name, name): _number(path, f"{place}.{name}", each) for name, each in given.items()}
        found.take(place, given, "experiment.weights", weights)
    else:
        found.left[place] = _answer(path, place, theirs)


def _switch(found: LoopFile, path: Path, place: str, theirs: str, given: Any) -> None:
    trigger = next((known for word, known in _SWITCHES.items() if word in theirs), None)
    if trigger is None:
        known = ", ".join(sorted({name for name, *_ in _SWITCHES.values()}))
        raise InvalidConfigError(f"{path.name}: {place}: there is no such trigger; here are {known}")
    if not isinstance(given, bool):
        raise InvalidConfigError(f"{path.name}: {place}: expected true or false, got {given!r:.60}")
    name, setting, default = trigger
    if not given:
        off = found.settings.setdefault("triggers", {}).setdefault("off", [])
        if name not in off:
            off.append(name)
        found.taken[f"{place} = false"] = f'triggers.off = ["{name}"]'
    elif setting is not None and setting.partition(".")[2] not in found.settings.get("triggers", {}):
        found.take(place, given, setting, default)
    else:
        found.taken[f"{place} = true"] = f"{name} is asked"


def _answer(path: Path, place: str, theirs: str) -> str:
    """What to use instead.

    Raises:
        InvalidConfigError: if nobody knows the key.
    """
    if theirs not in SETTINGS:
        raise InvalidConfigError(
            f"{path.name}: {place}: neither a setting here nor one that is known of another system"
        )
    return SETTINGS[theirs]


def told_of(found: LoopFile) -> Iterator[str]:
    """What became of each key, a line each."""
    for theirs, ours in found.taken.items():
        yield f"{theirs}: {ours}"
    for theirs, instead in found.left.items():
        yield f"{theirs} is not taken: {instead}"
