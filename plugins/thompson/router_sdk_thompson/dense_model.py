"""The contextual policy over vectors: features and embeddings into one linear posterior per agent."""

from __future__ import annotations

import json
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import DEFAULT_TASK_TYPE, CorruptArtifactError, Proposal
from router_sdk_thompson.chances import chances
from router_sdk_thompson.change import ChangeDetector
from router_sdk_thompson.clock import FadingClock
from router_sdk_thompson.columns import Columns
from router_sdk_thompson.fourier import FourierFeatures
from router_sdk_thompson.normal_gamma import NormalGamma
from router_sdk_thompson.standing import KEPT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet, Example, FeatureValue, Task
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.labels import Change

TYPE_COLUMN = "task_type"


class DenseModel:
    """Normal-inverse-gamma posteriors over what is known of a task.

    A task becomes ``[1, Fourier features, vector]``, where the vector holds the embedding and the columns of the
    feature dict and has length 1. Fourier features are added where few enough columns are numbers.

    Args:
        config: The strategy's configuration.
        seed: Seed of the Fourier features and of joint draws.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self._clock = FadingClock(config.half_life_s)
        self._detectors: dict[str, ChangeDetector] = {}
        self._columns: Columns | None = None
        self._fourier: FourierFeatures | None = None
        self._posterior: NormalGamma | None = None
        self.events = 0

    def _start(self, vector: NDArray[Any] | None, features: Mapping[str, FeatureValue]) -> NormalGamma:
        config, first = self._config, 0 if vector is None else len(vector)
        self._columns = Columns(first)
        numbers = first + sum(not isinstance(value, str) for value in features.values())
        wanted = config.fourier_features if 0 < numbers <= config.fourier_columns else 0
        self._build(wanted)
        self._posterior = NormalGamma(
            1 + wanted, config.ridge, config.prior_reward, config.noise_mass, config.noise_guess
        )
        return self._posterior

    def _build(self, fourier_features: int) -> None:
        config = self._config
        if fourier_features:
            self._fourier = FourierFeatures(
                fourier_features, config.fourier_bandwidth, config.fourier_weight, self._seed
            )

    def _encode(self, vector: NDArray[Any] | None, features: Mapping[str, FeatureValue], width: int) -> Any:
        columns, fourier = self._columns, self._fourier
        if columns is None:
            return None
        raw = columns.encode(features)
        if vector is not None:
            raw[: len(vector)] = vector
        length = float(raw @ raw)
        if length > 0.0:
            raw /= sqrt(length)
        x = np.zeros(width)
        x[0] = 1.0
        start = 1
        if fourier is not None:
            start += fourier.count
            x[1:start] = fourier.features(raw if columns.numbers is None else raw * columns.numbers[: len(raw)])
        # Columns that `learn` is just adding are not in the posterior yet.
        x[start : start + len(raw)] = raw[: width - start]
        return x

    def learn(self, example: Example, told: Sequence[Change], task: Task, vector: NDArray[Any] | None) -> None:
        """Take in what one revision says."""
        features = described(task)
        posterior = self._posterior
        if posterior is None:
            posterior = self._start(vector, features)
        columns = self._columns
        assert columns is not None
        if example.previous is None:
            columns.fit(features)
            if self._fourier is not None:
                self._fourier.grow(columns.count)
            posterior.widen(1 + (self._fourier.count if self._fourier is not None else 0) + columns.count)
        self.events += 1
        share = self._clock.advance(example.at)
        if share < 1.0:
            posterior.fade(list(posterior.rows), share)
        x = self._encode(vector, features, posterior.width)
        weight = self._clock.weight(example.first_at)
        for agent, old, new in told:
            row = posterior.row(agent)
            if old is not None and new is not None:
                posterior.correct(row, x, old, new, weight)
            elif old is not None:
                posterior.observe(row, x, old, -weight)
            elif new is not None:
                self._watch(posterior, agent, posterior.observe(row, x, new, weight))

    def _watch(self, posterior: NormalGamma, agent: str, surprise: float) -> None:
        threshold = self._config.change_threshold
        if threshold is None:
            return
        detector = self._detectors.get(agent)
        if detector is None:
            detector = self._detectors[agent] = ChangeDetector()
        if detector.surprised(surprise, threshold):
            count = float(posterior.count[posterior.rows[agent]])
            posterior.fade([agent], min(1.0, KEPT / max(count, 1.0)))

    def propose(self, task: Task, agents: AgentSet, vector: NDArray[Any] | None) -> Proposal | None:
        """Probabilities at this task; None below ``min_context_evidence``."""
        posterior, config = self._posterior, self._config
        if posterior is None or self.events < config.min_context_evidence:
            return None
        names = agents.names
        x = self._encode(vector, described(task), posterior.width)
        means, widths = posterior.scores(names, x, config.exploration)
        seed = "" if config.sampling != "independent" else f"{self._seed}\0{self.events}\0{x.tobytes().hex()}"
        found = chances(config.sampling, names, means, widths, seed)
        favourite = max(range(len(names)), key=lambda i: (found[i], means[i]))

        def explain() -> Mapping[str, Any]:
            counts = [posterior.count.item(posterior.rows[n]) if n in posterior.rows else 0.0 for n in names]
            return {"mode": "features", "agents": explained(names, means, widths, counts)}

        confidence = min(max(means[favourite], 0.0), 1.0)
        return Proposal(dict(zip(names, found, strict=True)), dict(zip(names, means, strict=True)), confidence, explain)

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        if self._posterior is not None:
            self._posterior.forget(agents)
        for name in agents:
            self._detectors.pop(name, None)

    def report(self) -> dict[str, Any]:
        """How much was learnt, and how wide the features are."""
        width = 0 if self._posterior is None else self._posterior.width
        return {"events": self.events, "features": width}

    def save(self, folder: Path) -> None:
        """Write the posterior; nothing where nothing was learnt."""
        posterior, columns = self._posterior, self._columns
        if posterior is None or columns is None:
            return
        state = {
            "events": self.events,
            "step": self._clock.step,
            "columns": columns.state(),
            "fourier": 0 if self._fourier is None else self._fourier.count,
            "agents": sorted(posterior.rows),
            "detectors": {name: [d.worse, d.better, d.alarms] for name, d in self._detectors.items()},
        }
        (folder / "dense.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
        for key, array in posterior.arrays().items():
            np.save(folder / f"dense_{key}.npy", array, allow_pickle=False)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it is not valid.
        """
        if not (folder / "dense.json").exists():
            return
        config = self._config
        try:
            state = json.loads((folder / "dense.json").read_text(encoding="utf-8"))
            arrays = {
                key: np.load(folder / f"dense_{key}.npy", allow_pickle=False)
                for key in ("mean", "sigma", "count", "residual")
            }
            columns = Columns()
            columns.restore(state["columns"])
            posterior = NormalGamma(1, config.ridge, config.prior_reward, config.noise_mass, config.noise_guess)
            posterior.restore([str(name) for name in state["agents"]], arrays)
            detectors = {str(name): ChangeDetector(*each) for name, each in state["detectors"].items()}
            self._build(int(state["fourier"]))
            events, step = int(state["events"]), state["step"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, np.linalg.LinAlgError) as error:
            raise CorruptArtifactError(f"the posterior over features cannot be used: {error}") from error
        if self._fourier is not None:
            self._fourier.grow(columns.count)
        self._columns, self._posterior, self._detectors = columns, posterior, detectors
        self.events, self._clock.step = events, step


def described(task: Task) -> Mapping[str, FeatureValue]:
    """The task's features, its type among them where it has one."""
    if task.task_type == DEFAULT_TASK_TYPE:
        return task.features
    return {**task.features, TYPE_COLUMN: task.task_type}


def explained(
    names: Sequence[str], means: Sequence[float], widths: Sequence[float], counts: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Mean, interval and evidence per agent, for ``Decision.explain``."""
    return {
        name: {"mean": mean, "interval": (mean - 1.96 * width, mean + 1.96 * width), "evidence": count}
        for name, mean, width, count in zip(names, means, widths, counts, strict=True)
    }
