"""What a function reads beside its arguments: globals, modules that it imports, attributes by name."""

from __future__ import annotations

import dis
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
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
