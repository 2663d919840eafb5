"""The libraries that the router and its plugins are held against, at their best known settings, and LinUCB."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

LIBRARIES = ("vowpalwabbit", "mabwiser", "contextualbandits", "bayesianbandits")


def installed() -> str:
    """One line: which of the libraries are here, in which version, and which are missing."""
    told = []
    for name in LIBRARIES:
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            told.append(f"{name} MISSING")
    return ", ".join(told)


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

    def choose_many(self, contexts: Any, rng: np.random.Generator) -> Any:
        """The arms for several contexts between two updates, shape ``(n,)``."""
        return np.array([self.choose(context, rng) for context in contexts])

    def update_many(self, contexts: Any, arms: Any, rewards: Any, first: int) -> None:
        """Take in the rewards of several choices, the first of them made in round ``first``."""
        for place, each in enumerate(zip(contexts, arms, rewards, strict=True), first):
            self.update(each[0], int(each[1]), float(each[2]), place, place)


def _with_constant(contexts: Any) -> Any:
    """Vectors of shape ``(n, d)`` with a one behind each."""
    return np.column_stack([contexts, np.ones(len(contexts))])


class Uniform(Policy):
    """Any arm."""

    def __init__(self, arms: int, width: int, seed: int) -> None:
        self.arms = arms

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Any arm."""
        return int(rng.integers(self.arms))

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Nothing to learn."""


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

    def row(self, context: Any) -> Any:
        """What it is handed: the context and a constant, shape ``(1, width + 1)``."""
        vector = self.one_hot[context] if np.ndim(context) == 0 else context
        return np.append(vector, 1.0)[None]

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Its prediction."""
        return int(self.bandit.predict(self.row(context)))

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Its partial fit."""
        self.bandit.partial_fit([arm], [reward], self.row(context))

    def choose_many(self, contexts: Any, rng: np.random.Generator) -> Any:
        """Its prediction for all of them."""
        return np.atleast_1d(self.bandit.predict(_with_constant(contexts)))

    def update_many(self, contexts: Any, arms: Any, rewards: Any, first: int) -> None:
        """One partial fit of all."""
        self.bandit.partial_fit(arms.tolist(), rewards.tolist(), _with_constant(contexts))


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

    def choose_many(self, contexts: Any, rng: np.random.Generator) -> Any:
        """Its prediction for all of them."""
        return self.bandit.predict(contexts)

    def update_many(self, contexts: Any, arms: Any, rewards: Any, first: int) -> None:
        """One partial fit of all."""
        self.bandit.partial_fit(contexts, arms, rewards)


class BayesianBandits(Policy):
    """Thompson sampling of bayesianbandits with its normal-inverse-gamma regression."""

    def __init__(self, arms: int, width: int, seed: int) -> None:
        try:
            from bayesianbandits import Arm, ContextualAgent, NormalInverseGammaRegressor, ThompsonSampling
        except ImportError as error:
            raise MissingError("bayesianbandits is not installed") from error
        self.one_hot = np.eye(width)
        each = [Arm(arm, learner=NormalInverseGammaRegressor()) for arm in range(arms)]
        self.bandit = ContextualAgent(each, ThompsonSampling(), random_seed=seed)

    def _row(self, context: Any) -> Any:
        return np.append(self.one_hot[context] if np.ndim(context) == 0 else context, 1.0)[None]

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Its pull."""
        return int(self.bandit.pull(self._row(context))[0])

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Its update."""
        self.bandit.select_for_update(arm).update(self._row(context), np.array([reward]))

    def choose_many(self, contexts: Any, rng: np.random.Generator) -> Any:
        """Its pull for all of them."""
        return np.array(self.bandit.pull(_with_constant(contexts)))

    def update_many(self, contexts: Any, arms: Any, rewards: Any, first: int) -> None:
        """One update for each arm."""
        rows = _with_constant(contexts)
        for arm in np.unique(arms).tolist():
            self.bandit.select_for_update(arm).update(rows[arms == arm], rewards[arms == arm])


class VowpalWabbit(Policy):
    """Vowpal Wabbit's ``cb_explore_adf``, with context and action features crossed.

    Args:
        arms: Number of arms.
        width: Number of features; it does not ask.
        seed: Seed of its generator.
        options: Of its command line.
        epsilon: Exploration floor that is mixed into its probabilities.
        cost_of_failure: What a reward of 0 costs; a reward of 1 costs one less. It predicts 0 of what it does not know:
            with 0 that is the worst there is, with 1 the best, so that everything is tried.
    """

    def __init__(
        self, arms: int, width: int, seed: int, options: str, epsilon: float = 0.0, cost_of_failure: float = 0.0
    ) -> None:
        try:
            from vowpalwabbit import Workspace
        except ImportError as error:
            raise MissingError("vowpalwabbit is not installed") from error
        self.arms, self.epsilon, self.cost_of_failure = arms, epsilon, cost_of_failure
        self.workspace = Workspace(f"--cb_explore_adf {options} -q sa --quiet --random_seed {seed}")
        self.shares: dict[int, float] = {}
        self.asked = 0

    def lines(self, context: Any, arm: int = -1, cost: float = 0.0, share: float = 1.0) -> list[str]:
        """Its text format; with an arm, that arm's cost and propensity. A context that is a text is told as it is."""
        if isinstance(context, str):
            told = context
        elif np.ndim(context) == 0:
            told = f"type{context}:1"
        else:
            told = " ".join([f"{place}:{value:.5g}" for place, value in enumerate(context.tolist()) if value])
        label = [f"0:{cost}:{share} " if each == arm else "" for each in range(self.arms)]
        return [f"shared |s {told}", *[f"{label[each]}|a a{each}" for each in range(self.arms)]]

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """Sample from its probabilities."""
        shares = np.array(self.workspace.predict(self.lines(context)))
        shares = (1.0 - self.epsilon) * shares / shares.sum() + self.epsilon / self.arms
        arm = min(int(np.searchsorted(np.cumsum(shares), rng.random())), self.arms - 1)
        self.shares[self.asked] = float(shares[arm])
        self.asked += 1
        return arm

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Learn the cost, which is the reward's opposite."""
        self.workspace.learn(self.lines(context, arm, self.cost_of_failure - reward, self.shares.pop(then)))


class LinUCB(Policy):
    """Disjoint LinUCB written out (Li et al., WWW 2010), each inverse kept by Sherman and Morrison's formula.

    Args:
        arms: Number of arms.
        width: Number of features of a context, which is a vector.
        seed: Not used: it draws nothing.
        alpha: Standard deviations that doubt is worth.
        epsilon: Exploration floor that is mixed in.
    """

    def __init__(self, arms: int, width: int, seed: int, alpha: float, epsilon: float = 0.0) -> None:
        self.alpha, self.epsilon, self.arms = alpha, epsilon, arms
        self.inverse = np.tile(np.eye(width + 1, dtype=np.float32), (arms, 1, 1))
        self.sums = np.zeros((arms, width + 1))
        self.weights = np.zeros((arms, width + 1), dtype=np.float32)

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """The arm with the highest upper bound."""
        if rng.random() < self.epsilon:
            return int(rng.integers(self.arms))
        x = np.append(context, np.float32(1.0))
        variance = (self.inverse.reshape(-1, len(x)) @ x).reshape(self.arms, -1) @ x
        return int(np.argmax(self.weights @ x + self.alpha * np.sqrt(np.maximum(variance, 0.0))))

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """Add one observation to the arm's ridge regression."""
        x = np.append(context, np.float32(1.0))
        inverse = self.inverse[arm]
        along = inverse @ x
        inverse -= np.outer(along / (1.0 + along @ x), along)
        self.sums[arm] += reward * x
        self.weights[arm] = inverse @ self.sums[arm]


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
    "bayesianbandits TS": BayesianBandits,
    "VW squarecb": lambda arms, width, seed: VowpalWabbit(arms, width, seed, "--squarecb"),
    "VW squarecb gamma_scale=100 l=2": lambda arms, width, seed: VowpalWabbit(
        arms, width, seed, "--squarecb --gamma_scale 100 -l 2"
    ),
    "VW cover 3 nounif": lambda arms, width, seed: VowpalWabbit(arms, width, seed, "--cover 3 --nounif"),
    "VW first 200": lambda arms, width, seed: VowpalWabbit(arms, width, seed, "--first 200"),
}
