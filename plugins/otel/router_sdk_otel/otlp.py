"""OTLP over HTTP: an export of logs is read for the evaluations in it, as JSON and as protobuf.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydantic_core import from_json

from router_sdk_otel import names
from router_sdk_otel.evaluations import Report, Scores

JSON, PROTOBUF = "application/json", "application/x-protobuf"


class Decoded(NamedTuple):
    """What an export holds.

    Attributes:
        reports: The evaluations of decisions in it, in their order.
        refused: Why each other evaluation in it is none, and each record that cannot be read.
    """

    reports: list[Report]
    refused: list[str]


def decoded(
    body: bytes,
    content_type: str,
    content_encoding: str = "",
    *,
    most_bytes: int = 4 << 20,
    scores: Scores | None = None,
    decision_of: Callable[[int, int], str | None] = lambda trace_id, span_id: None,
) -> Decoded:
    """Read an export; what in it is no evaluation is passed over.

    Args:
        body: As it came.
        content_type: ``application/json`` or ``application/x-protobuf``.
        content_encoding: ``gzip``, ``deflate`` or nothing.
        most_bytes: Largest size after decompression.
        scores: What evaluations' names mean.
        decision_of: The decision that a span stands for, by the ids of its trace and itself.

    Raises:
        ValueError: if it cannot be read; says why.
        ImportError: if it is protobuf, and opentelemetry-proto is not installed.
    """
    plain = _decompressed(body, content_encoding, most_bytes)
    kind = content_type.partition(";")[0].strip().lower()
    if kind == PROTOBUF:
        export = _from_protobuf(plain)
    elif kind == JSON:
        export = from_json(plain)  # nesting is bounded without touching the interpreter's own limit
    else:
        raise ValueError(f"an export is {JSON} or {PROTOBUF}, not {kind!r:.80}")
    reading, found = scores or Scores(), Decoded([], [])
    for record in _records(export):
        try:
            event = {str(one.get("key")): _value(one.get("value")) for one in _listed(record, "attributes")}
            if names.EVALUATION in (record.get("eventName"), event.get("event.name")):
                known = decision_of(_id(record.get("traceId")), _id(record.get("spanId")))
                found.reports.append(reading.read(event, known, _time(record)))
        except ValueError as error:
            found.refused.append(str(error))
    return found


def answered(refused: list[str], content_type: str) -> bytes:
    """The answer to an export, which says what was refused, in the export's own encoding."""
    said = {"rejectedLogRecords": str(len(refused)), "errorMessage": "; ".join(dict.fromkeys(refused))[:2_000]}
    told = {"partialSuccess": said} if refused else {}
    if content_type.partition(";")[0].strip().lower() == JSON:
        return json.dumps(told).encode()
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    return bytes(ParseDict(told, ExportLogsServiceResponse()).SerializeToString())


def _decompressed(body: bytes, encoding: str, most: int) -> bytes:
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() not in ("gzip", "deflate"):
        raise ValueError(f"an export is compressed by gzip or deflate, not {encoding!r:.80}")
    opened = zlib.decompressobj(wbits=47)  # either, with its header
    try:
        plain = opened.decompress(body, most)
    except zlib.error as error:
        raise ValueError(f"the export cannot be decompressed: {error}") from error
    if opened.unconsumed_tail or not opened.eof:
        raise ValueError(f"the export is cut off, or has more than {most:,} bytes once decompressed; send less at once")
    return plain


def _from_protobuf(body: bytes) -> Any:
    try:
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    except ModuleNotFoundError as error:
        raise ImportError(
            "OTLP in protobuf needs opentelemetry-proto: pip install 'router-sdk-otel[protobuf]'"
        ) from error
    try:
        return MessageToDict(ExportLogsServiceRequest.FromString(body))
    except (DecodeError, RecursionError) as error:
        raise ValueError(f"the export is no protobuf of that kind: {error}") from error


def _records(export: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(export, dict):
        raise ValueError("an export is an object with resourceLogs")
    for resource in _listed(export, "resourceLogs"):
        for scope in _listed(resource, "scopeLogs"):
            yield from _listed(scope, "logRecords")


def _listed(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name}: expected a list of objects")
    return found


def _time(record: dict[str, Any]) -> int:
    try:
        return int(record.get("timeUnixNano") or record.get("observedTimeUnixNano") or 0)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("its time is no number") from None


def _value(told: Any) -> Any:
    """An attribute's value; what is no text, number or boolean is no part of a score."""
    if not isinstance(told, dict):
        return None
    for name, kind in (("intValue", int), ("doubleValue", float)):
        if name in told:
            try:
                return kind(told[name])
            except (TypeError, ValueError, OverflowError):
                return None
    return told.get("stringValue", told.get("boolValue"))


def _id(told: Any) -> int:
    """A trace's or a span's id: hexadecimal in OTLP's JSON, in base64 where protobuf was made to JSON; 0 is none."""
    if not isinstance(told, str) or not told:
        return 0
    try:
        return int(told, 16) if len(told) in (16, 32) else int.from_bytes(base64.b64decode(told, validate=True))
    except ValueError:
        return 0
