"""The description of the service for programs: what FastAPI writes of the endpoints, with keys, scopes and problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from router_sdk_server.access import OPEN
from router_sdk_server.problems import MEDIA_TYPE, Problem

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_EVERY = {
    "401": "No key, or one that is unknown or revoked.",
    "403": "The key does not allow this, or is bound to another tenant.",
    "429": "The key has asked too often; Retry-After says when to go on.",
    "503": "The store is busy or closed; nothing was done, so try again.",
    "504": "It took too long; what was asked may still be done.",
}
_WITH_BODY = {
    "400": "The body cannot be read.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is no JSON.",
}


def refusals(**said: str) -> dict[int | str, dict[str, Any]]:
    """Further answers of an endpoint that are problems: ``refusals(_404="No such decision.")``."""
    return {int(name.removeprefix("_")): {"description": words, "content": _PROBLEM} for name, words in said.items()}


def described(schema: dict[str, Any], routes: Sequence[Any]) -> dict[str, Any]:
    """What FastAPI wrote, with the answers that every endpoint has, and what each needs of a key."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schema["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key that router keys create made."}
    }
    needed = {
        (path, method.lower()): getattr(route, "needed", ()) for route in routes for path, method in _places(route)
    }
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            if path in OPEN:
                continue
            told = {**_EVERY, **(_WITH_BODY if "requestBody" in operation else {})}
            takes_something = "requestBody" in operation or operation.get("parameters")
            if "422" in answers or takes_something:
                told["422"] = "What was sent cannot be used; says which field, and what it may hold."
                answers.pop("422", None)
            if "{" in path:
                told["404"] = "Not found: nothing there has the name that the path gives."
            for status, words in told.items():
                answers.setdefault(status, {"description": words, "content": _PROBLEM})
            operation["security"] = [{"key": []}]
            if scopes := " or ".join(f"`{scope}`" for scope in needed.get((path, method), ())):
                operation["description"] = f"{operation.get('description', '')}\n\nScope: {scopes}.".strip()
    return schema


def _places(route: Any) -> list[tuple[str, str]]:
    return [(route.path_format, method) for method in getattr(route, "methods", None) or ()]
