"""What goes to a service and what it answers, as the SDK's own records and errors."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from router_sdk import errors
from router_sdk.client.outbox import Report
from router_sdk.errors import AccessDeniedError, InvalidIdError, ServiceError, ServiceUnavailableError
from router_sdk.records import Decision, Outcome, OutcomeLike, Task

if TYPE_CHECKING:
    import httpx2

ANSWERS = {"/v1/route": "decision_id", "/v1/rank": "ranking", "/v1/outcomes": "recorded"}
"""What the service's own answers have; a proxy's page has none of it."""

_KEPT = (
    *("decision_id", "agent", "confidence", "propensity", "explored", "probabilities", "strategy", "model_version"),
    *("logged", "excluded", "favourites", "arm", "arm_probability"),
)
"""Fields of the answer that are the decision's as they come."""
_MAPPINGS = ("excluded", "favourites")
"""Those of them that a service may leave empty as null."""
LONGEST_WAIT_S = 5.0
"""Longest that is waited before something is sent again."""


def fields(task: Task) -> dict[str, Any]:
    """A task as it is sent: what its maker set."""
    return task.model_dump(mode="json", exclude_unset=True)


def route_body(task: Task, exclude: Collection[str], key: str | None) -> dict[str, Any]:
    """What ``/v1/route`` takes."""
    return {"task": fields(task), "exclude": list(exclude), "idempotency_key": key}


def report_of(decision: Decision | str, outcome: OutcomeLike, outcome_id: str | None) -> Report:
    """What ``/v1/outcomes`` takes, with an id of its delivery.

    Raises:
        InvalidIdError: if ``decision`` is neither a decision nor an id.
    """
    if not isinstance(decision, (str, Decision)):
        raise InvalidIdError(f"decision: expected a decision or its id, got {type(decision).__name__}")
    return {
        "decision_id": decision if isinstance(decision, str) else decision.decision_id,
        "outcome": Outcome.of(outcome).model_dump(mode="json", exclude_unset=True),
        "outcome_id": outcome_id or uuid4().hex,
    }


def decision_of(task: Task, told: dict[str, Any]) -> Decision:
    """What the service answered as a decision: it is logged there, and its id is what counts.

    What a newer service says beside that is passed over.
    """
    ranking, kept = told["ranking"], {name: told[name] for name in _KEPT if name in told}
    skipped = [{name: one[name] for name in ("strategy", "reason")} for one in told.get("skipped") or ()]
    return Decision.model_validate(
        {
            **{name: value for name, value in kept.items() if value is not None or name not in _MAPPINGS},
            "skipped": skipped,
            "raw_confidence": told["confidence"] if told["calibrated"] else None,
            "task": task,
            "at": int(told["decision_id"][:12], 16) / 1_000,
            "eligible": list(told["probabilities"]),
            "favourite": ranking[0] if ranking else None,
            "durable": True,
        }
    )


def told(response: httpx2.Response, field: str) -> Any:
    """What the service answered, which has a field of that name.

    Raises:
        ServiceUnavailableError: if somebody else answers at its address, such as a proxy with a page to log in.
        RouterError: what it raised, as its own class; else a ``ServiceError``.
    """
    if response.is_success or response.is_redirect:
        with suppress(ValueError):
            found = response.json()
            if response.is_success and isinstance(found, dict) and field in found:
                return found
        raise ServiceUnavailableError(
            f"what answers at {response.request.url} is no service of a router: {response.status_code} "
            f"{response.headers.get('location') or response.text[:200]!r}"
        )
    try:
        problem = response.json()
        detail, name = str(problem["detail"]), str(problem["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        detail, name = response.text[:500], ""
    if response.status_code in (401, 403):
        raise AccessDeniedError(detail)
    kind = getattr(errors, name, None) if name in errors.__all__ else None
    raise (kind or ServiceError)(detail or f"the service answers {response.status_code}, and does not say why")


def unavailable(response: httpx2.Response) -> ServiceUnavailableError:
    """What to raise where the service says that it cannot now."""
    return ServiceUnavailableError(f"the service answers {response.status_code}: {response.text[:500]}")


def asked_wait(response: httpx2.Response, wait: float) -> float:
    """How long to wait: what the service asks for, within bounds."""
    try:
        return min(max(float(response.headers.get("retry-after", wait)), wait), LONGEST_WAIT_S)
    except ValueError:
        return wait
