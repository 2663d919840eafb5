"""From the log to what a fit may see: read, chosen among, and divided into what it learns and what judges it.

Filters, balance and ratios shape what a fit is trained on. What judges it is what happened, without duplicates.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.errors import TooFewExamplesError
from router_sdk.exchange.curation import Curation
from router_sdk.exchange.existing import read_examples
from router_sdk.loop_settings import TrainingConfig
from router_sdk.records import AgentSet, Example, TrainingData
from router_sdk.store.erasure import forgotten_among
from router_sdk.store.tail import LogTail
from router_sdk.training.division import Division, divide
from router_sdk.training.synthetic import examples_of, read_cases

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.rewards import RewardFunction
    from router_sdk.training.fit import FitRequest

MOST_READ = 50_000
"""Newest decisions among which the uncertain are looked for, at least."""

CASES = "cases.json"
"""What was made up around errors, in a fit's folder."""
_PIECE = 2_048


@dataclass(frozen=True, slots=True)
class Selection:
    """What one fit works with.

    Attributes:
        divisions: One; where examples are few, up to ten, each with another part held out.
        whole: What the version is made from: the one division's data, or everything.
        left_over: Examples that the version learns once it is made, oldest first.
        data_hash: Equal for equal examples and settings, whatever their division.
        left_out: How many could have been trained on, and are not, because the settings say so.
        unshaped: Of each division the data as it would be without any filter, ratio or file.
    """

    divisions: Sequence[Division]
    whole: TrainingData
    left_over: Sequence[Example]
    data_hash: str
    left_out: int = 0
    unshaped: Sequence[TrainingData] = ()

    @property
    def cross_validated(self) -> bool:
        """Whether every example judges in turn."""
        return len(self.divisions) > 1


def selected(request: FitRequest, connection: Connection, agents: AgentSet, reward: RewardFunction) -> Selection:
    """What a fit works with, as its request says: the same in whatever process, for as long as nothing is forgotten.

    Raises:
        TooFewExamplesError: if nothing could judge a candidate.
        InvalidInputError: if the file beside the log cannot be read.
    """
    told = TrainingConfig(**request.training)
    existing: list[Example] = []
    if told.existing is not None and not request.synthetic:
        read = read_examples(told.existing, agents, reward)
        forgotten = forgotten_among(connection, [one.decision_id for one in read])
        existing = [one for one in read if one.decision_id not in forgotten]
    return select(
        LogTail(connection, reward, request.left_out),
        agents,
        request.upto,
        fresh_after=request.fresh_after,
        held_out=request.held_out,
        needed=request.needed,
        synthetic=request.synthetic,
        training=told,
        existing=existing,
        cases=examples_of(read_cases(Path(request.folder) / CASES), agents),
        seed=request.seed,
    )


def select(
    tail: LogTail,
    agents: AgentSet,
    upto: int,
    *,
    fresh_after: int = 0,
    held_out: float = 0.2,
    needed: int = 0,
    synthetic: bool = False,
    training: TrainingConfig | None = None,
    existing: Sequence[Example] = (),
    cases: Sequence[tuple[str, Example]] = (),
    seed: int = 0,
) -> Selection:
    """Read the log up to a position, divide it, and choose what to train on.

    Left out are decisions of which nothing is known that could be learnt from, decisions whose session was
    forgotten, and of equal tasks with equal labels all but the newest.

    Args:
        tail: The log.
        agents: Whom to fit for.
        upto: Position in the log.
        fresh_after: Position that the fit before reached.
        held_out: Share of the groups to keep apart, in [0, 1).
        needed: Examples that it takes to judge a candidate; 0 judges by whatever there is.
        synthetic: Whether the log holds made-up examples.
        training: What to train on; None trains on all there is.
        existing: Examples of a file, to train on beside the log's.
        cases: Made-up examples, each with the decision that it came from.
        seed: Of what is drawn at random.

    Raises:
        TooFewExamplesError: if nothing could judge a candidate.
    """
    told = training or TrainingConfig()
    reach = told.most_examples if told.prefer == "newest" else max(told.most_examples, MOST_READ)
    known = newest_examples(tail, upto, reach)
    usable = Curation(dedupe=told.dedupe).of([one for one in known if one.labelled or one.reward is not None])
    if len(usable) < needed:
        raise TooFewExamplesError(
            f"insufficient: {len(usable)} examples say how somebody did, and it takes {needed} to judge a candidate"
        )
    whole = TrainingData(usable, agents, upto, (), fresh_after, synthetic)
    divisions, left_over = divide(whole, known, held_out=held_out, needed=needed)
    blend = _Blend(told, fresh_after, existing, cases, seed)
    unshaped = [one.data for one in divisions]
    divisions = [replace(one, data=blend.trained(one.data, one.texts)) for one in divisions]
    made_from = divisions[0].data if len(divisions) == 1 else blend.trained(whole, ())
    there = len(usable) if len(divisions) > 1 else len(usable) - len(left_over)
    kept = sum(one.decision_seq > 0 for one in made_from.examples)
    return Selection(divisions, made_from, left_over, _hash_of(usable, told, existing), there - kept, unshaped)


class _Blend:
    """What is trained on of one side of the log, and of a file."""

    def __init__(
        self,
        told: TrainingConfig,
        fresh_after: int,
        existing: Sequence[Example],
        cases: Sequence[tuple[str, Example]],
        seed: int,
    ) -> None:
        self._cases, self._synthetic = cases, told.synthetic_ratio
        self._curation = Curation(
            min_quality=told.min_quality,
            min_feedback=told.min_feedback,
            balance=told.balance,
            replay_ratio=told.replay_ratio,
            fresh_after=fresh_after,
            most=told.most_examples if told.prefer == "uncertain" else None,  # the newest alone were read
            prefer=told.prefer,
            seed=seed,
        )
        self._existing, self._share = existing, told.existing_ratio
        self._drawn = Curation(dedupe=told.dedupe, prefer="uncertain", seed=seed)  # of a file none is any newer

    def trained(self, data: TrainingData, judging: Sequence[str]) -> TrainingData:
        """The same data with what of it is trained on: first of the file's and the made-up, then the log's.

        Of both are left out texts that judge, and what the log says itself; of what was made up, what came from errors
        that judge.
        """
        examples = self._curation.of(data.examples)
        if self._existing:
            texts, ids = set(judging), {one.decision_id for one in data.examples}
            said = {(one.dedupe_hash, one.label) for one in examples if one.labelled}
            others = [
                one
                for one in self._existing
                if one.context_hash not in texts
                and one.decision_id not in ids
                and not (one.labelled and (one.dedupe_hash, one.label) in said)
            ]
            most = math.floor(self._share / (1.0 - self._share) * len(examples))
            examples = [*self._drawn._replace(most=most).of(others), *examples]
        if self._cases:
            learnt, texts = {one.decision_id for one in data.examples}, set(judging)
            made = [one for error, one in self._cases if error in learnt and one.context_hash not in texts]
            examples = [*made[: math.floor(self._synthetic / (1.0 - self._synthetic) * len(examples))], *examples]
        return replace(data, examples=examples)


def newest_examples(tail: LogTail, upto: int, most: int = MOST_READ) -> list[Example]:
    """The newest revision of every decision up to a position, in the order of the decisions; of so many at most."""
    newest: dict[str, Example] = {}
    cursor = 0
    while cursor < upto:
        batch = tail.read(cursor, upto, _PIECE)
        for example in batch.examples:
            newest.pop(example.decision_id, None)
            newest[example.decision_id] = example
        for name in batch.fresh_agents:
            newest = {key: example for key, example in newest.items() if example.agent != name}
        for decision_id in batch.forgotten:
            newest.pop(decision_id, None)
        while len(newest) > most:
            del newest[next(iter(newest))]
        cursor = batch.upto
    return sorted(newest.values(), key=attrgetter("decision_seq"))


def _hash_of(examples: Sequence[Example], told: TrainingConfig, existing: Sequence[Example]) -> str:
    whole = hashlib.sha256()
    for example in (*examples, *existing):
        whole.update(f"{example.decision_id} {example.seq}\n".encode())
    if told != TrainingConfig():
        whole.update(told.model_dump_json(exclude={"existing"}).encode())
    return whole.hexdigest()[:32]
