"""Below which confidence each strategy in the chain should hand on, as far as the log tells: at fits, and when asked.

What a strategy would have said of each task of the log, had it known only what came before it, is compared with what
those behind it would have said ("prequential", Dawid, 1984).
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

from router_sdk.errors import FAULTS
from router_sdk.evaluation.held_out import held_out_evaluation
from router_sdk.evaluation.thresholds import Threshold, best_threshold, first_answers
from router_sdk.learning.fold import one_core
from router_sdk.records.arguments import real, whole
from router_sdk.records.record import blame
from router_sdk.store.quarantine import quarantined
from router_sdk.store.transaction import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from router_sdk.evaluation.held_out import Answer
    from router_sdk.records import AgentSet, Example
    from router_sdk.routing.agents import Members
    from router_sdk.routing.chain import Chain, Stage
    from router_sdk.store.tail import LogTail
    from router_sdk.strategy import Encoder, Strategy
    from router_sdk.training.fit import FitServices
    from router_sdk.training.registry import Registry

PIECE = 64
"""Log positions that are judged together, before they are learnt."""
NEWEST = 50_000
"""Log positions, of the newest, that those behind a strategy learn before they are compared with its fit."""
_LEARNT = 4_096

_JUDGED_FROM = """
SELECT coalesce((SELECT seq FROM outcomes WHERE seq <= ? ORDER BY seq DESC LIMIT 1 OFFSET ?), 0)"""

_log = logging.getLogger(__name__)


def prequential_answers(
    strategy: Strategy,
    tail: LogTail,
    reach: tuple[int, int],
    agents: AgentSet,
    encoders: Mapping[str, Encoder],
    *,
    wanted: Collection[str] | None = None,
    judged_from: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Answer]:
    """Ask a strategy about each example, then teach it.

    Args:
        strategy: One that has learnt the log up to where it begins; prepared for ``agents``.
        tail: A view of the log.
        reach: From behind which position up to which.
        agents: Whom to choose from.
        encoders: Registered encoders by name.
        wanted: Decisions to ask about; None asks about all.
        judged_from: Position behind which it is asked; before that it is only taught.
        stopped: Asked whether to stop early.

    Returns:
        By decision; of each what was said first.
    """
    cursor, head = reach
    answers: dict[str, Answer] = {}
    while cursor < head and not stopped():
        judging = cursor >= judged_from
        batch = tail.read(cursor, head if judging else min(head, judged_from), PIECE if judging else _LEARNT)
        if batch.fresh_agents:
            strategy.forget_agents(batch.fresh_agents)
        if batch.forgotten:
            strategy.forget_examples(batch.forgotten)
        examples = batch.examples
        with one_core():
            if judging:
                asked = [one for one in examples if _tells(one) and one.decision_id not in answers]
                asked = asked if wanted is None else [one for one in asked if one.decision_id in wanted]
                for answer in held_out_evaluation(strategy, asked, agents, encoders).answers:
                    answers[answer.decision_id] = answer
            if examples:
                strategy.learn(examples)
        cursor = batch.upto
    return answers


def _tells(example: Example) -> bool:
    return not example.withdrawn and (example.labelled or example.reward is not None)


def derived_threshold(
    name: str,
    own: Sequence[Answer],
    behind: Sequence[Strategy],
    tail: LogTail,
    upto: int,
    agents: AgentSet,
    encoders: Mapping[str, Encoder],
    stopped: Callable[[], bool],
) -> Threshold | None:
    """Of a new version: what it said of held-out examples, against what those behind it would have said.

    Args:
        name: Of the strategy.
        own: What the version said.
        behind: Fresh ones of those that are asked after it; they are closed.
        tail: A view of the log.
        upto: Where it ends for them.
        agents: Whom to choose from.
        encoders: Registered encoders by name.
        stopped: Asked whether to stop early.

    Returns:
        None where nobody is behind it, or these fail: the version is as good without.
    """
    if not behind:
        return None
    asked = [answer.decision_id for answer in own]
    reach = (max(0, upto - NEWEST), upto)
    try:
        said = []
        for strategy in behind:
            strategy.prepare(agents)
            said.append(
                prequential_answers(strategy, tail, reach, agents, encoders, wanted=set(asked), stopped=stopped)
            )
        return best_threshold(name, own, first_answers(said, asked))
    except FAULTS as error:
        _log.warning("no threshold is derived for %s: %s", name, blame(error), exc_info=True)
        return None
    finally:
        for strategy in behind:
            strategy.close()


class ThresholdTuner:
    """Looks for the thresholds of a whole chain.

    Args:
        services: The log, the reward, and the encoders.
        registry: Where a version's fit ended.
        chain: Whose thresholds.
        members: The agents.
        begun_again: Makes a strategy like a stage's that has learnt nothing since its version was fitted.
    """

    def __init__(
        self,
        services: FitServices,
        registry: Registry,
        chain: Chain,
        members: Members,
        begun_again: Callable[[Stage], Strategy],
    ) -> None:
        self._services, self._registry, self._chain, self._members = services, registry, chain, members
        self._begun_again = begun_again

    def tune(self, *, cost_of_handing_on: float, newest: int) -> list[Threshold]:
        """The best threshold of each strategy but the last, which always answers. Reads the log on this thread.

        Args:
            cost_of_handing_on: In wrong answers, at least 0.
            newest: Outcomes that judge.

        Raises:
            InvalidInputError: if a number is out of range.
            StrategyError: if a strategy cannot be made again.
        """
        cost_of_handing_on = real(cost_of_handing_on, "cost_of_handing_on")
        newest = whole(newest, "newest", 1)
        store = self._services.store
        (head,) = store.reader.query(lambda connection: connection.execute(HEAD).fetchone())
        (judged_from,) = store.reader.query(
            lambda connection: connection.execute(_JUDGED_FROM, (head, newest)).fetchone()
        )
        said = [self._said(stage, head, judged_from) for stage in self._chain.stages]
        found = []
        for place, stage in enumerate(self._chain.stages[:-1]):
            rest = first_answers(said[place + 1 :], list(said[place]))
            own = list(said[place].values())
            found.append(best_threshold(stage.name, own, rest, cost_of_handing_on=cost_of_handing_on))
        return found

    def _said(self, stage: Stage, head: int, judged_from: int) -> dict[str, Answer]:
        number, store = stage.model_version, self._services.store
        begin = 0 if number is None else self._registry.version(stage.name, number).upto
        left_out = store.reader.query(lambda connection: quarantined(connection, stage.name))
        tail = store.tail(self._services.reward, left_out)
        with closing(tail), closing(self._begun_again(stage)) as strategy:
            told = (self._members.roster.available, self._services.encoders)
            return prequential_answers(strategy, tail, (begin, head), *told, judged_from=judged_from)
