"""Fits, the versions that came of them, and which of them serves."""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from router_sdk.records import version_name
from router_sdk_server.access import access_of, guarded
from router_sdk_server.bodies import Name, json_response
from router_sdk_server.gateway.exchange import AUTO
from router_sdk_server.openapi import refusals
from router_sdk_server.problems import Refused
from router_sdk_server.service import Service, service_of

listing = APIRouter(tags=["gateway"], route_class=guarded("route", "metrics"))
reading = APIRouter(tags=["models"], route_class=guarded("metrics"))
changing = APIRouter(tags=["models"], route_class=guarded("admin"))

Strategy = Annotated[str, Path(min_length=1, max_length=200, description="The strategy's name.")]
Version = Annotated[int, Path(ge=1, le=2**31, description="The version's number.")]
FitId = Annotated[str, Path(min_length=1, max_length=100, description="What POST /v1/retrain answered.")]
Reason = Annotated[str, Field(min_length=1, max_length=1_000)]

_LOOK_S = 0.25
_UNDER_WAY = {"waiting", "running"}
_UNKNOWN = "No such strategy or version."
_OVERRIDES_NOT = {"wait", "reason"}


class Model(BaseModel):
    """What a chat completion can be asked of, in OpenAI's form."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "router-sdk"


class ModelsAnswer(BaseModel):
    """Models in OpenAI's form; to keys that may read figures also the fitted versions, oldest first."""

    object: Literal["list"] = "list"
    data: list[Model]
    versions: list[dict[str, Any]] | None = None


class Rows(BaseModel):
    """Rows, newest first."""

    rows: list[dict[str, Any]]


class Serving(BaseModel):
    """Which version serves from now on; none is the strategy without any fit."""

    strategy: str
    version: int | None


class RolledBack(Serving):
    """What a rollback did; ``taken_back`` is the version that served until then."""

    taken_back: int | None
    effect: str


class Promotion(BaseModel):
    """How to let a version serve."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = "by hand"
    force: bool = Field(default=False, description="Although the gate refused it.")
    pin: bool = Field(default=True, description="False lets the next fit that passes the gate replace it.")


class Rollback(BaseModel):
    """How far to go back."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=0, le=2**31)] | None = Field(
        default=None, description="Which, of all that ever served; 0 is without any fit, none what served before."
    )
    reason: Reason | None = None
    to_seq: Annotated[int, Field(ge=0, le=2**53)] | Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="A position of the log, a decision's id or a time; none is the version before."
    )


class Pin(BaseModel):
    """What is to serve and stay."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=1, le=2**31)] | None = None


class Retrain(BaseModel):
    """What to fit."""

    model_config = ConfigDict(extra="forbid")

    strategy: Name | None = Field(default=None, description="None takes the first in the chain that has a fit.")
    reason: Reason = "by hand"
    settings: dict[Name, JsonValue] = Field(
        default_factory=dict, max_length=100, description="What of its configuration to override, such as epochs."
    )


class FitAnswer(BaseModel):
    """How a fit stands."""

    fit_id: str
    strategy: str
    reason: str
    state: str
    share: float
    words: str
    started: float
    version: int | None


# -- versions


@listing.get("/v1/models", response_model=ModelsAnswer, responses=refusals(_404=_UNKNOWN))
def models(request: Request, strategy: Name | None = None) -> Response:
    """What chat completions can be asked of: ``auto``, and each agent that has an upstream.

    A key that may read figures, and is bound to no tenant, is told the fitted versions, too: of one strategy, or of
    all in the chain, oldest first.
    """
    service, access = service_of(request), access_of(request)
    told: dict[str, Any] = {"object": "list", "data": [Model(id=name).model_dump() for name in _askable(service)]}
    if access.may("metrics") and access.tenant is None:
        told["versions"] = [version.to_dict() for version in service.router.models.versions(strategy)]
    return json_response(told)


def _askable(service: Service) -> list[str]:
    return [AUTO, *(name for name in service.upstreams.targets(service.router)[0] if name != AUTO)]


@reading.get("/v1/models/{strategy}/history", response_model=Rows, responses=refusals(_404=_UNKNOWN))
def history(request: Request, strategy: Strategy) -> Response:
    """What served when, who said so, and why, newest first."""
    access_of(request).require_all_tenants()
    found = service_of(request).router.models.history(strategy)
    return json_response({"rows": [one._asdict() for one in found]})


@reading.get("/v1/models/{strategy}/fits", response_model=Rows, responses=refusals(_404=_UNKNOWN))
def ended_fits(request: Request, strategy: Strategy, limit: Annotated[int, Query(ge=1, le=1_000)] = 20) -> Response:
    """Attempts to fit that have ended, newest first, by any process on the store."""
    access_of(request).require_all_tenants()
    return json_response({"rows": service_of(request).router.models.fits(strategy, limit=limit)})


@reading.get("/v1/models/{strategy}/{version}/report", response_model=dict[str, Any], responses=refusals(_404=_UNKNOWN))
def report(request: Request, strategy: Strategy, version: Version) -> Response:
    """What the fit of a version measured: curves, confusion before and after, forgetting."""
    access_of(request).require_all_tenants()
    return json_response(service_of(request).router.models.report(strategy, version).to_dict())


@changing.get(
    "/v1/models/{strategy}/{version}/export",
    responses={
        200: {"description": "A tar archive of the version's folder.", "content": {"application/gzip": {}}},
        **refusals(_404=_UNKNOWN),
    },
    response_class=Response,
)
def export(request: Request, strategy: Strategy, version: Version) -> Response:
    """A version's files, as ``router import-version`` takes them once they are unpacked."""
    access_of(request).require_all_tenants()
    name = f"{strategy}-{version}"
    with tempfile.TemporaryDirectory(prefix="router-export-") as folder:
        written = service_of(request).router.models.export_to(strategy, version, FilePath(folder) / "version")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(written, arcname=name)
    headers = {"content-disposition": f'attachment; filename="{name}.tar.gz"'}
    return Response(packed.getvalue(), 200, headers, "application/gzip")


@changing.post(
    "/v1/models/{strategy}/{version}/promote",
    response_model=Serving,
    responses=refusals(_404=_UNKNOWN, _409="The gate refused it, or what serves was changed meanwhile."),
)
def promote(request: Request, strategy: Strategy, version: Version, how: Promotion | None = None) -> Response:
    """Let a version serve, between two requests."""
    access_of(request).require_all_tenants()
    how = how or Promotion()
    told = {**how.model_dump(), "actor": access_of(request).actor}
    made = service_of(request).router.models.promote(strategy, version, **told)
    return json_response({"strategy": strategy, "version": made.version})


@changing.post(
    "/v1/models/{strategy}/rollback",
    response_model=RolledBack,
    responses=refusals(_404=_UNKNOWN, _409="That version is in quarantine."),
)
def rollback(request: Request, strategy: Strategy, how: Rollback | None = None) -> Response:
    """Let the version before serve again, or any that ever served; it stays until a person says otherwise."""
    access_of(request).require_all_tenants()
    how, models = how or Rollback(), service_of(request).router.models
    served = next((entry.version for entry in models.history(strategy)), None)
    version = models.rollback(strategy, **how.model_dump(), actor=access_of(request).actor)
    effect = [] if served is None else [f"version {served} is taken back"]
    if version != served:
        effect.append(f"{version_name(version)} serves until a person says otherwise")
    if how.to_seq is not None:
        effect.append(
            f"what came behind {how.to_seq} teaches {strategy} nothing; router status has it under Quarantined"
        )
    told = {"strategy": strategy, "version": version, "taken_back": served, "effect": "; ".join(effect)}
    return json_response(told)


@changing.post("/v1/models/{strategy}/pin", response_model=Serving, responses=refusals(_404=_UNKNOWN))
def pin(request: Request, strategy: Strategy, what: Pin | None = None) -> Response:
    """Keep what serves, or a version, whatever fits come to."""
    access_of(request).require_all_tenants()
    version = None if what is None else what.version
    number = service_of(request).router.models.pin(strategy, version, actor=access_of(request).actor)
    return json_response({"strategy": strategy, "version": number})


@changing.post("/v1/models/{strategy}/unpin", status_code=204, responses=refusals(_404=_UNKNOWN))
def unpin(request: Request, strategy: Strategy) -> Response:
    """Let fits that pass the gate replace what serves again."""
    access_of(request).require_all_tenants()
    service_of(request).router.models.unpin(strategy, actor=access_of(request).actor)
    return Response(status_code=204)


# -- fits


@changing.post(
    "/v1/retrain",
    status_code=202,
    response_model=FitAnswer,
    responses=refusals(_404=_UNKNOWN, _409="Sixteen fits wait already, or nothing in the chain has a fit."),
)
def retrain(request: Request, what: Retrain | None = None) -> Response:
    """Fit a new version in the background; it serves once it has passed the gate.

    While another fit of this worker runs its state is ``waiting``; while one of another worker does, it ends as
    ``stopped`` and says so.
    """
    access_of(request).require_all_tenants()
    service, what = service_of(request), what or Retrain()
    if clash := sorted(_OVERRIDES_NOT & what.settings.keys()):
        raise Refused(422, f"settings: {', '.join(clash)} is no part of a strategy's configuration")
    settings: dict[str, Any] = dict(what.settings)
    fit = service.router.models.retrain(what.strategy, reason=what.reason, **settings)
    fit_id = service.fits.follow(fit)
    told = service.fits.told(fit_id)
    return json_response(told, 202, {"location": f"/v1/fits/{fit_id}"})


@listing.get("/v1/models/{model:path}", response_model=Model, responses=refusals(_404="No such model."))
def model(request: Request, model: Annotated[str, Path(min_length=1, max_length=200)]) -> Response:
    """Whether a chat completion can be asked of one."""
    if model not in _askable(service_of(request)):
        raise Refused(404, f"no model is called {model!r:.210}; GET /v1/models lists them")
    return json_response(Model(id=model).model_dump())


@reading.get("/v1/fits/{fit_id}", response_model=FitAnswer, responses=refusals(_404="No such fit."))
def fit(request: Request, fit_id: FitId) -> Response:
    """How far a fit is, or how it ended; of those that were begun since the service was started."""
    access_of(request).require_all_tenants()
    return json_response(service_of(request).fits.told(fit_id))


@reading.get(
    "/v1/fits/{fit_id}/events",
    responses={
        200: {"description": "The fit each time it has changed, until it ends.", "content": {"text/event-stream": {}}},
        **refusals(_404="No such fit."),
    },
    response_class=Response,
)
async def fit_events(request: Request, fit_id: FitId) -> Response:
    """How far a fit is, told as server-sent events until it ends."""
    access_of(request).require_all_tenants()
    service = service_of(request)
    fits = service.fits
    first = await asyncio.to_thread(fits.told, fit_id)

    async def events() -> AsyncIterator[bytes]:
        told: dict[str, Any] | None = None
        newest = first
        while True:
            if newest != told:
                told = newest
                yield b"event: fit\ndata: " + to_json(told) + b"\n\n"
            if told["state"] not in _UNDER_WAY or service.ending or await request.is_disconnected():
                return
            await asyncio.sleep(_LOOK_S)
            newest = await asyncio.to_thread(fits.told, fit_id)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


@changing.post(
    "/v1/fits/{fit_id}/stop", status_code=202, response_model=FitAnswer, responses=refusals(_404="No such fit.")
)
def stop_fit(request: Request, fit_id: FitId) -> Response:
    """Ask a fit to stop; what it checkpointed is used by the next fit of the same data."""
    access_of(request).require_all_tenants()
    fits = service_of(request).fits
    fits.stop(fit_id)
    return json_response(fits.told(fit_id), 202)
