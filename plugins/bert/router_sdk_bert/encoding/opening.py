"""From settings to an encoder: the cached export is found by the settings alone, or made once, in a child process."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError
from router_sdk_bert.encoding.description import DESCRIPTION, FORMAT
from router_sdk_bert.encoding.export_child import NO_WEIGHTS
from router_sdk_bert.encoding.opened import Opened, read_opened
from router_sdk_bert.encoding.sealed_folder import MANIFEST
from router_sdk_bert.encoding.settings import EncoderSettings
from router_sdk_bert.files import private_folder

logger = logging.getLogger(__name__)

_EXPORT_LIMIT_S = 1_800.0
_POLL_S = 0.05
_FOR_EXPORT = ("torch", "transformers", "onnx")
_EXPORT = "router_sdk_bert.encoding.export_child"
_EXPORT_OF = 2
"""Raise it when exports make something else of the same files: cached ones are made anew, others are still read."""
_OWN = ("router_sdk", "router_sdk_bert")

Stopped = Callable[[], bool]
"""Asked often while something takes long; once True it is given up."""


def default_cache() -> Path:
    """The user's folder for exported models."""
    stated = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(stated) if stated else Path.home() / ".cache") / "router_sdk" / "encoders"


def open_folder(settings: EncoderSettings, cache: Path | None, stopped: Stopped = lambda: False) -> Opened:
    """The configured model's export: from the cache, made now, or ``model`` itself where that is one."""
    folder = Path(settings.model).expanduser()
    if (folder / DESCRIPTION).is_file():
        return read_opened(folder, settings)
    entry = (default_cache() if cache is None else cache) / cache_key(settings)
    try:
        return _cached(entry, settings) or _export_once(settings, entry, stopped)
    except OSError as error:
        raise EncoderUnavailableError(f"the export cannot be kept in {entry.parent}: {error}") from error


def cache_key(settings: EncoderSettings) -> str:
    """Name of an export in the cache: from the settings that shape it, and for a folder from what it holds."""
    folder = Path(settings.model).expanduser()
    source: list[object] = [settings.model, settings.revision]
    if folder.is_dir():
        files = sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file())
        states = [(path.relative_to(folder).as_posix(), path.stat()) for path in files]
        source = [str(folder.resolve()), *((name, state.st_size, state.st_mtime_ns) for name, state in states)]
    shaping = [FORMAT, _EXPORT_OF, settings.wanted_backend, settings.pooling, *source]
    name = re.sub(r"[^\w.-]+", "-", Path(settings.model).name)[:40]
    return f"{name}-{hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:16]}"


def _cached(entry: Path, settings: EncoderSettings) -> Opened | None:
    if not (entry / MANIFEST).is_file():
        return None
    try:
        return read_opened(entry, settings)
    except CorruptArtifactError as error:
        logger.warning("a cached export is damaged, and will be made anew: %s", error)
        return None


def _export_once(settings: EncoderSettings, entry: Path, stopped: Stopped) -> Opened:
    missing = [name for name in _FOR_EXPORT if importlib.util.find_spec(name) is None]
    if missing:
        raise EncoderUnavailableError(
            f"{settings.model} has to be exported once, which needs {', '.join(missing)}: pip install "
            "'router-sdk-bert[fit]', or export it elsewhere and set model to the exported folder"
        )
    drafts = entry.with_name(f"{entry.name}.drafts")
    with _turn(entry, stopped):
        made_meanwhile = _cached(entry, settings)
        if made_meanwhile is not None:
            return made_meanwhile
        shutil.rmtree(entry, ignore_errors=True)
        shutil.rmtree(drafts, ignore_errors=True)  # What was left where this process was killed, too.
        try:
            _in_child(settings, drafts / entry.name, stopped)
            (drafts / entry.name).rename(entry)
        finally:
            shutil.rmtree(drafts, ignore_errors=True)
    return read_opened(entry, settings)


@contextmanager
def _turn(entry: Path, stopped: Stopped) -> Iterator[None]:
    """Hold what keeps two processes from exporting to one place at once.

    Raises:
        EncoderUnavailableError: if it was given up, or somebody else took too long.
    """
    lock = FileLock(private_folder(entry.parent) / f"{entry.name}.lock", mode=0o600)
    try:
        lock.acquire(timeout=_EXPORT_LIMIT_S, poll_interval=_POLL_S, cancel_check=stopped)
    except Timeout as error:
        if stopped():
            raise _given_up() from error
        raise EncoderUnavailableError(f"another process has been exporting to {entry} for too long") from error
    try:
        yield
    finally:
        lock.release()


def _in_child(settings: EncoderSettings, folder: Path, stopped: Stopped) -> None:
    """Export in a process of its own: what serves shall not carry torch for the rest of its life."""
    own = settings.model_dump(mode="json", include=set(EncoderSettings.model_fields))  # A strategy's config has more.
    logger.info("exporting %s to ONNX, once", settings.model)
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
        asked.write(json.dumps({"folder": str(folder), "settings": own}).encode())
        asked.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", _EXPORT],
            stdin=asked,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, "PYTHONPATH": _import_path()},
        )
        try:
            _wait(child, stopped)
        finally:
            child.kill()
            child.wait()
        said.seek(0)
        last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
    if child.returncode == NO_WEIGHTS:
        raise EncoderUnavailableError(last)
    if child.returncode:
        raise EncoderUnavailableError(f"{settings.model!r} cannot be exported: {last or child.returncode}")


def _wait(child: subprocess.Popen[bytes], stopped: Stopped) -> None:
    """Wait until it has ended.

    Raises:
        EncoderUnavailableError: if it was given up, or took too long.
    """
    deadline = time.monotonic() + _EXPORT_LIMIT_S
    while child.poll() is None:
        if stopped():
            raise _given_up()
        if time.monotonic() > deadline:
            raise EncoderUnavailableError(f"an export took longer than {_EXPORT_LIMIT_S / 60:.0f} minutes")
        time.sleep(_POLL_S)


def _given_up() -> EncoderUnavailableError:
    return EncoderUnavailableError("nobody needs the encoder any more: opening it was given up")


def _import_path() -> str:
    """Where the child finds what this process found; last, behind the standard library, where these packages are.

    The current folder is left out: what lies there may be called like anybody's module.
    """
    found = [importlib.util.find_spec(name) for name in _OWN]
    own = [str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin is not None]
    return os.pathsep.join([*(entry for entry in sys.path if entry and not _is_here(entry)), *own])


def _is_here(folder: str) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:
        return False
