"""Whose code it is: the program's own, which may change from one start to the next, or an installed library's."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
import types
from collections.abc import Iterable
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
    "time": None,
    "numpy.random": None,
}
"""Modules, and names in them, that answer otherwise from one start to the next; None is all of a module."""


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


def home_of(reward: object) -> str:
    """The top-level package of a reward's own code."""
    while True:
        if isinstance(reward, functools.partial):
            reward = reward.func
        elif isinstance(reward, types.MethodType):
            reward = reward.__self__
        elif hasattr(reward, "__wrapped__"):
            reward = reward.__wrapped__
        else:
            break
    holder = reward if isinstance(reward, (type, types.FunctionType)) else type(reward)
    return holder.__module__.partition(".")[0] if isinstance(holder.__module__, str) else ""


def is_library(module: str, home: str) -> bool:
    """Whether a module is known by its name and version, and not by its code."""
    top = module.partition(".")[0]
    if top == "router_sdk" or top in sys.stdlib_module_names or top == "builtins":
        return True
    return top != home and _is_installed(top)


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
