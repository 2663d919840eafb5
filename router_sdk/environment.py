"""Environment variables ``ROUTER_…``: the list of them, and what is said of one that is none of them.

A misspelt variable would be passed over in silence, and with it the privacy or the store that somebody thinks is set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from difflib import get_close_matches

from router_sdk.errors import InvalidConfigError
from router_sdk.neighbours import SETTINGS

PREFIX = "ROUTER_"
"""Before the name of each setting, in any case."""

ALLOW_VARIABLE = "ROUTER_PLUGINS"
"""Comma-separated entry-point names; where it is set, no other plugin is loaded, and none where it is empty."""

_OTHERS = frozenset({ALLOW_VARIABLE, "ROUTER_BENCH_DATA"})
"""Variables that are no settings, but read elsewhere: by ``plugins``, and by the benchmarks."""

_TESTS = "ROUTER_TEST_"
_SERVICE = re.compile(
    r"ROUTER_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes and Docker set by themselves where a service is called ``router``, or ``router-something``."""


def check_environment(settings: Collection[str]) -> None:
    """Look for variables that would be passed over.

    Args:
        settings: Names of all settings, in lower case.

    Raises:
        InvalidConfigError: if one is unknown, nested or empty; suggests the nearest name.
    """
    known = {PREFIX + name.upper() for name in settings}
    for given, value in os.environ.items():
        name = given.upper()
        if not name.startswith(PREFIX) or name in _OTHERS or name.startswith(_TESTS):
            continue
        if name in known:
            if not value.strip():
                raise InvalidConfigError(f"{given} is empty: give a value, or unset it")
        elif not _SERVICE.fullmatch(name):
            raise InvalidConfigError(_unknown(given, known))


def _unknown(given: str, known: Collection[str]) -> str:
    whole, nested, _ = given.upper().partition("__")
    if nested and whole in known:
        return f"{given}: nested variables are not read; give all of it in {whole}, lists and mappings as JSON"
    elsewhere = SETTINGS.get(given[len(PREFIX) :].lower())
    if elsewhere is not None:
        return f"{given} is set, and there is no such setting; {given[len(PREFIX) :].lower()} is here: {elsewhere}"
    near = get_close_matches(given.upper(), [*sorted(known), *sorted(_OTHERS)], 1)
    hint = f"did you mean {near[0]}?" if near else "variables of other programs must not begin with ROUTER_"
    return f"{given} is set, and there is no such setting; {hint}"
