"""What can be set, and the defaults that serve without setting anything."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from router_sdk.plugin import StrategyConfig
from router_sdk_thompson.objectives.objectives import Objectives
from router_sdk_thompson.priors.tables import Inheritance, PriorTable

DAY_S = 86_400.0

Labels = Literal["exclusive", "independent", "ignore"]
Likelihood = Literal["gaussian", "logistic"]
Sampling = Literal["shared", "independent", "ucb", "greedy"]


class ThompsonConfig(StrategyConfig):
    """Configuration of Thompson sampling; unknown keys are errors."""

    sampling: Sampling = "shared"
    """How doubt explores: one draw that all agents share, one draw each, a fixed bonus, or not at all."""
    labels: Labels = "exclusive"
    """What a label says of the other agents: that they would have failed, nothing, or the label is not used."""
    min_evidence: float = Field(default=5.0, ge=0.0)
    """Observations of a task type below which the strategy abstains."""
    objectives: Objectives = Objectives()
    """What counts besides the reward, and budgets; ``ThompsonStrategy.pursue`` changes it at run time."""
    half_life_s: float | None = Field(default=28 * DAY_S, gt=0.0)
    """Log time after which an observation counts half, in seconds; None never forgets."""
    prior_mean: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Success rate assumed of an agent that states none."""
    prior_mass: float = Field(default=2.0, gt=0.0, le=100.0)
    """Observations that this assumption is worth."""
    stated_mass: float = Field(default=10.0, gt=0.0, le=100.0)
    """Observations that an agent's stated ``success_rate`` is worth."""
    priors: PriorTable = {}
    """Rates believed before any outcome, by task type and agent, or the path of a JSON file with them."""
    inherit: dict[str, Inheritance] = {}
    """Task types that start from another type's posterior, discounted, instead of from all the others."""

    @field_validator("inherit")
    @classmethod
    def _from_another(cls, inherit: dict[str, Inheritance]) -> dict[str, Inheritance]:
        for task_type, start in inherit.items():
            if start.source == task_type:
                raise ValueError(f"{task_type!r} cannot start from itself")
        return inherit

    borrowed_mass: float = Field(default=20.0, ge=0.0, le=1000.0)
    """Most that an agent's record on other task types counts for on one type, in observations."""
    change_threshold: float | None = Field(default=12.0, gt=0.0)
    """Surprise, in standard deviations summed, at which CUSUM calls an agent changed; None never looks."""
    change_detector: Literal["cusum", "adwin", "off"] = "cusum"
    """What watches for change; ``adwin`` needs the extra ``router-sdk-thompson[adwin]`` and is off without it."""
    adwin_delta: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Chance of a false alarm that ADWIN puts up with."""
    contextual: bool = True
    """Whether a task's text and features are looked at; False knows task types alone."""
    encoder: str | None = None
    """Dense encoder whose vectors describe a text; None uses sparse hashed features, which need no model."""
    min_context_evidence: float = Field(default=50.0, ge=0.0)
    """Outcomes below which the strategy abstains on tasks with a text or features."""
    likelihood: Likelihood = "gaussian"
    """How a reward follows from features and dense vectors: linearly, or as the chance of a success by a logit."""
    exploration: float = Field(default=0.9, ge=0.0)
    """Standard deviations that doubt is worth over features and dense vectors."""
    prior_reward: float = Field(default=1.0, ge=0.0, le=1.0)
    """Reward hoped for, over features and dense vectors, of an agent that nothing is known of."""
    ridge: float = Field(default=0.16, gt=0.0)
    """Precision of the prior on the weights at first; a weaker one follows where it makes what was seen likelier."""
    noise_guess: float = Field(default=0.6, gt=0.0)
    """Guess of the reward's standard deviation around its mean."""
    noise_mass: float = Field(default=5.0, gt=0.0)
    """Observations that the guess is worth."""
    fourier_features: int = Field(default=192, ge=0, le=4096)
    """Random Fourier features that are added to few columns; 0 stays linear."""
    fourier_columns: int = Field(default=32, ge=0)
    """Columns of numbers up to which they are added."""
    fourier_bandwidth: float = Field(default=1.45, gt=0.0)
    """Standard deviation of their frequencies, for vectors of length 1."""
    fourier_weight: float = Field(default=0.7, gt=0.0)
    """Norm of their vector."""
    text_exploration: float = Field(default=0.15, ge=0.0)
    """Standard deviations that doubt is worth over sparse text."""
    text_variance: float = Field(default=3.0, gt=0.0)
    """Prior variance of a text feature's weight, in units of the rewards' variance."""
    text_noise_guess: float = Field(default=3.0, ge=0.05, le=20.0)
    """Noise assumed of a text's reward at first, in units of the rewards' variance; how predictions err moves it."""
    rival_weight: float = Field(default=0.3, ge=0.0, le=1.0)
    """What a success tells of the agents that were not asked, over features and vectors, where tasks belong to few."""
