"""Whose code it is: the program's own, which may change from one start to the next, or an installed library's."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
import types
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import PurePath

_OUTSIDE: dict[str, frozenset[str] | None] = {
    "builtins": frozenset({"open", "input", "eval", "exec", "compile", "globals", "__import__"}),
    "io": frozenset({"open"}),
    "os": frozenset({"environ", "environb", "getenv", "getenvb", "urandom", "_Environ"}),
    "posix": frozenset({"urandom", "stat", "listdir"}),
    "random": None,
    "secrets": None,
    "socket": None,
    "subprocess": None,
    "sys": frozenset({"argv", "orig_argv", "stdin"}),
    "time": None,
    "numpy.random": None,
}
"""Modules, and names in them, that answer otherwise from one start to the next; None is all of a module."""

_MOST_WRAPPED = 100


def asks_outside(module: str, names: Iterable[str]) -> str | None:
    """The first of these names of a module that lead outside of the program, as people write it."""
    while module and module not in _OUTSIDE:
        module = module.rpartition(".")[0]
    if not module:
        return None
    asked = _OUTSIDE[module]
    if asked is None:
        return module
    found = sorted(asked & set(names))
    return f"{module}.{found[0]}" if found else None


def homes_of(reward: object) -> frozenset[str]:
    """The top-level packages of a reward's own code, and of what is wrapped in it: followed although installed."""
    homes: set[str] = set()
    waiting, seen = [reward], 0
    while waiting and seen < _MOST_WRAPPED:
        one, seen = waiting.pop(), seen + 1
        if isinstance(one, functools.partial):
            waiting.append(one.func)
        elif isinstance(one, types.MethodType):
            waiting += [one.__func__, one.__self__]
        else:
            holder = one if isinstance(one, (type, types.FunctionType)) else type(one)
            homes.add(str(holder.__module__).partition(".")[0])
            waiting += [
                held for held in _wrapped_in(one) if isinstance(held, types.FunctionType) and not is_there(held)
            ]
    return frozenset(homes)


def _wrapped_in(one: object) -> list[object]:
    found = [one.__wrapped__] if hasattr(one, "__wrapped__") else []
    for cell in getattr(one, "__closure__", None) or ():
        with suppress(ValueError):  # it is empty
            found.append(cell.cell_contents)
    return found


def is_library(module: str, homes: Collection[str]) -> bool:
    """Whether a module is known by its name and version, and not by its code."""
    top = module.partition(".")[0]
    if top == "router_sdk" or top in sys.stdlib_module_names or top == "builtins":
        return True
    return top not in homes and _is_installed(top)


def is_there(function: types.FunctionType) -> bool:
    """Whether a function stands under its name in its module, and is not one that another one made or wraps."""
    found: object = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


@functools.cache
def _is_installed(top: str) -> bool:
    found = sys.modules.get(top)
    places = [getattr(found, "__file__", None), *getattr(found, "__path__", ())]
    return any(not {"site-packages", "dist-packages"}.isdisjoint(PurePath(place).parts) for place in places if place)


def named(module: str, name: str = "") -> str:
    """What of a library stands for its code."""
    top = module.partition(".")[0]
    version = "" if top == "router_sdk" or top in sys.stdlib_module_names else _version(top)
    return f"{module}.{name} {version}"


@functools.cache
def _version(top: str) -> str:
    told = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(told, str):
        return told
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return ""
