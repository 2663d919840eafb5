"""What strategies' confidence came to: a fold over the log that says what reward a confidence stands for.

Each strategy's confidence is compared with the reward that came, where its favourite was chosen, or one that it gave
the same chance: what it gave when it decided, before anything was known ("prequential", Dawid, 1984), and before it was
calibrated. What the floor or its doubt drew says nothing of the favourite. A strategy that is unsure seldom chooses its
favourite, so such a pair stands for the others of its sort as well, by the root of inverse propensity (Horvitz and
Thompson, 1952). Pairs are those of one fitted version and of one set of agents: where one comes whom the log has not
seen, they are dropped, because what competed then is not what competes now.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.numerics.calibration import LEAST, Calibrator, fit_calibrator
from router_sdk.numerics.state_file import array_of, load_state, write_state

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.records import Example, ExampleColumns, Forecast

CALIBRATION = "calibration"
"""Name of its fold; no strategy may have it."""
WINDOW = 2_000
"""Pairs that are kept of a strategy; older ones count less than a sixteenth."""
TEMPER = 0.5
"""Power of the inverse propensity by which a pair counts: with 1 it is unbiased, and a few pairs are the whole map."""
LEAST_CHANCE = 1e-6
"""Less is taken for so much."""
REFIT, SPARSE, RAREST = 20, 400, 4
"""Pairs, corrections among them, after which a map is fitted again; once of so many, after twice as many, and so on,
until it is so many times as many: from the second on that is about a tenth of what was heard by then, or less."""

_VERSIONS = 64
"""Strategies and versions of which pairs are kept, those heard of last."""
_EVERYBODY = "\x00"
"""Stands for all tenants together; no tenant is called so."""


class _Key(NamedTuple):
    strategy: str
    model_version: int | None
    tenant: str | None


class _Lesson(NamedTuple):
    """What one revision says of a pair: ``reward`` is None where it takes it back."""

    forecast: Forecast
    decision_seq: int
    reward: float | None
    first: bool


class _Pairs:
    """Confidence, reward and weight of the newest decisions, oldest first: columns, of which an array is a mere copy.

    What is beyond ``WINDOW`` goes a lot at a time.
    """

    def __init__(self, decisions: Sequence[int] = (), columns: Sequence[Sequence[float]] = ((), (), ())) -> None:
        self._decisions = list(decisions)
        self._columns = [array("d", column) for column in columns]

    def __len__(self) -> int:
        return min(len(self._decisions), WINDOW)

    @property
    def decisions(self) -> list[int]:
        """Their positions in the log."""
        return self._decisions[-WINDOW:]

    def columns(self) -> list[NDArray[np.float64]]:
        """What is known of them, three times shape ``(n,)``."""
        return [np.array(column)[-WINDOW:] for column in self._columns]

    def add(self, decision_seq: int, *pair: float) -> None:
        """A new one."""
        self._decisions.append(decision_seq)
        for column, number in zip(self._columns, pair, strict=True):
            column.append(number)
        if len(self._decisions) >= 2 * WINDOW:
            self._trim()

    def correct(self, decision_seq: int, *pair: float) -> None:
        """Say something else of one, where it is kept."""
        place = self._place(decision_seq)
        if place is not None:
            for column, number in zip(self._columns, pair, strict=True):
                column[place] = number

    def drop(self, decision_seq: int) -> None:
        """Take one back, where it is kept."""
        place = self._place(decision_seq)
        if place is not None:
            del self._decisions[place]
            for column in self._columns:
                del column[place]

    def _place(self, decision_seq: int) -> int | None:
        self._trim()
        try:
            return len(self) - 1 - self._decisions[::-1].index(decision_seq)  # most that are corrected are new
        except ValueError:
            return None

    def _trim(self) -> None:
        del self._decisions[:-WINDOW]
        for column in self._columns:
            del column[:-WINDOW]


class _Window:
    """The newest pairs of one strategy, and the map that follows from them.

    Attributes:
        pairs: Of the decisions since then.
        since: Position of the agent that came last before these decisions; 0 for none.
        newcomer: Its name, where pairs were dropped because of it.
        heard: Lessons since then.
        calibrator: As of the last lesson at which one was due.
    """

    def __init__(self) -> None:
        self.pairs = _Pairs()
        self.since = self.heard = 0
        self.newcomer: str | None = None
        self.calibrator: Calibrator | None = None
        self.lessons: list[_Lesson] = []

    def learn(self) -> None:
        """Take what was collected in, and fit where it is due."""
        lessons, self.lessons = self.lessons, []
        due = self._due(lessons)
        self._take(lessons[:due])
        if due:
            self.calibrator = fit_calibrator(*self.pairs.columns())
        self._take(lessons[due:])

    def _due(self, lessons: Sequence[_Lesson]) -> int:
        """How many lessons it is until the last one at which a fit is due; what came before it makes no difference."""
        due, since, heard = 0, self.since, self.heard
        for number, (forecast, *_) in enumerate(lessons, 1):
            if forecast.since > since:
                since, heard = forecast.since, 0
            if forecast.since == since:
                heard += 1
                if heard % (REFIT * min(1 + heard // SPARSE, RAREST)) == 0:
                    due = number
        return due

    def _take(self, lessons: Sequence[_Lesson]) -> None:
        for forecast, decision_seq, reward, first in lessons:
            since = forecast.since
            if since > self.since:
                self.newcomer = forecast.newcomer if self.pairs else self.newcomer
                self.pairs, self.since, self.heard, self.calibrator = _Pairs(), since, 0, None
            if since < self.since:
                continue
            self.heard += 1
            if reward is None:
                self.pairs.drop(decision_seq)
            else:
                put = self.pairs.add if first else self.pairs.correct
                put(decision_seq, forecast.confidence, reward, max(forecast.chance, LEAST_CHANCE) ** -TEMPER)


class Calibration:
    """Folds examples into a map for each strategy: from the confidence that it gives to the reward that comes.

    Read by requests and changed by the learner's thread; a request reads one reference.

    Args:
        tenancy: How much of what is learnt tenants share, as in the configuration. With ``"separate"`` each has a map
            of its own; with ``"prior"`` it has that of all until its own is fitted.
        most_tenants: How many have one of their own.
    """

    name = CALIBRATION
    state_version = 3

    def __init__(self, tenancy: str = "shared", most_tenants: int = 0) -> None:
        self._tenancy, self._most_tenants = tenancy, most_tenants
        self._most = _VERSIONS * (1 if self.shared else 1 + most_tenants)
        self._windows: OrderedDict[_Key, _Window] = OrderedDict()
        self._calibrators: dict[_Key, Calibrator] = {}
        self._newest: tuple[int, str | None] = (0, None)

    @property
    def shared(self) -> bool:
        """Whether all tenants have one map."""
        return self._tenancy == "shared"

    @property
    def settings(self) -> tuple[str, ...]:
        """What its state depends on beside the log."""
        return (self._tenancy, str(self._most_tenants))

    # -- what requests read

    def of(self, strategy: str, model_version: int | None, tenant: str | None = None) -> Calibrator | None:
        """The map of a strategy's confidence, for a tenant where they do not share all; None while it is not known."""
        found = self._calibrators.get(_Key(strategy, model_version, None if self.shared else tenant))
        if found is None and self._tenancy == "prior":
            found = self._calibrators.get(_Key(strategy, model_version, _EVERYBODY))
        return found

    def agents_came(self, since: int, newcomer: str | None) -> None:
        """Nothing from before this position of the log counts any more: an agent came there."""
        if since > self._newest[0]:
            self._newest = (since, newcomer)
            for key, window in self._windows.items():
                if window.since < since:
                    self._calibrators.pop(key, None)

    def report(self, strategy: str, model_version: int | None) -> dict[str, Any]:
        """Whether a strategy's confidence is calibrated, by how many pairs, or why not, as JSON values."""
        whole = _Key(strategy, model_version, None if self._tenancy != "prior" else _EVERYBODY)
        window = self._windows.get(whole, _Window())
        late = window.since < self._newest[0]
        pairs = 0 if late else len(window.pairs)
        told: dict[str, Any] = {"calibrated": self.of(*whole) is not None, "pairs": pairs}
        if not told["calibrated"]:
            newcomer = self._newest[1] if late and window.pairs else window.newcomer
            dropped = "" if newcomer is None else f"agent {newcomer!r} came, and what was before does not count; "
            told["note"] = f"{dropped}{pairs} outcomes of favourites are known, {LEAST} are needed"
        return told

    # -- the fold

    def learn(self, examples: Sequence[Example]) -> None:
        """Compare what was given with what came."""
        self._learn(
            [
                _Lesson(forecast, one.decision_seq, one.reward, one.previous_reward is None)
                for one in examples
                if (forecast := one.forecast) is not None
            ]
        )

    def learn_columns(self, columns: ExampleColumns) -> None:
        """The same of a batch."""
        forecasts = columns.forecasts
        others = columns.others
        lessons = []
        for place, (forecast, seq, reward) in enumerate(
            zip(forecasts, columns.decision_seq, columns.reward, strict=True)
        ):
            if forecast is not None:
                other = others.get(place) if others else None
                first = other is None or other.previous_reward is None
                lessons.append(_Lesson(forecast, seq, reward, first))
        self._learn(lessons)

    def _learn(self, lessons: Sequence[_Lesson]) -> None:
        windows = self._windows
        taught: dict[_Key, None] = {}
        told: tuple[object, ...] = ()
        chosen: list[_Window] = []
        for lesson in lessons:
            strategy, version, _, tenant, since, newcomer, *_ = lesson.forecast
            if told != (strategy, version, tenant, since):  # most are of whom the one before was of
                told, chosen = (strategy, version, tenant, since), []
                self.agents_came(since, newcomer)
                for key in self._keys(lesson.forecast):
                    if key not in windows:
                        while len(windows) >= self._most:
                            gone, _ = windows.popitem(last=False)
                            taught.pop(gone, None)
                            self._calibrators.pop(gone, None)
                        windows[key] = _Window()
                    windows.move_to_end(key)
                    chosen.append(windows[key])
                    taught[key] = None
            for window in chosen:
                window.lessons.append(lesson)
        for key in taught:
            windows[key].learn()
        self._publish(taught)

    def _keys(self, forecast: Forecast) -> Sequence[_Key]:
        strategy, version = forecast.strategy, forecast.model_version
        if self.shared:
            return (_Key(strategy, version, None),)
        own = _Key(strategy, version, forecast.tenant)
        return (own,) if self._tenancy == "separate" else (own, _Key(strategy, version, _EVERYBODY))

    def _publish(self, keys: Collection[_Key]) -> None:
        for key in keys:
            window = self._windows[key]
            if window.calibrator is not None and window.since >= self._newest[0]:
                self._calibrators[key] = window.calibrator
            else:
                self._calibrators.pop(key, None)

    def forget_agents(self, names: Collection[str]) -> None:
        """Nothing to do: an agent that was added afresh is a new one, which the forecasts after it say."""

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Nothing to do: a confidence and a reward are no payload."""

    def save(self, folder: Path) -> None:
        """Write the pairs, and the maps."""
        windows = list(self._windows.items())
        kept = [window.pairs for _, window in windows]
        arrays: dict[str, NDArray[Any]] = {
            "decisions": np.array([seq for pairs in kept for seq in pairs.decisions], dtype=np.int64),
            "pairs": np.concatenate([np.stack(pairs.columns()) for pairs in (_Pairs(), *kept)], axis=1),
        }
        told = [
            [*key, len(window.pairs), window.since, window.newcomer, window.heard, window.calibrator]
            for key, window in windows
        ]
        write_state(folder, CALIBRATION, arrays, {"windows": told})

    def load(self, folder: Path) -> None:
        """Inverse of ``save``.

        Raises:
            CorruptArtifactError: if a file is missing, or is not what was written; all is then as it was.
        """
        load_state(folder, CALIBRATION, self._restore)

    def _restore(self, arrays: Mapping[str, NDArray[Any]], told: Mapping[str, Any]) -> None:
        seqs = arrays["decisions"].tolist()
        pairs = array_of(arrays, "pairs", np.float64, (3, len(seqs)))
        windows: OrderedDict[_Key, _Window] = OrderedDict()
        start = 0
        for strategy, version, tenant, count, since, newcomer, heard, fitted in told["windows"]:
            window = windows[_Key(strategy, version, tenant)] = _Window()
            end = start + count
            window.pairs = _Pairs(seqs[start:end], pairs[:, start:end].tolist())
            window.since, window.newcomer, window.heard = since, newcomer, heard
            if fitted is not None:
                number, weights, slope, intercept, scaled, means = fitted
                window.calibrator = Calibrator(number, tuple(weights), slope, intercept, tuple(scaled), tuple(means))
            start = end
        self._windows, self._calibrators = windows, {}
        self._publish(list(windows))

    def begun_again(self) -> Calibration:
        """One like it that was taught nothing."""
        return Calibration(self._tenancy, self._most_tenants)

    def close(self) -> None:
        """Nothing is open."""
