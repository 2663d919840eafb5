"""The contextual policy over vectors: features and embeddings into one linear posterior per agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk_thompson.clock import FadingClock
from router_sdk_thompson.columns import Columns
from router_sdk_thompson.dense_view import DenseView, Design, described
from router_sdk_thompson.detection import MISFIT, Detector, new_detector, threshold_of
from router_sdk_thompson.fourier import FourierFeatures
from router_sdk_thompson.logistic import Logistic
from router_sdk_thompson.normal_gamma import NormalGamma
from router_sdk_thompson.publication import TwoCopies
from router_sdk_thompson.reading import Reading
from router_sdk_thompson.restless import Restless
from router_sdk_thompson.rivals import SELDOM, Rivals
from router_sdk_thompson.room import fitting, widest
from router_sdk_thompson.standing import KEPT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import Example, FeatureValue, Task
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.labels import Change

MOST_EARLY = 512
"""Decisions whose features are kept because a scale was settling."""
LEAST_WHIMS = 10
"""Choices on a whim before anything is concluded of the agents that were not asked."""
SUCCESS = 0.5
"""Reward from which an outcome counts as a success."""


class DenseModel:
    """Normal-inverse-gamma posteriors over what is known of a task.

    The vector holds the embedding and the columns of the feature dict; Fourier features are added where few enough
    columns are numbers.

    Args:
        config: The strategy's configuration.
        seed: Seed of the Fourier features and of joint draws.

    Attributes:
        design: How tasks become vectors; None before the first.
        posterior: What was learnt.
        copies: What requests read of it.
        early: Features as they were when a scale was still settling, by decision, so that a correction finds them.
        rivals: What a success says of the others.
        events: Revisions learnt from.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self.config, self._seed = config, seed
        self.clock = FadingClock(config.half_life_s)
        self.detectors: dict[str, Detector] = {}
        self.restless = Restless()
        self.design: Design | None = None
        self._frozen: Design | None = None
        self.posterior = self.empty()
        self.copies: TwoCopies[Reading] = TwoCopies(self.posterior.reading)
        self.early: dict[str, NDArray[np.float64]] = {}
        self.rivals = Rivals()
        self._view: DenseView | None = None
        self.events = 0

    def _start(self, vector: NDArray[Any] | None, features: Mapping[str, FeatureValue], agents: int) -> Design:
        config, first = self.config, 0 if vector is None else len(vector)
        numbers = first + sum(not isinstance(value, str) for value in features.values())
        wanted = min(config.fourier_features, 2 * widest(agents) // 3) if 0 < numbers <= config.fourier_columns else 0
        self.design = design = Design(Columns(first), self.fourier(wanted))
        self.posterior = self.empty()
        return design

    def _make_room(self, design: Design, agents: int) -> Design:
        """Give up features where so many agents have no room for them all."""
        now = design.layout
        kept = fitting(now, agents)
        if kept == now:
            return design
        known = self.posterior.width - 1 - now.fourier - now.first  # the newest columns are not among them yet
        parts = [(1, 1), (now.fourier, kept.fourier), (now.first, kept.first), (known, kept.columns)]
        starts = np.cumsum([0, *(some for some, _ in parts)])
        places = np.concatenate([start + np.arange(min(part)) for start, part in zip(starts, parts, strict=False)])
        self.early = {name: np.pad(x, (0, self.posterior.width - len(x)))[places] for name, x in self.early.items()}
        self.posterior.narrow(places)
        design.columns.keep(kept.first, kept.columns)
        if design.fourier is not None:
            design.fourier.keep(kept.fourier)
        self.design = design = Design(design.columns, design.fourier if kept.fourier else None)
        self._frozen = None
        return design

    def fourier(self, count: int) -> FourierFeatures | None:
        """So many Fourier features, or None for none."""
        config = self.config
        if not count:
            return None
        return FourierFeatures(count, config.fourier_bandwidth, config.fourier_weight, self._seed)

    def empty(self) -> NormalGamma:
        """A posterior of nobody."""
        config = self.config
        if config.likelihood == "logistic":
            return Logistic(1, config.ridge, config.prior_reward)
        return NormalGamma(1, config.ridge, config.prior_reward, config.noise_mass, config.noise_guess)

    def learn(self, example: Example, told: Sequence[Change], task: Task, vector: NDArray[Any] | None) -> None:
        """Take in what one revision says; ``view`` publishes it."""
        features = described(task)
        design = self.design or self._start(vector, features, len(example.eligible))
        posterior = self.posterior
        settling = bool(features) and example.previous is None and design.columns.fit(features)
        if settling:
            self._frozen = None
        newcomers = sum(change.agent not in posterior.rows for change in told)
        design = self._make_room(design, len(posterior.rows) + newcomers)
        if posterior.width != design.width:
            if design.fourier is not None:
                design.fourier.grow(design.columns.count)
            posterior.widen(design.width)
            self._frozen = None
        self.events += 1
        share = self.clock.advance(example.at)
        if share < 1.0:
            posterior.fade(list(posterior.rows), share)
            self.copies.touch_all(posterior.rows.values())
        for agent, kept in self.restless.due(self.events):
            self.copies.touch(posterior.row(agent), None)
            posterior.fade([agent], kept)
        x = self._features(example, design, vector, features, settling)
        weight = self.clock.weight(example.first_at)
        for agent, old, new in told:
            row = posterior.row(agent)
            self.copies.touch(row, None)
            if old is not None and new is not None:
                posterior.correct(row, x, old, new, weight)
            elif old is not None:
                posterior.observe(row, x, old, -weight)
            elif new is not None:
                self._watch(posterior, agent, posterior.observe(row, x, new, weight))
        if example.revision == 0 and len(told) == 1 and (reward := told[0].new) is not None:
            self.rivals.note(example.propensity, reward)
            if reward >= SUCCESS and self.rivals.whims >= LEAST_WHIMS:
                self._teach_rivals(example, x, reward * weight)

    def _teach_rivals(self, example: Example, x: NDArray[np.float64], weight: float) -> None:
        """Where tasks belong to few agents, tell the others that think this one theirs that it probably is not."""
        rate, posterior = self.rivals.verdict(), self.posterior
        weight *= self.config.rival_weight
        if rate is None or not weight:
            return
        expected, rows = posterior.expected(x), posterior.rows
        for agent in example.eligible:
            row = rows.get(agent, -1)
            if agent != example.agent and row >= 0 and expected[row] > SELDOM:
                self.copies.touch(row, None)
                posterior.observe(row, x, rate, weight)

    def _features(
        self,
        example: Example,
        design: Design,
        vector: NDArray[Any] | None,
        features: Mapping[str, FeatureValue],
        settling: bool,
    ) -> NDArray[np.float64]:
        early = None if example.previous is None else self.early.get(example.decision_id)
        if early is not None:
            return np.pad(early, (0, design.width - len(early)))
        x = design.encode(vector, features)
        if settling and len(self.early) < MOST_EARLY:
            self.early[example.decision_id] = x
        return x

    def predicted(self, agent: str, task: Task, vector: NDArray[Any] | None) -> float:
        """Reward expected of an agent at a task's features, before they are learnt."""
        design, row = self.design, self.posterior.rows.get(agent)
        if design is None or row is None:
            return self.config.prior_reward
        return self.posterior.expected(design.encode(vector, described(task)))[row]

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop what was kept of these decisions; a later correction of one of them is approximate."""
        for decision_id in decision_ids:
            self.early.pop(decision_id, None)

    def view(self) -> DenseView | None:
        """Publish what was learnt, the last publication again where nothing was; None before anything was."""
        design, view = self.design, self._view
        if design is None:
            return None
        if view is not None and not self.copies.changed and view.events == self.events and self._frozen is view.design:
            return view
        if self._frozen is None:
            fourier = None if design.fourier is None else design.fourier.frozen()
            self._frozen = Design(design.columns.frozen(), fourier)
        mirror = self.copies.publish(self.posterior)
        self._view = DenseView(self.config, self._frozen, mirror, self.events, self.copies.generation, self._seed)
        return self._view

    def _watch(self, posterior: NormalGamma, agent: str, surprise: float) -> None:
        threshold = threshold_of(self.config)
        if threshold is None:
            return
        detector = self.detectors.get(agent)
        if detector is None:
            detector = self.detectors[agent] = new_detector(self.config)
        if detector.update(surprise, MISFIT * threshold):
            count = posterior.count[posterior.rows[agent]]
            self.copies.touch(posterior.rows[agent], None)
            self.restless.note(agent, self.events)
            posterior.fade([agent], min(1.0, KEPT / max(count, 1.0)))

    def replace(self, design: Design, posterior: NormalGamma) -> None:
        """Go on from what another process learnt."""
        self.design, self.posterior, self._frozen, self._view = design, posterior, None, None
        self.copies = TwoCopies(posterior.reading)
        self.copies.touch_all(posterior.rows.values())

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.copies.touch_all(self.posterior.rows.values())
        self.posterior.forget(agents)
        self.restless.forget(agents)
        for name in agents:
            self.detectors.pop(name, None)

    def report(self) -> dict[str, Any]:
        """How much was learnt, and how wide the features are."""
        return {"events": self.events, "features": self.posterior.width}
