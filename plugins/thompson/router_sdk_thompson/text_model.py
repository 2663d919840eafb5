"""The contextual policy over text without any model: sparse features into one diagonal posterior per agent."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import DEFAULT_TASK_TYPE, Proposal
from router_sdk_thompson.chances import chances
from router_sdk_thompson.change import ChangeDetector
from router_sdk_thompson.clock import FadingClock
from router_sdk_thompson.dense_model import TYPE_COLUMN, explained
from router_sdk_thompson.diagonal import Diagonal
from router_sdk_thompson.rivals import Rivals
from router_sdk_thompson.standing import KEPT
from router_sdk_thompson.text_features import extra_ids
from router_sdk_thompson.warm_start import example_prior

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet, Example, FeatureValue
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.labels import Change

SUCCESS = 0.5
"""Reward from which an outcome counts as a success of the agent that was asked."""


class TextModel:
    """Diagonal posteriors over hashed words, pairs of words and character grams.

    Args:
        config: The strategy's configuration.
        seed: Seed of the warm start's order and of joint draws.

    Attributes:
        evidence: What was learnt from the log.
        rivals: What a success says of the others.
        residual: Sum of squared residuals.
        events: Revisions learnt from.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self.clock = FadingClock(config.half_life_s)
        self.detectors: dict[str, ChangeDetector] = {}
        self.evidence = Diagonal(config.text_variance)
        self.rivals = Rivals()
        self.residual = 0.0
        self.observed = 0.0
        self.events = 0
        self._prior: Diagonal | None = None

    def prepare(self, agents: AgentSet) -> None:
        """Read the agents' examples; they are a prior, which evidence then moves."""
        self._prior = example_prior(agents, self._config.text_variance, self._seed)

    def _ids(self, ids: NDArray[Any], task_type: str, features: Mapping[str, FeatureValue]) -> NDArray[np.intp]:
        if task_type == DEFAULT_TASK_TYPE and not features:
            return ids.astype(np.intp)
        extra = extra_ids(features)
        if task_type != DEFAULT_TASK_TYPE:
            extra += extra_ids({TYPE_COLUMN: task_type})
        return np.array(sorted({*ids.tolist(), *extra}), dtype=np.intp)

    def _noise(self) -> float:
        # The diagonal ignores that features come together and is too sure of itself; the factor makes up for it.
        config = self._config
        guess, mass = config.text_noise_guess, config.noise_mass
        spread = (mass * guess + self.residual) / (mass + self.observed)
        return max(config.text_noise_least, config.text_noise_factor * spread)

    def learn(
        self, example: Example, told: Sequence[Change], ids: NDArray[Any], features: Mapping[str, FeatureValue]
    ) -> None:
        """Take in what one revision says."""
        self.events += 1
        share = self.clock.advance(example.at)
        if share < 1.0:
            self.evidence.fade(self.evidence.rows.values(), share)
            self.residual *= share
            self.observed *= share
        if not len(ids):
            return
        places = self._ids(ids, example.task_type, features)
        weight = self.clock.weight(example.first_at)
        for agent, old, new in told:
            self._teach(agent, places, old, new, weight)
        if len(told) == 1 and example.revision == 0 and (reward := told[0].new) is not None:
            self.rivals.note(example.propensity, reward)
            rate = self.rivals.verdict() if reward >= SUCCESS else None
            if rate is not None and self._config.rival_weight:
                self._teach_rivals(example, places, rate, self._config.rival_weight * reward * weight)

    def _teach(self, agent: str, ids: NDArray[np.intp], old: float | None, new: float | None, weight: float) -> None:
        evidence, prior = self.evidence, self._prior
        row = evidence.row(agent)
        noise = self._noise() / weight
        held = -1 if prior is None else prior.rows.get(agent, -1)
        score, variance, width = evidence.step(row, ids, prior, held, noise)
        gain = 1.0 / (sqrt(len(ids)) * (variance + noise))
        precision = 1.0 / (len(ids) * noise)
        if old is not None and new is not None:
            evidence.move(row, ids, width * np.float32((new - old) * gain), 0.0)
        elif new is not None:
            error = new - score
            evidence.move(row, ids, width * np.float32(error * gain), precision)
            self.residual += error * error * noise / (variance + noise)
            self.observed += 1.0
            self._watch(agent, row, error / sqrt(self._spread() + variance))
        elif old is not None:
            evidence.move(row, ids, width * np.float32((score - old) * gain), 0.0)
            # A precision below that of the prior would be none.
            evidence.precision[row, ids] = np.maximum(evidence.precision[row, ids] - np.float32(precision), 0.0)

    def _spread(self) -> float:
        mass, guess = self._config.noise_mass, self._config.noise_guess**2
        return (mass * guess + self.residual) / (mass + self.observed)

    def _teach_rivals(self, example: Example, ids: NDArray[np.intp], rate: float, weight: float) -> None:
        evidence, prior = self.evidence, self._prior
        names = [name for name in example.eligible if name != example.agent]
        if not names:
            return
        index = np.array([evidence.row(name) for name in names])[:, None]
        mean, precision = evidence.mean[index, ids], evidence.precision[index, ids]
        score, width = mean.sum(axis=1), precision + evidence.base
        if prior is not None and all(name in prior.rows for name in names):
            before = np.array([prior.rows[name] for name in names])[:, None]
            score += prior.mean[before, ids].sum(axis=1)
            width += prior.precision[before, ids]
        np.reciprocal(width, out=width)
        size, noise = len(ids), self._noise() / weight
        gain = (rate - score / sqrt(size)) / (sqrt(size) * (width.sum(axis=1) / size + noise))
        evidence.mean[index, ids] = mean + width * gain[:, None].astype(np.float32)
        evidence.precision[index, ids] = precision + np.float32(1.0 / (size * noise))

    def _watch(self, agent: str, row: int, surprise: float) -> None:
        threshold = self._config.change_threshold
        if threshold is None:
            return
        detector = self.detectors.get(agent)
        if detector is None:
            detector = self.detectors[agent] = ChangeDetector()
        if detector.surprised(surprise, threshold):
            self.evidence.fade([row], KEPT / (KEPT + self.observed / max(len(self.evidence.rows), 1)))

    @property
    def ready(self) -> bool:
        """Whether enough was learnt to answer."""
        return self.events >= self._config.min_context_evidence

    def propose(
        self, agents: AgentSet, ids: NDArray[Any], task_type: str, features: Mapping[str, FeatureValue]
    ) -> Proposal | None:
        """Probabilities at a text with these features; None below ``min_context_evidence`` or without any."""
        config = self._config
        if not self.ready or not len(ids):
            return None
        names = agents.names
        places = self._ids(ids, task_type, features)
        means, widths = self.evidence.scores(places, self._prior, names)
        alpha = config.text_exploration
        widths = [alpha * width for width in widths]
        seed = "" if config.sampling != "independent" else f"{self._seed}\0{self.events}\0{places.tobytes().hex()}"
        found = chances(config.sampling, names, means, widths, seed)
        favourite = max(range(len(names)), key=lambda i: (found[i], means[i]))
        events = self.events

        def explain() -> Mapping[str, Any]:
            return {"mode": "text", "agents": explained(names, means, widths, [float(events)] * len(names))}

        confidence = min(max(means[favourite], 0.0), 1.0)
        return Proposal(dict(zip(names, found, strict=True)), dict(zip(names, means, strict=True)), confidence, explain)

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.evidence.forget(agents)
        for name in agents:
            self.detectors.pop(name, None)

    def report(self) -> dict[str, Any]:
        """How much was learnt, and what is thought of success."""
        return {
            "events": self.events,
            "noise": self._noise(),
            "rival_rate": self.rivals.verdict(),
            "changes": {name: detector.alarms for name, detector in self.detectors.items() if detector.alarms},
        }
