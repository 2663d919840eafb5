"""An arm of an experiment: a whole chain, or what serves with one strategy at another version; said, and at work."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from router_sdk.errors import InvalidConfigError
from router_sdk.records.record import describe
from router_sdk.store.experiments import CHAMPION_ARM

if TYPE_CHECKING:
    from router_sdk.learning.fold import Fold
    from router_sdk.learning.strategy_selection import StrategySelection
    from router_sdk.routing.chain import Chain
    from router_sdk.store.experiments import ExperimentRecord

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
"""What experiments and arms are called: both stand in ``Decision.arm``, and in names of folders."""


def _spec(value: Any) -> Any:
    """A strategy's name, or its name and settings."""
    return (value, {}) if isinstance(value, str) else value


StageSpec = Annotated[tuple[str, dict[str, Any]], BeforeValidator(_spec)]


class Arm(BaseModel):
    """A challenger. With neither ``strategies`` nor ``version`` it is the configured chain beside itself.

    Args:
        name: Its name: letters, digits, ``_`` and ``-``, at most 40.
        strategies: A chain, as ``Router`` takes it: registered names, or ``(name, settings)`` pairs. What of their
            settings is not given is the default, not what is configured.
        version: ``(strategy, number)``: what serves, with that strategy at that fitted version.
        learning: Whether it learns from every outcome, whoever served it. False leaves it as it is when the experiment
            begins ("static against dynamic").
        shadow: Whether it only proposes: what it would have done is logged, and never done.
        begin: What it knows when it begins: what the ``log`` teaches, or ``now`` nothing but what its versions were
            fitted to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(pattern=NAME)
    strategies: tuple[StageSpec, ...] | None = None
    version: tuple[str, int] | None = None
    learning: bool = True
    shadow: bool = False
    begin: Literal["log", "now"] = "log"

    @field_validator("name")
    @classmethod
    def _no_champion(cls, name: str) -> str:
        if name == CHAMPION_ARM:
            raise ValueError("the champion is what serves without the experiment; call a challenger something else")
        return name

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.strategies is not None and self.version is not None:
            raise ValueError("give strategies or a version, not both")
        if self.strategies is not None and not self.strategies:
            raise ValueError("strategies: the chain is empty")
        names = [name for name, _ in self.strategies or ()]
        if len(set(names)) != len(names):
            raise ValueError(f"strategies: names must be unique in the chain, got {names}")
        if self.strategies is None and self.version is None and self.learning:
            raise ValueError("it is the configured chain and learns as that does: give strategies, or learning=False")
        return self

    @classmethod
    def of(cls, value: Arm | Mapping[str, Any]) -> Arm:
        """An arm, or its fields.

        Raises:
            InvalidConfigError: if a field is unknown or malformed.
        """
        if isinstance(value, Arm):
            return value
        if not isinstance(value, Mapping):
            raise InvalidConfigError(f"challenger: expected an Arm or its fields, got {value!r:.60}")
        try:
            return cls(**value)
        except (ValidationError, TypeError) as error:
            words = describe(error) if isinstance(error, ValidationError) else str(error)
            raise InvalidConfigError(f"challenger: {words}") from None


@dataclass(frozen=True, slots=True)
class ServingArm:
    """An arm in this process.

    Attributes:
        record: Whose experiment.
        spec: What it is.
        chain: Who proposes.
        own: Its own stages, as a chain; the others are the champion's.
        folds: What its own stages learn by.
        compared: Which of the chain's strategies is asked first, in its state and place in the log; None where they
            are not compared.
    """

    record: ExperimentRecord
    spec: Arm
    chain: Chain
    own: Chain
    folds: tuple[Fold, ...]
    compared: tuple[StrategySelection, Fold] | None = None

    @property
    def all_folds(self) -> tuple[Fold, ...]:
        """What follows the log for it."""
        return self.folds if self.compared is None else (*self.folds, self.compared[1])

    @property
    def called(self) -> str:
        """``EXPERIMENT/ARM``, as decisions name it."""
        return f"{self.record.name}/{self.spec.name}"

    def close(self) -> None:
        """End what its strategies began."""
        for stage in self.own.stages:
            stage.close()


def read_arms(path: Path) -> tuple[list[Arm], dict[str, Any]]:
    """Challengers, and settings of their experiment, from a TOML or JSON file.

    It has a list ``challengers`` of arms' fields, and beside it fields of ``ExperimentConfig``.

    Raises:
        InvalidConfigError: if it cannot be read, or says something that is not understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
        told = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        raise InvalidConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidConfigError(f"{path.name}: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("challengers"), list):
        raise InvalidConfigError(f"{path.name}: expected a list of challengers, [[challengers]] in TOML")
    return [Arm.of(one) for one in told.pop("challengers")], told


def shares_for(arms: Sequence[Arm], given: Mapping[str, float] | None, each: float) -> dict[str, float]:
    """What each arm gets of the units, the champion first; arms that never serve are not in it.

    Args:
        arms: The challengers.
        given: Shares by name; None gives each the same.
        each: What that is, in (0, 1).

    Raises:
        InvalidConfigError: if a share is none, names nobody, or nothing is left for the champion.
    """
    serving = [arm.name for arm in arms if not arm.shadow]
    told = dict.fromkeys(serving, each) if given is None else dict(given)
    if any(isinstance(share, bool) or not isinstance(share, int | float) for share in told.values()):
        raise InvalidConfigError(f"shares: each arm's must be a number in (0, 1), got {told!r:.120}")
    unknown = sorted(told.keys() - {CHAMPION_ARM, *serving})
    if unknown:
        raise InvalidConfigError(f"shares: {unknown} are no challengers that serve; there are {serving}")
    left = 1.0 - sum(told.get(name, 0.0) for name in serving)
    wanted = told.get(CHAMPION_ARM, left)
    shares = {CHAMPION_ARM: left, **{name: told.get(name, 0.0) for name in serving}}
    if not all(0.0 < share <= 1.0 for share in shares.values()) or abs(wanted - left) > 1e-6:
        raise InvalidConfigError(f"shares: each arm's must lie in (0, 1), and all must sum to 1, got {shares}")
    return shares
