"""LiteLLM's spend logs, in the forms in which they come, as history."""

import csv
import json
import os

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches prices

pytest.importorskip("litellm.types.router", reason="the framework of router-sdk-litellm")
pytest.importorskip("router_sdk_litellm", reason="plugins/litellm")

from router_sdk_litellm import import_spend_logs

from router_sdk import Agent
from router_sdk.errors import InvalidInputError

AGENTS = [Agent("gpt-small", description="greetings"), Agent("gpt-large", description="proofs and programs")]


def row(number, model="gpt-small", **more):
    """A row of LiteLLM_SpendLogs, as ``/spend/logs`` answers it."""
    return {
        "request_id": f"chatcmpl-{number}",
        "call_type": "acompletion",
        "spend": 0.002,
        "total_tokens": 120,
        "startTime": f"2026-11-01T10:00:{number:02d}.000Z",
        "endTime": f"2026-11-01T10:00:{number + 1:02d}.500Z",
        "model": model,
        "model_group": "chat",
        "metadata": {},
        "cache_hit": "False",
        "messages": [{"role": "user", "content": f"hello {number}"}],
        "session_id": "thread-7",
        "status": "success",
        **more,
    }


ERROR = {"error_information": {"error_class": "RateLimitError", "error_message": "slow down"}}
ROWS = [
    row(1),
    row(2, "gpt-large", spend=0.0, total_tokens=0, request_duration_ms=750),
    row(3, "gpt-large", status="failure", metadata=ERROR),
    row(4, cache_hit="True"),
    row(5, ""),
    row(6, messages={}, proxy_server_request={"messages": [{"role": "user", "content": "good evening"}]}),
    row(7, messages={}),
]


@pytest.fixture
def router(make_router):
    return make_router(["thompson"], agents=AGENTS)


def told(router):
    router.flush()
    return [(one.agent, one.signals.success, one.task.text or one.task.task_type) for one in router.examples]


EXPECTED = [
    ("gpt-small", True, "hello 1"),
    ("gpt-large", True, "hello 2"),
    ("gpt-large", False, "hello 3"),
    ("gpt-small", True, "good evening"),
    ("gpt-small", True, "chat"),
]


def written(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list({name: None for one in rows for name in one}))
            writer.writeheader()
            texts = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in one.items()} for one in rows]
            writer.writerows(texts)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n\n" for one in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", None])
def test_what_models_answered_is_history(router, tmp_path, suffix):
    logs = ROWS if suffix is None else written(tmp_path / f"logs{suffix}", ROWS)
    report = import_spend_logs(router, logs)
    assert (report.imported, report.rejected) == (5, 0)
    assert told(router) == EXPECTED
    first, second, third = list(router.examples)[:3]
    assert (first.signals.cost_usd, first.signals.tokens, first.signals.latency_ms) == (0.002, 120, 1_500.0)
    assert (second.signals.cost_usd, second.signals.tokens, second.signals.latency_ms) == (None, None, 750.0)
    assert third.reward == 0.0
    assert {example.source for example in router.examples} == {"observed"}
    assert first.task.session_id == "thread-7"


def test_what_was_imported_before_is_not_counted_again(router, tmp_path):
    import_spend_logs(router, ROWS[:3])
    report = import_spend_logs(router, written(tmp_path / "more.jsonl", ROWS))
    assert (report.imported, report.known) == (2, 3)
    assert len(told(router)) == 5


def test_agents_may_have_names_of_their_own(make_router):
    router = make_router(["thompson"], agents=["cheap"])
    assert import_spend_logs(router, ROWS, {"cheap": "gpt-small"}).imported == 3
    assert {agent for agent, _, _ in told(router)} == {"cheap"}


def test_models_may_become_agents(make_router):
    router = make_router(["thompson"], agents=["somebody"])
    assert import_spend_logs(router, ROWS).rejected == 5
    assert sorted(import_spend_logs(router, ROWS, new_agents=True).new_agents) == ["gpt-large", "gpt-small"]


def test_what_cannot_be_read_says_so(router, tmp_path):
    with pytest.raises(ValueError, match="expected objects"):
        import_spend_logs(router, written(tmp_path / "logs.json", [1, 2]))
    with pytest.raises(InvalidInputError):
        import_spend_logs(router, [])
