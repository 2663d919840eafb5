"""What requests read of the posterior over text: finished, and left alone by what is being learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.plugin import DEFAULT_TASK_TYPE
from router_sdk_thompson.features.design import TYPE_COLUMN
from router_sdk_thompson.features.hashed_text import extra_ids
from router_sdk_thompson.policy.proposal import Belief

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet, FeatureValue
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.posteriors.diagonal_gaussian import Diagonal


class TextView(NamedTuple):
    """One publication of the posterior over text."""

    config: ThompsonConfig
    evidence: Diagonal
    prior: Diagonal | None
    events: int
    generation: int
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
        means, widths = self.evidence.scores(places, self.prior, agents.names)
        alpha = self.config.text_exploration
        seed = ""
        if self.config.sampling == "independent":
            seed = f"{self.seed}\0{self.events}\0{places.tobytes().hex()}"
        return Belief("text", means, [alpha * width for width in widths], self.evidence.counts, seed)


def with_extras(ids: NDArray[Any], task_type: str, features: Mapping[str, FeatureValue]) -> NDArray[np.intp]:
    """A text's feature ids together with those of the task's type and features."""
    if task_type == DEFAULT_TASK_TYPE and not features:
        return ids.astype(np.intp)
    extra = extra_ids(features)
    if task_type != DEFAULT_TASK_TYPE:
        extra += extra_ids({TYPE_COLUMN: task_type})
    return np.array(sorted({*ids.tolist(), *extra}), dtype=np.intp)
