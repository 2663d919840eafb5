"""What can be set about a demonstration."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from router_sdk.demo.table import MAX_BAD_LINES
from router_sdk.exchange.columns import ColumnMapping


class DemoConfig(BaseModel):
    """Configuration of ``run_demo``; unknown keys are errors.

    Args:
        data: A JSONL or CSV file of tasks to play instead of the scenario.
        mapping: Where its text and label stand, where the usual names do not find them.
        split: Play only rows whose ``split`` column says so.
        warm_start: Labelled texts per agent that are given away as examples before the stream starts.
        max_tasks: Longest stream that is drawn from the file.
        max_bad_lines: Malformed lines that are set aside before the file is refused.
        sessions: Sessions of the scenario, over both of its phases.
        past_sessions: Synthetic sessions of the scenario to pre-train on, where a strategy of the chain is fitted.
        strictness: Of the scenario's second analyst, in [0, 1].
        strategies: The chain; None takes those of bert, thompson and heuristic that can serve here.
        seed: Of the stream, the router and the fate of each outcome.
        store: SQLite file to keep, which must not exist yet; None plays in a temporary folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Path | None = None
    mapping: ColumnMapping | None = None
    split: str | None = None
    warm_start: int = Field(default=20, ge=0)
    max_tasks: int = Field(default=10_000, ge=1)
    max_bad_lines: int = Field(default=MAX_BAD_LINES, ge=0)
    sessions: int = Field(default=240, ge=20)
    past_sessions: int = Field(default=100, ge=0)
    strictness: float = Field(default=1.0, ge=0.0, le=1.0)
    strategies: tuple[str, ...] | None = None
    seed: int = Field(default=0, ge=0)
    store: Path | None = None
