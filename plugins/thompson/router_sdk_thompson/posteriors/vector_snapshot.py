"""What requests read of the posterior over vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk_thompson.features.design import described
from router_sdk_thompson.posteriors.belief import Belief

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.numerics.linear_snapshot import LinearSnapshot
    from router_sdk.plugin import AgentSet, Task
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.features.design import Design


class VectorSnapshot(NamedTuple):
    """One publication of the posterior over vectors."""

    config: ThompsonConfig
    design: Design
    width: int
    posterior: LinearSnapshot
    events: int
    seed: int

    @property
    def ready(self) -> bool:
        """Whether enough was learnt to answer."""
        return self.events >= self.config.min_context_evidence

    def belief(self, task: Task, agents: AgentSet, vector: NDArray[Any] | None) -> Belief:
        """Mean and width of each agent at this task."""
        config, posterior, seed = self.config, self.posterior, ""
        x = np.zeros(self.width + 1, np.float32)
        factor = self.design.encode_into(x[:-1], vector, described(task))
        if posterior.crowded:
            means, widths, contenders = posterior.among_many(agents.names, x, config.exploration, factor)
        else:
            (means, widths), contenders = posterior.scores(agents.names, x, config.exploration, factor), None
        if config.sampling == "independent":
            seed = f"{self.seed}\0{self.events}\0{x[:-1].tobytes().hex()}"
        return Belief("features", means, widths, posterior.counts, seed, config.likelihood == "logistic", contenders)
