"""What is played: a configuration, the acts it asks for, and the stream of each with a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from router_sdk.demo.datasets import Dataset, dataset_stream, read_dataset
from router_sdk.demo.marketing_mix import marketing_mix_stream
from router_sdk.demo.stream import Stream
from router_sdk.demo.support_desk import support_desk_stream
from router_sdk.demo.table import MAX_BAD_LINES
from router_sdk.exchange.columns import ColumnMapping
from router_sdk.plugins import PluginRegistry
from router_sdk.strategy import Strategy

Contest = Literal["support-desk", "marketing-mix", "file"]
"""A scenario in which contestants play, or the tasks of ``DemoConfig.data``."""
Act = Literal["support-desk", "marketing-mix", "file", "serving"]
"""A contest, or how a model gets to serve."""


class DemoConfig(BaseModel):
    """Configuration of ``run_demo``; unknown keys are errors.

    Args:
        data: A JSONL or CSV file of tasks to play instead of the scenarios.
        mapping: Where its text and label stand, where the usual names do not find them.
        split: Play only rows whose ``split`` column says so.
        warm_start: Labelled texts per agent that are given away as examples before the stream starts.
        max_tasks: Longest stream that is drawn from the file with each seed.
        max_bad_lines: Malformed lines that are set aside before the file is refused.
        scenarios: Which scenarios, in order.
        rounds: Messages in each phase of the support desk, and sessions of the marketing mix over all of its phases.
        past_sessions: Synthetic sessions of the marketing mix to pre-train on, where a strategy is fitted.
        strictness: Of the marketing mix's second analyst, in [0, 1].
        strategies: The chain; None takes those of bert, thompson and heuristic that can serve here.
        strategy: What to set of a strategy beside what suits the stream, by its name.
        seed: The first one, of the streams, the routers and the fate of each outcome.
        seeds: How many, one after the other, of the support desk or the file; the other acts take the first.
        processes: How many processes play beside each other; 1 plays in this one.
        store: SQLite file to keep, which must not exist yet: of the whole chain, in the first act with the first seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Path | None = None
    mapping: ColumnMapping | None = None
    split: str | None = None
    warm_start: int = Field(default=20, ge=0)
    max_tasks: int = Field(default=1_000, ge=1)
    max_bad_lines: int = Field(default=MAX_BAD_LINES, ge=0)
    scenarios: tuple[Literal["support-desk", "marketing-mix", "serving"], ...] = Field(
        default=("support-desk", "marketing-mix", "serving"), min_length=1
    )
    rounds: int = Field(default=120, ge=20)
    past_sessions: int = Field(default=50, ge=0)
    strictness: float = Field(default=1.0, ge=0.0, le=1.0)
    strategies: tuple[str, ...] | None = None
    strategy: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0)
    seeds: int = Field(default=4, ge=1, le=1_000)
    processes: int = Field(default=1, ge=1)
    store: Path | None = None

    @property
    def acts(self) -> tuple[Act, ...]:
        """What is played, in order."""
        return self.scenarios if self.data is None else ("file",)

    @property
    def contests(self) -> tuple[Contest, ...]:
        """Those in which contestants play."""
        return tuple(act for act in self.acts if act != "serving")

    def seeds_of(self, act: Act) -> range:
        """With which seeds an act is played; where each costs a pre-training, it is one."""
        return range(self.seed, self.seed + (self.seeds if act in ("support-desk", "file") else 1))


class Streams:
    """The tasks of each act, with each seed; those of several seeds are equally many in each phase.

    Args:
        config: What to play.
        chain: The strategies; where one of them is fitted, the states of the marketing mix are told in words, too, and
            synthetic sessions lie in the past.
    """

    def __init__(self, config: DemoConfig, chain: Sequence[str]) -> None:
        self._config = config
        self._fitted = bool(fitted_in(chain))

    def of(self, act: Contest, seed: int) -> Stream:
        """One stream.

        Raises:
            InvalidInputError: if the data file cannot serve.
        """
        config = self._config
        match act:
            case "support-desk":
                stream = support_desk_stream(config.rounds, seed=seed)
            case "marketing-mix":
                stream = marketing_mix_stream(
                    config.rounds,
                    strictness=config.strictness,
                    seed=seed,
                    past_sessions=config.past_sessions if self._fitted else 0,
                    words=self._fitted,
                )
            case "file":
                stream = dataset_stream(
                    self._dataset, warm_start=config.warm_start, max_tasks=config.max_tasks, seed=seed
                )
        wanted = {name: {**stream.strategy.get(name, {}), **told} for name, told in config.strategy.items()}
        return replace(stream, strategy={**stream.strategy, **wanted})

    @cached_property
    def _dataset(self) -> Dataset:
        config = self._config
        assert config.data is not None
        return read_dataset(config.data, mapping=config.mapping, split=config.split, max_bad_lines=config.max_bad_lines)


def fitted_in(chain: Sequence[str]) -> list[str]:
    """The strategies of a chain that have a fit; such a one reads texts."""
    known = PluginRegistry.load().strategies
    return [name for name in chain if name in known and known[name].fit is not Strategy.fit]
