"""From configuration to a chain of strategies."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from router_sdk.errors import DuplicateNameError, InvalidConfigError
from router_sdk.records.record import describe
from router_sdk.strategy import Encoder, Strategy, StrategyServices

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.config import RouterConfig
    from router_sdk.plugins import PluginRegistry

StrategySpec = str | tuple[str, Mapping[str, Any]] | type[Strategy] | Strategy
"""A registered name, a name with its configuration, a class, or a finished object."""

FIRST_PARTY = ("bert", "thompson", "heuristic")
"""The default chain: those of these that are installed."""


def build_strategies(
    specs: Sequence[StrategySpec] | None,
    config: RouterConfig,
    registry: PluginRegistry,
    encoders: Mapping[str, Encoder],
    folder: Path,
) -> list[Strategy]:
    """Make the strategies of a chain, in order.

    Raises:
        UnknownStrategyError: if a name is not registered.
        InvalidConfigError: if a strategy's configuration is not understood, configures a strategy that is not in
            the chain, or the privacy mode keeps it from learning.
        DuplicateNameError: if two strategies have one name.
    """
    if specs is None:
        specs = [name for name in FIRST_PARTY if name in registry.strategies]
    if not specs:
        raise InvalidConfigError(
            "strategies: the chain is empty; install some (pip install router-sdk-thompson router-sdk-heuristic) "
            "or pass a Strategy"
        )
    made = [_build(spec, config, registry, encoders, folder) for spec in specs]
    names = [strategy.name for strategy in made]
    if len(set(names)) != len(names):
        raise DuplicateNameError(f"strategies: names must be unique in the chain, got {names}")
    unused = sorted(config.strategy.keys() - set(names))
    if unused:
        raise InvalidConfigError(f"strategy: {unused} are configured but not in the chain {names}")
    for strategy in made:
        if strategy.needs_text and config.privacy in ("hmac", "none"):
            raise InvalidConfigError(
                f"privacy={config.privacy!r} keeps no text, and strategy {strategy.name!r} learns from past texts; "
                "use privacy='full' or 'redacted', or leave it out of the chain"
            )
    return made


def _build(
    spec: StrategySpec,
    config: RouterConfig,
    registry: PluginRegistry,
    encoders: Mapping[str, Encoder],
    folder: Path,
) -> Strategy:
    if isinstance(spec, Strategy):
        return spec
    settings: Mapping[str, Any] = {}
    if isinstance(spec, tuple):
        spec, settings = spec
    if isinstance(spec, str):
        chosen = registry.strategy(spec)
    elif isinstance(spec, type) and issubclass(spec, Strategy):
        chosen = spec
    else:
        raise InvalidConfigError(f"strategies: {spec!r} is neither a name, a Strategy class nor a Strategy")
    try:
        own = chosen.Config(**{**config.strategy.get(chosen.name, {}), **settings})
    except ValidationError as error:
        raise InvalidConfigError(f"strategy {chosen.name!r}: {describe(error)}") from None
    services = StrategyServices(
        folder=folder / "strategies" / chosen.name,
        encoders=encoders,
        logger=logging.getLogger(f"router_sdk.strategy.{chosen.name}"),
        seed=config.seed,
    )
    return chosen(own, services)
