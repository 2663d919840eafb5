"""What a user may set of the head: everything that is learnt on top of the vectors."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DAY_S = 86_400.0


class HeadConfig(BaseModel):
    """How outcomes become estimates.

    Attributes:
        head: ``"memory"`` keeps vectors and refits over them; ``"analytic"`` keeps sums alone.
        labels: ``"exclusive"``: a label says that the other agents would have failed; ``"independent"``: it says
            nothing of them, because several can succeed.
        memory_size: Most outcomes kept; beyond it the agent with the most loses one.
        neighbours: Stored outcomes that speak for a task.
        ridge: Penalty on the logistic weights, in units of examples.
        refit_interval: Fewest new outcomes between two refits.
        refit_share: The same as a share of what is stored (since an agent changed), so that refits cost little.
        half_life_s: Log time after which an outcome counts half, in seconds; None never forgets.
        change_threshold: Evidence, in nats, at which an agent counts as changed; None never looks.
        kept_after_change: What all older outcomes of a changed agent count for together, in outcomes.
        example_weight: What one of an agent's examples counts for, in outcomes.
        description_weight: The same for its description, and for each capability.
        propensity_clip: Weigh rewards by one over the propensity, at most this much; None weighs all alike.
        exploration: Standard deviation, on the scale of log odds, of what is not known of an agent here.
        novelty_threshold: Novelty above which nobody gets the task; None leaves that to labels.
        nearest_shown: Stored outcomes that an explanation names.
        analytic_features: Random features of the analytic head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    head: Literal["memory", "analytic"] = "memory"
    labels: Literal["exclusive", "independent"] = "exclusive"
    memory_size: int = Field(default=10_000, ge=1, le=1_000_000)
    neighbours: int = Field(default=32, ge=1, le=1_000)
    ridge: float = Field(default=0.05, gt=0.0)
    refit_interval: int = Field(default=20, ge=1)
    refit_share: float = Field(default=0.1, ge=0.0, le=10.0)
    half_life_s: float | None = Field(default=90 * DAY_S, gt=0.0)
    change_threshold: float | None = Field(default=12.0, gt=0.0)
    kept_after_change: float = Field(default=20.0, ge=0.0)
    example_weight: float = Field(default=1.0, ge=0.0, le=100.0)
    description_weight: float = Field(default=0.5, ge=0.0, le=100.0)
    propensity_clip: float | None = Field(default=None, ge=1.0)
    exploration: float = Field(default=0.5, ge=0.0)
    novelty_threshold: float | None = None
    nearest_shown: int = Field(default=5, ge=0, le=100)
    analytic_features: int = Field(default=4_000, ge=1, le=20_000)

    @model_validator(mode="after")
    def _sums_need_one_right(self) -> Self:
        if self.head == "analytic" and self.labels == "independent":
            raise ValueError('head="analytic" keeps one set of sums for all agents, so it needs labels="exclusive"')
        return self
