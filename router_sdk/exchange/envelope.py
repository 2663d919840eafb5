"""What a message holds, whatever it is wrapped in: plain JSON, a CloudEvent, or log records of OpenTelemetry.

CloudEvents 1.0 are understood in both modes of its bindings (https://github.com/cloudevents/spec): all of it in the
body, or the attributes in headers ``ce_…`` (Kafka) and ``ce-…`` (NATS). Of OpenTelemetry's OTLP in JSON
(https://opentelemetry.io/docs/specs/otlp) each log record is a row.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic_core import from_json

from router_sdk.errors import InvalidInputError

ENVELOPE = "cloudevent"
"""The column that holds what a CloudEvent says of itself: ``cloudevent.type``, ``cloudevent.source``."""

_LONGEST_ID = 200


class Row(NamedTuple):
    """One event.

    Attributes:
        values: Its fields.
        id: Its own name, of at most 200 characters, or None: the same however often it is sent.
    """

    values: Mapping[str, Any]
    id: str | None


def unwrapped(body: bytes, headers: Mapping[str, str]) -> list[Row]:
    """The events that a message holds.

    Raises:
        InvalidInputError: if it is no JSON, or no object; says which.
    """
    given = _parsed(body)
    if isinstance(given.get("resourceLogs"), list):
        return [Row(row, None) for row in _log_records(given)]
    attributes, row = _cloud_event(given, headers)
    if isinstance(row.get("attributes"), list):
        row = {**row, "attributes": _attributes(row["attributes"])}
    if not attributes:
        return [Row(row, None)]
    named = [attributes.get(name) for name in ("source", "id")]
    if not all(isinstance(one, str) and one for one in named):
        raise InvalidInputError("CloudEvent: source and id must be given: together they tell it from any other")
    name = " ".join(map(str, named))
    if name.encode(errors="replace").decode() != name:
        raise InvalidInputError("CloudEvent: source and id must be texts in Unicode: half a surrogate pair is none")
    return [Row({**row, ENVELOPE: attributes}, short_id(name))]


def short_id(name: str) -> str:
    """The name itself, or a digest of one that is too long to be kept."""
    if len(name) <= _LONGEST_ID:
        return name
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = from_json(body)  # nesting is bounded without touching the interpreter's own limit
    except ValueError as error:
        raise InvalidInputError(f"not JSON in UTF-8: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInputError(f"expected one JSON object, got {type(found).__name__}")
    return found


# -- CloudEvents


def _cloud_event(given: dict[str, Any], headers: Mapping[str, str]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """What it says of itself, where it is one, and its data."""
    told = {name[3:]: value for name, value in headers.items() if name[:3] in ("ce_", "ce-")}
    if "specversion" in told:
        return told, given
    if "specversion" not in given:
        return {}, given
    told = {name: value for name, value in given.items() if name not in ("data", "data_base64")}
    if "data_base64" in given:
        try:
            return told, _parsed(base64.b64decode(given["data_base64"], validate=True))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"CloudEvent: data_base64: {error}") from None
    data = given.get("data")
    if isinstance(data, str):
        return told, _parsed(data.encode("utf-8", "surrogatepass"))
    if not isinstance(data, dict):
        raise InvalidInputError(f"CloudEvent: data: expected a JSON object, got {type(data).__name__}")
    return told, data


# -- OpenTelemetry


def _log_records(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each log record with its attributes, and those of its resource, as mappings."""
    for resource in _objects(given["resourceLogs"]):
        of_resource = _attributes(_object(resource.get("resource")).get("attributes"))
        for scope in _objects(resource.get("scopeLogs")):
            for record in _objects(scope.get("logRecords")):
                named = _attributes(record.get("attributes"))
                yield {**record, "attributes": named, "resource": of_resource, "body": _value(record.get("body"))}


def _attributes(given: object) -> dict[str, Any]:
    return {str(one.get("key")): _value(one.get("value")) for one in _objects(given)}


def _value(given: object) -> Any:
    """An AnyValue as what it holds; whole numbers are spelled as texts."""
    if not isinstance(given, dict) or len(given) != 1:
        return given
    ((kind, value),) = given.items()
    if kind == "intValue":
        try:
            return int(value)
        except (TypeError, ValueError):
            raise InvalidInputError(f"OTLP: intValue: expected a whole number, got {value!r:.60}") from None
    if kind == "kvlistValue":
        return _attributes(_object(value).get("values"))
    if kind == "arrayValue":
        return [_value(one) for one in _object(value).get("values", ())]
    return value if kind in ("stringValue", "doubleValue", "boolValue", "bytesValue") else given


def _object(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def _objects(given: object) -> list[dict[str, Any]]:
    if given is not None and not (isinstance(given, list) and all(isinstance(one, dict) for one in given)):
        raise InvalidInputError(f"OTLP: expected a list of objects, got {given!r:.60}")
    return given or []
