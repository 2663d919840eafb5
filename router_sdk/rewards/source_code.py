"""The code behind a reward: what a function reads beside its arguments, and whose code that is.

Whose: the program's own, which may change from one start to the next, or an installed library's.
"""

from __future__ import annotations

import dis
import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any

_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})


class CannotFollowError(Exception):
    """The function does what cannot be followed."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one function reads.

    Attributes:
        globals: Names that it reads and that are there, with what they stand for now.
        builtins: Other names that it reads: built-in ones, and those that nothing has.
        imports: Modules that it imports when it is called.
        attributes: Every attribute that it names, of whatever.
    """

    globals: dict[str, Any]
    builtins: tuple[str, ...]
    imports: dict[str, ModuleType]
    attributes: frozenset[str]


def read_by(function: FunctionType) -> Reading:
    """Follow a function's code, and that of the functions inside it.

    Raises:
        CannotFollowError: if it writes a global, or imports a module that is not there yet.
    """
    names: set[str] = set()
    attributes: set[str] = set()
    imports: dict[str, ModuleType] = {}
    space = function.__globals__
    for code in _nested(function.__code__):
        attributes.update(code.co_names)
        before: list[Any] = []
        for step in dis.get_instructions(code):
            if step.opname in _WRITES:
                raise CannotFollowError(f"it writes the global {step.argval}")
            if step.opname in _GLOBALS:
                names.add(step.argval)
            elif step.opname == "IMPORT_NAME":
                module = _imported(step.argval, before, space)
                imports[module.__name__] = module
            elif step.opname.startswith("LOAD_"):
                before = [*before[-1:], step.argval]
    found = {name: space[name] for name in sorted(names) if name in space}
    return Reading(found, tuple(sorted(names - found.keys())), dict(sorted(imports.items())), frozenset(attributes))


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _imported(name: str, before: list[Any], space: dict[str, Any]) -> ModuleType:
    """The module of an import statement; its level and its list of names were loaded just before."""
    level = before[0] if before and isinstance(before[0], int) else 0
    try:
        full = importlib.util.resolve_name("." * level + name, space.get("__package__")) if level else name
    except ImportError:
        full = ""
    module = (
        importlib.import_module(full) if full.partition(".")[0] in sys.stdlib_module_names else sys.modules.get(full)
    )
    if module is None:
        raise CannotFollowError(f"it imports {name or '.'} when it is called")
    return module


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
