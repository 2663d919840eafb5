"""Agents' names as small numbers, so that rows of arrays can speak of them."""

from __future__ import annotations

from collections.abc import Iterable

NOBODY = 0
"""Code of "no agent fits"."""
UNKNOWN = -1
"""Code where nothing is known."""


class Names:
    """Codes in the order in which names came up; a code is never given twice.

    Args:
        names: Names that have a code already, in order; the first code, that of nobody, is implied.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._codes: dict[str | None, int] = {None: NOBODY}
        for name in names:
            self.code(name)

    def code(self, name: str | None) -> int:
        """The code of a name, a new one if it has none; None is nobody."""
        return self._codes.setdefault(name, len(self._codes))

    def known(self) -> dict[str | None, int]:
        """A copy of all codes by name."""
        return dict(self._codes)

    def listed(self) -> list[str]:
        """All names but nobody's, in the order of their codes."""
        return [name for name in self._codes if name is not None]

    def __len__(self) -> int:
        return len(self._codes)
