"""What a child process is told about a fit: everything by name, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from router_sdk.rewards import OutcomeReward, RewardFunction
from router_sdk.store.artifacts import write_private

if TYPE_CHECKING:
    from router_sdk.plugins import PluginRegistry

REQUEST = "request.json"
BASE = "base"
"""The state of what serves."""
SCRATCH = "scratch"
CHECKPOINTS = "checkpoints"
VERSION = "version"
REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class FitRequest:
    """One fit.

    Attributes:
        strategy: Registered name of the strategy.
        settings: Its whole configuration.
        encoders: Each encoder's own configuration, by name.
        store: The database file.
        reward: Name of a registered reward, or the arguments of an ``OutcomeReward``.
        agents: The agents to fit for, as JSON values.
        upto: Position in the log up to which to read.
        fresh_after: Position that the fit before reached.
        held_out: Share of the examples to keep apart.
        needed: Examples that the gate needs to judge a candidate.
        folder: Where the state of what serves lies, and where the results go.
        caches: The strategy's folder for caches.
        device: See ``FitContext``.
        seed: See ``FitContext``.
        synthetic: Whether the log holds made-up examples.
    """

    strategy: str
    settings: Mapping[str, Any]
    encoders: Mapping[str, Mapping[str, Any]]
    store: str
    reward: str | Mapping[str, Any]
    agents: list[dict[str, Any]]
    upto: int
    fresh_after: int
    held_out: float
    needed: int
    folder: str
    caches: str
    device: str
    seed: int
    synthetic: bool

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_private(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def portable_reward(
    reward: RewardFunction, name: str | None, plugins: PluginRegistry
) -> str | Mapping[str, Any] | None:
    """How a child process can name this reward, or None where it cannot."""
    if type(reward) is OutcomeReward:
        return reward.to_dict()
    return name if name is not None and plugins.reward(name) is reward else None


def reward_of(described: str | Mapping[str, Any], plugins: PluginRegistry) -> RewardFunction:
    """The reward that ``portable_reward`` described."""
    return plugins.reward(described) if isinstance(described, str) else OutcomeReward(**described)
