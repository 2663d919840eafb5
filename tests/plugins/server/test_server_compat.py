"""What neighbouring systems documented: bodies as they stand in their pages, by shape and by type."""

import json
from datetime import datetime

import pytest

GOLDEN = {
    "/api/learning/metrics": {
        "total_updates": 150,
        "successful_updates": 148,
        "failed_updates": 2,
        "avg_update_time_ms": 45.3,
        "samples_processed": 1500,
        "current_model_score": 0.87,
        "improvement_rate": 0.05,
    },
    "/api/learning/agents/performance": [
        {"agent_name": "ReActAgent", "success_rate": 0.92, "avg_latency_ms": 1200.5, "total_executions": 450}
    ],
    "/api/learning/status": {
        "status": "running",
        "running": True,
        "kafka_topic": "agent-outcomes",
        "batch_size": 10,
        "models_loaded": ["agent_selection"],
    },
}
SELECTION = {
    "recommendations": [{"agent_name": "ReActAgent", "score": 0.89, "rank": 1}],
    "model_score": 0.87,
    "timestamp": "2025-10-09T12:34:56",
}


def shape(value):
    """Names and types; a number may be whole, and what is not known yet is None."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


@pytest.fixture
def taught(client):
    """Enough outcomes that every figure is known."""
    router = client.app.state.service.router
    for i in range(220):
        router.record(router.route("x"), {"success": i % 3 > 0, "latency_ms": 900.0 + i})
    router.flush()
    return client


def test_bodies_are_as_they_were_documented(taught):
    for path, documented in GOLDEN.items():
        told = taught.get(path).json()
        if path.endswith("/status"):
            assert told.pop("kafka_topic") is None  # there is no topic: outcomes come over HTTP
            documented = {name: value for name, value in documented.items() if name != "kafka_topic"}
        assert shape(told) == shape(documented), path
        assert list(told if isinstance(told, dict) else told[0]) == list(
            documented if isinstance(documented, dict) else documented[0]
        )


def test_an_agent_is_recommended_in_their_words(taught):
    body = {"task_type": "compliance_analysis", "context": {"complexity": "high", "domain": "financial"}, "top_k": 3}
    told = taught.post("/api/learning/predict/agent-selection", json=body).json()
    assert shape(told) == shape(SELECTION)
    assert [one["rank"] for one in told["recommendations"]] == [1, 2, 3]
    assert datetime.fromisoformat(told["timestamp"]).tzinfo is None


def test_the_four_without_a_documented_answer_have_one(client):
    assert client.get("/health").json()["status"] in ("healthy", "starting")
    assert client.get("/model/info").json()["labels"] == ["billing", "fraud", "openai/gpt-5"]
    told = client.post("/predict", json={"texts": ["Samsung Galaxy S24 Ultra"]}).json()
    assert list(told["predictions"][0]) == ["text", "label", "confidence"]
    assert client.post("/predict", json={"texts": []}).json() == {"predictions": []}


PRODUCTS = (
    "product_name,product_category_tree,details\n"
    'Galaxy S24,"[Electronics >> Mobile Phones >> Smartphones]",a phone\n'
    'Atlas,"[Books >> Reference]",maps\n'
)


@pytest.mark.parametrize(("said", "understood"), [("knowledge_distillation", "distillation"), ("ewc", "ewc")])
def test_a_file_of_products_becomes_examples_and_agents(client, said, understood):
    told = client.post(
        "/train/incremental", files={"file": ("new_products.csv", PRODUCTS)}, data={"strategy": said}
    ).json()
    assert (told["status"], told["strategy"], told["imported"], told["refused"]) == ("imported", understood, 2, 0)
    assert "learns online only" in told["detail"]  # nothing in this chain has a fit
    assert {"Electronics", "Books"} <= {one["name"] for one in client.get("/v1/agents").json()["agents"]}


def test_lines_of_json_are_understood_too(client):
    lines = json.dumps({"text": "refund", "agent": "billing", "success": True}) + "\n{\n"
    told = client.post("/train/incremental", files={"file": ("more.jsonl", lines)}).json()
    assert (told["imported"], told["refused"]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "strategy"), [("new.csv", "magic"), ("new.exe", "replay"), ("../../x", "replay"), ("", "replay")]
)
def test_what_cannot_be_used_is_said(client, name, strategy):
    answer = client.post("/train/incremental", files={"file": (name, PRODUCTS)}, data={"strategy": strategy})
    assert answer.status_code == 422
