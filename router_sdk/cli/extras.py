"""Optional parts of an installed distribution, and which of them lack something."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version

from packaging.requirements import Requirement


def extras_to_install(name: str) -> dict[str, tuple[str, ...]]:
    """What each extra of a distribution still needs, by extra; those that are complete are left out.

    Args:
        name: An installed distribution.

    Raises:
        PackageNotFoundError: if it is not installed.
    """
    found = distribution(name)
    required = [Requirement(line) for line in found.requires or ()]
    missing = {extra: tuple(_missing(required, extra)) for extra in found.metadata.get_all("Provides-Extra") or ()}
    return {extra: names for extra, names in missing.items() if names}


def _missing(required: list[Requirement], extra: str) -> Iterator[str]:
    """Requirements that hold with the extra alone, and are not met."""
    for one in required:
        if one.marker is None or one.marker.evaluate({"extra": ""}) or not one.marker.evaluate({"extra": extra}):
            continue
        try:
            met = one.specifier.contains(version(one.name), prereleases=True)
        except PackageNotFoundError:
            met = False
        if not met:
            yield one.name
