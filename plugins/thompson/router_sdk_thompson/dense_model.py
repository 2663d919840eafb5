"""The contextual policy over vectors: features and embeddings into one linear posterior per agent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_thompson.change import MISFIT, ChangeDetector
from router_sdk_thompson.clock import FadingClock
from router_sdk_thompson.columns import Columns
from router_sdk_thompson.dense_view import DenseView, Design, described
from router_sdk_thompson.fourier import FourierFeatures
from router_sdk_thompson.normal_gamma import NormalGamma
from router_sdk_thompson.publication import TwoCopies
from router_sdk_thompson.standing import KEPT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import Example, FeatureValue, Task
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.labels import Change

MOST_EARLY = 512
"""Decisions whose features are kept because a scale was settling."""


class DenseModel:
    """Normal-inverse-gamma posteriors over what is known of a task.

    The vector holds the embedding and the columns of the feature dict; Fourier features are added where few enough
    columns are numbers.

    Args:
        config: The strategy's configuration.
        seed: Seed of the Fourier features and of joint draws.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self._clock = FadingClock(config.half_life_s)
        self._detectors: dict[str, ChangeDetector] = {}
        self._design: Design | None = None
        self._frozen: Design | None = None
        self._posterior = self._empty()
        self._copies: TwoCopies[NormalGamma] = TwoCopies(self._empty)
        # Features as they were when a scale was still settling, by decision, so that a correction finds them again.
        self._early: dict[str, NDArray[np.float64]] = {}
        self.events = 0

    def _start(self, vector: NDArray[Any] | None, features: Mapping[str, FeatureValue]) -> Design:
        config, first = self._config, 0 if vector is None else len(vector)
        numbers = first + sum(not isinstance(value, str) for value in features.values())
        wanted = config.fourier_features if 0 < numbers <= config.fourier_columns else 0
        self._design = design = Design(Columns(first), self._fourier(wanted))
        self._posterior = self._empty()
        return design

    def _fourier(self, count: int) -> FourierFeatures | None:
        config = self._config
        if not count:
            return None
        return FourierFeatures(count, config.fourier_bandwidth, config.fourier_weight, self._seed)

    def _empty(self) -> NormalGamma:
        config = self._config
        return NormalGamma(1, config.ridge, config.prior_reward, config.noise_mass, config.noise_guess)

    def learn(self, example: Example, told: Sequence[Change], task: Task, vector: NDArray[Any] | None) -> None:
        """Take in what one revision says; ``view`` publishes it."""
        features = described(task)
        design = self._start(vector, features) if self._design is None else self._design
        posterior = self._posterior
        settling = example.previous is None and design.columns.fit(features)
        if settling:
            self._frozen = None
        if posterior.width != design.width:
            if design.fourier is not None:
                design.fourier.grow(design.columns.count)
            posterior.widen(design.width)
            self._frozen = None
        self.events += 1
        share = self._clock.advance(example.at)
        if share < 1.0:
            posterior.fade(list(posterior.rows), share)
            self._copies.touch_all(posterior.rows.values())
        x = self._features(example, design, vector, features, settling)
        weight = self._clock.weight(example.first_at)
        for agent, old, new in told:
            row = posterior.row(agent)
            self._copies.touch(row, None)
            if old is not None and new is not None:
                posterior.correct(row, x, old, new, weight)
            elif old is not None:
                posterior.observe(row, x, old, -weight)
            elif new is not None:
                self._watch(posterior, agent, posterior.observe(row, x, new, weight))

    def _features(
        self,
        example: Example,
        design: Design,
        vector: NDArray[Any] | None,
        features: Mapping[str, FeatureValue],
        settling: bool,
    ) -> NDArray[np.float64]:
        early = self._early.get(example.decision_id)
        if early is not None and example.previous is not None:
            return np.pad(early, (0, design.width - len(early)))
        x = design.encode(vector, features)
        if settling and len(self._early) < MOST_EARLY:
            self._early[example.decision_id] = x
        return x

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop what was kept of these decisions; a later correction of one of them is approximate."""
        for decision_id in decision_ids:
            self._early.pop(decision_id, None)

    def view(self) -> DenseView | None:
        """Publish what was learnt; None before anything was."""
        design = self._design
        if design is None:
            return None
        if self._frozen is None:
            fourier = None if design.fourier is None else design.fourier.frozen()
            self._frozen = Design(design.columns.frozen(), fourier)
        mirror = self._copies.publish(self._posterior)
        return DenseView(self._config, self._frozen, mirror, self.events, self._copies.generation, self._seed)

    def intact(self, view: DenseView) -> bool:
        """Whether what a request read has not been written meanwhile."""
        return self._copies.intact(view.generation)

    def _watch(self, posterior: NormalGamma, agent: str, surprise: float) -> None:
        threshold = self._config.change_threshold
        if threshold is None:
            return
        detector = self._detectors.get(agent)
        if detector is None:
            detector = self._detectors[agent] = ChangeDetector()
        if detector.surprised(surprise, MISFIT * threshold):
            count = float(posterior.count[posterior.rows[agent]])
            self._copies.touch(posterior.rows[agent], None)
            posterior.fade([agent], min(1.0, KEPT / max(count, 1.0)))

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self._copies.touch_all(self._posterior.rows.values())
        self._posterior.forget(agents)
        for name in agents:
            self._detectors.pop(name, None)

    def report(self) -> dict[str, Any]:
        """How much was learnt, and how wide the features are."""
        return {"events": self.events, "features": self._posterior.width}

    def save(self, folder: Path) -> None:
        """Write the posterior; nothing where nothing was learnt."""
        posterior, design = self._posterior, self._design
        if design is None:
            return
        state = {
            "events": self.events,
            "step": self._clock.step,
            "columns": design.columns.state(),
            "fourier": 0 if design.fourier is None else design.fourier.count,
            "early": list(self._early),
            "agents": sorted(posterior.rows),
            "detectors": {name: [d.worse, d.better, d.alarms] for name, d in self._detectors.items()},
        }
        (folder / "dense.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
        rows = [np.pad(x, (0, design.width - len(x))) for x in self._early.values()]
        np.save(folder / "dense_early.npy", np.array(rows).reshape(len(rows), design.width), allow_pickle=False)
        for key, array in posterior.arrays().items():
            np.save(folder / f"dense_{key}.npy", array, allow_pickle=False)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it is not valid.
        """
        if not (folder / "dense.json").exists():
            return
        try:
            state = json.loads((folder / "dense.json").read_text(encoding="utf-8"))
            arrays = {
                key: np.load(folder / f"dense_{key}.npy", allow_pickle=False)
                for key in ("mean", "sigma", "count", "residual", "early")
            }
            early = dict(zip([str(each) for each in state["early"]], arrays["early"], strict=True))
            columns = Columns()
            columns.restore(state["columns"])
            posterior = self._empty()
            posterior.restore([str(name) for name in state["agents"]], arrays)
            detectors = {str(name): ChangeDetector(*each) for name, each in state["detectors"].items()}
            design = Design(columns, self._fourier(int(state["fourier"])))
            events, step = int(state["events"]), state["step"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, np.linalg.LinAlgError) as error:
            raise CorruptArtifactError(f"the posterior over features cannot be used: {error}") from error
        if design.fourier is not None:
            design.fourier.grow(columns.count)
        if posterior.rows and posterior.width != design.width:
            raise CorruptArtifactError("the posterior over features does not fit its columns")
        self._design, self._frozen, self._posterior, self._detectors = design, None, posterior, detectors
        self._copies = TwoCopies(self._empty)
        self._copies.touch_all(posterior.rows.values())
        self.events, self._clock.step, self._early = events, step, early
