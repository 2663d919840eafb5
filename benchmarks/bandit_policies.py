"""The policies that `bandits.py` compares: the Thompson plugin, alone, beside the libraries of `bandit_peers.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from bandit_peers import PEERS, CappedCells, Maker, Policy, Uniform

from router_sdk.records import Agent, AgentSet, Example, Signals, Task
from router_sdk.strategy import Encoder, EncoderConfig, StrategyServices
from router_sdk.testing import FixedContext
from router_sdk.testing.examples import FixedExampleContext

ROUND_S = 60.0
"""Log time between two rounds: a decision a minute."""
SAID = {0.0: Signals(success=False), 1.0: Signals(success=True)}


class GivenVector(Encoder):
    """Stands for an encoder: the experiment hands the vectors over itself.

    Attributes:
        vector: What the next text is encoded as.
    """

    name = "given"
    vector: Any = None

    def encode(self, texts: Any) -> Any:
        """The vector of the round."""
        return [self.vector]


class Thompson(Policy):
    """The plugin's strategy, alone: no other strategy answers while it abstains.

    Args:
        arms: Number of agents.
        width: Number of features, or of task types where ``contextual`` is off.
        seed: Seed of the strategy.
        epsilon: Exploration floor that the router would mix in.
        batch: Outcomes that are learnt together.
        contextual: Whether contexts are vectors; else they are task types.
        columns: Whether vectors are told as a feature for each of their columns, as of a table; else as embeddings.
    """

    def __init__(
        self,
        arms: int,
        width: int,
        seed: int,
        epsilon: float = 0.0,
        batch: int = 1,
        contextual: bool = True,
        columns: bool = False,
    ) -> None:
        from router_sdk_thompson import ThompsonConfig, ThompsonStrategy

        self.agents = AgentSet([Agent(f"agent-{arm}") for arm in range(arms)])
        self.encoder = GivenVector(EncoderConfig())
        self.encoders: dict[str, Encoder] = {"given": self.encoder}
        # Alone, it has to answer from the first round on.
        alone = {"min_evidence": 0.0, "min_context_evidence": 0.0}
        config = ThompsonConfig(encoder="given" if contextual and not columns else None, **alone)
        self.strategy = ThompsonStrategy(config, StrategyServices(Path("unused"), self.encoders, seed=seed))
        self.strategy.prepare(self.agents)
        self.epsilon, self.batch, self.contextual = epsilon, batch, contextual
        self.names = [f"column {place}" for place in range(width)] if columns else []
        self.waiting: list[Example] = []
        self.propensities: dict[int, float] = {}
        self.types = [Task(task_type=f"type-{kind}") for kind in range(width)]
        self.text = Task("a vector stands for the text")
        self.round = 0

    def _row(self, context: Any) -> Task:
        """A row of a table as a task."""
        return Task(features=dict(zip(self.names, context.tolist(), strict=True)))

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Sample from the proposal, after the floor."""
        arms = len(self.agents)
        if self.names:
            proposal = self.strategy.propose(self._row(context), self.agents, FixedContext())
        elif self.contextual:
            self.encoder.vector = context
            proposal = self.strategy.propose(self.text, self.agents, FixedContext(encoders=self.encoders))
        else:
            proposal = self.strategy.propose(self.types[context], self.agents, FixedContext())
        shares = np.full(arms, 1.0 / arms) if proposal is None else np.array(list(proposal.probabilities.values()))
        shares = (1.0 - self.epsilon) * shares + self.epsilon / arms
        arm = min(int(np.searchsorted(np.cumsum(shares), rng.random())), arms - 1)
        self.propensities[self.round] = float(shares[arm])
        self.round += 1
        return arm

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Learn, batch by batch."""
        if self.names:
            task, vectors = self._row(context), {}
        else:
            task = self.text if self.contextual else self.types[context]
            vectors = {self.encoder.tag: context} if self.contextual else {}
        at = ROUND_S * (now + 1)
        self.waiting.append(
            Example(
                decision_id=str(then),
                seq=2 * now + 1,
                decision_seq=2 * then,
                revision=0,
                agent=self.agents.names[arm],
                task_type=task.task_type,
                reward=reward,
                previous_reward=None,
                signals=SAID.get(reward) or Signals(quality=reward),
                previous=None,
                propensity=self.propensities.pop(then),
                at=at,
                first_at=at,
                decided_at=ROUND_S * then,
                source="routed",
                context=FixedExampleContext(task, vectors, self.agents.names),
            )
        )
        if len(self.waiting) >= self.batch:
            self.strategy.learn(self.waiting)
            self.waiting = []


CONTEXTUAL: dict[str, Maker] = {
    "thompson": Thompson,
    "thompson, epsilon .02, batches of 10": lambda arms, width, seed: Thompson(arms, width, seed, 0.02, 10),
    **PEERS,
    "uniform": Uniform,
}
ROUTING: dict[str, Maker] = {
    "thompson": lambda arms, width, seed: Thompson(arms, width, seed, contextual=False),
    "thompson, epsilon .02, batches of 10": lambda arms, width, seed: Thompson(
        arms, width, seed, 0.02, 10, contextual=False
    ),
    "LiteLLM's rule": CappedCells,
    "Beta cells": lambda arms, width, seed: CappedCells(arms, width, seed, 1_000_000),
    **PEERS,
    "uniform": Uniform,
}
