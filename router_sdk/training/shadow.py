"""What served before a version goes on beside it: it answers nobody, learns what it would have learnt, and is asked.

About every task it is asked before it hears how that went, as the version was ("prequential", Dawid, 1984). So a fall
that both would have shared is told from one that is the version's own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from router_sdk.errors import FAULTS
from router_sdk.evaluation.earnings import Earned
from router_sdk.evaluation.held_out import held_out_evaluation
from router_sdk.learning.fold import one_core
from router_sdk.learning.pace import BATCH
from router_sdk.records import AgentSet
from router_sdk.records.record import blame
from router_sdk.store.experiments import challengers_decisions
from router_sdk.store.quarantine import below

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_sdk.learning.fold import Fold
    from router_sdk.learning.folding import Folding
    from router_sdk.records import Example
    from router_sdk.routing.agents import Roster
    from router_sdk.routing.chain import Stage
    from router_sdk.store.quarantine import Ranges
    from router_sdk.store.reader import LogReader
    from router_sdk.store.tail import Batch
    from router_sdk.strategy import Encoder

_log = logging.getLogger(__name__)


class Shadow:
    """One of them.

    Args:
        stage: The strategy, in the state in which it served last.
        fold: How far it has learnt, and what it leaves out; nobody else moves it on.
        since: Position from which on the version serves.
        folding: Whose view of the log it reads, under its lock.
        encoders: Registered encoders by name.
        reader: Tells what an experiment's challengers decided.

    Attributes:
        earned: What each decision of the version came to, by position, and what it would have done, in the order in
            which the first outcomes came.
        fault: Why it can be asked no more; None as long as it can.
    """

    def __init__(
        self,
        stage: Stage,
        fold: Fold,
        since: int,
        folding: Folding,
        encoders: Mapping[str, Encoder],
        reader: LogReader,
    ) -> None:
        self._reader = reader
        self._stage, self._fold, self._since = stage, fold, since
        self._folding, self._encoders = folding, encoders
        self._sets: dict[tuple[str, ...], AgentSet] = {}
        self._roster: Roster | None = None
        self.earned: dict[int, Earned] = {}
        self.fault: str | None = None

    def heeds(self, quarantined: Ranges) -> bool:
        """Leave out what is quarantined from here on; False where it has learnt of it already."""
        if below(quarantined, self._fold.cursor) != below(self._fold.left_out, self._fold.cursor):
            return False
        self._fold.left_out = quarantined
        return True

    def follow(self, upto: int, most: int, roster: Roster) -> bool:
        """Go on to a position in the log, at most so many positions at once; whether anything came of it.

        Args:
            upto: Up to where those who serve have learnt.
            most: Positions.
            roster: The agents as they are now.
        """
        heard = False
        last = min(upto, self._fold.cursor + most)
        try:
            if roster is not self._roster:
                self._roster = roster
                self._sets.clear()
                self._stage.strategy.prepare(roster.available)
            while self._fold.cursor < last:
                with self._folding.lock:
                    heard |= self._take(
                        self._folding.view(self._fold.left_out).read(self._fold.cursor, last, BATCH), roster
                    )
        except FAULTS as error:
            self.fault = blame(error)
            _log.exception("what served of %s before cannot be asked any more", self._stage.name)
        return heard

    def _take(self, batch: Batch, roster: Roster) -> bool:
        """Hear a piece of the log, then learn from it; whether it said anything of the version."""
        strategy = self._stage.strategy
        heard = self._hear(batch.examples, roster)
        if batch.fresh_agents:
            strategy.forget_agents(batch.fresh_agents)
        if batch.forgotten:
            strategy.forget_examples(batch.forgotten)
        if batch.examples:
            with one_core():
                strategy.learn(batch.examples)
        self._fold.cursor = batch.upto
        return heard

    def _hear(self, examples: Sequence[Example], roster: Roster) -> bool:
        """Ask about what is heard of for the first time, and take over what is said of the rest."""
        heard = False
        seqs = [one.decision_seq for one in examples]
        others = self._reader.query(lambda connection: challengers_decisions(connection, seqs))
        for one in examples:
            known = self.earned.get(one.decision_seq)
            if (
                one.decision_seq < self._since
                or one.decision_seq in others
                or (known is None and (one.revision > 0 or (told := one.forecast) is None or not told.of_favourite))
            ):
                continue  # what the version did not choose says nothing of it
            heard = True
            if one.reward is None or one.source != "routed":
                self.earned.pop(one.decision_seq, None)
            elif known is not None:
                self.earned[one.decision_seq] = known._replace(reward=one.reward)
            else:
                same, hoped = self._asked(one, roster)
                self.earned[one.decision_seq] = Earned(one.task_type, one.reward, same, hoped)
        return heard

    def _asked(self, example: Example, roster: Roster) -> tuple[bool, float | None]:
        """Whether it would have chosen the same, and what it expects its choice to earn; None where it has none."""
        names = example.eligible
        if names not in self._sets:
            self._sets[names] = AgentSet([agent for agent in roster.everyone if agent.name in names])
        (answer,) = held_out_evaluation(self._stage.strategy, [example], self._sets[names], self._encoders).answers
        if not answer.answered or (answer.confidence or 0.0) < self._stage.threshold:
            return False, None
        return answer.favourite == example.agent, answer.confidence

    def close(self) -> None:
        """It is needed no more."""
        self._stage.strategy.close()
