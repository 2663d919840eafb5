"""Is it better: challengers beside what serves, on real tasks, and what another router would have earned on the log."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import Name, json_response
from router_sdk_server.openapi import refusals
from router_sdk_server.problems import Refused
from router_sdk_server.service import Service, service_of

reading = APIRouter(tags=["experiments"], route_class=guarded("metrics"))
changing = APIRouter(tags=["experiments"], route_class=guarded("admin"))

Experiment = Annotated[str, Path(min_length=1, max_length=200, description="The experiment's name.")]
Stage = Name | tuple[Name, dict[Name, JsonValue]]
"""A strategy's name, or its name and settings."""
Position = Annotated[int, Field(ge=0, le=2**53)] | Annotated[str, Field(min_length=1, max_length=100)]
"""A position of the log, a decision's id or a time."""

_UNKNOWN = "No such experiment."


class ArmBody(BaseModel):
    """A challenger: a chain, what serves with a version of one strategy, or what is configured, frozen."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="Letters, digits, _ and -, at most 40.")
    strategies: Annotated[list[Stage], Field(min_length=1, max_length=20)] | None = None
    version: tuple[Name, Annotated[int, Field(ge=1, le=2**31)]] | None = Field(
        default=None, description="A strategy, and the number of its version."
    )
    learning: bool = Field(default=True, description="False freezes it as it is when the experiment begins.")
    shadow: bool = Field(default=False, description="It proposes, and never serves.")
    begin: Literal["log", "now"] = Field(default="log", description="What a new chain knows: what the log teaches.")


class Beginning(BaseModel):
    """What to compare with what serves."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="Its name for ever: letters, digits, _ and -, at most 40.")
    challengers: Annotated[list[ArmBody], Field(min_length=1, max_length=20)]
    shares: dict[Name, float] | None = Field(
        default=None, max_length=21, description="What each challenger gets of the units; none gives each the same."
    )
    settings: dict[Name, JsonValue] = Field(
        default_factory=dict, max_length=100, description="What of the configured [experiment] to override."
    )


class Ending(BaseModel):
    """Who serves from now on, and why."""

    model_config = ConfigDict(extra="forbid")

    winner: Name | None = Field(default=None, description="A challenger; none is the champion.")
    reason: Annotated[str, Field(min_length=1, max_length=1_000)] = "by hand"


class ExperimentAnswer(BaseModel):
    """How an experiment stands, in short."""

    name: str
    status: str
    started_at: float
    actor: str | None
    ended_at: float | None
    winner: str | None
    serves: bool
    reason: str | None
    shares: dict[str, float]


class ExperimentsAnswer(BaseModel):
    """Experiments, oldest first."""

    experiments: list[ExperimentAnswer]


class EvaluationBody(BaseModel):
    """Which router to judge, by which part of the log."""

    model_config = ConfigDict(extra="forbid")

    strategies: Annotated[list[Stage], Field(min_length=1, max_length=20)] | None = Field(
        default=None, description="Its chain; none is the one that serves."
    )
    versions: dict[Name, Annotated[int, Field(ge=0, le=2**31)]] | None = Field(
        default=None, max_length=20, description="Fitted versions by strategy; 0 is the strategy without a fit."
    )
    since: Position | None = Field(
        default="7d",
        description="How long ago (7d, 12h, 2w), or behind which position of the log, decision's id or time decisions "
        "judge; null takes all.",
    )
    upto: Position | None = Field(default=None, description="Up to which position, decision's id or time.")
    tenant: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="Whose decisions judge; an empty one is those of tasks without a tenant."
    )
    task_type: Name | None = None
    estimator: Name = Field(
        default="doubly_robust", description="doubly_robust, self_normalized, inverse_propensity or switch."
    )
    least_ess: float = Field(
        default=100.0, ge=0.0, le=1e9, description="Effective sample size below which the answer is 'insufficient'."
    )


# -- live experiments


@reading.get("/v1/experiments", response_model=ExperimentsAnswer)
def experiments(request: Request) -> Response:
    """All experiments, those that run and those that have ended, oldest first."""
    access_of(request).require_all_tenants()
    found = service_of(request).router.experiments.list()
    return json_response({"experiments": [one.to_dict() for one in found]})


@changing.post(
    "/v1/experiments",
    status_code=201,
    response_model=ExperimentAnswer,
    responses=refusals(
        _404="No such strategy or version.",
        _409="The name was used, another experiment serves challengers, or none can be run here.",
    ),
)
def start(request: Request, what: Beginning) -> Response:
    """Let challengers serve a part of the tasks beside what serves; other workers follow within two seconds.

    A challenger that learns what the log teaches does so first, which may take longer than a request may; it begins
    all the same, and ``GET /v1/experiments/{name}`` says so.
    """
    access = access_of(request)
    access.require_all_tenants()
    begun = service_of(request).router.experiments
    made = begun.start(
        what.name,
        [arm.model_dump(exclude_unset=True) for arm in what.challengers],
        shares=what.shares,
        actor=access.actor,
        **begun.settings(what.settings).model_dump(),
    )
    return json_response(made.to_dict(), 201, {"location": f"/v1/experiments/{made.name}"})


@reading.get("/v1/experiments/{name}", response_model=dict[str, Any], responses=refusals(_404=_UNKNOWN))
def show(request: Request, name: Experiment) -> Response:
    """An experiment: its arms, what they came to, and what is still needed."""
    return json_response(_known(request, name).router.experiments.show(name))


@reading.get(
    "/v1/experiments/{name}/report",
    responses={
        200: {"description": "A page that needs nothing beside it.", "content": {"text/html": {}}},
        **refusals(_404=_UNKNOWN, _409="Nothing but shadows takes part in it."),
    },
    response_class=Response,
)
def report(request: Request, name: Experiment) -> Response:
    """A page about an experiment: its sequences over time, its arms, its guardrails."""
    service = _known(request, name)
    with tempfile.TemporaryDirectory(prefix="router-report-") as folder:
        page = service.router.experiments.report(name, FilePath(folder) / "report.html").read_bytes()
    return Response(page, media_type="text/html; charset=utf-8")


@changing.post(
    "/v1/experiments/{name}/stop",
    response_model=ExperimentAnswer,
    responses=refusals(_404=_UNKNOWN, _409="It has ended, has no such challenger, or was changed meanwhile."),
)
def stop(request: Request, name: Experiment, how: Ending | None = None) -> Response:
    """End an experiment; the champion serves all again, or the winner that is named."""
    service, how = _known(request, name), how or Ending()
    ended = service.router.experiments.stop(name, how.winner, reason=how.reason, actor=access_of(request).actor)
    return json_response(ended.to_dict())


def _known(request: Request, name: str) -> Service:
    """The service, which has an experiment of that name.

    Raises:
        Refused: if it has none, or the key is bound to a tenant.
    """
    access_of(request).require_all_tenants()
    service = service_of(request)
    if all(one.name != name for one in service.router.experiments.list()):
        raise Refused(404, f"there is no experiment {name!r:.60}; GET /v1/experiments lists them")
    return service


# -- evaluation from the log


@changing.post(
    "/v1/evaluate",
    response_model=dict[str, Any],
    responses=refusals(
        _404="No such strategy, version or decision.",
        _409="This worker judges another router just now, or the strategy cannot be judged by this log.",
    ),
)
async def evaluate(request: Request, what: EvaluationBody | None = None) -> Response:
    """What another router would have earned on the log, and whether that is more; it changes nothing.

    One is judged at a time in each worker. What takes longer than a request may is given up.
    """
    access_of(request).require_all_tenants()
    service, what = service_of(request), what or EvaluationBody()
    given_up = threading.Event()
    try:
        told = await asyncio.to_thread(_judged, service, what, given_up)
    finally:
        given_up.set()
    return json_response(told)


def _judged(service: Service, what: EvaluationBody, given_up: threading.Event) -> dict[str, Any]:
    """What the router says of another one, unless nobody waits for it any more.

    Raises:
        Refused: if one is judged already.
    """

    def look_up(words: str, done: float) -> None:
        if given_up.is_set() or service.ending:
            raise Refused(504, f"it took too long, and was given up with {done:.0%} done")

    if not service.evaluating.acquire(blocking=False):
        raise Refused(409, "another router is judged just now; ask again once that is done")
    try:
        found = service.router.experiments.off_policy_value(
            what.strategies,
            versions=what.versions,
            since=what.since,
            upto=what.upto,
            tenant=what.tenant,
            task_type=what.task_type,
            estimator=what.estimator,
            least_ess=what.least_ess,
            progress=look_up,
        )
    finally:
        service.evaluating.release()
    return found.to_dict()
