"""Finding plugins: each fault is kept with its plugin, and two claims to one name are an error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from router_sdk import hookspecs
from router_sdk.errors import (
    FAULTS,
    DuplicateNameError,
    InvalidConfigError,
    PluginLoadError,
    UnknownStrategyError,
    let_end,
)
from router_sdk.setting_names import ALLOW_VARIABLE
from router_sdk.spelling import nearest

if TYPE_CHECKING:
    from router_sdk.engine import Engine
    from router_sdk.executors.executor import FitExecutor
    from router_sdk.gate import Check
    from router_sdk.rewards import QualityScorer, RewardFunction
    from router_sdk.strategy import Encoder, Strategy
    from router_sdk.streams.source import Sink, Source
    from router_sdk.triggers import Trigger

ROUTER_PLUGIN = "router"
"""Under this name the Router registers its own ``route`` and ``record``."""

FIRST_PARTY = ("bert", "thompson", "heuristic")
"""Strategies with a distribution ``router-sdk-NAME`` of ours. Those that are installed are the default chain."""

KINDS = (
    *("strategies", "encoders", "rewards", "triggers", "checks", "quality_scorers"),
    *("stores", "sources", "sinks", "fit_executors"),
)
"""What plugins bring, each with a hook ``register_…``."""

_log = logging.getLogger(__name__)


def discover() -> Sequence[tuple[EntryPoint, str | None]]:
    """Entry points of plugins by name, each with its distribution and version, where that is known.

    All that is installed is looked through for that, some milliseconds: again once a folder has changed.
    """
    return _discovered(tuple((place, _changed(place)) for place in sys.path))


@lru_cache(maxsize=4)
def _discovered(places: tuple[tuple[str, int], ...]) -> tuple[tuple[EntryPoint, str | None], ...]:
    found = sorted(entry_points(group=hookspecs.PROJECT_NAME), key=lambda one: one.name)
    return tuple((one, None if one.dist is None else f"{one.dist.name} {one.dist.version}") for one in found)


def _changed(place: str) -> int:
    try:
        return os.stat(place or os.curdir).st_mtime_ns
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """What ``router plugins`` shows of one plugin.

    Attributes:
        name: Entry point, or the name under which it was registered.
        distribution: What was installed, with its version, or None.
        provides: Names of what it brings, by kind, see ``KINDS``.
        error: Why it could not be loaded, or None.
    """

    name: str
    distribution: str | None
    provides: Mapping[str, tuple[str, ...]]
    error: PluginLoadError | None = None


class PluginRegistry:
    """The plugins of one router; there is no global one.

    Attributes:
        hook: Calls every plugin's hooks, see ``hookspecs``.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
        self._manager.add_hookspecs(hookspecs)
        self._failed: dict[tuple[str, str], PluginInfo] = {}
        self._distributions: dict[str, str] = {}
        self.hook = self._manager.hook

    @classmethod
    def load(cls, plugins: Iterable[object] = (), allow: Collection[str] | None = None) -> PluginRegistry:
        """Discover installed plugins, then register the given objects.

        A plugin that cannot be imported or registered is kept aside with its ``PluginLoadError``.

        Args:
            plugins: Modules or objects with hook implementations, registered beside the installed ones.
            allow: Entry points that may be loaded; None takes ``ROUTER_PLUGINS``, and all where that is not set.

        Raises:
            DuplicateNameError: if two plugins claim the same name.
            PluginLoadError: if one of the given objects implements an unknown hook.
        """
        registry = cls()
        if allow is None and ALLOW_VARIABLE in os.environ:
            allow = {name.strip() for name in os.environ[ALLOW_VARIABLE].split(",") if name.strip()}
        for entry_point, distribution in discover():
            if allow is None or entry_point.name in allow:
                registry._load_entry_point(entry_point, distribution)
        for plugin in plugins:
            registry.register(plugin)
        for kind in KINDS:
            registry._collect(kind)
        return registry

    def register(self, plugin: object, name: str | None = None) -> None:
        """Add one module or object with hook implementations.

        Raises:
            PluginLoadError: if it implements a hook that does not exist, or with the wrong arguments.
            DuplicateNameError: if a plugin of that name is there already.
        """
        name = name or getattr(plugin, "__name__", None) or type(plugin).__name__
        if self._manager.has_plugin(name):
            raise DuplicateNameError(f"plugin {name!r} is registered twice")
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
            self._check_sole()
        except (pluggy.PluginValidationError, PluginLoadError) as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise PluginLoadError(f"plugin {name!r}: {error}") from error

    def _check_sole(self) -> None:
        """Refuse a second implementation of what the Router alone does; wrappers are welcome."""
        for hook in ("route", "record"):
            for one in getattr(self.hook, hook).get_hookimpls():
                if not (one.wrapper or one.hookwrapper or one.plugin_name == ROUTER_PLUGIN):
                    raise PluginLoadError(f"{hook} is implemented by the Router alone; write a wrapper")

    def unregister(self, plugin: object) -> None:
        """Take a plugin out again."""
        self._manager.unregister(plugin)

    def _load_entry_point(self, entry_point: EntryPoint, distribution: str | None) -> None:
        try:
            self.register(entry_point.load(), entry_point.name)
        except DuplicateNameError:
            raise
        except FAULTS as error:
            let_end(error)
            fault = error if isinstance(error, PluginLoadError) else PluginLoadError(f"{type(error).__name__}: {error}")
            self._failed[entry_point.name, "load"] = PluginInfo(entry_point.name, distribution, {}, fault)
            _log.warning("plugin %s was not loaded: %s", entry_point.name, fault)
        else:
            if distribution is not None:
                self._distributions[entry_point.name] = distribution

    def _collect(self, kind: str) -> dict[str, Any]:
        """Everything of one kind, by name.

        Raises:
            DuplicateNameError: if two plugins claim the same name.
        """
        found: dict[str, Any] = {}
        owner: dict[str, str] = {}
        for plugin, name, value in self._provided(kind):
            if name in found:
                raise DuplicateNameError(f"{kind}: {name!r} is brought by both {owner[name]!r} and {plugin!r}")
            found[name], owner[name] = value, plugin
        return found

    def _provided(self, kind: str) -> Iterable[tuple[str, str, Any]]:
        caller = getattr(self.hook, f"register_{kind}")
        for implementation in caller.get_hookimpls():
            try:
                brought = implementation.function()
                pairs = brought.items() if isinstance(brought, Mapping) else [(value.name, value) for value in brought]
            except FAULTS as error:
                let_end(error)
                plugin = implementation.plugin_name
                fault = PluginLoadError(f"register_{kind} raised {type(error).__name__}: {error}")
                if (plugin, kind) not in self._failed:
                    _log.warning("plugin %s: %s", plugin, fault)
                self._failed[plugin, kind] = PluginInfo(plugin, self._distributions.get(plugin), {}, fault)
                continue
            yield from ((implementation.plugin_name, name, value) for name, value in pairs)

    @property
    def strategies(self) -> dict[str, type[Strategy]]:
        """Registered strategy classes by name."""
        return self._collect("strategies")

    @property
    def encoders(self) -> dict[str, type[Encoder]]:
        """Registered encoder classes by name."""
        return self._collect("encoders")

    @property
    def fit_executors(self) -> dict[str, type[FitExecutor]]:
        """Registered executors by name."""
        return self._collect("fit_executors")

    @property
    def triggers(self) -> list[Trigger]:
        """Registered triggers."""
        return list(self._collect("triggers").values())

    @property
    def checks(self) -> list[Check]:
        """Registered checks."""
        return list(self._collect("checks").values())

    @property
    def quality_scorers(self) -> dict[str, QualityScorer]:
        """Registered scorers by name."""
        return self._collect("quality_scorers")

    @property
    def engines(self) -> dict[str, type[Engine] | str]:
        """Registered engines by the scheme of their URLs, or where they are, as ``module:Class``."""
        return self._collect("stores")

    @property
    def sources(self) -> dict[str, type[Source]]:
        """Registered classes of sources by scheme."""
        return self._collect("sources")

    @property
    def sinks(self) -> dict[str, type[Sink]]:
        """Registered classes of sinks by scheme."""
        return self._collect("sinks")

    def installed(self, name: str) -> type[Strategy] | None:
        """The strategy class of that name that an installed plugin brings: another process finds it, too."""
        for plugin, found, value in self._provided("strategies"):
            if found == name and plugin in self._distributions:
                return value  # type: ignore[no-any-return]
        return None

    def strategy(self, name: str) -> type[Strategy]:
        """The strategy class of that name.

        Raises:
            UnknownStrategyError: if no loaded plugin registers it; says which plugins failed to load.
        """
        known = self.strategies
        if name in known:
            return known[name]
        failed = "; ".join(f"{info.name} failed to load: {info.error}" for info in self._failed.values())
        reasons = f" ({failed})" if failed else ""
        raise UnknownStrategyError(f"no strategy {name!r}: installed are {sorted(known)}{reasons}{_hint(name, known)}")

    def reward(self, name: str) -> RewardFunction:
        """The reward function of that name.

        Raises:
            InvalidConfigError: if no plugin registers it.
        """
        known = self._collect("rewards")
        if name not in known:
            raise InvalidConfigError(f"reward: no plugin registers {name!r}; there are {sorted(known)}")
        found: RewardFunction = known[name]
        return found

    def implements(self, hook: str) -> bool:
        """Whether any plugin implements a hook: asked once, so that an unused hook costs the hot path nothing."""
        return bool(getattr(self.hook, hook).get_hookimpls())

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call an observer hook; one that raises is logged and does not stop the others."""
        for implementation in reversed(getattr(self.hook, hook).get_hookimpls()):
            try:
                _call(implementation.function, implementation.argnames, **arguments)
            except FAULTS as error:
                let_end(error)
                _log.exception("plugin %s: %s raised", implementation.plugin_name, hook)

    def filters(self) -> list[tuple[str, Callable[..., Collection[str] | None]]]:
        """Implementations of ``filter_agents`` with their plugins' names, last registered first."""
        found = reversed(self.hook.filter_agents.get_hookimpls())
        return [(one.plugin_name, partial(_call, one.function, one.argnames)) for one in found]

    def describe(self) -> Sequence[PluginInfo]:
        """Every plugin, loaded or not, with what it brings."""
        provides: dict[str, dict[str, tuple[str, ...]]] = {}
        for kind in KINDS:
            for plugin, name, _ in self._provided(kind):
                kinds = provides.setdefault(plugin, {})
                kinds[kind] = (*kinds.get(kind, ()), name)
        loaded = [
            PluginInfo(name, self._distributions.get(name), provides.get(name, {}))
            for name, _ in self._manager.list_name_plugin()
        ]
        return [*loaded, *self._failed.values()]


def _hint(name: str, known: Collection[str]) -> str:
    """What may have been meant. Never a package of a mistyped name: whoever registers that first runs it everywhere."""
    near = nearest(name, {*known, *FIRST_PARTY})
    if near is None:
        return ""
    meant = "" if near == name else f"; did you mean {near!r}?"
    return meant if near in known else f"{meant}; pip install router-sdk-{near}"


def _call(function: Callable[..., Any], names: Sequence[str], **arguments: Any) -> Any:
    """Call a hook implementation with those of the arguments that it names, as pluggy does."""
    return function(*[arguments[name] for name in names])
