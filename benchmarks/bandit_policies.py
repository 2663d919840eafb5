"""The policies that `bandits.py` compares: the Thompson plugin, and peers at their best known settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from router_sdk.records import Agent, AgentSet, Example, Signals, Task
from router_sdk.strategy import Encoder, EncoderConfig, StrategyServices
from router_sdk.testing import FixedContext
from router_sdk.testing.examples import FixedExampleContext

ROUND_S = 60.0
"""Log time between two rounds: a decision a minute."""
SAID = {0.0: Signals(success=False), 1.0: Signals(success=True)}


class MissingError(Exception):
    """A peer is not installed."""


class Policy(ABC):
    """Chooses an arm for a context and learns from that arm's reward."""

    @abstractmethod
    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """The arm to play."""

    @abstractmethod
    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Take in the reward of a choice made in round ``then``."""


class Uniform(Policy):
    """Any arm."""

    def __init__(self, arms: int, width: int, seed: int) -> None:
        self.arms = arms

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Any arm."""
        return int(rng.integers(self.arms))

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Nothing to learn."""


class GivenVector(Encoder):
    """Stands for an encoder: the experiment hands the vectors over itself."""

    name = "given"

    def encode(self, texts: Any) -> Any:
        """Never asked."""
        raise NotImplementedError


class Thompson(Policy):
    """The plugin's strategy, alone: no other strategy answers while it abstains.

    Args:
        arms: Number of agents.
        width: Number of features, or of task types where ``contextual`` is off.
        seed: Seed of the strategy.
        epsilon: Exploration floor that the router would mix in.
        batch: Outcomes that are learnt together.
        contextual: Whether contexts are vectors; else they are task types.
    """

    def __init__(
        self, arms: int, width: int, seed: int, epsilon: float = 0.0, batch: int = 1, contextual: bool = True
    ) -> None:
        from router_sdk_thompson import ThompsonConfig, ThompsonStrategy

        self.agents = AgentSet([Agent(f"agent-{arm}") for arm in range(arms)])
        self.encoders: dict[str, Encoder] = {"given": GivenVector(EncoderConfig())}
        # Alone, it has to answer from the first round on.
        alone = {"min_evidence": 0.0, "min_context_evidence": 0.0}
        config = ThompsonConfig(encoder="given", **alone) if contextual else ThompsonConfig(**alone)
        self.strategy = ThompsonStrategy(config, StrategyServices(Path("unused"), self.encoders, seed=seed))
        self.strategy.prepare(self.agents)
        self.epsilon, self.batch, self.contextual = epsilon, batch, contextual
        self.waiting: list[Example] = []
        self.propensities: dict[int, float] = {}
        self.types = [Task(task_type=f"type-{kind}") for kind in range(width)]
        self.text = Task("a vector stands for the text")
        self.round = 0

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Sample from the proposal, after the floor."""
        arms = len(self.agents)
        if self.contextual:
            request = FixedContext(encoders=self.encoders)
            request._vectors["given"] = context
            proposal = self.strategy.propose(self.text, self.agents, request)
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
        task = self.text if self.contextual else self.types[context]
        vectors = {"given:fp32": context} if self.contextual else {}
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


class Mabwiser(Policy):
    """mabwiser's LinTS or LinUCB."""

    def __init__(self, arms: int, width: int, seed: int, kind: str, alpha: float) -> None:
        try:
            from mabwiser.mab import MAB, LearningPolicy
        except ImportError as error:
            raise MissingError("mabwiser is not installed") from error
        self.width, self.one_hot = width, np.eye(width)
        self.bandit = MAB(list(range(arms)), getattr(LearningPolicy, kind)(alpha=alpha), seed=seed)
        zeros = np.zeros((arms, width + 1))
        self.bandit.fit(list(range(arms)), [0.0] * arms, zeros)

    def _row(self, context: Any) -> Any:
        vector = self.one_hot[context] if np.ndim(context) == 0 else context
        return np.append(vector, 1.0)[None]

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Its prediction."""
        return int(self.bandit.predict(self._row(context)))

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Its partial fit."""
        self.bandit.partial_fit([arm], [reward], self._row(context))


class ContextualBandits(Policy):
    """LinUCB of contextualbandits."""

    def __init__(self, arms: int, width: int, seed: int, alpha: float) -> None:
        try:
            from contextualbandits.online import LinUCB
        except ImportError as error:
            raise MissingError("contextualbandits is not installed") from error
        self.one_hot = np.eye(width)
        self.bandit = LinUCB(nchoices=arms, alpha=alpha, random_state=seed + 1)
        self.bandit.partial_fit(np.zeros((arms, width)), np.arange(arms), np.zeros(arms))

    def _row(self, context: Any) -> Any:
        return (self.one_hot[context] if np.ndim(context) == 0 else context)[None]

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Its prediction."""
        return int(self.bandit.predict(self._row(context))[0])

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Its partial fit."""
        self.bandit.partial_fit(self._row(context), np.array([arm]), np.array([reward]))


class VowpalWabbit(Policy):
    """Vowpal Wabbit's ``cb_explore_adf``, with context and action features crossed."""

    def __init__(self, arms: int, width: int, seed: int, options: str) -> None:
        try:
            from vowpalwabbit import Workspace
        except ImportError as error:
            raise MissingError("vowpalwabbit is not installed") from error
        self.arms = arms
        self.workspace = Workspace(f"--cb_explore_adf {options} -q sa --quiet --random_seed {seed}")
        self.shares: dict[int, float] = {}
        self.asked = 0

    def _lines(self, context: Any, arm: int = -1, cost: float = 0.0, share: float = 1.0) -> list[str]:
        if np.ndim(context) == 0:
            told = f"type{context}:1"
        else:
            told = " ".join([f"{place}:{value:.5g}" for place, value in enumerate(context.tolist()) if value])
        label = [f"0:{cost}:{share} " if each == arm else "" for each in range(self.arms)]
        return [f"shared |s {told}", *[f"{label[each]}|a a{each}" for each in range(self.arms)]]

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Sample from its probabilities."""
        shares = np.array(self.workspace.predict(self._lines(context)))
        arm = min(int(np.searchsorted(np.cumsum(shares / shares.sum()), rng.random())), self.arms - 1)
        self.shares[self.asked] = float(shares[arm])
        self.asked += 1
        return arm

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Learn the cost, which is the reward's opposite."""
        self.workspace.learn(self._lines(context, arm, -reward, self.shares.pop(then)))


class CappedCells(Policy):
    """LiteLLM's rule: Beta cells per type and model, frozen once 200 observations were made."""

    def __init__(self, arms: int, width: int, seed: int, cap: int = 200) -> None:
        self.alpha, self.beta, self.cap = np.ones((width, arms)), np.ones((width, arms)), cap

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Draw from every cell."""
        return int(rng.beta(self.alpha[context], self.beta[context]).argmax())

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Count, up to the cap."""
        if self.alpha[context, arm] + self.beta[context, arm] < self.cap:
            self.alpha[context, arm] += reward
            self.beta[context, arm] += 1.0 - reward


Maker = Callable[[int, int, int], Policy]

PEERS: dict[str, Maker] = {
    "mabwiser LinTS alpha=.1": lambda arms, width, seed: Mabwiser(arms, width, seed, "LinTS", 0.1),
    "mabwiser LinUCB alpha=.25": lambda arms, width, seed: Mabwiser(arms, width, seed, "LinUCB", 0.25),
    "mabwiser LinUCB alpha=1": lambda arms, width, seed: Mabwiser(arms, width, seed, "LinUCB", 1.0),
    "contextualbandits LinUCB alpha=.25": lambda arms, width, seed: ContextualBandits(arms, width, seed, 0.25),
    "VW squarecb": lambda arms, width, seed: VowpalWabbit(arms, width, seed, "--squarecb"),
    "VW cover 5": lambda arms, width, seed: VowpalWabbit(arms, width, seed, "--cover 5"),
}
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
