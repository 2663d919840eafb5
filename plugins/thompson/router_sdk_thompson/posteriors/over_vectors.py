"""The contextual policy over vectors: features and embeddings into one linear posterior per agent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.feedback_kind import SELDOM, SUCCESS
from router_sdk.numerics.linear_snapshot import DoubleBuffer, LinearSnapshot
from router_sdk.numerics.normal_gamma import NormalGamma
from router_sdk.numerics.prior_strength import due, fitted_strength
from router_sdk.numerics.state_file import check_finite
from router_sdk.plugin import CorruptArtifactError
from router_sdk_thompson.drift.detectors import MISFIT, Detector, new_detector, restored_detector, threshold_of
from router_sdk_thompson.drift.fading import KEPT, ChangeFading, TimeFading
from router_sdk_thompson.features.columns import Columns
from router_sdk_thompson.features.design import Design, FourierFeatures, typed
from router_sdk_thompson.features.memory_budget import fitting, widest
from router_sdk_thompson.labels import Change
from router_sdk_thompson.posteriors.logistic import Logistic
from router_sdk_thompson.posteriors.vector_snapshot import VectorSnapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import Example, FeatureValue
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.posteriors.first_rewards import FirstReward, FirstRewards

ARRAYS = ("mean", "sigma", "count", "residual", "early")
"""What is saved as npy."""
MOST_EARLY = 512
"""Decisions whose features are kept because a scale was settling."""

MOST_ENCODED = 256
"""Tasks that are encoded at once."""

WARM_UP = 20
"""Outcomes before a favourite is named: the first guesses are the prior's."""


class VectorModel:
    """Normal-inverse-gamma posteriors over what is known of a task.

    The vector holds the embedding and the columns of the feature dict; Fourier features are added where few enough
    columns are numbers.

    Args:
        config: The strategy's configuration.
        seed: Seed of the Fourier features and of joint draws.

    Attributes:
        design: How tasks become vectors; None before the first.
        posterior: What was learnt.
        buffer: What requests read of it.
        early: Features as they were when a scale was still settling, by decision, so that a correction finds them.
        events: Revisions learnt from.
    """

    def __init__(self, config: ThompsonConfig, seed: int) -> None:
        self.config, self._seed = config, seed
        self._threshold = threshold_of(config)
        self.time_fading = TimeFading(config.half_life_s)
        self.detectors: dict[str, Detector] = {}
        self.change_fading = ChangeFading()
        self.design: Design | None = None
        self._frozen: Design | None = None
        self.posterior = self.empty()
        self.buffer: DoubleBuffer[LinearSnapshot] = DoubleBuffer(self.posterior.new_snapshot)
        self.early: dict[str, NDArray[np.float64]] = {}
        self._snapshot: VectorSnapshot | None = None
        self.events = 0

    def _start(self, vector: NDArray[Any] | None, features: Mapping[str, FeatureValue], agents: int) -> Design:
        config, first = self.config, 0 if vector is None else len(vector)
        numbers = first + sum(not isinstance(value, str) for value in features.values())
        wanted = min(config.fourier_features, 2 * widest(agents) // 3) if 0 < numbers <= config.fourier_columns else 0
        self.design = design = Design(Columns(first), self.fourier(wanted))
        self.posterior = self.empty()
        return design

    def _make_room(self, design: Design, agents: int, settling: bool) -> Design:
        """Take up columns that have turned up; give up features where so many agents have no room for them all."""
        design, posterior = self._given_up(design, agents), self.posterior
        if posterior.width != design.width:
            if design.fourier is not None:
                design.fourier.grow(design.columns.count)
            posterior.widen(design.width)
            self._frozen = None
        if settling:
            self._frozen = None
        return design

    def _given_up(self, design: Design, agents: int) -> Design:
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

    def learn(
        self,
        example: Example | FirstReward,
        told: Sequence[Change],
        features: Mapping[str, FeatureValue],
        vector: NDArray[Any] | None,
        others: float | None,
    ) -> None:
        """Take in what one revision says; ``publish`` shows it.

        Args:
            example: The revision.
            told: What it changes, agent by agent.
            features: What is known of its task, see ``described``.
            vector: Its text's embedding, or None.
            others: What to expect of the other agents if this one succeeded; None where nothing follows.
        """
        design = self.design or self._start(vector, features, len(example.eligible))
        posterior, rows = self.posterior, self.posterior.rows
        settling = bool(features) and example.previous is None and design.columns.fit(features)
        newcomers = [agent for agent, _, _ in told if agent not in rows]
        if settling or newcomers:
            design = self._make_room(design, len(rows) + len(newcomers), settling)
        self._count()
        self._fade_time(example.at)
        self._fade_changed()
        x = None if example.previous is None else self._early_features(example, design)
        if x is None:
            x = design.encode(vector, features)
            if settling and len(self.early) < MOST_EARLY:
                self.early[example.decision_id] = x
        weight = self.time_fading.weight(example.first_at)
        for agent, old, new in told:
            row = rows[agent] if agent in rows else posterior.row(agent)
            self.buffer.touch(row, None)
            if old is None:
                if new is not None:
                    self._watch(posterior, agent, posterior.observe(row, x, new, weight))
            elif new is not None:
                posterior.correct(row, x, old, new, weight)
            else:
                posterior.observe(row, x, old, -weight)
        if others is not None and example.revision == 0 and len(told) == 1 and (reward := told[0].new) is not None:
            self._teach_others(example.eligible, example.agent, x, reward, others, weight)

    def learn_first(self, told: FirstRewards, begin: int, end: int, asked: Collection[int]) -> list[int]:
        """``learn``, to the same bits, of first rewards from one place to another.

        They are encoded together, and of each is asked only what may differ from one to the next.

        Args:
            told: The rewards.
            begin: The first place.
            end: The place behind the last one.
            asked: Places for which the favourite is asked, as it is before they are learnt.

        Returns:
            Those favourites.
        """
        posterior, fading, found = self.posterior, self.time_fading, []
        start, stop, still, changed = begin, begin, False, self.change_fading.changed
        xs: NDArray[np.float64] | None = None
        for place in range(begin, end):
            if place >= stop:
                start, stop = place, min(place + MOST_ENCODED, end)
                xs, still = self._encoded(told, start, stop), fading.still(told.at[start:stop])
                stop = place + 1 if xs is None else start + len(xs)
            x = None if xs is None else xs[place - start]
            if place in asked:
                names, features = told.eligible[place], typed(told.task_type[place])
                found.append(self.favourite(names, features, told.vector[place], x))
            agent, reward = told.agent[place], told.reward[place]
            if agent is None or reward is None:
                continue
            row = posterior.rows.get(agent, -1)
            if row < 0 or x is None:  # of a newcomer's features some may have to be given up
                features, change = typed(told.task_type[place]), [Change(agent, None, reward)]
                self.learn(told.one(place), change, features, told.vector[place], told.others[place])
                posterior, stop = self.posterior, place + 1
                continue
            self._count()
            weight = 1.0
            if not still:
                self._fade_time(told.at[place])
                weight = fading.weight(told.at[place])
            if changed:
                self._fade_changed()
            self.buffer.touch(row, None)
            self._watch(posterior, agent, posterior.observe(row, x, reward, weight))
            if (others := told.others[place]) is not None:
                self._teach_others(told.eligible[place], agent, x, reward, others, weight)
        return found

    def _encoded(self, told: FirstRewards, start: int, stop: int) -> NDArray[np.float64] | None:
        """The features of some of these tasks, shape ``(n, d)``; None where they are not to be had beforehand."""
        if self.design is None:
            return None
        xs = self.design.encode_texts(told.vector[start:stop], told.task_type[start:stop])
        return xs if xs is not None and len(xs) else None

    def _count(self) -> None:
        """Count a revision; where they have doubled, fit the prior to what was learnt before this one."""
        self.events += 1
        posterior = self.posterior
        if self.config.likelihood == "gaussian" and due(self.events):
            strength = fitted_strength(posterior)
            if strength != posterior.strength:
                posterior.change_strength(strength)
                self.buffer.touch_all(posterior.rows.values())

    def _fade_time(self, at: float) -> None:
        """Let what is older than this moment fade."""
        posterior, share = self.posterior, self.time_fading.advance(at)
        if share < 1.0:
            posterior.fade(list(posterior.rows), share)
            self.buffer.touch_all(posterior.rows.values())

    def _fade_changed(self) -> None:
        """Let what is known of agents that changed fade."""
        for agent, kept in self.change_fading.due(self.events):
            self.buffer.touch(self.posterior.row(agent), None)
            self.posterior.fade([agent], kept)

    def _teach_others(
        self,
        names: Sequence[str],
        acted: str | None,
        x: NDArray[np.float64],
        reward: float,
        rate: float,
        weight: float,
    ) -> None:
        """Where tasks belong to few agents, tell the others that think this one theirs that it probably is not."""
        weight *= reward * self.config.rival_weight
        if reward < SUCCESS or not weight:
            return
        posterior = self.posterior
        expected, rows = posterior.expected(x), posterior.rows
        for agent in names:
            row = rows.get(agent, -1)
            if agent != acted and row >= 0 and expected[row] > SELDOM:
                self.buffer.touch(row, None)
                posterior.observe(row, x, rate, weight)

    def _early_features(self, example: Example | FirstReward, design: Design) -> NDArray[np.float64] | None:
        early = self.early.get(example.decision_id)
        return None if early is None else np.pad(early, (0, design.width - len(early)))

    def favourite(
        self,
        names: Sequence[str],
        features: Mapping[str, FeatureValue],
        vector: NDArray[Any] | None,
        x: NDArray[np.float64] | None = None,
    ) -> int:
        """Place of the agent that most is expected of, before the outcome is learnt; -1 while little is known.

        Args:
            names: The agents.
            features: What is known of the task, see ``described``.
            vector: Its text's embedding, or None.
            x: What both are encoded to, if that is known.
        """
        design, rows = self.design, self.posterior.rows
        if design is None or self.events < WARM_UP:
            return -1
        expected = self.posterior.expected(design.encode(vector, features) if x is None else x)
        found = [expected[rows[name]] if name in rows else self.config.prior_reward for name in names]
        return found.index(max(found))

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop what was kept of these decisions; a later correction of one of them is approximate."""
        for decision_id in decision_ids:
            self.early.pop(decision_id, None)

    def publish(self) -> VectorSnapshot | None:
        """Publish what was learnt, the last publication again where nothing was; None before anything was."""
        design, snapshot = self.design, self._snapshot
        if design is None:
            return None
        same = snapshot is not None and snapshot.events == self.events and self._frozen is snapshot.design
        if same and not self.buffer.changed:
            return snapshot
        if self._frozen is None:
            self._frozen = design.frozen()
        copy = self.buffer.publish(self.posterior)
        self._snapshot = VectorSnapshot(self.config, self._frozen, design.width, copy, self.events, self._seed)
        return self._snapshot

    def _watch(self, posterior: NormalGamma, agent: str, surprise: float) -> None:
        if (threshold := self._threshold) is None:
            return
        detector = self.detectors.get(agent)
        if detector is None:
            detector = self.detectors[agent] = new_detector(self.config)
        if detector.update(surprise, MISFIT * threshold):
            count = posterior.count[posterior.rows[agent]]
            self.buffer.touch(posterior.rows[agent], None)
            self.change_fading.note(agent, self.events)
            posterior.fade([agent], min(1.0, KEPT / max(count, 1.0)))

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.buffer.touch_all(self.posterior.rows.values())
        self.posterior.forget(agents)
        self.change_fading.forget(agents)
        for name in agents:
            self.detectors.pop(name, None)

    def save(self, folder: Path, stem: str) -> None:
        """Write what was learnt, in files whose names begin with ``stem``; nothing where nothing was."""
        posterior, design = self.posterior, self.design
        if design is None:
            return
        state = {
            "events": self.events,
            "strength": posterior.strength,
            "step": self.time_fading.step,
            "columns": design.columns.state(),
            "fourier": 0 if design.fourier is None else design.fourier.count,
            "drawn": 0 if design.fourier is None else design.fourier.drawn,
            "early": list(self.early),
            "agents": posterior.names(),
            "restless": self.change_fading.changed,
            "detectors": {name: each.state() for name, each in self.detectors.items()},
        }
        (folder / f"{stem}.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
        rows = [np.pad(x, (0, design.width - len(x))) for x in self.early.values()]
        arrays = {**posterior.arrays(), "early": np.array(rows).reshape(len(rows), design.width)}
        for key, array in arrays.items():
            check_finite(f"{stem}_{key}", array)
            np.save(folder / f"{stem}_{key}.npy", array, allow_pickle=False)

    def load(self, folder: Path, stem: str) -> None:
        """Read what ``save`` wrote; it stays as it was if it is not valid.

        Raises:
            CorruptArtifactError: if it cannot be read, is not finite, or a covariance is not positive definite.
        """
        if not (folder / f"{stem}.json").exists():
            return
        try:
            state = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
            arrays = {key: np.load(folder / f"{stem}_{key}.npy", allow_pickle=False) for key in ARRAYS}
            early = dict(zip([str(each) for each in state["early"]], arrays["early"], strict=True))
            columns = Columns()
            columns.restore(state["columns"])
            posterior = self.empty()
            posterior.restore([str(name) for name in state["agents"]], arrays, float(state["strength"]))
            detectors = {str(name): restored_detector(self.config, each) for name, each in state["detectors"].items()}
            change_fading = ChangeFading.restored(state["restless"])
            design = Design(columns, self.fourier(int(state.get("drawn", state["fourier"]))))
            if design.fourier is not None:
                design.fourier.keep(int(state["fourier"]))
            events, step = int(state["events"]), state["step"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, np.linalg.LinAlgError) as error:
            raise CorruptArtifactError(f"the posterior over features cannot be used: {error}") from error
        if design.fourier is not None:
            design.fourier.grow(columns.count)
        if posterior.rows and posterior.width != design.width:
            raise CorruptArtifactError("the posterior over features does not fit its columns")
        self.design, self.posterior, self._frozen, self._snapshot = design, posterior, None, None
        self.buffer = DoubleBuffer(posterior.new_snapshot)
        self.buffer.touch_all(posterior.rows.values())
        self.detectors, self.change_fading = detectors, change_fading
        self.events, self.time_fading.step, self.early = events, step, early

    def report(self) -> dict[str, Any]:
        """How much was learnt, how wide the features are, and how strong the prior is that holds their weights."""
        return {"events": self.events, "features": self.posterior.width, "ridge": self.posterior.strength}
