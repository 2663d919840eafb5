"""LiteLLM's spend logs as history: what models answered, what it took and what it cost."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk import Router
from router_sdk_litellm.conversation import text_of

if TYPE_CHECKING:
    from router_sdk.exchange.observations import ImportReport


def import_spend_logs(
    router: Router,
    logs: str | Path | Iterable[Mapping[str, Any]],
    models: Mapping[str, str] | None = None,
    *,
    new_agents: bool = False,
) -> ImportReport:
    """Log what is in LiteLLM's spend logs, each line once, however often it is imported.

    A line has a text where the proxy stores prompts (``store_prompts_in_spend_logs``); one without teaches how well,
    fast and dear a model is on the whole: its task has a type alone, the group that was called. A line out of a cache,
    of a call without a model, or of a model that is nobody's (with ``models``), is left out.

    Args:
        router: Who learns.
        logs: A file of ``LiteLLM_SpendLogs`` (JSON lines, a JSON array as ``/spend/logs`` answers, CSV), or its rows.
        models: By agent, the model as the log calls it; None calls each agent as its model.
        new_agents: Whether models that are no agents become some; else their lines are refused.

    Raises:
        ValueError: if the file cannot be read.
        InvalidInputError: if it holds no line that can be learnt from.
    """
    agents = None if models is None else {model: agent for agent, model in models.items()}
    rows = _read(Path(logs)) if isinstance(logs, str | Path) else iter(logs)
    lines = [_line(row, (lambda model: model) if agents is None else agents.get) for row in rows]
    total = None
    for worded in (True, False):  # an import's lines either all have a text, or none has
        found = [line for line in lines if line is not None and ("text" in line) == worded]
        if found or not (worded or total):
            report = _import(router, found, new_agents)
            total = report if total is None else _sum(total, report)
    assert total is not None
    return total


def _import(router: Router, lines: list[dict[str, Any]], new_agents: bool) -> ImportReport:
    columns = {name: name for line in lines for name in line}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.flush()
        return router.examples.import_from(file.name, mapping=columns, new_agents=new_agents)


def _sum(first: ImportReport, second: ImportReport) -> ImportReport:
    return type(first)(**{name: getattr(first, name) + getattr(second, name) for name in first.__dataclass_fields__})


def _line(row: Mapping[str, Any], agent_of: Callable[[str], str | None]) -> dict[str, Any] | None:
    """A row as a line of an import; None where no model answered."""
    agent = agent_of(str(row.get("model") or ""))
    if not agent or str(row.get("cache_hit")).lower() == "true":
        return None
    body = _json(row.get("proxy_server_request"))
    asked = _json(row.get("messages")) or (
        body.get("messages") or body.get("input") if isinstance(body, dict) else None
    )
    failed = str(row.get("status") or "success").lower() == "failure"
    spend, tokens = _number(row.get("spend")), _number(row.get("total_tokens"))
    words = text_of(asked)
    found = {
        "text": words,
        "task_type": None if words else row.get("model_group") or row.get("call_type"),
        "id": row.get("request_id"),
        "time": row.get("startTime"),
        "agent": agent,
        "success": not failed,
        "error": _error(row) if failed else None,
        "latency_ms": _number(row.get("request_duration_ms")) or _between(row.get("startTime"), row.get("endTime")),
        "cost_usd": spend if spend else None,  # 0.0 is that of a model without a price: it is not free
        "tokens": int(tokens) if tokens else None,
        "session_id": row.get("session_id"),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _error(row: Mapping[str, Any]) -> str:
    told = _json(row.get("metadata"))
    about = told.get("error_information") if isinstance(told, dict) else None
    words = [about.get("error_class"), about.get("error_message")] if isinstance(about, dict) else []
    return ": ".join(str(one) for one in words if one)[:100_000] or "failure"


def _between(start: Any, end: Any) -> float | None:
    try:
        took = datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))
    except (TypeError, ValueError):
        return None
    return max(took.total_seconds() * 1_000, 0.0)


def _number(told: Any) -> float | None:
    try:
        return None if told in (None, "") else float(told)
    except (TypeError, ValueError):
        return None


def _json(told: Any) -> Any:
    """A column's value, which is JSON in a text in CSV files and some exports."""
    if not isinstance(told, str):
        return told
    try:
        return json.loads(told)
    except ValueError:
        return told or None


def _read(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".csv":
            yield from csv.DictReader(file)
            return
        begin = file.read(1)
        file.seek(0)
        for row in json.load(file) if begin == "[" else map(json.loads, filter(str.strip, file)):
            if not isinstance(row, dict):
                raise ValueError(f"{path}: expected objects, got {row!r:.60}")
            yield row
