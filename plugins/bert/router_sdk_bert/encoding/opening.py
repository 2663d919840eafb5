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
from pathlib import Path

from filelock import FileLock, Timeout

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError
from router_sdk_bert.encoding.description import DESCRIPTION, FORMAT
from router_sdk_bert.encoding.opened import Opened, read_opened
from router_sdk_bert.encoding.sealed_folder import MANIFEST
from router_sdk_bert.encoding.settings import EncoderSettings
from router_sdk_bert.encoding.weights import find_weights

logger = logging.getLogger(__name__)

_EXPORT_LIMIT_S = 1_800
_FOR_EXPORT = ("torch", "transformers", "onnx")


def default_cache() -> Path:
    """The user's folder for exported models."""
    stated = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(stated) if stated else Path.home() / ".cache") / "router_sdk" / "encoders"


def open_folder(settings: EncoderSettings, cache: Path | None) -> Opened:
    """The configured model's export: from the cache, made now, or ``model`` itself where that is one."""
    folder = Path(settings.model).expanduser()
    if (folder / DESCRIPTION).is_file():
        return read_opened(folder, settings)
    entry = (default_cache() if cache is None else cache) / cache_key(settings)
    try:
        return _cached(entry, settings) or _export_once(settings, entry)
    except OSError as error:
        raise EncoderUnavailableError(f"the export cannot be kept in {entry.parent}: {error}") from error


def cache_key(settings: EncoderSettings) -> str:
    """Name of an export in the cache: from the settings that shape it, and for a folder from what it holds."""
    folder = Path(settings.model).expanduser()
    source: list[object] = [settings.model, settings.revision]
    if folder.is_dir():
        states = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
        source = [str(folder.resolve()), *((name, state.st_size, state.st_mtime_ns) for name, state in states)]
    shaping = [FORMAT, settings.wanted_backend, settings.pooling, *source]
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


def _export_once(settings: EncoderSettings, entry: Path) -> Opened:
    missing = [name for name in _FOR_EXPORT if importlib.util.find_spec(name) is None]
    if missing:
        raise EncoderUnavailableError(
            f"{settings.model!r} was not exported here yet, and that needs {', '.join(missing)}: "
            "pip install 'router-sdk-bert[fit]', or export it elsewhere and set model to the exported folder"
        )
    entry.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(entry.with_name(f"{entry.name}.lock"), timeout=_EXPORT_LIMIT_S):
            made_meanwhile = _cached(entry, settings)
            if made_meanwhile is not None:
                return made_meanwhile
            shutil.rmtree(entry, ignore_errors=True)
            drafts = entry.with_name(f"{entry.name}.drafts")
            shutil.rmtree(drafts, ignore_errors=True)  # What a killed export left.
            _in_child(find_weights(settings), drafts / entry.name, settings)
            (drafts / entry.name).rename(entry)
            shutil.rmtree(drafts, ignore_errors=True)
    except Timeout as error:
        raise EncoderUnavailableError(f"another process has been exporting to {entry} for too long") from error
    return read_opened(entry, settings)


def _in_child(checkpoint: Path, folder: Path, settings: EncoderSettings) -> None:
    """Export in a process of its own: what serves shall not carry torch for the rest of its life."""
    own = settings.model_dump(mode="json", include=set(EncoderSettings.model_fields))  # A strategy's config has more.
    request = {"checkpoint": str(checkpoint), "folder": str(folder), "settings": own}
    logger.info("exporting %s to ONNX, once", settings.model)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        done = subprocess.run(
            [sys.executable, "-m", "router_sdk_bert.encoding.export_child"],
            input=json.dumps(request),
            stdout=subprocess.DEVNULL,
            stderr=said,
            text=True,
            timeout=_EXPORT_LIMIT_S,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        said.seek(0)
        last = said.read().strip().rpartition("\n")[2]
    if done.returncode:
        raise EncoderUnavailableError(f"{settings.model!r} cannot be exported: {last or done.returncode}")
