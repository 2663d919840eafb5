"""Programs of their own at the price of a fork: ``subprocess.Popen`` and ``run``, without an interpreter's start.

A new interpreter takes half a second of processor time until it has a router. Where a program's start is not what is
tested, it is forked from a server instead that has imported what programs here need, and does nothing else: no thread,
no store, no router. The child becomes ``__main__`` of its script or ``-c``, with its own arguments, environment, folder
and files, and comes to its end as any interpreter does: falling off the end, ``sys.exit``, a traceback, a signal.
What a program imports, and what its flags are, is tested with ``subprocess`` itself.
"""

import atexit
import inspect
import json
import os
import select
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

PLUGINS = ("router_sdk_heuristic", "router_sdk_thompson", "router_sdk_bert")
PRELOADED = ["router_sdk.router", "router_sdk.config", "router_sdk.assembly", "router_sdk.cli.app"]
PRELOADED += [f"{plugin}.strategy" for plugin in PLUGINS]
PRELOADED += ["router_sdk.testing", "asyncio", "numpy.random", "pytest", "rich.table", "sqlite_utils"]
PRELOADED += ["threadpoolctl", "tokenizers", "typer.rich_utils"]
"""Beside the entry points of all installed plugins.

Without onnxruntime: it begins a thread when it is imported, and an inherited one cannot be ended.
"""
STARTING = ("PYTHONHASHSEED", "PYTHONUTF8", "PYTHONDEVMODE", "PYTHONWARNINGS")
STARTING += ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""Variables that are read when an interpreter or a library starts: a program with others than here starts by itself."""


# -- in the server


def serve(orders: socket.socket) -> dict[str, Any]:
    """Fork a child for each order, and tell how it ended; in a child, return what it is to be."""
    ends: dict[int, tuple[int, int]] = {}
    while True:
        ready, _, _ = select.select([orders, *ends], [], [])
        for end in ready:
            if end is not orders:
                child, told = ends.pop(end)
                os.write(told, os.waitpid(child, 0)[1].to_bytes(4, "big"))
                os.close(told)
                os.close(end)
        if orders not in ready:
            continue
        size, files, _, _ = socket.recv_fds(orders, 4, 4)
        if not size:
            os._exit(0)
        order = json.loads(orders.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        *standard, told = files
        child = os.fork()
        if child == 0:
            orders.close()
            for end, (_, other) in ends.items():
                os.close(end)
                os.close(other)
            os.close(told)
            for number, file in enumerate(standard):
                os.dup2(file, number)
                os.close(file)
            return dict(order)
        for file in standard:
            os.close(file)
        os.write(told, child.to_bytes(4, "big"))
        ends[os.pidfd_open(child)] = child, told


def become(order: dict[str, Any]) -> Any:
    """Take on a program's arguments, environment, folder and streams; its code, to be run as ``__main__``."""
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        coding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
        buffering = 1 if number == 2 or os.isatty(number) else -1
        kind = errors or ("backslashreplace" if number == 2 else None)
        stream = open(number, mode, buffering, coding or None, kind, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.warnoptions += order["warnings"]
    warnings._processoptions(order["warnings"])  # as an interpreter does when it starts
    sys.argv = order["command"]
    installed = [place for place in sys.path if place not in order["path"]]  # the folder of this file, too
    sys.path[:] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *installed]
    if sys.argv[0] == "-c":
        return compile(sys.argv.pop(1), "<string>", "exec")
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    return compile(Path(sys.argv[0]).read_bytes(), sys.argv[0], "exec")


# -- told from outside


_AT_FIRST = dict(os.environ)
"""Before any test changed what is found where."""


class _Server:
    """A server of programs, started when the first one is."""

    def __init__(self) -> None:
        self.orders, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=_AT_FIRST,
        )
        theirs.close()
        atexit.register(self.close)

    def close(self) -> None:
        self.orders.close()
        self._process.wait()


_servers: dict[int, _Server] = {}
"""That of this process, by its number: what is forked from it takes one of its own."""


class Popen(subprocess.Popen[Any]):
    """A program that is forked, where ``[sys.executable, flags, script or -c, arguments]`` can be; else one as ever."""

    def _execute_child(self, *given: Any) -> None:
        called = inspect.signature(subprocess.Popen._execute_child).bind(self, *given).arguments
        warned, command = _split(called["args"])
        environment = dict(os.environ if called["env"] is None else called["env"])
        self._ended = None
        other = any(environment.get(name) != _AT_FIRST.get(name) for name in STARTING)
        if not command or other or called["pass_fds"] or not hasattr(os, "pidfd_open"):
            subprocess.Popen._execute_child(self, *given)
            return
        server = _servers.get(os.getpid()) or _servers.setdefault(os.getpid(), _Server())
        folder = os.fspath(called["cwd"] or os.getcwd())
        order = {"command": command, "warnings": warned, "environment": environment, "folder": folder}
        order["path"] = _AT_FIRST.get("PYTHONPATH", "").split(os.pathsep)
        pipes = [called[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        files = [number if pipe == -1 else pipe for number, pipe in enumerate(pipes)]
        self._ended, told = os.pipe()
        body = json.dumps(order).encode()
        socket.send_fds(server.orders, [len(body).to_bytes(4, "big")], [*files, told])
        server.orders.sendall(body)
        os.close(told)
        self.pid = int.from_bytes(os.read(self._ended, 4), "big")
        self._child_created = True
        self._close_pipe_fds(*(called[name] for name in _PIPES))

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._ended is None:
            return subprocess.Popen._try_wait(self, wait_flags)
        if wait_flags & os.WNOHANG and not select.select([self._ended], [], [], 0)[0]:
            return 0, 0
        status = int.from_bytes(os.read(self._ended, 4), "big")
        os.close(self._ended)
        return self.pid, status

    def _internal_poll(self, *given: Any, **named: Any) -> int | None:
        if self._ended is None:
            return subprocess.Popen._internal_poll(self, *given, **named)
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)
        return self.returncode


_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def _split(command: Any) -> tuple[list[str], list[str]]:
    """What ``-W`` says, and the rest; no rest where it is another program, or has other flags."""
    if isinstance(command, str | bytes) or os.fspath(command[0]) != sys.executable:
        return [], []
    words, warned = [os.fspath(word) for word in command[1:]], []
    while words and words[0] == "-W":
        warned.append(words[1])
        words = words[2:]
    usual = bool(words) and (words[0] == "-c" or not words[0].startswith("-"))
    return warned, words if usual else []


def run(command: Any, *, timeout: float, check: bool = False, input: str | None = None, **options: Any) -> Any:
    """``subprocess.run`` with such a program, whose output is kept as text."""
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE) if options.pop("capture_output", False) else {}
    if input is not None:
        pipes["stdin"] = subprocess.PIPE
    with Popen(command, **pipes, **options) as process:
        try:
            stdout, stderr = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    if check and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stdout, stderr)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


if __name__ == "__main__":
    import contextlib
    import gc
    import importlib
    import signal

    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from router_sdk.plugins import discover

    for _entry_point, _ in discover():
        with contextlib.suppress(Exception):  # one that cannot be loaded says so in the program
            _entry_point.load()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _program = serve(socket.socket(fileno=int(sys.argv[1])))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _code = become(_program)
    if sys.argv[0] == "-c":
        del __file__  # its children would look there for their parent's code
    else:
        __file__ = sys.argv[0]
    exec(_code)
