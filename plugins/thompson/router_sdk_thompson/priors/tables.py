"""What is believed of agents before this log says anything: a table of rates, given, read from a file, or made.

A table is made from a posterior (``CellEvidence.prior_table``, to start another tenant's router with) or from the log
of another policy (``priors_from_log``). It is a prior, so it is never mixed with evidence, and its mass is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router_sdk.plugin import Example

MOST_MASS = 100.0


class PriorRate(BaseModel):
    """What is believed of one agent on one task type."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rate: float = Field(ge=0.0, le=1.0)
    """Expected reward."""
    mass: float = Field(gt=0.0, le=MOST_MASS)
    """Observations that this is worth."""


class Inheritance(BaseModel):
    """From which task type another one starts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    source: str = Field(alias="from")
    """The task type whose posterior is taken, as it stands when it is asked for."""
    discount: float = Field(default=0.3, gt=0.0, le=1.0)
    """What an observation there is worth here."""


def _read(table: object) -> object:
    if isinstance(table, (str, Path)):
        return json.loads(Path(table).read_text(encoding="utf-8"))
    return table


PriorTable = Annotated[Mapping[str, Mapping[str, PriorRate]], BeforeValidator(_read)]
"""Task type to agent to belief; a path is read as JSON when the configuration is made."""


def priors_from_log(
    examples: Iterable[Example], *, clip: float = 10.0, most_mass: float = 20.0
) -> dict[str, dict[str, dict[str, float]]]:
    """A table from what another policy did: self-normalised, clipped inverse-propensity rates.

    Another policy gave each agent the tasks it thought fit, so an agent's plain mean says how it does on those. The
    weight ``min(1 / propensity, clip)`` makes up for that; an observation without propensity weighs 1. The mass is the
    effective sample size (Kish, 1965), at most ``most_mass``.

    Args:
        examples: Each decision at its newest revision, such as ``router.examples``.
        clip: Largest weight, at least 1: smaller means less variance and more bias.
        most_mass: Bound on the mass, at most 100.

    Raises:
        ValueError: if ``clip`` is below 1, or ``most_mass`` not in (0, 100].
    """
    if clip < 1.0 or not 0.0 < most_mass <= MOST_MASS:
        raise ValueError(f"clip must be at least 1 and most_mass in (0, {MOST_MASS:g}], got {clip} and {most_mass}")
    sums: dict[tuple[str, str], list[float]] = {}
    for example in examples:
        if example.reward is None or example.agent is None:
            continue
        propensity = example.propensity
        weight = 1.0 if propensity is None else min(1.0 / max(propensity, 1e-12), clip)
        total = sums.setdefault((example.task_type, example.agent), [0.0, 0.0, 0.0])
        total[0] += weight
        total[1] += weight * weight
        total[2] += weight * example.reward
    table: dict[str, dict[str, dict[str, float]]] = {}
    for (task_type, agent), (weight, squares, reward) in sorted(sums.items()):
        belief = {"rate": min(reward / weight, 1.0), "mass": min(weight * weight / squares, most_mass)}
        table.setdefault(task_type, {})[agent] = belief
    return table


def save_table(table: Mapping[str, Any], path: Path) -> None:
    """Write a table as the JSON that ``priors`` reads."""
    path.write_text(json.dumps(table, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
