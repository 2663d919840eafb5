import runpy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from router_sdk.records import SCOPES

ROOT = Path(__file__).parents[3]
EXAMPLES = 60
STREAMS = "/v1/overview/events"
"""What goes on until its caller leaves."""


def test_the_checked_in_description_is_fresh():
    generate = runpy.run_path(str(ROOT / "docs" / "generate_openapi.py"))
    assert (ROOT / "docs" / "openapi.json").read_text() == generate["described"]()


def test_every_endpoint_is_described_in_words_with_its_refusals(client):
    described = client.app.openapi()
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation["description"], path
            assert all(answer["description"] for answer in operation["responses"].values())
            if path not in ("/livez", "/readyz", "/health"):
                assert {"401", "403", "429", "503"} <= operation["responses"].keys()
                assert operation["security"] == [{"key": []}]
    assert "HTTPValidationError" not in described["components"]["schemas"]


def ask_everything(keyed, examples):
    """Send each endpoint what its description allows, and what it does not; return undescribed answers."""
    schemathesis = pytest.importorskip("schemathesis")
    client, (_, key) = keyed.client, keyed.router.keys.create("all", scopes=SCOPES)
    schema = schemathesis.openapi.from_dict(client.app.openapi())
    strange, statuses = [], set()

    def ask(operation, mode):
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            options = case.as_transport_kwargs(base_url="http://127.0.0.1")
            options = {name: value for name, value in options.items() if value is not None and name != "cookies"}
            if isinstance(options.get("data"), bytes):
                options["content"] = options.pop("data")
            headers = {
                name: value
                for name, value in dict(options.pop("headers", {})).items()
                if name.lower() != "authorization" and value.isprintable()
            }
            try:
                answer = client.request(**options, headers={**headers, "authorization": f"Bearer {key}"})
            except (ValueError, UnicodeError):  # what no client can send
                return
            described = operation.definition.raw["responses"].get(str(answer.status_code))
            kind = answer.headers.get("content-type", "").partition(";")[0]
            statuses.add(answer.status_code)
            if described is None or (answer.content and kind not in described.get("content", {kind: None})):
                strange.append((operation.method, operation.path, answer.status_code, kind, answer.text[:200]))

        check()

    for found in schema.get_all_operations():
        if found.ok().path == STREAMS:
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                ask(found.ok(), mode)
            except Unsatisfiable:  # nothing about it can be wrong
                assert found.ok().path in ("/livez", "/readyz", "/health")
    assert {200, 204, 404, 409, 422} <= statuses
    return [one for one in strange if one]


@pytest.mark.reliability
def test_no_answer_is_a_fault_or_undescribed(keyed):
    assert ask_everything(keyed, EXAMPLES) == []
