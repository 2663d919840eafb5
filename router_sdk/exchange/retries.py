"""Trying again what a broker or the log cannot do now: ever more seldom, and logged once until it works."""

from __future__ import annotations

import logging

_SHORTEST_S, _LONGEST_S = 0.2, 10.0

_log = logging.getLogger(__name__)


class Retries:
    """How often something was in vain since it worked last.

    Args:
        name: What it is, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.worked()

    def worked(self) -> None:
        """Begin anew."""
        self._rest_s, self._said = _SHORTEST_S, set[str]()

    def failed(self, error: Exception) -> float:
        """Say why, unless that was said, and return how long to rest before it is tried again, in seconds."""
        words, rest_s = str(error), self._rest_s
        level = logging.DEBUG if words in self._said else logging.WARNING
        _log.log(level, "%s: %s; trying again until it works", self._name, error)
        self._said.add(words)
        self._rest_s = min(2 * rest_s, _LONGEST_S)
        return rest_s
