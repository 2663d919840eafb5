"""How a strategy class is written."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from router_sdk.errors import CorruptArtifactError
from router_sdk.store.artifacts import plain_name
from router_sdk.strategy import Strategy, StrategyConfig
from router_sdk.testing.comparison import require

if TYPE_CHECKING:
    from router_sdk.testing.trial import Trial


def declares_what_the_router_calls(trial: Trial) -> None:
    """It has a name and a config, and its methods take the contract's arguments without defaults."""
    kind = type(trial.build())
    name = getattr(kind, "name", None)
    require(isinstance(name, str), "its class has no name")
    try:
        plain_name(name)
    except CorruptArtifactError as error:
        raise AssertionError(f"its name cannot serve: {error}") from None
    require(issubclass(kind.Config, StrategyConfig), "its Config does not derive from StrategyConfig")
    for method, promised in inspect.getmembers(Strategy, inspect.isfunction):
        if not method.startswith("_"):
            _require_signature(kind, method, promised)


def _require_signature(kind: type[Strategy], method: str, promised: object) -> None:
    found = getattr(kind, method)
    if found is promised:
        return
    expected = list(inspect.signature(getattr(Strategy, method)).parameters)
    given = inspect.signature(found).parameters
    require(
        list(given) == expected,
        f"{method} takes ({', '.join(given)}); the router calls it with ({', '.join(expected)})",
    )
    for parameter in given.values():
        require(
            parameter.default is inspect.Parameter.empty,
            f"{method} gives {parameter.name!r} a default, which hides an argument that was not passed",
        )
