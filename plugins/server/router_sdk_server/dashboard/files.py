"""The page's own files: open to everybody, for they hold nothing of the store; all else takes a key."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

PAGE = "/"
FOLDER = "/dashboard/"
_SHARED, _OWN = "router_sdk.pages", "router_sdk_server.dashboard"
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HOMES = {
    **dict.fromkeys(("page.css", "uPlot.min.css", "uPlot.iife.min.js", "charts.js"), _SHARED),
    **dict.fromkeys(
        (
            *("dashboard.css", "icon.svg", "app.js", "dom.js", "service.js", "figures.js"),
            *(
                "overview.js",
                "steps.js",
                "versions.js",
                "experiments.js",
                "health.js",
                "try.js",
                "label.js",
                "sessions.js",
            ),
        ),
        _OWN,
    ),
}
KEYS = FOLDER + "keys.json"
PATHS = frozenset({PAGE, KEYS, *(FOLDER + name for name in _HOMES)})
"""What needs no key."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Nothing from elsewhere, nothing written into the page, nobody around it."""

endpoints = APIRouter(include_in_schema=False)


@cache
def content(name: str) -> tuple[bytes, str]:
    """A file's bytes, and what they are known by."""
    home = files(_HOMES.get(name, _OWN))
    found = (home if _HOMES.get(name) == _SHARED else home.joinpath("static")).joinpath(name).read_bytes()
    return found, f'"{sha256(found).hexdigest()[:32]}"'


def _answer(request: Request, name: str) -> Response:
    body, tag = content(name)
    headers = {**HEADERS, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, f"{_KINDS[name.rpartition('.')[2]]}; charset=utf-8")


@endpoints.get(PAGE)
async def page(request: Request) -> Response:
    """The page, which is the same for everybody."""
    return _answer(request, "index.html")


@endpoints.get(KEYS)
async def keys(request: Request) -> Response:
    """Whether a viewer needs a key."""
    needed = not request.app.state.service.settings.insecure
    return Response(to_json({"needed": needed}), 200, HEADERS, "application/json")


@endpoints.get(FOLDER + "{name}")
async def file(request: Request, name: str) -> Response:
    """Its styles and scripts."""
    return _answer(request, name) if name in _HOMES else Response(status_code=404)
