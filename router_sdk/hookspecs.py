"""The only extension surface: every hook a plugin may implement. Behaviour lives in the ABCs of ``strategy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import typer

    from router_sdk.engine import Engine
    from router_sdk.executors.executor import FitExecutor
    from router_sdk.gate import Check
    from router_sdk.records import Agent, Alert, Decision, Outcome, Task
    from router_sdk.rewards import QualityScorer, RewardFunction
    from router_sdk.strategy import Encoder, Strategy
    from router_sdk.streams.source import Sink, Source
    from router_sdk.triggers import Trigger

PROJECT_NAME = "router_sdk"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def register_strategies() -> Sequence[type[Strategy]]:  # type: ignore[empty-body]
    """Strategy classes this plugin brings. Keep heavy imports inside the class. Since 0.1."""


@hookspec
def register_encoders() -> Sequence[type[Encoder]]:  # type: ignore[empty-body]
    """Encoder classes this plugin brings. Keep heavy imports inside the class. Since 0.1."""


@hookspec
def register_fit_executors() -> Sequence[type[FitExecutor]]:  # type: ignore[empty-body]
    """Where fits can be done, to be named as ``fit_executor``. Keep heavy imports inside the class. Since 0.1."""


@hookspec
def register_rewards() -> Mapping[str, RewardFunction]:  # type: ignore[empty-body]
    """Reward functions by name, for ``reward="name"`` in the configuration. Since 0.1."""


@hookspec
def register_triggers() -> Sequence[Trigger]:  # type: ignore[empty-body]
    """Triggers that say when it is time to fit, beside those of ``TriggerConfig``. Since 0.1."""


@hookspec
def register_checks() -> Sequence[Check]:  # type: ignore[empty-body]
    """Checks that a fitted candidate must pass before it serves, beside those of ``RouterConfig.gate``. Since 0.1."""


@hookspec
def register_quality_scorers() -> Sequence[QualityScorer]:  # type: ignore[empty-body]
    """Scorers of how good an execution was, to be named in ``quality.scorers``. Since 0.1."""


@hookspec
def register_sources() -> Mapping[str, type[Source]]:  # type: ignore[empty-body]
    """Where events come from, by the scheme of their addresses: ``{"kafka": KafkaSource}``. Since 0.1."""


@hookspec
def register_sinks() -> Mapping[str, type[Sink]]:  # type: ignore[empty-body]
    """Where decisions and outcomes go, by the scheme of their addresses. Since 0.1."""


@hookspec
def register_benchmark_routers() -> Mapping[str, Callable[[Sequence[Agent]], Any]]:  # type: ignore[empty-body]
    """Routers to compare in ``router bench``, by name: called with the agents, they return a router. Since 0.1."""


@hookspec
def register_stores() -> Mapping[str, type[Engine] | str]:  # type: ignore[empty-body]
    """Databases that can keep the log, by the scheme of the URLs that name them, see ``Engine``. Since 0.1.

    Each is a class, or where it is: ``{"postgresql": "router_sdk_postgres.engine:PostgresEngine"}``. What is named so
    is imported once a store's URL has that scheme, so that a database's driver costs other stores nothing.
    """


@hookspec
def register_commands(cli: typer.Typer) -> None:
    """Add commands to the ``router`` command line. Since 0.1."""


@hookspec
def filter_agents(task: Task, agents: Sequence[Agent]) -> Collection[str] | None:
    """Names of the agents that may get this task; None has no opinion. All answers intersect. Since 0.1."""


@hookspec(firstresult=True)
def route(task: Task) -> Decision | None:
    """Route a task. Implemented by the Router alone; write a wrapper to see or change what passes. Since 0.1."""


@hookspec(firstresult=True)
def record(decision: Decision | str, outcome: Outcome) -> bool | None:
    """Record an outcome; True once it is on disk. Implemented by the Router alone. Since 0.1."""


@hookspec
def on_decision(decision: Decision) -> None:
    """A decision was made. One that raises is logged and stops nobody. Since 0.1."""


@hookspec
def on_outcome(decision_id: str, outcome: Outcome) -> None:
    """An outcome is on disk. One that raises is logged and stops nobody. Since 0.1."""


@hookspec
def on_fit_started(strategy: str, reason: str) -> None:
    """A fit begins. One that raises is logged and stops nobody. Since 0.1."""


@hookspec
def on_fit_finished(strategy: str, state: str, version: int | None) -> None:
    """A fit ended: ``promoted``, ``refused``, ``failed`` or ``stopped``. Since 0.1."""


@hookspec
def on_promotion(strategy: str, version: int) -> None:
    """A fitted version serves from now on. Since 0.1."""


@hookspec
def on_rollback(strategy: str, version: int | None) -> None:
    """An earlier version serves again; None is the strategy without any fit. Since 0.1."""


@hookspec
def on_drift(alert: Alert) -> None:
    """A figure passed its threshold: once an episode, in each process that learns. Since 0.1."""
