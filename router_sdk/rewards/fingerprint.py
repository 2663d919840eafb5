"""By what a state is known to be made with this reward and no other: everything that the reward closes over.

A function is known by its code, defaults, closure and the globals it reads, an object by its class and its state, and
so on into whatever those hold. Code of the standard library and of other installed distributions is known by name and
version. So the fingerprint is the same in every process and wherever the same code stands, and another Python or a
newer library makes another one. An attribute ``fingerprint`` (a text) speaks for whatever has it.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import secrets
import types
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from router_sdk.errors import FAULTS
from router_sdk.rewards.outcome import OutcomeReward, RewardFunction, reward_name
from router_sdk.rewards.source_code import (
    CannotFollowError,
    asks_outside,
    homes_of,
    is_library,
    is_there,
    named,
    read_by,
)

_MOST_OBJECTS = 20_000
_DEEPEST = 60
_DOCUMENTED = 0x4000000
"""CO_HAS_DOCSTRING, since Python 3.13."""

_ATOMS = (type(None), bool, int, float, complex, type(...), type(NotImplemented))
_BY_NAME = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_NOT_OF_A_CLASS = frozenset(
    ("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__", "__match_args__", "_abc_impl")
)
"""What a class has besides what it does; of other dunder names only functions count."""


class CannotKnowError(Exception):
    """What a reward depends on cannot be known; the message says where it leads to, and why that is the end."""


def reward_fingerprint(reward: object) -> str:
    """Name a reward so that a snapshot made under another one is recognised and replayed.

    Raises:
        CannotKnowError: if it closes over what has no lasting state, or reads from outside: a lock, a file, a clock.
    """
    own = _own(reward)
    if type(reward) is OutcomeReward:  # as in earlier releases, whose snapshots are still good
        return f"router_sdk.rewards.OutcomeReward:{own}"
    name = reward_name(reward)
    if own is not None:
        return f"{name}:{own}"
    try:
        return f"{name}:{_Following(homes_of(reward)).into(reward).hex()[:32]}"
    except CannotKnowError:
        raise
    except FAULTS as error:  # of code that is not ours: a property, a __reduce__, a dict that changes meanwhile
        raise CannotKnowError(f"looking at it raised {type(error).__name__}: {error}") from error


class _Following:
    """One walk from a reward to everything that it closes over.

    Args:
        homes: Its top-level packages, whose code is followed although it may be installed.
    """

    def __init__(self, homes: Collection[str]) -> None:
        self._homes = homes
        self._path: list[object] = []
        self._places: list[str] = []
        self._left = _MOST_OBJECTS
        self._known: dict[int, tuple[object, bytes]] = {}
        self._highest = 0

    def into(self, value: object) -> bytes:
        """A digest of a value; what stands above it already is known by how far above."""
        kind = type(value)
        if kind in _ATOMS:
            return _sealed("atom", kind.__name__, repr(value))
        if kind is str or kind is bytes:
            return _sealed(kind.__name__, value)  # type: ignore[arg-type]
        if id(value) not in self._known:
            above, self._highest, here = self._highest, len(self._path), len(self._path)
            digest = self._below(id(value), lambda: self._digest(value))
            if self._highest < here:  # it names what stands above it, so it looks otherwise elsewhere
                self._highest = min(above, self._highest)
                return digest
            self._highest = above
            self._known[id(value)] = (value, digest)
        return self._known[id(value)][1]

    def _below(self, key: object, digest: Callable[[], bytes]) -> bytes:
        """A digest of what is one step further down."""
        here = len(self._path)
        if key in self._path:
            self._highest = min(self._highest, self._path.index(key))
            return _sealed("above", str(here - self._path.index(key)))
        self._left -= 1
        if self._left < 0 or here >= _DEEPEST:
            raise self._cannot_know("it leads too far")
        self._path.append(key)
        found = digest()
        self._path.pop()
        return found

    def _digest(self, value: Any) -> bytes:
        own = None if isinstance(value, (type, types.ModuleType)) else _own(value)
        if own is not None:
            return _sealed("own", type(value).__qualname__, own)
        match value:
            case types.FunctionType():
                return self._function(value)
            case types.MethodType():
                return _sealed("method", self.into(value.__func__), self._at("self", value.__self__))
            case type():
                return self._class(value)
            case types.ModuleType():
                return self._module(value, ())
            case types.CodeType():
                return self._code(value)
            case types.BuiltinFunctionType() | types.MethodWrapperType():
                return self._builtin(value)
            case staticmethod() | classmethod():
                return _sealed(type(value).__name__, self.into(value.__func__))
            case property():
                return _sealed("property", *map(self.into, (value.fget, value.fset, value.fdel)))
            case functools.cached_property():
                return _sealed("cached", self.into(value.func))
            case types.MappingProxyType():
                return _sealed("view", self._pairs(value.items()))
        if isinstance(value, _BY_NAME):
            return _sealed("descriptor", value.__qualname__)
        if type(value) in (list, tuple):
            return _sealed(type(value).__name__, *(self._at(f"[{n}]", item) for n, item in enumerate(value)))
        if type(value) is dict:
            return _sealed("dict", self._pairs(value.items()))
        if isinstance(value, (set, frozenset)):
            return _sealed("set", self.into(type(value)), *sorted(map(self.into, value)))
        if hasattr(value, "cache_info") and hasattr(
            value, "__wrapped__"
        ):  # functools.cache: what it remembers is no part
            return _sealed("cached", self.into(value.__wrapped__))
        return self._object(value)

    def _function(self, function: types.FunctionType) -> bytes:
        if is_library(str(function.__module__), self._homes) and is_there(function):
            self._refuse_outside(function.__module__, {function.__qualname__})
            return _sealed("library", named(function.__module__, function.__qualname__))
        module, code = str(function.__globals__.get("__name__")), function.__code__
        inner = self._pairs(vars(function).items())
        if is_library(module, self._homes):
            return _sealed("library", named(module, function.__qualname__), self._closure(function, ()), inner)
        try:
            reads = read_by(function)
        except CannotFollowError as error:
            raise self._cannot_know(str(error)) from None
        self._refuse_outside("builtins", reads.builtins)
        found: list[bytes | str] = list(reads.builtins)
        for name, value in reads.globals.items():
            found += [name, self._at(f"global {name}", value, reads.attributes)]
        for name, loaded in reads.imports.items():
            found += [name, self._at(f"import {name}", loaded, reads.attributes)]
        documented = bool(code.co_consts) and code.co_consts[0] is not None and code.co_consts[0] == function.__doc__
        return _sealed(
            "function",
            self._code(code, documented),
            self._at("defaults", (function.__defaults__, function.__kwdefaults__)),
            self._closure(function, reads.attributes),
            inner,
            *found,
        )

    def _closure(self, function: types.FunctionType, attributes: Iterable[str]) -> bytes:
        parts = []
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                parts.append(_sealed("empty"))
            else:
                parts.append(self._at(name, value, attributes))
        return _sealed("closure", *parts)

    def _code(self, code: types.CodeType, documented: bool = False) -> bytes:
        """What a code object does, without where it stands and what is said of it."""
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_DOCUMENTED)
        names = (code.co_names, code.co_freevars, code.co_cellvars, arguments)
        constants = (None, *code.co_consts[1:]) if documented else code.co_consts
        return _sealed(
            "code", code.co_code, code.co_exceptiontable, repr(counts), repr(names), *map(self.into, constants)
        )

    def _class(self, kind: type) -> bytes:
        if is_library(kind.__module__, self._homes):
            self._refuse_outside(kind.__module__, {kind.__qualname__})
            return _sealed("library", named(kind.__module__, kind.__qualname__))
        members = {name: value for name, value in vars(kind).items() if _does_something(name, value)}
        return _sealed("class", *map(self.into, kind.__bases__), self._pairs(members.items()))

    def _module(self, module: types.ModuleType, attributes: Iterable[str]) -> bytes:
        """A module by those of its attributes that the code names which reads it."""
        if is_library(module.__name__, self._homes):
            self._refuse_outside(module.__name__, attributes)
            return _sealed("library", named(module.__name__))
        wanted = sorted(set(attributes) & vars(module).keys())
        if not wanted:
            raise self._cannot_know(f"it holds the module {module.__name__}, and not by name")
        return self._below((id(module), *wanted), lambda: self._attributes(module, wanted, attributes))

    def _attributes(self, module: types.ModuleType, wanted: Sequence[str], attributes: Iterable[str]) -> bytes:
        return _sealed(
            "module", *(part for name in wanted for part in (name, self._at(name, vars(module)[name], attributes)))
        )

    def _builtin(self, value: Any) -> bytes:
        holder = value.__self__
        if holder is None or isinstance(holder, types.ModuleType):
            module = str(value.__module__)
            self._refuse_outside(module, {value.__qualname__})
            return _sealed("library", named(module, value.__qualname__))
        return _sealed("bound", value.__name__, self._at("self", holder))

    def _object(self, value: object) -> bytes:
        kind = type(value)
        self._refuse_outside(kind.__module__, {kind.__qualname__})
        try:
            known = copyreg.dispatch_table.get(kind)  # as pickle asks
            reduced: Any = value.__reduce_ex__(4) if known is None else known(value)
        except FAULTS as error:
            raise self._cannot_know(str(error)) from None
        if isinstance(reduced, str):
            return _sealed("library", named(str(getattr(value, "__module__", "")), reduced))
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        state = {} if state is None else state
        if isinstance(state, dict):
            cached = {name for name in state if isinstance(getattr(kind, str(name), None), functools.cached_property)}
            state = {name: held for name, held in state.items() if name not in cached}
        return _sealed(
            "object",
            self.into(kind),
            self.into(make),
            *map(self.into, arguments),
            self._pairs(state.items()) if isinstance(state, dict) else self.into(state),
            *map(self.into, items or ()),
            self._pairs(pairs or ()),
        )

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> bytes:
        return _sealed("pairs", *sorted(self.into(key) + self._at(f".{key}", value) for key, value in pairs))

    def _at(self, place: str, value: object, attributes: Iterable[str] = ()) -> bytes:
        """What is found at a place; its name helps whoever has to mend it."""
        self._places.append(place[:80])
        digest = self._module(value, attributes) if isinstance(value, types.ModuleType) else self.into(value)
        self._places.pop()
        return digest

    def _cannot_know(self, why: str) -> CannotKnowError:
        return CannotKnowError(": ".join([*self._places, why]))

    def _refuse_outside(self, module: str, names: Iterable[str]) -> None:
        if (asked := asks_outside(module, names)) is not None:
            raise self._cannot_know(f"it asks {asked}, which need not say the same tomorrow")


def _own(value: object) -> str | None:
    """What a value says itself of what it depends on."""
    own = getattr(value, "fingerprint", None)
    return own if isinstance(own, str) else None


def _does_something(name: str, value: object) -> bool:
    if name in _NOT_OF_A_CLASS:
        return False
    dunder = name.startswith("__") and name.endswith("__")
    return not dunder or isinstance(value, (types.FunctionType, staticmethod, classmethod, property))


def _sealed(tag: str, *parts: bytes | str) -> bytes:
    """A digest of parts, each with its length, so that no two lists of them look alike."""
    digest = hashlib.sha256(tag.encode())
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.digest()


class RewardMark:
    """One router's fingerprint of its reward.

    Args:
        reward: Turns outcomes into rewards.

    Attributes:
        reward: The same.
        text: The fingerprint; where none can be known, one that nobody has ever had, so that the log is replayed.
        unknown: Why none can be known, or None.
    """

    def __init__(self, reward: RewardFunction) -> None:
        self.reward = reward
        self.unknown: str | None = None
        try:
            self.text = reward_fingerprint(reward)
        except CannotKnowError as error:
            self.unknown = str(error)
            self.text = f"{reward_name(reward)}:{secrets.token_hex(16)}"

    @property
    def holds(self) -> bool:
        """Whether the reward still is what it was; of one that cannot be known there is nothing to compare."""
        if self.unknown is not None:
            return True
        try:
            return reward_fingerprint(self.reward) == self.text
        except CannotKnowError:
            return False
