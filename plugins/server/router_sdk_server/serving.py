"""Processes that serve: one, or several that share the port and the store."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI

    from router_sdk_server.service import Service
    from router_sdk_server.settings import ServiceSettings

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""What ``prometheus_client`` reads, when it is imported, to know where workers count together."""


def run(settings: ServiceSettings, host: str, port: int, log_config: dict[str, Any]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        settings: How the service behaves.
        host: Where to listen.
        port: And on which port; 0 takes a free one.
        log_config: How each writes its log.

    Raises:
        SystemExit: if the port is taken, or the service cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="router-service-") as made:
        folder = Path(made)
        if settings.workers > 1:
            (folder / "metrics").mkdir()
            os.environ[FOLDER_VARIABLE] = str(folder / "metrics")  # before prometheus_client is imported there
        _serve(settings.model_copy(update={"folder": folder}), host, port, log_config)


def _serve(settings: ServiceSettings, host: str, port: int, log_config: dict[str, Any]) -> None:
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
        host=host,
        port=port,
        workers=settings.workers,
        access_log=False,
        log_config=log_config,
        server_header=False,
        timeout_graceful_shutdown=30,
        timeout_worker_healthcheck=30,
    )
    socket = config.bind_socket()
    if settings.workers == 1:
        server = uvicorn.Server(config)
        server.run(sockets=[socket])
        if not server.started:
            sys.exit(3)
    else:
        Workers(config, sockets=[socket]).run()


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
