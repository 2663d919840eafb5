"""From configuration to a chain of strategies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pydantic import ValidationError

from router_sdk.errors import (
    FAULTS,
    CorruptArtifactError,
    DuplicateNameError,
    InvalidConfigError,
    RouterError,
    StrategyError,
    UnknownStrategyError,
    let_end,
)
from router_sdk.plugins import FIRST_PARTY
from router_sdk.records.record import describe
from router_sdk.setting_names import in_our_words
from router_sdk.store.artifacts import plain_name
from router_sdk.strategy import Encoder, Kept, Strategy, StrategyServices

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.config import RouterConfig
    from router_sdk.plugins import PluginRegistry

StrategySpec = str | tuple[str, Mapping[str, Any]] | type[Strategy] | Strategy
"""A registered name, a name with its configuration, a class, or a finished object."""

_TAKEN = ("calibration", "drift", "performance", "selection")
_IN_USE: WeakValueDictionary[int, Strategy] = WeakValueDictionary()
"""Strategies that a router was made with, by their address."""


class Workshop:
    """Makes the strategies of one router.

    Args:
        config: Settings.
        plugins: What is registered.
        encoders: What strategies may ask for.
        folder: The store's folder for artefacts.
        keep: See ``StrategyServices``; None leaves folders where they are.
    """

    def __init__(
        self,
        config: RouterConfig,
        plugins: PluginRegistry,
        encoders: Mapping[str, Encoder],
        folder: Path,
        keep: Callable[[Path], Kept] | None,
    ) -> None:
        self._config, self._plugins, self._encoders, self._folder, self._keep = config, plugins, encoders, folder, keep

    def chain(self, specs: Sequence[StrategySpec] | None) -> list[Strategy]:
        """Make the strategies of a chain, in order.

        Raises:
            UnknownStrategyError: if a name is not registered.
            StrategyError: if one raises something else than an error of the SDK while it is made.
            InvalidConfigError: if a strategy's configuration is not understood, configures a strategy that is not in
                the chain, its name could lead out of the store's folder, the privacy mode keeps it from learning, or
                a finished object has been in a router before, open or closed.
            DuplicateNameError: if two strategies have one name.
        """
        if specs is None:
            specs = [name for name in FIRST_PARTY if name in self._plugins.strategies]
        if not specs:
            raise InvalidConfigError(
                "strategies: the chain is empty; install some (pip install router-sdk-thompson router-sdk-heuristic) "
                "or pass a Strategy"
            )
        made = [self._make(spec) for spec in specs]
        names = [strategy.name for strategy in made]
        if len(set(names)) != len(names):
            raise DuplicateNameError(f"strategies: names must be unique in the chain, got {names}")
        unused = sorted(self._config.strategy.keys() - set(names))
        if unused:
            raise InvalidConfigError(f"strategy: {unused} are configured but not in the chain {names}")
        self._check_privacy(made)
        return made

    def _check_privacy(self, made: Sequence[Strategy]) -> None:
        privacy = self._config.privacy
        for strategy in made:
            if strategy.needs_text and privacy in ("hmac", "none"):
                raise InvalidConfigError(
                    f"privacy={privacy!r} keeps no text, and strategy {strategy.name!r} learns from past texts; "
                    "use privacy='full' or 'redacted', or leave it out of the chain"
                )

    def arm(self, specs: Sequence[tuple[str, Mapping[str, Any]]], mark: str) -> list[Strategy]:
        """Make the strategies of a chain beside the configured one, of whose settings nothing is theirs.

        Args:
            specs: Names and settings, in order.
            mark: What tells their folders from those of the configured chain.

        Raises:
            UnknownStrategyError: if a name is not registered.
            StrategyError: if one raises something else than an error of the SDK while it is made.
            InvalidConfigError: if settings are not understood, or the privacy mode keeps a strategy from learning.
        """
        made = [self._built(self._plugins.strategy(name), settings, f"{name}@{mark}") for name, settings in specs]
        self._check_privacy(made)
        return made

    @staticmethod
    def claim(strategies: Iterable[Strategy]) -> None:
        """Note that a router is made with these: no other one shall be."""
        _IN_USE.update((id(strategy), strategy) for strategy in strategies)

    def installed(self, name: str) -> Strategy | None:
        """A strategy that an installed plugin brings, as configured; None where none does."""
        try:
            return self._make(name)
        except (UnknownStrategyError, InvalidConfigError):
            return None

    def _make(self, spec: StrategySpec) -> Strategy:
        if isinstance(spec, Strategy):
            _check_name(spec.name)
            if _IN_USE.get(id(spec)) is spec:
                raise InvalidConfigError(
                    f"strategies: this object of strategy {spec.name!r} has been in a router already, and holds what "
                    "it learnt there; make a second one, or pass its class or its name: each router then makes its own"
                )
            return spec
        settings: Mapping[str, Any] = {}
        if isinstance(spec, tuple):
            spec, settings = spec
        if isinstance(spec, str):
            chosen = self._plugins.strategy(spec)
        elif isinstance(spec, type) and issubclass(spec, Strategy):
            chosen = spec
        else:
            raise InvalidConfigError(f"strategies: {spec!r} is neither a name, a Strategy class nor a Strategy")
        _check_name(chosen.name)
        return self._built(chosen, {**self._config.strategy.get(chosen.name, {}), **settings}, chosen.name)

    def _built(self, chosen: type[Strategy], settings: Mapping[str, Any], folder: str) -> Strategy:
        try:
            own = chosen.Config(**settings)
        except ValidationError as error:
            raise InvalidConfigError(f"strategy {chosen.name!r}: {describe(error)}{in_our_words(error)}") from None
        services = StrategyServices(
            folder=self._folder / "strategies" / folder,
            encoders=self._encoders,
            logger=logging.getLogger(f"router_sdk.strategy.{chosen.name}"),
            seed=self._config.seed,
            **({} if self._keep is None else {"keep": self._keep}),
        )
        try:
            return chosen(own, services)
        except RouterError:
            raise
        except FAULTS as error:
            let_end(error)
            raise StrategyError(f"strategy {chosen.name!r} cannot be made: {type(error).__name__}: {error}") from error


def spec_name(spec: StrategySpec) -> str:
    """The name of the strategy that is meant."""
    if isinstance(spec, str):
        return spec
    return spec[0] if isinstance(spec, tuple) else spec.name


def _check_name(name: object) -> None:
    """Files and folders are called after strategies."""
    try:
        plain = plain_name(name)
        if "@" in plain:  # so is the state of a strategy called that is an experiment's
            raise CorruptArtifactError(plain)
    except CorruptArtifactError:
        raise InvalidConfigError(
            f"strategies: {name!r:.80} cannot be a strategy's name: use letters, digits, '_', '-' and '.'"
        ) from None
    if plain in _TAKEN:
        raise InvalidConfigError(f"strategies: {plain!r} cannot be a strategy's name: a report is called so")
