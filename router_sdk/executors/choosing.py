"""Which executor does the fits, by its name in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from router_sdk.errors import DuplicateNameError, InvalidConfigError
from router_sdk.executors.child import ChildProcess
from router_sdk.executors.command import Command
from router_sdk.records.record import describe

if TYPE_CHECKING:
    from router_sdk.engine import Engine
    from router_sdk.executors.executor import FitExecutor

THREAD, AUTO = "thread", "auto"
OWN: Mapping[str, type[FitExecutor]] = {one.name: one for one in (ChildProcess, Command)}


def chosen_executor(
    name: str,
    settings: Mapping[str, Mapping[str, Any]],
    registered: Mapping[str, type[FitExecutor]],
    engine: Engine,
) -> FitExecutor | None:
    """The executor of a name; ``auto`` takes a child process. None is a thread of this one.

    Args:
        name: As configured.
        settings: Each executor's configuration, by name.
        registered: What plugins bring.
        engine: Where the log is.

    Raises:
        InvalidConfigError: if there is none of that name, or its settings are not understood, or it
            needs a copy of a log that is in no file.
        DuplicateNameError: if a plugin brings one under a name that is taken.
    """
    taken = sorted(registered.keys() & {*OWN, THREAD, AUTO})
    if taken:
        raise DuplicateNameError(f"fit_executors: {taken} are the SDK's own")
    known = {**OWN, **registered}
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise InvalidConfigError(f"executor: {unknown} are not registered; there are {sorted(known)}")
    if name == THREAD:
        return None
    chosen = ChildProcess if name == AUTO else known.get(name)
    if chosen is None:
        hint = "; pip install router-sdk-ray" if name == "ray" else ""
        raise InvalidConfigError(
            f"fit_executor: there is no {name!r}; there are {sorted([*known, THREAD, AUTO])}{hint}"
        )
    if chosen.copies and engine.name != "sqlite":
        raise InvalidConfigError(
            f"fit_executor={name!r} takes a copy of the log along, which is made of a SQLite file alone, and the store "
            f"is {engine.shown}: use fit_executor='process', for a GPU elsewhere in a router there"
        )
    try:
        return chosen(chosen.Config(**settings.get(chosen.name, {})))
    except ValidationError as error:
        raise InvalidConfigError(f"executor {chosen.name!r}: {describe(error)}") from None
