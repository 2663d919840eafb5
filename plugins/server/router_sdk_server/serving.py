"""Processes that serve: one, or several that share the port and the store."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI

    from router_sdk_server.service import Service
    from router_sdk_server.settings import ServiceSettings

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""What ``prometheus_client`` reads, when it is imported, to know where workers count together."""

_log = logging.getLogger(__name__)


def run(settings: ServiceSettings, host: str, port: int, log_config: dict[str, Any]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        settings: How the service behaves.
        host: Where to listen.
        port: And on which port; 0 takes a free one.
        log_config: How each writes its log.

    Raises:
        InvalidInputError: if nobody can listen there; the message says what to do.
        SystemExit: if the service cannot start.
    """
    listening = _listen(host, port)
    # uvicorn raises the signal again once all is answered; by default that ends the process with its folder left behind
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="router-service-") as made:
        folder = Path(made)
        if settings.workers > 1:
            (folder / "metrics").mkdir()
            os.environ[FOLDER_VARIABLE] = str(folder / "metrics")  # before prometheus_client is imported there
        _serve(settings.model_copy(update={"folder": folder}), listening, log_config)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that has the address, for as many processes as there will be."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except (OSError, UnicodeError) as error:  # a name may be none that the name service can even be asked for
        made.close()
        raise InvalidInputError(_why_not(error, host, port)) from error
    made.set_inheritable(True)
    return made


def _why_not(error: Exception, host: str, port: int) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return (
            f"--port {port}: another program listens on {_address(host, port)} already, perhaps another router serve; "
            "end that one, or take another port, such as 0 for a free one"
        )
    if number == errno.EACCES:
        return f"--port {port}: this user may not listen there; take one from 1024 on"
    why = getattr(error, "strerror", None) or error
    return (
        f"--host {host}: nobody can listen there ({why}); 127.0.0.1 is for this machine alone, 0.0.0.0 for all who "
        "reach it"
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _serve(settings: ServiceSettings, listening: socket.socket, log_config: dict[str, Any]) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    class Workers(Multiprocess):
        def keep_subprocess_alive(self) -> None:
            for process in self.processes:
                process.child_conn.close()  # a worker's own end alone stays open: should it die, that is seen at once
            super().keep_subprocess_alive()

    config = uvicorn.Config(
        partial(_application, settings),
        factory=True,
        workers=settings.workers,
        access_log=False,
        log_config=log_config,
        server_header=False,
        timeout_graceful_shutdown=30,
        timeout_worker_healthcheck=30,
    )
    _log.info("running on http://%s, Ctrl-C ends it", _address(*listening.getsockname()[:2]))
    if settings.workers == 1:
        server = uvicorn.Server(config)
        server.run(sockets=[listening])
        if not server.started:
            sys.exit(3)
    else:
        Workers(config, sockets=[listening]).run()


def _application(settings: ServiceSettings) -> FastAPI:
    from router_sdk_server.app import create_app

    app = create_app(settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        _tell_first(number, app.state.service)
    return app


def _tell_first(number: int, service: Service) -> None:
    """Let a worker's service know of a signal before uvicorn does, which waits until every answer has ended."""
    then = signal.getsignal(number)

    def handle(number: int, frame: FrameType | None) -> None:
        service.ending = True
        if callable(then):
            then(number, frame)

    if callable(then) and threading.current_thread() is threading.main_thread():
        signal.signal(number, handle)
