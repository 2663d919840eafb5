"""Processes that serve: one, or several that share the port and the store."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors import Multiprocess

from router_sdk_server.app import create_app

if TYPE_CHECKING:
    from router_sdk_server.settings import ServiceSettings


def run(settings: ServiceSettings, host: str, port: int, workers: int, *, verbose: bool) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        SystemExit: if the port is taken, or a worker cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="router-service-") as folder:
        _serve(settings.model_copy(update={"folder": Path(folder)}), host, port, workers, verbose=verbose)


def _serve(settings: ServiceSettings, host: str, port: int, workers: int, *, verbose: bool) -> None:
    config = uvicorn.Config(
        partial(create_app, settings),
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=verbose,
        log_level="info",
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    socket = config.bind_socket()
    if workers == 1:
        server = uvicorn.Server(config)
        server.run(sockets=[socket])
        if not server.started:
            sys.exit(3)
    else:
        Multiprocess(config, sockets=[socket]).run()
