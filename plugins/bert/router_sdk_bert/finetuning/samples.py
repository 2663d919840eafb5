"""One text and what is known of who should get it, as the encoder is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet, Example


@dataclass(slots=True, frozen=True)
class Sample:
    """One text with its feedback.

    Attributes:
        decision_id: Which decision it came from.
        text: The task's text.
        label: The agent that would have been right; with ``labelled``, None means that none would.
        labelled: Whether a label is known: then all agents' entries are, else only that of ``agent``.
        agent: The agent that acted, or None.
        reward: Its reward in [0, 1], or None.
        weight: How much it counts.
        fresh: Whether the encoder has not been trained on it yet.
        synthetic: Whether a generator or a file made it, not somebody's request.
        at: When its outcome first arrived, in seconds since the epoch.
        vector: Its embedding by the encoder that serves, shape ``(d,)``, or None where it was not kept.
    """

    decision_id: str
    text: str
    label: str | None = None
    labelled: bool = False
    agent: str | None = None
    reward: float | None = None
    weight: float = 1.0
    fresh: bool = True
    synthetic: bool = False
    at: float = 0.0
    vector: NDArray[Any] | None = field(default=None, repr=False, compare=False)


def category(sample: Sample) -> Hashable:
    """What class the sample teaches: its label, else who acted."""
    return sample.label if sample.labelled else sample.agent


def from_examples(
    examples: Sequence[Example],
    agents: AgentSet,
    *,
    tag: str,
    fresh_after: int,
    synthetic: bool = False,
    weigh: Callable[[Example], float] = lambda example: 1.0,
) -> tuple[list[Sample], int]:
    """What can be trained on of joined examples.

    Args:
        examples: Newest revisions, oldest first.
        agents: Who can be chosen; feedback on others is left out.
        tag: Tag of the serving encoder, under which its embeddings were logged.
        fresh_after: Position in the log after which examples are fresh.
        synthetic: Whether all of them are.
        weigh: How much an example counts.

    Returns:
        The samples, and how many had to be left out because their text is gone.
    """
    samples, gone = [], 0
    for example in examples:
        label, agent = example.label, example.agent
        known_label = example.labelled and (label is None or label in agents.positions)
        known_reward = example.reward is not None and agent is not None and agent in agents.positions
        if not known_label and not known_reward:
            continue
        text = example.task.text
        if not text:
            gone += 1
            continue
        samples.append(
            Sample(
                decision_id=example.decision_id,
                text=text,
                label=label if known_label else None,
                labelled=known_label,
                agent=agent if known_reward else None,
                reward=example.reward if known_reward else None,
                weight=weigh(example),
                fresh=example.seq > fresh_after,
                synthetic=synthetic,
                at=example.first_at,
                vector=example.vectors.get(tag),
            )
        )
    return samples, gone


def from_agents(agents: AgentSet, *, fresh: bool) -> list[Sample]:
    """The agents' own example texts, each a label: what is known before anything happened."""
    return [
        Sample(decision_id=f"agent:{agent.name}:{place}", text=text, label=agent.name, labelled=True, fresh=fresh)
        for agent in agents
        for place, text in enumerate(agent.examples)
        if text
    ]


def with_vectors(samples: Iterable[Sample], vectors: Mapping[str, NDArray[Any]]) -> list[Sample]:
    """The samples with embeddings by decision id; those not given keep what they had."""
    return [
        replace(sample, vector=vectors[sample.decision_id]) if sample.decision_id in vectors else sample
        for sample in samples
    ]
