"""The golden tasks, asked now and then of what serves: the canary set, whoever answers, and whatever changed since.

The gate asks a candidate about them once. What serves afterwards goes on learning, agents come and go, and the chain
hands on: so its favourites are looked at about once a minute. Nothing is drawn, logged or learnt of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import RouterError
from router_sdk.learning.alerts import Figure
from router_sdk.learning.pace import Every
from router_sdk.training.evidence import golden_examples

if TYPE_CHECKING:
    from collections.abc import Collection

    from router_sdk.loop_settings import GateConfig
    from router_sdk.records import Task

EVERY_S = 60.0
"""Time between two looks."""
MOST = 500
"""Tasks that are asked about: the first ones."""
_NAMED = 20


class CanaryReport(NamedTuple):
    """What came of a look.

    Attributes:
        tasks: How many could be asked about: their agent is one of today's, or they say that nobody fits.
        passed: How many of them go to the agent that they name.
        missed: The first few that do not, by their place, from 1.
        unknown: How many more name an agent that there is not.
        share: ``passed`` of ``tasks``; None without any.
    """

    tasks: int
    passed: int
    missed: tuple[int, ...]
    unknown: int
    share: float | None


class Canary:
    """Asks the chain about the golden tasks.

    Args:
        config: Which tasks, and which share of them must be answered as they say.
        favourite: Whom a task would go to, without any draw.
        agents: Names of today's agents.
        ready: Returns once whoever answers can: who still opens its model hands every task on.
    """

    def __init__(
        self,
        config: GateConfig,
        favourite: Callable[[Task], str | None],
        agents: Callable[[], Collection[str]],
        ready: Callable[[], object] = lambda: None,
    ) -> None:
        self._tasks = [(one.task, one.label) for one in islice(golden_examples(config.golden), MOST)]
        self._least, self._favourite, self._agents, self._ready = config.golden_share, favourite, agents, ready
        self._due = Every(EVERY_S, at_once=True)
        self._newest: CanaryReport | None = None

    def look(self, *, now: bool = False) -> CanaryReport | None:
        """Ask, unless that was done lately; None where there are no golden tasks."""
        if self._tasks and (now or self._due.due()):
            self._ready()
            names = self._agents()
            told = [(place, *one) for place, one in enumerate(self._tasks, 1) if one[1] is None or one[1] in names]
            missed = [place for place, task, label in told if not self._passes(task, label)]
            passed = len(told) - len(missed)
            share = passed / len(told) if told else None
            self._newest = CanaryReport(len(told), passed, tuple(missed[:_NAMED]), len(self._tasks) - len(told), share)
        return self._newest

    def _passes(self, task: Task, label: str | None) -> bool:
        try:
            return self._favourite(task) == label
        except RouterError:  # such as nobody who may get it: then it is not the agent that it names
            return False

    def figures(self) -> Iterator[Figure]:
        """The share, for alerts: an episode lasts for as long as it is too small."""
        found = self._newest
        if found is not None and found.share is not None:
            words = f"{found.passed} of {found.tasks} golden tasks are answered as they must be"
            if found.missed:
                words += f"; not number {', '.join(map(str, found.missed))}"
            low = found.share < self._least
            yield Figure("golden_set", None, found.share, self._least, words, low, low)

    def status(self) -> dict[str, Any] | None:
        """What comes of a look now, as JSON values; None where there are no golden tasks."""
        found = self.look(now=True)
        return None if found is None else {**found._asdict(), "missed": list(found.missed)}
