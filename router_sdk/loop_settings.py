"""When fits start and from what, what a candidate must pass, how it is tried and watched: sections of the settings."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from router_sdk.numerics.change_detection import river_installed
from router_sdk.records.fields import Label
from router_sdk.rewards.quality import SIGNALS

Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _detector(kind: str) -> str:
    """It is said at the start that a detector is not there, not years later that nothing was found."""
    if kind == "adwin" and not river_installed():
        raise ValueError("river is not installed: pip install 'router-sdk[adwin]', or leave it at 'cusum'")
    return kind


class TriggerConfig(BaseModel):
    """What makes a fit due by itself, beside the count of fresh examples (``retrain_interval``).

    A threshold that is None asks nobody. Windows hold what came since the last attempt to fit, and no more than the
    newest 1,000 outcomes. After each version that was rolled back by itself twice as many outcomes are needed, and
    twice the cooldown, up to 32 times, until a version holds.

    Args:
        off: Names of triggers that are not asked, whoever brings them: ``example_count``, ``quality_drop``, ``drift`` …
        min_quality_score: Fresh examples count whose quality is at least this, in [0, 1]; None counts all.
        schedule_hours: Time between two attempts to fit, in hours.
        quality_drop_threshold: By how much the mean reward must have fallen, in (0, 1].
        quality_window_hours: What is of late for rewards and confidences, in hours.
        error_rate_threshold: Share of executions that fail, in (0, 1].
        negative_feedback_threshold: Share of feedback that is negative, in (0, 1].
        error_window_hours: What is of late for failures and feedback, in hours.
        low_confidence_below: Which confidence of a decision is little, in (0, 1].
        low_confidence_share: Share of decisions with little confidence, in (0, 1].
        drift_threshold: By how much less than over its lifetime one agent must earn of late, in (0, 1].
        least_outcomes: Outcomes that a window must hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    off: tuple[str, ...] = ()
    min_quality_score: float | None = Field(default=None, ge=0.0, le=1.0)
    schedule_hours: float | None = Field(default=None, gt=0)
    quality_drop_threshold: float | None = Field(default=0.1, gt=0, le=1.0)
    quality_window_hours: float = Field(default=24.0, gt=0)
    error_rate_threshold: float | None = Field(default=None, gt=0, le=1.0)
    negative_feedback_threshold: float | None = Field(default=None, gt=0, le=1.0)
    error_window_hours: float = Field(default=24.0, gt=0)
    low_confidence_below: float = Field(default=0.5, gt=0, le=1.0)
    low_confidence_share: float | None = Field(default=None, gt=0, le=1.0)
    drift_threshold: float | None = Field(default=0.2, gt=0, le=1.0)
    least_outcomes: int = Field(default=50, ge=2, le=1_000)


class TrainingConfig(BaseModel):
    """What of the log, and of a file beside it, a fit is trained on.

    What judges a candidate is what happened: held-out examples are neither filtered nor balanced, and no file is among
    them. What serves goes on learning from every outcome as it comes.

    Args:
        min_quality: Leave out what has less ``quality``, in [0, 1]. What has none stays. A failure teaches who not to
            choose: set it where quality says how far an example can be trusted, not how well its agent did.
        min_feedback: Leave out what users said worse of, in [-1, 1]. What nobody said anything of stays.
        dedupe: Whether of labelled examples with equal tasks and equal labels only the newest counts.
        balance: Most labelled examples of an agent, in multiples of the median over the agents, at least 1; None keeps
            all. Examples without a label are no part of it.
        most_examples: Most examples, and how many of the newest decisions of the log are looked at.
        prefer: Which to keep where some must go: the ``newest``, or the ``uncertain``: at random, and the more often
            the less sure the decision was, or the more its favourite disappointed. Then of the newest 50,000, or of
            ``most_examples`` where that is more.
        replay_ratio: Largest share of examples, in [0, 1), that the fit before has seen; None keeps all. Where nothing
            is new, all are kept.
        existing: File to train on beside the log: JSON lines, a JSON array or CSV, exported or with a task's fields,
            an agent or label, and an outcome's fields, or chats (``chatml``). Only with ``privacy="full"``.
        existing_ratio: Largest share of what a fit is trained on that comes from this file, in (0, 1).
        synthetic_ratio: Largest share of it, in [0, 0.5], that is made up around labelled tasks which were routed
            wrongly, by templates. Only with ``privacy="full"``; never among what judges, and in no log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_quality: float | None = Field(default=None, ge=0.0, le=1.0)
    min_feedback: float | None = Field(default=None, ge=-1.0, le=1.0)
    dedupe: bool = True
    balance: float | None = Field(default=None, ge=1.0)
    most_examples: int = Field(default=50_000, ge=1, le=1_000_000)
    prefer: Literal["newest", "uncertain"] = "newest"
    replay_ratio: float | None = Field(default=None, ge=0.0, lt=1.0)
    existing: Path | None = None
    existing_ratio: float = Field(default=0.5, gt=0.0, lt=1.0)
    synthetic_ratio: float = Field(default=0.0, ge=0.0, le=0.5)


class GateConfig(BaseModel):
    """What a fitted candidate must pass before it serves: each check off (``False``), on, or on with a threshold.

    A check passes, fails, or says that there is too little to say. What fails does not serve, nor does what nothing but
    the absence of a fault speaks for: ``no_regression``, ``validation`` or a plugin's check has to pass. Where none of
    these is asked, because ``no_regression`` was switched off, the others decide alone.

    Args:
        no_regression: On the newest held-out examples it does as well as what serves. The threshold is by how much its
            mean may be worse, in [0, 1] (.01), although it is surely worse; on the very examples that made what serves
            it must do better.
        validation: Your own file of tasks that nobody was taught, as ``router import`` reads them: it must do as well
            there, too, by the same threshold.
        minimum_accuracy: Least share of labelled held-out examples that are right (.8). Off by default.
        per_agent: By how much an agent's tasks may be answered worse, in [0, 1] (.1), with 95 % confidence over all
            agents together (Bonferroni).
        forgetting: By how much labelled examples from before the fit before may be answered worse, in [0, 1] (.05).
        joint_gap: By how much held-out examples may be answered worse, in [0, 1] (.02), than by a version that is
            fitted anew on all examples at once: what continual learning costs. Off by default: it takes another fit.
        golden: Tasks that must be answered as they say: ``[{"text": "I want my money back", "agent": "billing"}, …]``,
            or a file of such rows. An agent of null means that none fits.
        golden_share: Least share of them that must be.
        calibration: By how much the expected calibration error may rise, in [0, 1] (.1); the router
            calibrates confidences itself, by what comes of them.
        latency: By which factor the median time of ``propose`` may grow (2), beyond five milliseconds more.
        divergence: Most that its probabilities may diverge from those of what serves, in nats; on by itself, only told.
        finite_parameters: Every saved number is finite; and by which factor the norm of an array may differ from that
            of the fitted version that serves (100).
        off_policy: What it would have earned on held-out decisions, by their propensities, is not below the lower
            bound of what serves; and the effective sample size from which on that counts (100).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    no_regression: bool | Share = True
    validation: Path | None = None
    minimum_accuracy: bool | Share = False
    per_agent: bool | Share = True
    forgetting: bool | Share = True
    joint_gap: bool | Share = False
    golden: Path | tuple[dict[str, Any], ...] = ()
    golden_share: Share = 1.0
    calibration: bool | Share = True
    latency: bool | Annotated[float, Field(ge=1.0)] = True
    divergence: bool | Annotated[float, Field(ge=0.0)] = True
    finite_parameters: bool | Annotated[float, Field(ge=1.0)] = True
    off_policy: bool | Annotated[float, Field(ge=1.0)] = True

    @property
    def tasks(self) -> dict[str, Any]:
        """What a fit in another process is told to measure: the user's own tasks, and the gap to a joint refit."""
        golden = str(self.golden.absolute()) if isinstance(self.golden, Path) else list(self.golden)
        validation = None if self.validation is None else str(self.validation.absolute())
        return {"golden": golden, "validation": validation, "joint": self.joint_gap is not False}


class WatchConfig(BaseModel):
    """How a version is watched once it serves, see ``training.watch``.

    Args:
        enabled: Whether one that earns less than what came before is rolled back by itself.
        outcomes: After how many outcomes it is proven.
        alpha: Chance that one that earns as much is rolled back all the same.
        tolerance: By how much it may earn less on average, in reward.
        doubt_otherwise: By how much less than it expects what served before would earn, in reward, where the two would
            choose differently: there tasks are hard, and who is sure is often wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    enabled: bool = True
    outcomes: int = Field(default=1_000, ge=20)
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    tolerance: float = Field(default=0.01, ge=0.0, le=1.0)
    doubt_otherwise: float = Field(default=0.25, ge=0.0, le=1.0)


class DriftConfig(BaseModel):
    """What counts as drift, and when an alert is raised, see docs/drift.md. None switches a figure off.

    Args:
        enabled: Whether any of it is looked at.
        window: Decisions in a window that is compared with the reference.
        alpha: Chance that, where nothing ever changes, a window is ever found to differ.
        prediction_kl: Relative entropy of the favourites against the reference, in nats, below which it is no matter.
        inputs: Whether the tasks themselves are compared.
        detector: What watches an agent's residuals: ``cusum``, or ``adwin``, which needs ``router-sdk[adwin]``.
        residual_threshold: Evidence for a change at which ``cusum`` calls it, in standard deviations.
        adwin_delta: Chance of a false alarm that ``adwin`` puts up with.
        failed_updates: Share of failed updates among the newest 1,000.
        slow_updates_ms: Mean time of an update among the newest 1,000, in milliseconds.
        improvement_rate: Mean reward of the last 100 outcomes against the 100 before, less 1; it must be beyond chance,
            too.
        agent_failures: Share of failures among an agent's newest 100 outcomes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    enabled: bool = True
    window: int = Field(default=200, ge=50)
    alpha: float = Field(default=0.01, gt=0.0, lt=0.5)
    prediction_kl: float | None = Field(default=0.1, ge=0.0)
    inputs: bool = True
    detector: Annotated[Literal["cusum", "adwin"], AfterValidator(_detector)] = "cusum"
    residual_threshold: float | None = Field(default=20.0, gt=0.0)
    adwin_delta: float = Field(default=0.002, gt=0.0, lt=1.0)
    failed_updates: float | None = Field(default=0.05, ge=0.0, lt=1.0)
    slow_updates_ms: float | None = Field(default=1_000.0, gt=0.0)
    improvement_rate: float | None = Field(default=-0.1, gt=-1.0, le=0.0)
    agent_failures: float | None = Field(default=0.5, gt=0.0, lt=1.0)


def _scorers(names: tuple[str, ...]) -> tuple[str, ...]:
    """As for detectors."""
    if "discriminator" in names and find_spec("sklearn") is None:
        raise ValueError("scikit-learn is not installed: pip install 'router-sdk[quality]', or leave it at 'feedback'")
    if len(set(names)) < len(names):
        raise ValueError(f"each scorer is asked once: {', '.join(names)}")
    return names


class QualityConfig(BaseModel):
    """Who says how good an execution was where nobody did, see docs/quality.md.

    Args:
        scorers: Names of scorers: ``feedback``, ``discriminator``, or a plugin's. Several are an ensemble, the mean by
            their weights. Empty scores nothing.
        signals: What something that users do is worth, in [0, 1], by the ``actor`` of the outcome with
            ``origin="signal"``: by itself ``copy`` .9, ``edit`` .5, ``abandon`` .2, ``retry`` .1.
        least_scored: Examples of which somebody says how good they were that ``discriminator`` takes to begin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scorers: Annotated[tuple[Label, ...], AfterValidator(_scorers)] = ()
    signals: dict[Label, Share] = Field(default_factory=lambda: dict(SIGNALS))
    least_scored: int = Field(default=50, ge=20)


class ExperimentConfig(BaseModel):
    """How experiments are run and when they are decided, see docs/experiments.md. Each may be given to ``start``.

    Args:
        challenger_share: Share of the units that each challenger gets, in (0, 1).
        outcome_window_hours: What a unit (a session, or a decision without one) came to so long after its first
            decision counts; only then is it looked at.
        weights: Of the metrics, each in [0, 1] once it is scaled: ``quality`` (where nothing is said of it, success, or
            whether a label names the agent), ``success``, ``feedback`` (how positive) and ``latency``, or names in
            ``Outcome.metrics``, which then must lie in [0, 1]. One that nobody reports is left out.
        latency_limit_ms: A latency of 0 scales to 1, this and more to 0.
        alpha: Chance that a winner is declared where there is none.
        min_improvement: By how much of the champion's mean a challenger must be better.
        least_mean: Where the champion's mean is lower, no relative improvement is told.
        min_units: Closed units that each arm must have.
        min_duration_hours: How long it runs at least.
        max_duration_hours: After that it ends without a winner; None lets it run.
        missing_difference: By how much the share of units with outcomes may differ between arms.
        agent_tolerance: By how much an agent may do worse in a challenger's hands, in mean quality.
        guardrails: Metrics by name, and by how much each may be worse in a challenger's hands, once it is scaled.
        rollout: Shares that the challenger gets one after the other while nothing speaks against it: ``(0.1, 0.25,
            0.5)``. Empty leaves it at ``challenger_share``.
        allocation: ``fixed``, or ``bandit``: shares follow what the arms earned, none below ``challenger_share``.
        auto_promotion: Whether a winner serves by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    challenger_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    outcome_window_hours: float = Field(default=24.0, gt=0)
    weights: dict[str, Share] = Field(default_factory=lambda: {"quality": 0.5, "feedback": 0.3, "latency": 0.2})
    latency_limit_ms: float = Field(default=10_000.0, gt=0)
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    min_improvement: float = Field(default=0.05, ge=0.0)
    least_mean: float = Field(default=0.05, ge=0.0, le=1.0)
    min_units: int = Field(default=100, ge=20)
    min_duration_hours: float = Field(default=48.0, ge=0)
    max_duration_hours: float | None = Field(default=None, gt=0)
    missing_difference: float = Field(default=0.1, ge=0.0, le=1.0)
    agent_tolerance: float = Field(default=0.1, ge=0.0, le=1.0)
    guardrails: dict[str, Share] = Field(default_factory=lambda: {"success": 0.1, "latency": 0.1})
    rollout: tuple[float, ...] = ()
    allocation: Literal["fixed", "bandit"] = "fixed"
    auto_promotion: bool = True

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError("weights: give at least one metric a weight above 0")
        steps = [0.0, *self.rollout, 1.0]
        if any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(f"rollout: shares must rise, above 0 and below 1, got {list(self.rollout)}")
        if self.rollout and self.allocation == "bandit":
            raise ValueError("rollout: a bandit sets the shares itself; leave one of the two out")
        if self.max_duration_hours is not None and self.max_duration_hours <= self.min_duration_hours:
            raise ValueError("max_duration_hours: must be longer than min_duration_hours")
        return self
