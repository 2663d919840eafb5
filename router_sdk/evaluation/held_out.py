"""How a strategy would have done on examples that it did not learn from."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.errors import FAULTS
from router_sdk.records import AgentSet
from router_sdk.records.record import blame
from router_sdk.strategy import Encoder, RouteContext

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.records import Example, Task
    from router_sdk.strategy import Proposal, Strategy

LARGEST_WEIGHT = 20.0
"""Where inverse propensities are clipped: a little bias for much less variance."""
SMALLEST_CHANCE = 1e-6
"""Where a label's chance is clipped in the logarithmic loss."""
_log = logging.getLogger(__name__)


class FixedContext(RouteContext):
    """What a strategy may know about one request, fixed in advance.

    Args:
        seed: Seed of the generator; two contexts with one seed draw the same.
        now: Time of the request, in seconds since the epoch.
        history: Agents that acted in the session before, oldest first.
        text: The task's text, which ``encode`` turns into a vector.
        encoders: Encoders by name.
        vectors: What the text was encoded to before, by encoder tag.
    """

    __slots__ = ("_encoders", "_history", "_rng", "_text", "_vectors")

    def __init__(
        self,
        *,
        seed: int = 0,
        now: float = 0.0,
        history: Sequence[str] = (),
        text: str = "",
        encoders: Mapping[str, Encoder] | None = None,
        vectors: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.now = now
        self._rng = np.random.default_rng(seed)
        self._history = tuple(history)
        self._text = text
        self._encoders = {} if encoders is None else encoders
        self._vectors = dict(vectors or {})

    @property
    def rng(self) -> np.random.Generator:
        """The generator of this request."""
        return self._rng

    @property
    def history(self) -> tuple[str, ...]:
        """Agents that acted before, oldest first."""
        return self._history

    def encode(self, encoder: str | Encoder) -> NDArray[Any]:
        """The text's vector, computed once.

        Raises:
            KeyError: if no encoder of that name was given.
        """
        found = self._encoders[encoder] if isinstance(encoder, str) else encoder
        if found.tag not in self._vectors:
            (self._vectors[found.tag],) = found.encode([self._text])
        return self._vectors[found.tag]


class Answer(NamedTuple):
    """What a strategy said about one example, and what is known of it.

    Attributes:
        decision_id: Which decision.
        seq: Position of the example in the log.
        favourite: The agent that it would choose; None where no agent fits, and where it had no answer.
        answered: False where it abstained or failed.
        confidence: The favourite's chance in [0, 1]; None without an answer.
        label: The agent that would have been right; with ``labelled``, None means that none would.
        labelled: Whether a label is known.
        chance: The chance that it gave to the label; None where there is no label, or it names no agent.
        score: 1 or 0 by the label; else the favourite's reward where it is who acted; else None.
        weight: What the score counts: 1 with a label, else the clipped inverse propensity.
        session: The task's session, and whose it is; examples of one are alike. None where it stands alone.
        chances: What it gave to each agent that it was asked about, in their order; None without an answer.
    """

    decision_id: str
    seq: int
    favourite: str | None
    answered: bool
    confidence: float | None
    label: str | None
    labelled: bool
    chance: float | None
    score: float | None
    weight: float
    session: str | None = None
    chances: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What an evaluation on held-out examples found.

    Attributes:
        answers: One per example, in their order.
        accuracy: Share of labelled examples whose favourite is the label; None without any.
        value: Mean score over labelled examples, and over those whose favourite is who acted, weighted by inverse
            propensity: a self-normalised estimate (Swaminathan & Joachims, "The Self-Normalized Estimator for
            Counterfactual Learning", NeurIPS 2015). None where nothing could be judged.
        ess: Effective sample size behind ``value``: ``(Σ w)² / Σ w²``.
        log_loss: Mean negative logarithm of the label's chance, in nats, where the label is an agent.
        n_labelled: Labelled examples.
        n_matched: Rewarded examples without a label whose favourite is who acted.
        abstained: Share of examples without an answer, in [0, 1]; with a label they count as wrong.
        failed: Examples on which the strategy raised, or answered no distribution; they count as abstentions.
    """

    answers: tuple[Answer, ...]
    accuracy: float | None
    value: float | None
    ess: float
    log_loss: float | None
    n_labelled: int
    n_matched: int
    abstained: float
    failed: int = 0

    @property
    def favourites(self) -> tuple[str | None, ...]:
        """Who it would have chosen, example by example."""
        return tuple(answer.favourite for answer in self.answers)

    @property
    def confidences(self) -> tuple[float | None, ...]:
        """How sure it was."""
        return tuple(answer.confidence for answer in self.answers)

    @property
    def labels(self) -> tuple[str | None, ...]:
        """Who would have been right; None where unknown and where none would."""
        return tuple(answer.label for answer in self.answers)


def held_out_evaluation(
    strategy: Strategy, examples: Sequence[Example], agents: AgentSet, encoders: Mapping[str, Encoder]
) -> HeldOut:
    """Ask a strategy for its favourites, without exploration, and compare them with what is known.

    Every task is asked about over those of ``agents`` that can do what it requires. Logged vectors are used where
    their encoder's tag matches. A label that names no such agent says nothing about a choice among them: the example
    is not judged.

    Args:
        strategy: Whom to ask; prepared for ``agents``.
        examples: The newest revision of each decision.
        agents: Whom to choose from.
        encoders: Registered encoders by name.
    """
    answers, failed = [], 0
    for example, choice in zip(examples, those_who_can(examples, agents), strict=True):
        try:
            answers.append(_answer(example, ask(strategy, example, choice, encoders, example.vectors), choice))
        except FAULTS as error:
            failed += 1
            _log.debug("held-out example %s: %s failed: %s", example.decision_id, strategy.name, blame(error))
            answers.append(_answer(example, None, choice))
    if failed:
        _log.warning("strategy %s failed on %d of %d held-out examples", strategy.name, failed, len(answers))
    return summarised(answers, failed)


def those_who_can(examples: Sequence[Example], agents: AgentSet) -> list[AgentSet]:
    """For each example, those of some agents that can do what its task requires; all of them where nobody can."""
    sets: dict[frozenset[str], AgentSet] = {frozenset(): agents}
    found = []
    for task in (example.task for example in examples):
        if task.requires not in sets:
            capable = [agent for agent in agents if task.requires <= agent.capabilities]
            sets[task.requires] = AgentSet(capable) if capable else agents
        found.append(sets[task.requires])
    return found


def summarised(answers: Sequence[Answer], failed: int = 0) -> HeldOut:
    """The figures over these answers, such as over a part of a larger evaluation's."""
    labelled = [answer.score for answer in answers if answer.labelled and answer.score is not None]
    judged = [(answer.score, answer.weight) for answer in answers if answer.score is not None]
    whole = math.fsum(weight for _, weight in judged)
    squares = math.fsum(weight * weight for _, weight in judged)
    losses = [-math.log(max(answer.chance, SMALLEST_CHANCE)) for answer in answers if answer.chance is not None]
    return HeldOut(
        answers=tuple(answers),
        accuracy=math.fsum(labelled) / len(labelled) if labelled else None,
        value=math.fsum(score * weight for score, weight in judged) / whole if judged else None,
        ess=whole * whole / squares if judged else 0.0,
        log_loss=math.fsum(losses) / len(losses) if losses else None,
        n_labelled=len(labelled),
        n_matched=len(judged) - len(labelled),
        abstained=sum(not answer.answered for answer in answers) / len(answers) if answers else 0.0,
        failed=failed,
    )


def ask(
    strategy: Strategy,
    example: Example,
    agents: AgentSet,
    encoders: Mapping[str, Encoder],
    vectors: Mapping[str, NDArray[Any]],
) -> Proposal | None:
    """Ask a strategy about an example's task, at the time when that was routed.

    Args:
        strategy: Whom to ask; prepared for ``agents``.
        example: Which.
        agents: Whom to choose from.
        encoders: Registered encoders by name.
        vectors: What its text was encoded to, by encoder tag; what is not there is encoded.
    """
    task = example.task
    context = FixedContext(
        seed=example.decision_seq,
        now=example.decided_at,
        history=task.history,
        text=task.text,
        encoders=encoders,
        vectors=vectors,
    )
    return strategy.propose(task, agents, context)


def _answer(example: Example, proposal: Proposal | None, agents: AgentSet) -> Answer:
    """Read the favourite off a proposal and score it.

    Raises:
        KeyError: if the proposal leaves out an agent.
        ValueError: if its numbers are no distribution, or its confidence is none.
    """
    chances = dict.fromkeys(agents.names, 1.0 / len(agents))  # without an answer, all are alike
    favourite, confidence = None, None
    if proposal is not None and proposal.no_agent_fits:
        confidence = 1.0 if proposal.confidence is None else float(proposal.confidence)
        chances = {name: (1.0 - confidence) * chance for name, chance in chances.items()}
    elif proposal is not None:
        chances = {name: float(proposal.probabilities[name]) for name in agents.names}
        if not abs(math.fsum(chances.values()) - 1.0) <= 1e-6 or min(chances.values()) < 0.0:
            raise ValueError("probabilities must be at least 0 and sum to 1")
        favourite = max(agents.names, key=chances.__getitem__)
        confidence = chances[favourite] if proposal.confidence is None else float(proposal.confidence)
    if confidence is not None and not 0.0 <= confidence <= 1.0:
        raise ValueError("confidence must lie in [0, 1]")
    answered, label = proposal is not None, example.label
    known = example.labelled and (label is None or label in agents.positions)
    score, weight = None, 1.0
    if known:
        score = float(answered and favourite == label)
    elif answered and not example.labelled and example.reward is not None and favourite == example.agent:
        score = example.reward
        weight = 1.0 if example.propensity is None else min(1.0 / example.propensity, LARGEST_WEIGHT)
    return Answer(
        decision_id=example.decision_id,
        seq=example.seq,
        favourite=favourite,
        answered=answered,
        confidence=confidence,
        label=label,
        labelled=example.labelled,
        chance=chances[label] if known and label is not None else None,
        score=score,
        weight=weight,
        session=_session(example.task),
        chances=tuple(chances.values()) if answered else None,
    )


def _session(task: Task) -> str | None:
    if task.session_id is None or task.tenant is None:
        return task.session_id
    return f"{task.tenant}\x00{task.session_id}"
