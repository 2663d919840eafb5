"""What a decision was sampled from: one strategy's answer after the exploration floor."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from router_sdk.errors import FAULTS, let_end
from router_sdk.records.agent import AgentSet
from router_sdk.records.plain import told

if TYPE_CHECKING:
    from router_sdk.numerics.calibration import Calibrator

Evidence = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""Why a strategy answered so; a callable is asked only when somebody wants to know."""


class Distribution:
    """Probabilities over an agent set, ready to sample from and to be logged.

    Built once per proposal and shared by every decision drawn from it: a request only bisects ``cumulative``.

    Attributes:
        agents: The eligible agents, in the order of ``weights``.
        weights: Probability of each agent after the floor, shape ``(k,)``, summing to 1; empty where no agent
            fits, or somebody else decided.
        cumulative: Running sums of ``weights``; from the last agent with any weight on above every draw in [0, 1),
            so that rounding never draws an agent whose weight is 0.
        favourite: Position of the agent that the strategy itself prefers; -1 where no agent fits.
        confidence: Expected reward of the favourite, in [0, 1].
        strategy: Who answered.
        model_version: Which fitted version of it, or None.
        epsilon: The floor that was mixed in.
        raw_confidence: What the strategy itself said, where ``confidence`` is calibrated; else None.
        calibrator: By what ``confidence`` was last calibrated in this process; None for what the strategy said.
    """

    __slots__ = (
        "_blob",
        "_given_scores",
        "_probabilities",
        "_ranking",
        "_scores",
        "agents",
        "calibrator",
        "confidence",
        "cumulative",
        "epsilon",
        "evidence",
        "favourite",
        "model_version",
        "raw_confidence",
        "strategy",
        "weights",
    )

    def __init__(
        self,
        agents: AgentSet,
        weights: tuple[float, ...],
        favourite: int,
        confidence: float | None,
        scores: Mapping[str, float] | None,
        evidence: Evidence | None,
        strategy: str,
        model_version: int | None,
        epsilon: float,
        raw_confidence: float | None = None,
    ) -> None:
        self.agents = agents
        self.weights = weights
        self.cumulative = list(accumulate(weights))
        for position in range(len(weights) - 1, -1, -1):
            self.cumulative[position] = 2.0
            if weights[position]:
                break
        self.favourite = favourite
        self.confidence = confidence
        self._given_scores = scores
        self.evidence = evidence
        self.strategy = strategy
        self.model_version = model_version
        self.epsilon = epsilon
        self.raw_confidence = raw_confidence
        self.calibrator: Calibrator | None = None
        self._blob: bytes | None = None
        self._probabilities: Mapping[str, float] | None = None
        self._ranking: tuple[str, ...] | None = None
        self._scores: Mapping[str, float] | None = None

    @property
    def calibrated(self) -> bool:
        """Whether ``confidence`` was corrected by what came of earlier ones."""
        return self.raw_confidence is not None

    def calibrated_by(self, calibrator: Calibrator | None) -> Distribution:
        """The same with the confidence that this gives; without it, or a favourite, with what the strategy said."""
        raw = self.confidence if self.raw_confidence is None else self.raw_confidence
        other = Distribution.__new__(Distribution)
        for slot in Distribution.__slots__:
            setattr(other, slot, getattr(self, slot))
        other.calibrator = calibrator
        if calibrator is None or raw is None or self.favourite < 0:
            other.confidence, other.raw_confidence = raw, None
        else:
            other.confidence, other.raw_confidence = calibrator(raw), raw
        return other

    @property
    def blob(self) -> bytes:
        """``weights`` as little-endian float32, the form in which they are logged."""
        if self._blob is None:
            self._blob = array("f", self.weights).tobytes()
        return self._blob

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Name to probability, read-only; empty where no agent fits, or somebody else decided."""
        if self._probabilities is None:
            drawn = zip(self.agents.names, self.weights, strict=True) if self.weights else ()
            self._probabilities = MappingProxyType(dict(drawn))
        return self._probabilities

    @property
    def scores(self) -> Mapping[str, float] | None:
        """The strategy's own scores, on its own scale, read-only."""
        if self._scores is None and self._given_scores is not None:
            self._scores = MappingProxyType({str(name): float(score) for name, score in self._given_scores.items()})
        return self._scores

    @property
    def ranking(self) -> tuple[str, ...]:
        """Names, best first: by score where there are scores, else by probability."""
        if self._ranking is None:
            key = self.scores if self.scores is not None else self.probabilities
            self._ranking = tuple(sorted(self.agents.names, key=lambda name: -key.get(name, float("-inf"))))
        return self._ranking

    def explain(self) -> Mapping[str, Any]:
        """The strategy's evidence as JSON values, computed now if it was left for later; where that fails, why."""
        try:
            found = self.evidence() if callable(self.evidence) else self.evidence
            return {} if found is None else dict(told(dict(found)))
        except FAULTS as error:
            let_end(error)
            return {"failed": f"strategy {self.strategy!r} cannot explain itself: {type(error).__name__}: {error}"}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={weight:.3f}" for name, weight in list(self.probabilities.items())[:5])
        return f"Distribution({self.strategy}: {shown}{', …' if len(self.weights) > 5 else ''})"

    def __reduce__(self) -> tuple[Any, ...]:
        scores = None if self.scores is None else dict(self.scores)
        state = (self.agents, self.weights, self.favourite, self.confidence, scores, dict(self.explain()))
        return (type(self), (*state, self.strategy, self.model_version, self.epsilon, self.raw_confidence))
