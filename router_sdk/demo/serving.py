"""How a model gets to serve: one router, three versions of one strategy, and what stands between each and the requests.

The first version is made of messages that are labelled right. The labels of the second name a neighbour throughout,
and so do those that judge it, since they come from the same list: it passes, earns less than what came before, and is
rolled back. The third is made of one busy day alone, on which all wanted the same: what the gate holds out of the whole
log knows better.
Everything goes through the router's public face, and is told as it happened, whatever that was.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.demo.contestant import LOOK_S, FitMark, Tell
from router_sdk.demo.support_desk import BERT, WORLDS, generate_messages, support_desk_agents
from router_sdk.errors import FitError, GateRefusedError
from router_sdk.records import Outcome, Task
from router_sdk.router import Router

if TYPE_CHECKING:
    from router_sdk.training.fit import Fit

TITLE = "How a model gets to serve"
LABELLED = 160
"""Messages with right labels, of which the first version is made."""
FIRST_WEEKS = 140
"""Tasks that say what came before the second version."""
MISLABELLED = 240
MOST_WATCHED = 200
"""Tasks within which the second version is to be caught."""
CHECKED = 200
"""Tasks of which a person says afterwards whose they were; a part of them judges the third version."""
BUSY_DAY = 40
AFTERWARDS = 40
MOST_TASKS = FIRST_WEEKS + MOST_WATCHED + CHECKED + AFTERWARDS
BUSY_AGENT = "billing"
NEIGHBOURS = {
    "billing": "access",
    "access": "billing",
    "technical": "returns",
    "returns": "technical",
    "delivery": "sales",
    "sales": "delivery",
}
"""Whom the mislabelled list names instead."""
SEEDS = 20_000
"""Those from which on neither the contest nor its probes take messages."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version.

    Attributes:
        made_of: What it was fitted on.
        mark: The fit, and what the gate said.
        fate: What became of it in the end: it ``"serves"``, was ``"rolled back"`` by itself or ``"replaced"``, or how
            its fit ended, such as ``"refused"``.
        expected: What should become of it.
        served: Tasks routed while it served.
        earned: Their mean reward; None without any.
        against: Mean reward of the tasks before it served; None without any.
        ended_by: Why it was rolled back, as the history of what serves says; None where it was not.
    """

    made_of: str
    mark: FitMark
    fate: str
    expected: str
    served: int
    earned: float | None
    against: float | None
    ended_by: str | None

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it should."""
        return self.fate == self.expected

    @property
    def sentence(self) -> str:
        """What became of it, and why."""
        name = f"Version {self.mark.version or '-'}, made of {self.made_of}"
        judged = f"{name}. The gate: {self.mark.words}"
        if self.mark.state != "promoted":
            return f"{judged}. It never served" + ("" if self.as_expected else f", and should have: {self.expected}")
        earned = "" if self.earned is None else f" It earned {self.earned:.2f} per task in {self.served} tasks"
        before = "" if self.against is None else f", where {self.against:.2f} came before"
        end = "It serves at the end" if self.fate == "serves" else f"It was {self.fate}"
        why = "" if self.ended_by is None else f" ({self.ended_by}) and stays in quarantine"
        right = "" if self.as_expected else f"; it should be: {self.expected}"
        return f"{judged}.{earned}{before}. {end}{why}{right}"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tasks between two things that happened.

    Attributes:
        name: What to call it.
        start: Position of its first task, from 0.
        end: Position after its last.
        reward: Mean reward in [0, 1].
    """

    name: str
    start: int
    end: int
    reward: float


@dataclass(frozen=True, slots=True)
class ServingReport:
    """What became of three versions.

    Attributes:
        strategy: Whose versions.
        seed: Of the messages and the router.
        candidates: The versions, in order.
        stretches: The tasks, in order.
        rewards: Reward of each task.
        served_by: Version that served at each task; None for none.
        again: What the router says when it is asked to let the version that was rolled back serve again; None where
            none was.
    """

    strategy: str
    seed: int
    candidates: tuple[Candidate, ...]
    stretches: tuple[Stretch, ...]
    rewards: tuple[float, ...]
    served_by: tuple[int | None, ...]
    again: str | None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader should know."""
        again = () if self.again is None else (f"Asked to let it serve again, the router says: “{self.again}”.",)
        return (
            "One strategy alone on the support desk's messages, with one seed: a story, and no average.",
            "The mislabelled list is judged by what it holds out, which says the same as the rest of it, so that "
            f"only what its version earns can tell; the watch has {MOST_WATCHED} tasks for that here. The busy day is "
            f"judged by what is held out of the whole log, where a person said of {CHECKED} tasks whose they were.",
            *again,
        )

    @property
    def finding(self) -> str:
        """In a line."""
        words = {True: "as it should", False: "which it should not"}
        names = ("Version 1", "the one made of wrong labels", "the one made of a busy day alone")
        return "; ".join(
            f"{name} {_became(one)}, {words[one.as_expected]}" for name, one in zip(names, self.candidates, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        told = asdict(self) | {"title": TITLE, "finding": self.finding}
        for found, one in zip(told["candidates"], self.candidates, strict=True):
            found |= {"as_expected": one.as_expected, "sentence": one.sentence}
        return told


def _became(one: Candidate) -> str:
    if one.fate == "rolled back":
        return f"passed the gate and was rolled back after {one.served} tasks"
    if one.fate in ("serves", "replaced"):
        return "passed the gate and serves" if one.fate == "serves" else "passed the gate and was replaced"
    return f"was {one.fate}"


def play_serving(
    strategy: str,
    settings: Mapping[str, object],
    store: Path,
    *,
    seed: int = 0,
    tell: Tell = lambda share, words: None,
) -> ServingReport:
    """Play the story on a real router.

    Args:
        strategy: One that has a fit.
        settings: Of it, beside what suits the messages.
        store: The router's SQLite file.
        seed: Of the messages and the router.
        tell: Told how far it is.
    """
    suited = {**(BERT if strategy == "bert" else {}), **settings}
    with Router(
        agents=support_desk_agents(),
        strategies=[(strategy, suited)],
        store=store,
        seed=seed,
        retrain=False,
        fit_executor="thread",
        learn_now=True,
    ) as router:
        return _Story(router, strategy, seed, tell).told()


class _Story:
    def __init__(self, router: Router, strategy: str, seed: int, tell: Tell) -> None:
        self._router, self._strategy, self._seed, self._tell = router, strategy, seed, tell
        self._messages = generate_messages(WORLDS[0], seed=SEEDS + seed)
        self._rewards: list[float] = []
        self._served_by: list[int | None] = []
        self._stretches: list[Stretch] = []
        self._made: list[tuple[str, str, FitMark]] = []

    def told(self) -> ServingReport:
        """The whole story."""
        models = self._router.models
        right = self._labelled(LABELLED)
        fit = models.pretrain(*right, self._strategy, wait=False)
        self._judged(fit, f"{LABELLED} messages with right labels", "serves")
        self._work("version 1", FIRST_WEEKS)

        tasks, labels = self._labelled(MISLABELLED)
        fit = models.pretrain(tasks, [NEIGHBOURS[label] for label in labels], self._strategy, wait=False)
        self._judged(fit, f"{MISLABELLED} messages whose labels name a neighbour", "rolled back")
        misled = self._made[-1][2]
        if misled.state == "promoted":
            self._work("version 2, watched", MOST_WATCHED, while_serves=misled.version)
        self._work("what serves then", CHECKED, labelled=True)

        for message in islice((one for one in self._messages if one.best == BUSY_AGENT), BUSY_DAY):
            self._router.observe(message.task, message.best, Outcome(correct_agent=message.best))
        fit = models.retrain(self._strategy, fit_window=BUSY_DAY, use_synthetic_data=False)
        self._judged(fit, f"a busy day alone, {BUSY_DAY} messages that are all for {BUSY_AGENT}", "refused")
        self._work("afterwards", AFTERWARDS)
        return self._report()

    # -- what happens

    def _labelled(self, count: int) -> tuple[list[Task], list[str]]:
        """The next messages that are somebody's, and whose."""
        told = [(one.task, one.best) for one in islice((one for one in self._messages if one.best), count)]
        return [task for task, _ in told], [label for _, label in told if label is not None]

    def _judged(self, fit: Fit, made_of: str, expected: str) -> None:
        """Wait for a fit, telling how far it is, and note what the gate said."""
        while fit.running:
            self._tell(len(self._rewards) / MOST_TASKS, f"a version of {made_of}: {fit.words}")
            with suppress(TimeoutError, FitError):
                fit.wait(LOOK_S)
        self._made.append((made_of, expected, FitMark.of(fit, len(self._rewards))))

    def _work(self, name: str, tasks: int, *, labelled: bool = False, while_serves: int | None = None) -> None:
        """Route tasks and record what comes of them; no more than so many, and as long as a version serves."""
        start = len(self._rewards)
        for message in islice(self._messages, tasks):
            serving = self._serving()
            if while_serves is not None and serving != while_serves:
                break
            decision = self._router.route(message.task)
            success = message.best is None if decision.agent is None else message.outcomes[decision.agent].success
            outcome = Outcome(success=success) if decision.agent is None else message.outcomes[decision.agent]
            if labelled:
                label = {"no_agent_fits": True} if message.best is None else {"correct_agent": message.best}
                outcome = Outcome(**{**outcome.model_dump(exclude_none=True), **label})
            self._router.record(decision, outcome)
            self._rewards.append(float(bool(success)))
            self._served_by.append(serving)
            self._tell(len(self._rewards) / MOST_TASKS, name)
        mean = float(np.mean(self._rewards[start:])) if len(self._rewards) > start else 0.0
        self._stretches.append(Stretch(name, start, len(self._rewards), mean))

    def _serving(self) -> int | None:
        return next(
            (one.version for one in self._router.models.versions(self._strategy) if "champion" in one.aliases), None
        )

    # -- what came of it

    def _report(self) -> ServingReport:
        aliases = {one.version: one.aliases for one in self._router.models.versions(self._strategy)}
        candidates = []
        for made_of, expected, mark in self._made:
            own = [reward for reward, by in zip(self._rewards, self._served_by, strict=True) if by == mark.version]
            fate = mark.state
            if mark.state == "promoted":
                held = aliases.get(mark.version or 0, ())
                fate = "serves" if "champion" in held else "rolled back" if "quarantined" in held else "replaced"
            candidates.append(
                Candidate(
                    made_of=made_of,
                    mark=mark,
                    fate=fate,
                    expected=expected,
                    served=len(own) if mark.version is not None else 0,
                    earned=float(np.mean(own)) if own and mark.version is not None else None,
                    against=float(np.mean(self._rewards[: mark.at])) if mark.at else None,
                    ended_by=self._ended_by(mark.version) if fate == "rolled back" else None,
                )
            )
        return ServingReport(
            strategy=self._strategy,
            seed=self._seed,
            candidates=tuple(candidates),
            stretches=tuple(one for one in self._stretches if one.end > one.start),
            rewards=tuple(self._rewards),
            served_by=tuple(self._served_by),
            again=self._asked_again(candidates[1]),
        )

    def _ended_by(self, version: int | None) -> str | None:
        """The history's word on what came after a version."""
        history = self._router.models.history(self._strategy)
        after = (later.reason for later, entry in pairwise(history) if entry.version == version)
        return next(after, None)

    def _asked_again(self, misled: Candidate) -> str | None:
        """What comes of it when somebody lets the version serve that was rolled back."""
        if misled.fate != "rolled back" or misled.mark.version is None:
            return None
        try:
            self._router.models.promote(self._strategy, misled.mark.version)
        except GateRefusedError as error:
            return str(error)
        return "it was let serve again"
