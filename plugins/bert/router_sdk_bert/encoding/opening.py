"""From settings to an encoder that is ready to serve: an exported folder, read from the cache or made once."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from filelock import FileLock, Timeout

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError, no_fork
from router_sdk.private_files import private_folder
from router_sdk_bert.config import Backend, EncoderSettings, Precision
from router_sdk_bert.encoding.checkpoint import DESCRIPTION, FORMAT, MODEL_FILES, EncoderDescription, read_description
from router_sdk_bert.encoding.comparison import LEAST_AGREEMENT, LEAST_COSINE
from router_sdk_bert.encoding.onnx_backend import OnnxSession
from router_sdk_bert.encoding.sealed_folder import MANIFEST, SealedFolder
from router_sdk_bert.encoding.tokenizer import TextTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_TOKENIZER = "tokenizer.json"
_FIRST = "a first text is always slow"
_EXPORT_LIMIT_S = 1_800.0
_POLL_S = 0.05
_FOR_EXPORT = ("torch", "transformers", "onnx")
_EXPORT = "router_sdk_bert.encoding.export_child"
NO_WEIGHTS = 3
"""Exit code of that, where there is nothing to export."""
_EXPORT_OF = 2
"""Raise it when exports make something else of the same files: cached ones are made anew, others are still read."""
_OWN = ("router_sdk", "router_sdk_bert")


class Runner(Protocol):
    """What turns token ids into normalised vectors."""

    precision: Precision

    def __call__(self, tokens: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """One vector of shape ``(d,)`` per text."""


@dataclass(frozen=True)
class Opened:
    """An exported folder, ready to serve.

    Attributes:
        folder: Where it stands.
        description: Its ``encoder.json``.
        tokens: Texts to ids.
        run: Ids to vectors.
        backend: What ``run`` is.
        tag: Under which its vectors are logged.
        note: What is not as it was asked for; empty if all is.
    """

    folder: Path
    description: EncoderDescription
    tokens: TextTokens
    run: Runner
    backend: Backend
    tag: str
    note: str


def read_opened(folder: Path, settings: EncoderSettings) -> Opened:
    """Get an exported folder ready to serve. A fork waits until it is.

    Raises:
        CorruptArtifactError: if a file is missing, is not what was written, or makes nothing of a text.
        EncoderUnavailableError: if a library is missing.
    """
    with no_fork():
        return _read(SealedFolder(folder), settings)


def _read(sealed: SealedFolder, settings: EncoderSettings) -> Opened:
    description = read_description(sealed.read(DESCRIPTION))
    longest = min(settings.max_tokens, description.longest)
    tokens = TextTokens(sealed.read(_TOKENIZER), longest, settings.preparation, description.prompt)
    backend = _usable(settings.wanted_backend, description, sealed)
    run = _runner(backend, description, sealed, int8_batches=settings.int8_batches)
    _try(run, tokens, description.dimension)
    return Opened(
        folder=sealed.path,
        description=description,
        tokens=tokens,
        run=run,
        backend=backend,
        tag=description.tag(settings, sealed.digest(_TOKENIZER), run.precision),
        note=note_of(settings.wanted_backend, backend, description),
    )


def _usable(wanted: Backend, description: EncoderDescription, sealed: SealedFolder) -> Backend:
    failed = any(check.backend == wanted and not check.passed for check in description.checks)
    if not failed and (wanted == "torch" or MODEL_FILES[wanted] in sealed):
        return wanted
    return description.backend


def _runner(backend: Backend, description: EncoderDescription, sealed: SealedFolder, *, int8_batches: bool) -> Runner:
    if backend != "torch":
        precision: Precision = "int8" if backend == "onnx-int8" else "fp32"
        return OnnxSession(sealed.read(MODEL_FILES[backend]), precision, int8_batches=int8_batches)
    from router_sdk_bert.encoding.torch_backend import TorchBackend, load_module

    return TorchBackend(load_module(sealed.path, description.pooling))


def _try(run: Runner, tokens: TextTokens, dimension: int) -> None:
    """See that a text becomes a vector: the files are whole, but somebody else may have written them."""
    try:
        (vector,) = run([tokens(_FIRST)])
    except Exception as error:  # The libraries' own exceptions share no base but Exception.
        raise CorruptArtifactError(f"the encoder makes nothing of a text: {error}") from error
    if vector.shape != (dimension,) or not np.isfinite(vector).all():
        raise CorruptArtifactError(f"the encoder makes vectors of shape {vector.shape} that are not what it states")


def note_of(wanted: Backend, backend: Backend, description: EncoderDescription) -> str:
    """Why another back-end serves than was wanted; empty where the wanted one does."""
    if wanted == backend:
        return ""
    failed = next((check for check in description.checks if check.backend == wanted and not check.passed), None)
    if failed is None:
        return f"{backend} serves: the folder was exported without {wanted}"
    if failed.problem:
        return f"{backend} serves: {wanted} {failed.problem}"
    return (
        f"{backend} serves: {wanted} agrees with torch on {failed.agreement:.2%} of choices, with a mean cosine of "
        f"{failed.cosine:.4f}, where {LEAST_AGREEMENT:.0%} and {LEAST_COSINE} are asked for"
    )


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


def warn_of(note: str, description: EncoderDescription) -> None:
    """Say once, when it is decided, that another back-end serves than was wanted, and what that asks of anybody."""
    if note:
        logger.warning(
            'encoder %s: %s. It answers as well, and takes longer: nothing need be done; backend = "%s" asks for it',
            *(description.model, note, description.backend),
        )


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
    opened = read_opened(entry, settings)
    warn_of(opened.note, opened.description)
    return opened


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
    code, last = in_child(_EXPORT, {"folder": str(folder), "settings": own}, stopped)
    if code == NO_WEIGHTS:
        raise EncoderUnavailableError(last)
    if code:
        raise EncoderUnavailableError(f"{settings.model!r} cannot be exported: {last or code}")


def in_child(module: str, request: Mapping[str, Any], stopped: Stopped = lambda: False) -> tuple[int, str]:
    """Let a module of this package work as a process of its own, which can be ended at any moment.

    Args:
        module: Its full name.
        request: What it reads from stdin, as JSON values.
        stopped: Asked often; once True it is ended.

    Returns:
        Its exit code, and the last line that it wrote to stderr.

    Raises:
        EncoderUnavailableError: if it was given up, or took too long.
    """
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        with no_fork():  # a fork in between would inherit the pipe by which Popen learns that the child has started
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
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
        return child.returncode, said.read().decode(errors="replace").strip().rpartition("\n")[2]


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
            raise EncoderUnavailableError(f"a child process took longer than {_EXPORT_LIMIT_S / 60:.0f} minutes")
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
