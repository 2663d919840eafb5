"""Endpoints that neighbouring systems documented, with their bodies: for callers who have not moved yet.

They have no logic of their own: each says in their words what another endpoint says in ours.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from router_sdk import RouterError, Task
from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import json_response
from router_sdk_server.openapi import refusals
from router_sdk_server.problems import Refused
from router_sdk_server.service import service_of

open_to_all = APIRouter(tags=["compatibility"])
figures = APIRouter(tags=["compatibility"], route_class=guarded("metrics"))
routing = APIRouter(tags=["compatibility"], route_class=guarded("route"))
changing = APIRouter(tags=["compatibility"], route_class=guarded("admin"))

STRATEGIES = {"knowledge_distillation": "distillation"}
"""What an earlier system called a mode of fitting, and what it is called here."""

_MODES = ("distillation", "replay", "ewc", "hybrid", *STRATEGIES)
_COLUMNS = {"text": ["product_name", "details"], "label": "product_category_tree", "label_level": "first"}
_ENDINGS = (".csv", ".jsonl", ".json", ".gz")


class LearningMetrics(BaseModel):
    """How learning goes."""

    total_updates: int
    successful_updates: int
    failed_updates: int
    avg_update_time_ms: float | None
    samples_processed: int
    current_model_score: float | None
    improvement_rate: float | None


class AgentRow(BaseModel):
    """How one agent does."""

    agent_name: str
    success_rate: float | None
    avg_latency_ms: float | None
    total_executions: int


class SelectionBody(BaseModel):
    """A task, in their words."""

    model_config = ConfigDict(extra="forbid")

    task_type: Annotated[str, Field(min_length=1, max_length=200)]
    context: dict[str, JsonValue] = Field(default_factory=dict, max_length=10_000)
    top_k: Annotated[int, Field(ge=1, le=10_000)] = 3


class Recommendation(BaseModel):
    """One agent that is recommended."""

    agent_name: str
    score: float
    rank: int


class Recommendations(BaseModel):
    """Agents, best first."""

    recommendations: list[Recommendation]
    model_score: float | None
    timestamp: str


class LearningStatus(BaseModel):
    """Whether learning runs."""

    status: str
    running: bool
    kafka_topic: str | None
    batch_size: int
    models_loaded: list[str]


class PredictBody(BaseModel):
    """Texts to sort."""

    model_config = ConfigDict(extra="forbid")

    texts: Annotated[list[Annotated[str, Field(min_length=1, max_length=1_000_000)]], Field(max_length=1_000)]


class Prediction(BaseModel):
    """Who a text would go to; nothing is logged."""

    text: str
    label: str | None
    confidence: float


class Predictions(BaseModel):
    """One for each text, in their order."""

    predictions: list[Prediction]


class TrainAnswer(BaseModel):
    """A file was read, and a fit begun where the chain has one."""

    status: str
    strategy: str
    imported: int
    refused: int
    fit_id: str | None
    detail: str


@open_to_all.head("/health", include_in_schema=False)
@open_to_all.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Whether the service answers; as ``/readyz`` beside it."""
    return {"status": "healthy" if service_of(request).ready else "starting"}


@figures.get("/api/learning/metrics", response_model=LearningMetrics)
def learning_metrics(request: Request) -> Response:
    """How learning goes."""
    access_of(request).require_all_tenants()
    found = service_of(request).router.statistics()
    return json_response({name: found[name] for name in LearningMetrics.model_fields})


@figures.get("/api/learning/agents/performance", response_model=list[AgentRow])
def agents_performance(request: Request) -> Response:
    """How the agents do, best first."""
    access_of(request).require_all_tenants()
    return json_response(
        [
            {
                "agent_name": one.agent,
                "success_rate": one.lifetime["success"],
                "avg_latency_ms": one.lifetime["latency_ms"],
                "total_executions": one.executions,
            }
            for one in service_of(request).router.agent_performance()
        ]
    )


@routing.post(
    "/api/learning/predict/agent-selection",
    response_model=Recommendations,
    responses=refusals(_409="Nobody is left to choose from."),
)
def agent_selection(request: Request, body: SelectionBody) -> Response:
    """Agents for a kind of task, best first; nothing is logged. A tenant's key is told no score over all tenants."""
    router, access = service_of(request).router, access_of(request)
    task = access.own(Task.of({"task_type": body.task_type, "features": body.context}))
    ranking = router.rank(task, top_k=body.top_k)
    return json_response(
        {
            "recommendations": [
                {"agent_name": one.agent, "score": one.probability, "rank": one.rank} for one in ranking
            ],
            "model_score": router.statistics()["current_model_score"] if access.tenant is None else None,
            "timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
        }
    )


@figures.get("/api/learning/status", response_model=LearningStatus)
def learning_status(request: Request) -> Response:
    """Whether learning runs; there is no topic to follow, outcomes come over HTTP."""
    access_of(request).require_all_tenants()
    router = service_of(request).router
    status = router.status(last=1)
    learner = status["learner"]
    running = bool(learner["enabled"]) and not learner["broken"]
    return json_response(
        {
            "status": "running" if running else "stopped",
            "running": running,
            "kafka_topic": None,
            "batch_size": router.config.batch_events,
            "models_loaded": [stage["name"] for stage in status["strategies"]],
        }
    )


@figures.get("/model/info", response_model=dict[str, Any])
def model_info(request: Request) -> Response:
    """Which strategies answer, which version of each serves, and who can be chosen."""
    access_of(request).require_all_tenants()
    router = service_of(request).router
    return json_response(
        {
            "strategies": [
                {"name": stage["name"], "version": stage["model_version"]}
                for stage in router.status(last=1)["strategies"]
            ],
            "labels": [agent.name for agent in router.agents],
            "model_score": router.statistics()["current_model_score"],
        }
    )


@routing.post("/predict", response_model=Predictions, responses=refusals(_409="Nobody is left to choose from."))
def predict(request: Request, body: PredictBody) -> Response:
    """Who each text would go to; nothing is logged."""
    router, access = service_of(request).router, access_of(request)
    told = []
    for text in body.texts:
        best = router.rank(access.own(Task.of(text)), top_k=1)
        told.append(
            {"text": text, "label": best[0].agent, "confidence": best[0].probability}
            if best
            else {"text": text, "label": None, "confidence": 0.0}
        )
    return json_response({"predictions": told})


@changing.post("/train/incremental", response_model=TrainAnswer)
def train_incremental(
    request: Request,
    file: Annotated[UploadFile, File(description="product_name, product_category_tree, details; or JSON lines.")],
    strategy: Annotated[str, Form(description=f"One of {', '.join(_MODES)}.")] = "knowledge_distillation",
) -> Response:
    """Log a file's examples, new categories as new agents, and begin a fit where the chain has one."""
    access_of(request).require_all_tenants()
    if strategy not in _MODES:
        raise Refused(422, f"strategy: expected one of {', '.join(_MODES)}, got {strategy!r:.60}")
    mode = STRATEGIES.get(strategy, strategy)
    service = service_of(request)
    ending = next((ending for ending in _ENDINGS if (file.filename or "").lower().endswith(ending)), None)
    if ending is None:
        raise Refused(422, f"file: expected a name that ends in {', '.join(_ENDINGS)}, got {file.filename!r:.80}")
    content = file.file.read()
    with tempfile.TemporaryDirectory(prefix="router-upload-") as folder:
        path = Path(folder) / f"upload{ending}"
        path.write_bytes(content)
        foreign = ending == ".csv" and b"product_category_tree" in content[:4_096]
        report = service.router.examples.import_from(path, mapping=_COLUMNS if foreign else None, new_agents=True)
    fit_id, detail = None, "a fit was begun"
    try:
        fit_id = service.fits.follow(service.router.models.retrain(reason="/train/incremental", strategy=mode))
    except RouterError as error:  # what was read is learnt online all the same
        detail = str(error)
    return json_response(
        {
            "status": "training" if fit_id else "imported",
            "strategy": mode,
            "imported": report.imported,
            "refused": report.rejected,
            "fit_id": fit_id,
            "detail": detail,
        }
    )
