"""``router loop``: a process that follows a store, fits when a trigger says so, and tells what happens."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.commands.models import StrategyOption, watched
from router_sdk.cli.invocation import Invocation
from router_sdk.cli.loop_file import LoopFile, read_loop_file, told_of
from router_sdk.cli.model_tables import trigger_tables
from router_sdk.cli.tables import moment, note, visible
from router_sdk.errors import FitError, InvalidInputError
from router_sdk.plugin import hookimpl
from router_sdk.store.registry import ROLLBACK
from router_sdk.training.trainer import not_trainable

if TYPE_CHECKING:
    from types import FrameType

    from router_sdk.config import RouterConfig
    from router_sdk.router import Router
    from router_sdk.store.registry import Champion
    from router_sdk.training.fit import Fit

_LOOK_S = 0.25

Event = Mapping[str, Any]
"""``at`` in seconds since the epoch, ``event``, ``strategy``, ``version``, and ``reason`` in words."""


def loop(
    invocation: Invocation,
    once: Annotated[
        bool, typer.Option("--once", help="Look, fit what is due, wait for it, and end: with 1 where a fit failed.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show each trigger, what serves since when and why, and what was refused.")
    ] = False,
    trigger: Annotated[bool, typer.Option("--trigger", help="Fit now, by hand, and end.")] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="With --trigger: why, for the history.")] = "by hand",
    strategy: StrategyOption = None,
) -> None:
    """Follow a store: fit a new version whenever a trigger says so, and print a line for each thing that happens.

    It ends at Ctrl-C or SIGTERM; a fit that runs then goes on from its last checkpoint the next time. --config also
    understands the JSON of a neighbouring system's loop, and says what becomes of each key.
    """
    if once + status + trigger > 1:
        raise InvalidInputError("--once, --status and --trigger exclude each other")
    found = read_loop_file(invocation.config_file)
    config = config_of(invocation, found)
    lines = [] if found is None else list(told_of(found))
    if status:
        _show(invocation, config, lines)
        return
    for line in lines:
        invocation.screen.event({"event": "configuration", "reason": line}, line)
    if trigger:
        with invocation.router(new=False, config=config) as router:
            fit = watched(invocation, router.models.retrain(strategy, reason=reason))
        _tell(invocation, _end_of(fit))
        if fit.version is None:
            raise FitError(fit.words)
    elif once:
        _once(invocation, config, strategy)
    else:
        _follow(invocation, config, strategy)


def config_of(invocation: Invocation, found: LoopFile | None) -> RouterConfig:
    """The settings in force; a neighbour's file comes before the configuration that stands in the current folder."""
    if found is None:
        return invocation.config
    from router_sdk.config import configure

    store = {} if invocation.store is None else {"store": invocation.store}
    return configure(replace(invocation, config_file=None).config_path, {**found.settings, **store})


def _show(invocation: Invocation, config: RouterConfig, lines: list[str]) -> None:
    with invocation.router(new=False, config=config, read_only=True) as router:
        models = router.models.status()
    told = {"models": models, **({"configuration": lines} if lines else {})}
    invocation.screen.show(told, lambda: [*map(note, lines), *trigger_tables(models)])


# -- once


def _once(invocation: Invocation, config: RouterConfig, strategy: str | None) -> None:
    """Fit what is due.

    Raises:
        typer.Exit: with 1, if a fit failed or was stopped.
    """
    failed = False
    with invocation.router(new=False, config=config) as router:
        router.flush()
        for check in router.models.check_triggers(strategy):
            if check.due is None or check.waits is not None:
                nearest = check.next
                words = check.waits or ("nothing is due" if nearest is None else f"{nearest.trigger}: {nearest.reason}")
                told = {"at": time.time(), "event": "not_due", "strategy": check.strategy, "version": None}
                _tell(invocation, {**told, "reason": words})
                continue
            fit = router.models.retrain(check.strategy, reason=check.due)
            _tell(invocation, _begun(check.strategy, check.due))
            try:
                watched(invocation, fit)
            except FitError:
                failed = True
            failed = failed or fit.state == "stopped"
            _tell(invocation, _end_of(fit))
    if failed:
        raise typer.Exit(1)


# -- until it is told to end


def _follow(invocation: Invocation, config: RouterConfig, strategy: str | None) -> None:
    begun: deque[Event] = deque()

    class Starts:
        """Of all that happens, what the log does not say."""

        @hookimpl
        def on_fit_started(self, strategy: str, reason: str) -> None:
            begun.append(_begun(strategy, reason))

    with (
        told_to_end() as end,
        invocation.router(new=False, brief=False, config=config, retrain=True, plugins=[Starts()]) as router,
    ):
        checks = router.models.check_triggers(strategy)
        if not checks:
            raise not_trainable([one["name"] for one in router.status()["strategies"]])
        log = _Log(router, [check.strategy for check in checks])
        for check in checks:
            words = f"asks {', '.join(one.trigger for one in check.readings if one.threshold is not None)}"
            told = {"at": time.time(), "event": "following", "strategy": check.strategy, "version": None}
            _tell(invocation, {**told, "reason": words})
        while True:
            ended = end.wait(_LOOK_S)
            while begun:
                _tell(invocation, begun.popleft())
            for event in log.news():
                _tell(invocation, event)
            if ended:
                break
    _tell(invocation, {"at": time.time(), "event": "ended", "strategy": None, "version": None, "reason": "as told"})


@contextmanager
def told_to_end() -> Iterator[threading.Event]:
    """Set at Ctrl-C or SIGTERM, so that what is open is closed in order."""
    end = threading.Event()

    def tell(number: int, frame: FrameType | None) -> None:
        end.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Log:
    """What the log says of fits and of what serves, by whichever process, from now on.

    Args:
        router: Who reads it.
        strategies: Of whom.
    """

    def __init__(self, router: Router, strategies: list[str]) -> None:
        self._models = router.models
        self._seen = {}
        for name in strategies:
            fits, moves = self._models.fits(name, limit=1), self._models.history(name)
            self._seen[name] = (fits[0]["id"] if fits else 0), (moves[0].token if moves else 0)

    def news(self) -> list[Event]:
        """What came since, oldest first."""
        found: list[Event] = []
        for name, (fit, token) in self._seen.items():
            fits = self._models.fits(name, after=fit)
            moves = [one for one in self._models.history(name) if one.token > token]
            found += [
                _ended(name, one["status"], one["model_version"], one["error"] or _gain(one), one["at"]) for one in fits
            ]
            found += [_moved(name, one) for one in moves]
            self._seen[name] = (fits[0]["id"] if fits else fit), (moves[0].token if moves else token)
        return sorted(found, key=lambda event: float(event["at"]))


# -- events


def _begun(strategy: str, reason: str) -> Event:
    return {"at": time.time(), "event": "fit_started", "strategy": strategy, "version": None, "reason": reason}


def _end_of(fit: Fit) -> Event:
    return _ended(fit.strategy, fit.state, None if fit.version is None else fit.version.version, fit.words)


def _ended(strategy: str, state: str, version: int | None, words: str, at: float | None = None) -> Event:
    ends = {"succeeded": "fit_ended", "promoted": "fit_ended", "held": "refused", "refused": "refused"}
    event = ends.get(state, f"fit_{state}")
    moment = time.time() if at is None else at
    return {"at": moment, "event": event, "strategy": strategy, "version": version, "reason": words}


def _moved(strategy: str, entry: Champion) -> Event:
    event = "rolled_back" if entry.reason.startswith(ROLLBACK) else "promoted"
    without = "" if entry.version is not None else "the strategy without any fit serves, "
    told = {"at": entry.at, "event": event, "strategy": strategy, "version": entry.version}
    return {**told, "reason": without + entry.reason}


def _gain(fit: Mapping[str, Any]) -> str:
    before, after = fit["metrics_before"], fit["metrics_after"]
    if after is None:
        return "it passed the gate"
    compared = "; what served had no answer" if before is None else f", against {before:.3f} of what served"
    return f"it passed the gate: {after:.3f} on held-out examples{compared}"


def _tell(invocation: Invocation, event: Event) -> None:
    who = " ".join(
        visible(str(part))
        for part in (event["strategy"], None if event["version"] is None else f"v{event['version']}")
        if part is not None
    )
    what = str(event["event"]).replace("_", " ")
    words = f"{moment(event['at'])}  {what}{f' {who}' if who else ''}: {visible(str(event['reason']))}"
    invocation.screen.event(event, words)
