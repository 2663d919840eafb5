"""A version as a run of MLflow, with its settings, figures and files, and as a version of a registered model there."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from router_sdk.errors import InvalidConfigError, InvalidInputError

if TYPE_CHECKING:
    from router_sdk.records import ModelVersion

ARTIFACTS = "model"
"""Under which path of the run the exported folder lies."""
_LONGEST = 500
_THERE = "RESOURCE_ALREADY_EXISTS"


class Tracked(NamedTuple):
    """Where a version stands in MLflow.

    Attributes:
        run_id: Of its run.
        experiment: The experiment's name.
        model_name: Of the registered model; None where it was not registered.
        model_version: Its number there, or None.
    """

    run_id: str
    experiment: str
    model_name: str | None = None
    model_version: int | None = None


class TrackingOptions(TypedDict, total=False):
    """How a version is logged, see ``log_version``."""

    experiment: str
    tracking_uri: str | None
    register: bool


def log_version(
    version: ModelVersion,
    export: Callable[[Path], object],
    *,
    experiment: str = "router_sdk",
    tracking_uri: str | None = None,
    register: bool = True,
) -> Tracked:
    """Log one version.

    Args:
        version: Which.
        export: Writes its files into a folder.
        experiment: In which experiment; made where there is none.
        tracking_uri: Of the server or database; None goes by MLflow's own settings (``MLFLOW_TRACKING_URI``).
        register: Whether it becomes a version of the registered model ``router-STRATEGY``, with the alias ``champion``
            where it serves.

    Raises:
        InvalidConfigError: if MLflow is not installed.
        InvalidInputError: if MLflow refuses it, or cannot be reached.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise InvalidConfigError("MLflow is not installed: pip install 'router-sdk[mlflow]'") from error
    try:
        client: Any = MlflowClient(tracking_uri, tracking_uri)
        found = client.get_experiment_by_name(experiment)
        place = client.create_experiment(experiment) if found is None else found.experiment_id
        name = f"{version.strategy} {version.version}"
        run = client.create_run(place, run_name=name, tags=dict(_tags(version))).info.run_id
        try:
            for key, text in _parameters(version):
                client.log_param(run, key, text)
            for key, value, step in _metrics(version):
                client.log_metric(run, key, value, step=step)
            with tempfile.TemporaryDirectory(prefix="router-mlflow-") as folder:
                export(Path(folder) / ARTIFACTS)
                client.log_artifacts(run, str(Path(folder) / ARTIFACTS), ARTIFACTS)
        except BaseException:
            client.set_terminated(run, "FAILED")
            raise
        client.set_terminated(run)
        registered = _registered(client, version, run, MlflowException) if register else (None, None)
        return Tracked(run, experiment, *registered)
    except MlflowException as error:
        raise InvalidInputError(f"MLflow: {str(error)[:_LONGEST]}") from error


def _registered(client: Any, version: ModelVersion, run: str, refusal: type[Exception]) -> tuple[str, int]:
    """As a version of the strategy's registered model."""
    model = f"router-{version.strategy}"
    try:
        client.create_registered_model(model)
    except refusal as error:
        if getattr(error, "error_code", None) != _THERE:
            raise
    made = client.create_model_version(model, f"runs:/{run}/{ARTIFACTS}", run, tags=dict(_tags(version)))
    if "champion" in version.aliases:
        client.set_registered_model_alias(model, "champion", made.version)
    return model, int(made.version)


def _tags(version: ModelVersion) -> Iterator[tuple[str, str]]:
    told = {
        "strategy": version.strategy,
        "version": version.version,
        "kind": version.kind,
        "parent": version.parent,
        "passed": version.passed,
        "reason": version.reason,
        "trigger": version.trigger,
        "status": version.status,
        "data_hash": version.data_hash,
        "upto": version.upto,
    }
    yield from ((f"router_sdk.{name}", str(value)[:_LONGEST]) for name, value in told.items() if value is not None)


def _parameters(version: ModelVersion) -> Iterator[tuple[str, str]]:
    yield "samples", str(version.samples)
    yield from ((name, str(value)[:_LONGEST]) for name, value in version.settings.items())


def _metrics(version: ModelVersion) -> Iterator[tuple[str, float, int]]:
    """What a fit measured, as numbers by name; each learning curve step by step."""
    for side in ("before", "after"):
        for name, value in version.metrics.get(side, {}).items():
            yield from _number(f"{side}.{name}", value, 0)
    for name in ("held_out", "duration_s", "norm"):
        yield from _number(name, version.metrics.get(name), 0)
    for step, point in enumerate(version.metrics.get("curve", ())):
        for name, value in point.items() if isinstance(point, Mapping) else ():
            yield from _number(f"curve.{name}", value, step)


def _number(name: str, value: object, step: int) -> Iterator[tuple[str, float, int]]:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        yield name, float(value), step
