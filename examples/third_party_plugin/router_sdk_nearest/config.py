"""Settings of the strategy."""

from pydantic import Field

from router_sdk.plugin import StrategyConfig


class NearestConfig(StrategyConfig):
    """How the memory is kept and asked.

    Args:
        neighbours: How many remembered tasks are asked; at least 1.
        capacity: How many are remembered; beyond it the oldest decisions go.
        dimensions: Length of the vectors.
        prior: Similarity-weighted observations at reward 0.5 that each agent starts with; above 0.
        temperature: Difference in expected reward that counts as a factor of e in the odds; above 0.
    """

    neighbours: int = Field(default=15, ge=1)
    capacity: int = Field(default=2_000, ge=1)
    dimensions: int = Field(default=512, ge=8)
    prior: float = Field(default=1.0, gt=0.0)
    temperature: float = Field(default=0.05, ge=0.001)
