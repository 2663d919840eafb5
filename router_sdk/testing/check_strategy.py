"""The contract kit: run it on your own strategy, in your own tests."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from router_sdk.errors import FAULTS
from router_sdk.records import Agent, AgentSet, Task
from router_sdk.strategy import Encoder, Strategy
from router_sdk.testing.checks import CHECKS
from router_sdk.testing.examples import make_services, sample_agents, sample_tasks
from router_sdk.testing.trial import Factory, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def check_strategy(
    factory: type[Strategy] | Factory,
    *,
    agents: Sequence[Agent] | None = None,
    tasks: Sequence[Task | str] | None = None,
    encoders: Mapping[str, Encoder] | None = None,
    learns: bool | None = None,
    must_answer: bool = True,
    seed: int = 0,
) -> None:
    """Hold a strategy to the contract of ``router_sdk.plugin.Strategy``.

    ::

        def test_contract():
            check_strategy(MyStrategy)
            check_strategy(lambda services: MyStrategy(MyConfig(window=10), services))

    Args:
        factory: A strategy class, built with its default config, or a callable that is given the services
            and returns a *new* strategy at each call.
        agents: Who can be chosen, at least two; a help desk of four by default.
        tasks: What is asked; by default texts, features and a history for that help desk.
        encoders: Encoders by name, for a strategy that asks for vectors.
        learns: Whether a hundred failures must make it leave its favourite; by default whether it overrides
            ``learn``. Pass False for one whose ``learn`` only keeps examples for ``fit``.
        must_answer: Whether it must answer at least one task once taught; False for one that abstains
            until it is fitted.
        seed: Seed of strategies, requests and outcomes.

    Raises:
        AssertionError: naming the strategy, the promise it broke and where.
    """
    build = _builder(factory)
    who = AgentSet(sample_agents() if agents is None else agents)
    if len(who) < 2:
        raise ValueError("check_strategy: give at least two agents")
    with tempfile.TemporaryDirectory(prefix="check-strategy-") as folder:
        first = build(make_services(Path(folder), encoders=encoders, seed=seed))
        if not isinstance(first, Strategy):
            raise AssertionError(f"the factory made {first!r}, which is no Strategy")
        kind = type(first)
        trial = Trial(
            factory=build,
            agents=who,
            tasks=tuple(Task.of(task) for task in (sample_tasks() if tasks is None else tasks)),
            encoders=dict(encoders or {}),
            folder=Path(folder),
            seed=seed,
            learns=kind.learn is not Strategy.learn if learns is None else learns,
            must_answer=must_answer,
        )
        for check in CHECKS:
            promise = check.__name__.replace("_", " ")
            try:
                check(trial)
            except AssertionError as error:
                raise AssertionError(f"{kind.__name__} breaks the promise that it {promise}: {error}") from error
            except FAULTS as error:
                raise AssertionError(
                    f"{kind.__name__} breaks the promise that it {promise}: {type(error).__name__}: {error}"
                ) from error


def _builder(factory: type[Strategy] | Factory) -> Factory:
    if not inspect.isclass(factory):
        return factory
    kind = cast("type[Strategy]", factory)
    return lambda services: kind(kind.Config(), services)
