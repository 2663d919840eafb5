"""What the encoder is trained on: texts with their feedback, and the batches that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk_bert.finetuning.losses import NOT_AN_AGENT, Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet, Example, ReplayBuffer
    from router_sdk_bert.config import FitSettings, Pooling


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
    passage: Callable[[str], str] = lambda text: text,
) -> tuple[list[Sample], int]:
    """What can be trained on of joined examples.

    Args:
        examples: Newest revisions, oldest first.
        agents: Who can be chosen; feedback on others is left out.
        tag: Tag of the serving encoder, under which its embeddings were logged.
        fresh_after: Position in the log after which examples are fresh.
        synthetic: Whether all of them are.
        weigh: How much an example counts.
        passage: The request in a text.

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
                text=passage(text),
                label=label if known_label else None,
                labelled=known_label,
                agent=agent if known_reward else None,
                reward=example.reward if known_reward else None,
                weight=weigh(example),
                fresh=example.seq > fresh_after,
                synthetic=synthetic or example.source == "synthetic",
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


def targets_of(samples: Sequence[Sample], positions: Mapping[str, int]) -> Targets:
    """The feedback of samples as arrays.

    A label says more than the reward of whoever acted, so it takes its place.

    Args:
        samples: The samples; their agents must be known.
        positions: Agent name to row of the head.
    """
    labels = [_row(sample.label if sample.labelled else None, positions) for sample in samples]
    agents = [_row(None if sample.labelled else sample.agent, positions) for sample in samples]
    return Targets(
        labelled=np.array([sample.labelled for sample in samples], dtype=bool),
        labels=np.array(labels, dtype=np.int64),
        agents=np.array(agents, dtype=np.int64),
        rewards=np.array([sample.reward or 0.0 for sample in samples], dtype=np.float32),
        weights=np.array([sample.weight for sample in samples], dtype=np.float32),
    )


def _row(name: str | None, positions: Mapping[str, int]) -> int:
    return NOT_AN_AGENT if name is None else positions[name]


@dataclass(slots=True, frozen=True)
class SourceEncoder:
    """The encoder that is to be fine-tuned.

    Attributes:
        checkpoint: Folder with its weights and configuration.
        tag: Tag of its embeddings.
        tokenize: A text to token ids, as it does when serving.
        pooling: How token vectors become one; None is the model's own way.
    """

    checkpoint: Path
    tag: str
    tokenize: Callable[[str], list[int]]
    pooling: Pooling | None = None


@dataclass(slots=True, frozen=True)
class TrainingSet:
    """What it is to learn.

    Attributes:
        samples: Each with its embedding by the serving encoder, oldest first.
        held_out: For early stopping only.
        names: Agents, in the order of the head's rows.
        exclusive: Whether at most one agent is right.
    """

    samples: Sequence[Sample]
    held_out: Sequence[Sample]
    names: tuple[str, ...]
    exclusive: bool = True

    def vectors(self) -> NDArray[np.float32]:
        """The serving encoder's embeddings, shape ``(n, d)``."""
        return np.array([sample.vector for sample in self.samples], dtype=np.float32)

    def fresh(self) -> list[int]:
        """Places of the samples that the encoder has not been trained on; of all, where there are none."""
        return [place for place, sample in enumerate(self.samples) if sample.fresh] or list(range(len(self.samples)))

    def known(self) -> list[int]:
        """Places of the samples that it has been trained on; of all, where there are none: it serves for them."""
        return [place for place, sample in enumerate(self.samples) if not sample.fresh] or list(
            range(len(self.samples))
        )


class BatchPlan:
    """Draws the batches of an epoch: each fresh sample once, beside its share of the past.

    Args:
        samples: Everything that can be trained on, oldest first.
        settings: Sizes and shares.
        seed: Seed of what the buffer keeps.
    """

    def __init__(self, samples: Sequence[Sample], settings: FitSettings, seed: int) -> None:
        self._settings = settings
        self._place = {sample.decision_id: place for place, sample in enumerate(samples)}
        older = [sample for sample in samples if not sample.fresh and not sample.synthetic]
        drawn = [sample for sample in samples if not sample.fresh and sample.synthetic]
        self._fresh = np.array([self._place[sample.decision_id] for sample in samples if sample.fresh], dtype=np.int64)
        self._replay = filled_buffer(older if settings.replays else [], settings, seed)
        self._synthetic = filled_buffer(drawn if settings.use_synthetic_data else [], settings, seed)
        if not len(self._fresh):
            # Nothing is new: the past alone is trained on again.
            self._fresh = np.array([self._place[one.decision_id] for one in older or drawn], dtype=np.int64)

    def _pools(self) -> list[Sample]:
        return [*self._replay, *self._synthetic]

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._fresh) // self._parts()[0])

    def epoch(self, rng: np.random.Generator) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """One epoch's batches: positions of samples, and how much each counts for how it was drawn."""
        fresh, replayed, synthetic = self._parts()
        order = rng.permutation(self._fresh)
        batches = []
        for start in range(0, len(order), fresh):
            new = order[start : start + fresh]
            places, weights = [new], [np.ones(len(new), dtype=np.float32)]
            for pool, count in ((self._replay, replayed), (self._synthetic, synthetic)):
                if count and len(pool):
                    draw = pool.sample(count, rng)
                    places.append(np.array([self._place[one.decision_id] for one in draw.samples], dtype=np.int64))
                    weights.append(draw.weights.astype(np.float32))
            batches.append((np.concatenate(places), np.concatenate(weights)))
        return batches

    def _parts(self) -> tuple[int, int, int]:
        """Fresh, replayed and synthetic samples of a batch."""
        size = self._settings.batch_size * self._settings.accumulation
        replayed = round(size * self._settings.replay_share) if len(self._replay) else 0
        synthetic = round(size * self._settings.synthetic_share) if len(self._synthetic) else 0
        synthetic = min(synthetic, max(size - replayed - 1, 0))
        return max(size - replayed - synthetic, 1), replayed, synthetic

    def prioritize(self, losses: Mapping[str, float]) -> None:
        """Tell a prioritised buffer how badly these decisions were learnt."""
        from router_sdk.plugin import PrioritizedBuffer

        for pool in (self._replay, self._synthetic):
            if isinstance(pool, PrioritizedBuffer):
                pool.update_priorities(list(losses), losses.values())


def filled_buffer(samples: Sequence[Sample], settings: FitSettings, seed: int) -> ReplayBuffer[Sample]:
    """A replay buffer of the kind that was asked for, with these samples offered to it."""
    from router_sdk.plugin import PrioritizedBuffer, ReservoirBuffer

    kind = PrioritizedBuffer if settings.replay_buffer == "prioritized" else ReservoirBuffer
    buffer: ReplayBuffer[Sample] = kind(
        settings.replay_size, balanced=settings.replay_balanced, category=category, seed=seed
    )
    buffer.add_samples(samples)
    return buffer
