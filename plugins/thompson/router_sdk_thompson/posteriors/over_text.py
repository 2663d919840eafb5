"""The contextual policy over text without any model: sparse features into one diagonal posterior per agent.

Here it learns, is published, and is saved: what was touched as npy, and the numbers beside it as JSON.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.numerics.feedback_kind import SELDOM, SUCCESS
from router_sdk.numerics.linear_snapshot import DoubleBuffer
from router_sdk.numerics.reward_scale import RewardScale, Scale
from router_sdk.numerics.state_file import check_finite
from router_sdk.plugin import CorruptArtifactError
from router_sdk_thompson.drift.fading import KEPT, ChangeFading, TimeFading
from router_sdk_thompson.drift.text_drift import TextDrift
from router_sdk_thompson.features.hashed_text import FEATURES, with_extras
from router_sdk_thompson.features.memory_budget import halvings
from router_sdk_thompson.posteriors.belief import Belief
from router_sdk_thompson.posteriors.diagonal_gaussian import DiagonalGaussian
from router_sdk_thompson.posteriors.noise_calibration import NoiseCalibration
from router_sdk_thompson.priors.examples import example_prior

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet, Example, FeatureValue
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.labels import Change
    from router_sdk_thompson.posteriors.first_rewards import FirstRewards


MEMORY = 500.0
"""Outcomes after which a residual counts 1/e in what texts leave unexplained."""
WARM_UP = 20
"""Outcomes before a favourite is named where no examples say anything."""
NO_FEATURES: Mapping[str, FeatureValue] = {}
_MOST_HALVED = FEATURES.bit_length() - 2


class TextModel:
    """Diagonal posteriors over hashed words, pairs of words and character grams.

    Args:
        config: The strategy's configuration.
        seed: Seed of the warm start's order and of joint draws.

    Attributes:
        evidence: What was learnt from the log.
        drift: Notices that an agent changed.
        scale: How large rewards are, and how far apart.
        calibration: How much noise is assumed.
        residual: Sum of squared residuals, recent ones counting most.
        observed: How many that are.
        events: Revisions learnt from.
        buffer: What requests read.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self.config, self._seed = config, seed
        self.time_fading = TimeFading(config.half_life_s)
        self.drift = TextDrift(config)
        self.change_fading = ChangeFading()
        self.evidence = DiagonalGaussian(config.text_variance)
        self.scale = RewardScale()
        self.calibration = NoiseCalibration(config.text_noise_guess)
        self.residual = 0.0
        self.observed = 0.0
        self.events = 0
        self.buffer: DoubleBuffer[DiagonalGaussian] = DoubleBuffer(self._empty)
        self._prior: DiagonalGaussian | None = None
        self._snapshot: TextSnapshot | None = None
        self._told: frozenset[tuple[str, tuple[str, ...]]] = frozenset()

    def _empty(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.config.text_variance)

    def prepare(self, agents: AgentSet) -> None:
        """Read the agents' examples; they are a prior, which evidence then moves."""
        told = frozenset((agent.name, agent.examples) for agent in agents if agent.examples)
        if told == self._told:
            return
        self._told = told
        self._prior = example_prior(agents, self.config.text_variance, self._seed)

    @property
    def told(self) -> bool:
        """Whether agents' examples say what texts are theirs."""
        return self._prior is not None

    def _unexplained(self, scale: Scale) -> float:
        """Share of the rewards' variance that texts leave unexplained, of late."""
        mass, variance = self.config.noise_mass, scale.spread * scale.spread
        return (mass + self.residual / variance) / (mass + self.observed)

    def learn(
        self,
        example: Example,
        told: Sequence[Change],
        ids: NDArray[Any],
        features: Mapping[str, FeatureValue],
        others: float | None,
    ) -> None:
        """Take in what one revision says.

        Args:
            example: The revision.
            told: What it changes, agent by agent.
            ids: The text's feature ids.
            features: The task's features.
            others: What to expect of the other agents if this one succeeded; None where nothing follows.
        """
        self._fade(example.at)
        if not len(ids):
            return
        self._make_room([change.agent for change in told] if self.evidence.rows else example.eligible)
        places = with_extras(ids, example.task_type, features)
        weight = self.time_fading.weight(example.first_at)
        for agent, old, new in told:
            self._teach(agent, places, old, new, weight)
        reward = told[0].new if len(told) == 1 and example.revision == 0 else None
        if others is not None and reward is not None:
            self._teach_others(example.eligible, example.agent, places, reward, others, weight)

    def learn_first(self, told: FirstRewards, begin: int, end: int, asked: Collection[int]) -> list[int]:
        """``learn``, to the same bits, of first rewards from one place to another; see ``VectorModel.learn_first``."""
        found = []
        for place in range(begin, end):
            agent, reward, names, at = told.agent[place], told.reward[place], told.eligible[place], told.at[place]
            ids = told.vector[place]
            places = with_extras(ids, told.task_type[place], NO_FEATURES)
            if place in asked:
                found.append(self._favourite(names, places) if len(ids) else -1)
            if agent is None or reward is None:
                continue
            self._fade(at)
            if not len(ids):
                continue
            if agent not in self.evidence.rows:
                self._make_room([agent] if self.evidence.rows else names)
            weight = self.time_fading.weight(at)
            self._teach(agent, places, None, reward, weight)
            if (others := told.others[place]) is not None:
                self._teach_others(names, agent, places, reward, others, weight)
        return found

    def _fade(self, at: float) -> None:
        """Let what is older than this moment fade, and what is known of agents that changed."""
        self.events += 1
        share = self.time_fading.advance(at)
        if share < 1.0:
            self.evidence.fade(self.evidence.rows.values(), share)
            self.buffer.touch_all(self.evidence.rows.values())
            self.scale.fade(share)
        for agent, kept in self.change_fading.due(self.events):
            row = self.evidence.row(agent)
            self.buffer.touch(row, None)
            self.evidence.fade([row], kept)

    def _make_room(self, newcomers: Sequence[str]) -> None:
        """Give up features where there is no room for them all with these agents, too."""
        rows = self.evidence.rows
        times = halvings(len(rows) + sum(agent not in rows for agent in newcomers), FEATURES)
        if times > self.evidence.halved:
            self.evidence = self.evidence.halve(times)
            self.buffer.touch_all(self.evidence.rows.values())

    def _teach(self, agent: str, ids: NDArray[np.intp], old: float | None, new: float | None, weight: float) -> None:
        evidence, prior = self.evidence, self._prior
        self.scale.note(old, new, weight)
        row, scale = evidence.row(agent), self.scale.current
        noise = self.calibration.noise
        held = -1 if prior is None else prior.rows.get(agent, -1)
        along = evidence.direction(row, ids, prior, held, scale)
        self.buffer.touch(row, ids)
        if old is not None and new is not None:
            evidence.move(row, along, new - old, noise, weight)
        elif new is not None:
            error = new - along.score
            self.calibration.note(along.added, error, scale.spread * scale.spread)
            evidence.move(row, along, error, noise, weight)
            evidence.settle(row, along, noise, weight, scale.mean)
            evidence.count[row] += weight
            doubt = scale.spread * (self._unexplained(scale) + along.variance) ** 0.5
            self.residual += error * error - self.residual / MEMORY
            self.observed += 1.0 - self.observed / MEMORY
            if self.drift.update(agent, new, error / doubt):
                self._unsettle(agent)
        elif old is not None:
            evidence.move(row, along, along.score - old, noise, weight)
            evidence.settle(row, along, noise, -weight, scale.mean)

    def _teach_others(
        self,
        eligible: Sequence[str],
        acted: str | None,
        ids: NDArray[np.intp],
        reward: float,
        rate: float,
        weight: float,
    ) -> None:
        """Where tasks belong to few agents, tell the others that think this one theirs that it probably is not.

        That they do is presumed where examples say so, and of what somebody else decided: he chose for a reason. It is
        found out where agents are asked on a whim, or observed one after the other at the same task.
        """
        weight = weight * reward * self.config.rival_weight
        if reward < SUCCESS or not weight:
            return
        self._make_room(eligible)
        evidence, prior, scale = self.evidence, self._prior, self.scale.current
        names = [name for name in eligible if name != acted]
        noise = self.calibration.noise
        for name, expected in zip(names, evidence.means(ids, prior, names, scale), strict=True):
            if expected > SELDOM:
                row, held = evidence.row(name), -1 if prior is None else prior.rows.get(name, -1)
                along = evidence.direction(row, ids, prior, held, scale)
                self.buffer.touch(row, ids)
                evidence.move(row, along, rate - along.score, noise, weight)
                evidence.settle(row, along, noise, weight, scale.mean)

    def favourite(
        self, names: Sequence[str], ids: NDArray[Any], task_type: str, features: Mapping[str, FeatureValue]
    ) -> int:
        """Place of the agent that most is expected of, before the outcome is learnt; -1 while little is known."""
        return self._favourite(names, with_extras(ids, task_type, features)) if len(ids) else -1

    def _favourite(self, names: Sequence[str], places: NDArray[np.intp]) -> int:
        if self.events < WARM_UP and self._prior is None:
            return -1
        found = self.evidence.means(places, self._prior, names, self.scale.current)
        return found.index(max(found))

    def _unsettle(self, agent: str) -> None:
        """An agent is not what it was: let most of its record go, and the rest fade."""
        row = self.evidence.rows.get(agent)
        if row is not None:
            self.buffer.touch(row, None)
            self.change_fading.note(agent, self.events)
            self.evidence.fade([row], min(1.0, KEPT / max(self.evidence.count.item(row), 1.0)))

    def publish(self) -> TextSnapshot:
        """Publish what was learnt, the last publication again where nothing was."""
        snapshot = self._snapshot
        same = snapshot is not None and snapshot.events == self.events and snapshot.prior is self._prior
        if snapshot is None or not same or self.buffer.changed:
            copy = self.buffer.publish(self.evidence)
            snapshot = TextSnapshot(self.config, copy, self._prior, self.scale.current, self.events, self._seed)
            self._snapshot = snapshot
        return snapshot

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.buffer.touch_all(self.evidence.rows.values())
        self.evidence.forget(agents)
        self.change_fading.forget(agents)
        self.drift.forget(agents)

    def save(self, folder: Path) -> None:
        """Write what was learnt; nothing where nothing was."""
        if not self.events:
            return
        names = sorted(self.evidence.rows)
        rows = [self.evidence.rows[name] for name in names]
        state = {
            "events": self.events,
            "step": self.time_fading.step,
            "agents": names,
            "halved": self.evidence.halved,
            "counts": self.evidence.counts(names),
            "residual": self.residual,
            "observed": self.observed,
            "scale": self.scale.state(),
            "calibration": self.calibration.state(),
            "levels": [[self.evidence.level.item(row), self.evidence.settled.item(row)] for row in rows],
            "watch": self.drift.state(),
            "restless": self.change_fading.changed,
        }
        (folder / "text.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
        mean, precision = self.evidence.mean[rows], self.evidence.precision[rows]
        touched = np.flatnonzero((mean != 0.0) | (precision != 0.0))
        arrays: dict[str, NDArray[Any]] = {"places": touched.astype(np.int64)}
        arrays |= {"mean": mean.ravel()[touched], "precision": precision.ravel()[touched]}
        for key, array in arrays.items():
            check_finite(f"text_{key}", array)
            np.save(folder / f"text_{key}.npy", array, allow_pickle=False)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote; it stays as it was if it is not valid.

        Raises:
            CorruptArtifactError: if it cannot be read, is not finite, or a precision is negative.
        """
        if not (folder / "text.json").exists():
            return
        try:
            state = json.loads((folder / "text.json").read_text(encoding="utf-8"))
            places, mean, precision = (
                np.load(folder / f"text_{key}.npy", allow_pickle=False) for key in ("places", "mean", "precision")
            )
            names = [str(name) for name in state["agents"]]
            if not (np.isfinite(mean).all() and np.isfinite(precision).all() and (precision >= 0.0).all()):
                raise ValueError("posterior is not finite, or a precision is negative")
            if len({len(places), len(mean), len(precision)}) != 1:
                raise ValueError("arrays do not fit each other")
            numbers = [float(state[key]) for key in ("residual", "observed")]
            scale, calibration = RewardScale.restored(state["scale"]), NoiseCalibration.restored(state["calibration"])
            if not all(math.isfinite(number) and number >= 0.0 for number in numbers):
                raise ValueError("sums must be finite and at least 0")
            drift = TextDrift.restored(state["watch"], self.config)
            change_fading = ChangeFading.restored(state["restless"])
            evidence = DiagonalGaussian(
                1.0 / self.evidence.base, min(max(int(state.get("halved", 0)), 0), _MOST_HALVED)
            )
            for name in names:
                evidence.row(name)
            if len(places) and (int(places[0]) < 0 or int(places[-1]) >= len(names) * evidence.mean.shape[1]):
                raise ValueError("places are out of range")
            evidence.mean.ravel()[places] = mean
            evidence.precision.ravel()[places] = precision
            evidence.count[: len(names)] = [float(count) for count in state["counts"]]
            levels = np.array(state["levels"], dtype=float).reshape(len(names), 2)
            if not np.isfinite(levels).all() or (levels[:, 1] < 0.0).any():
                raise ValueError("levels must be finite, and their precisions at least 0")
            evidence.level[: len(names)], evidence.settled[: len(names)] = levels.T
            events, step = int(state["events"]), state["step"]
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
            raise CorruptArtifactError(f"the posterior over text cannot be used: {error}") from error
        self.evidence, self.drift, self.change_fading = evidence, drift, change_fading
        self.buffer.touch_all(evidence.rows.values())
        self.residual, self.observed = numbers
        self.scale, self.calibration = scale, calibration
        self.events, self.time_fading.step = events, step

    def report(self) -> dict[str, Any]:
        """How much was learnt, how large rewards are, and how much of their variance texts leave unexplained."""
        scale = self.scale.current
        return {
            "events": self.events,
            "rewards": scale._asdict(),
            "noise": self.calibration.noise,
            "unexplained": self._unexplained(scale),
            "changes": self.drift.alarms,
        }


class TextSnapshot(NamedTuple):
    """One publication of the posterior over text."""

    config: ThompsonConfig
    evidence: DiagonalGaussian
    prior: DiagonalGaussian | None
    scale: Scale
    events: int
    seed: int

    @property
    def ready(self) -> bool:
        """Whether enough was learnt to answer."""
        return self.events >= self.config.min_context_evidence

    def belief(
        self, agents: AgentSet, ids: NDArray[Any], task_type: str, features: Mapping[str, FeatureValue]
    ) -> Belief | None:
        """Mean and width of each agent at a text with these feature ids; None where there are none."""
        if not len(ids):
            return None
        places = with_extras(ids, task_type, features)
        alpha = self.config.text_exploration
        means, widths = self.evidence.scores(places, self.prior, agents.names, self.scale, alpha)
        seed = ""
        if self.config.sampling == "independent":
            seed = f"{self.seed}\0{self.events}\0{places.tobytes().hex()}"
        return Belief("text", means, widths, self.evidence.counts, seed)
