"""Which change detector watches an agent: the one that was configured, if it can be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router_sdk.numerics import change_detection
from router_sdk.numerics.change_detection import Detector, river_installed

if TYPE_CHECKING:
    from router_sdk_thompson.config import ThompsonConfig

MISFIT = 2.0
"""How much more surprise it takes where the posterior is linear in features: that is wrong in streaks, unchanged."""

__all__ = ["MISFIT", "Detector", "described_detector", "new_detector", "restored_detector", "threshold_of"]


def threshold_of(config: ThompsonConfig) -> float | None:
    """Surprise at which a change is called; None where nobody watches."""
    kind = config.change_detector
    if kind == "cusum":
        return config.change_threshold
    return 0.0 if kind == "adwin" and river_installed() else None


def described_detector(config: ThompsonConfig) -> str:
    """What ``status`` says of it."""
    if config.change_detector == "adwin" and not river_installed():
        return "off: river is not installed; pip install 'router-sdk-thompson[adwin]'"
    return config.change_detector if threshold_of(config) is not None else "off"


def new_detector(config: ThompsonConfig) -> Detector:
    """A detector that has seen nothing."""
    return change_detection.new_detector(_kind(config), config.adwin_delta)


def restored_detector(config: ThompsonConfig, state: list[Any]) -> Detector:
    """Read back what a detector's ``state`` gave; one of another kind starts afresh.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if the state is no such list.
    """
    return change_detection.restored_detector(_kind(config), config.adwin_delta, state)


def _kind(config: ThompsonConfig) -> change_detection.DetectorKind:
    return "adwin" if config.change_detector == "adwin" else "cusum"
