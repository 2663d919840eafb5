"""On what a decision rests, as far as its caller may know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from router_sdk import Decision, Router, RouterError
from router_sdk_server.access import Access


def explained(router: Router, access: Access, decision: Decision) -> dict[str, Any]:
    """What ``Decision.explain`` says; to a key that is bound to a tenant without the stored examples of others.

    An example that the log does not hold any more is nobody's, and left out there too.
    """
    told = decision.explain()
    if access.tenant is None:
        return told

    @cache
    def known(decision_id: str) -> bool:
        try:
            router.decision(decision_id, tenant=access.tenant)
        except RouterError:
            return False
        return True

    return {**told, "evidence": _without_others(told["evidence"], known)}


def _without_others(told: Any, known: Callable[[str], bool]) -> Any:
    """Evidence without what in it names a decision that is not known; strategies nest that of others in theirs."""
    if isinstance(told, Mapping):
        return {name: _without_others(one, known) for name, one in told.items() if _may_be_told(one, known)}
    if isinstance(told, list | tuple):
        return [_without_others(one, known) for one in told if _may_be_told(one, known)]
    return told


def _may_be_told(one: Any, known: Callable[[str], bool]) -> bool:
    return not isinstance(one, Mapping) or "decision_id" not in one or known(str(one["decision_id"]))
