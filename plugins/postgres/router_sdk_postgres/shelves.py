"""Where folders stand for all machines: in the database itself, or at a URL that fsspec knows (``s3``, ``gs``, …)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import InvalidConfigError, Shelf, StoreUnavailableError, no_fork
from router_sdk_postgres.faults import translated

if TYPE_CHECKING:
    from router_sdk_postgres.server import Server

_PIECE_BYTES = 1 << 20
TABLE = """
CREATE TABLE IF NOT EXISTS artifacts (
    kind text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, path text COLLATE "C" NOT NULL,
    piece bigint NOT NULL, data bytea NOT NULL, at double precision NOT NULL, PRIMARY KEY (kind, name, path, piece)
);
ALTER TABLE artifacts ALTER COLUMN data SET STORAGE EXTERNAL"""
"""Pieces of files, uncompressed: what is large is compressed already, or does not compress."""


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a folder by their names in it; a file's own name is empty."""
    if folder.is_file():
        yield "", folder
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def place(target: Path, name: str) -> Path:
    """Where a file of a folder goes, which is inside it.

    Raises:
        StoreUnavailableError: if its name leads elsewhere.
    """
    path = target / name if name else target
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise StoreUnavailableError(f"{name!r:.80} leads out of the folder that it is in")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class DatabaseShelf(Shelf):
    """In a table of pieces.

    Args:
        writing: Opens a connection for writing.
    """

    def __init__(self, writing: Callable[[], Server]) -> None:
        self._open = writing

    @contextmanager
    def _server(self) -> Iterator[Server]:
        with no_fork(), self._open() as server, translated(server), server.transaction():
            yield server

    def put(self, kind: str, name: str, folder: Path) -> None:
        """See ``Shelf``: all in one transaction."""
        with self._server() as server:
            server.execute("DELETE FROM artifacts WHERE kind = %s AND name = %s", (kind, name))
            now = time.time()
            with server.cursor() as cursor, cursor.copy("COPY artifacts FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "text", "text", "int8", "bytea", "float8"])
                for path, file in files_of(folder):
                    for number, data in enumerate(_pieces(file)):
                        copy.write_row((kind, name, path, number, data, now))

    def fetch(self, kind: str, name: str, target: Path) -> bool:
        """See ``Shelf``: by a cursor of the server's, piece by piece."""
        query = "SELECT path, data FROM artifacts WHERE kind = %s AND name = %s ORDER BY path, piece"
        found = False
        with self._server() as server, server.cursor("pieces", binary=True) as cursor:
            cursor.itersize = 8
            for path, data in cursor.execute(query, (kind, name)):
                found = True
                with open(place(target, path), "ab", opener=_private) as file:
                    file.write(data)
        return found

    def remove(self, kind: str, name: str) -> None:
        """See ``Shelf``."""
        with self._server() as server:
            server.execute("DELETE FROM artifacts WHERE kind = %s AND name = %s", (kind, name))

    def abandoned(self, kind: str, known: Collection[str], older_than_s: float = 3_600.0) -> list[str]:
        """See ``Shelf``."""
        query = "SELECT name FROM artifacts WHERE kind = %s GROUP BY name HAVING max(at) <= %s"
        with self._server() as server:
            rows = server.execute(query, (kind, time.time() - older_than_s)).fetchall()
        return [name for (name,) in rows if name not in known]


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        first = opened.read(_PIECE_BYTES)
        yield first  # an empty file is one, too
        while piece := opened.read(_PIECE_BYTES):
            yield piece


class UrlShelf(Shelf):
    """Below a URL of fsspec's; a folder is there once its mark is.

    Args:
        url: Such as ``s3://bucket/router``.
        schema: The log's, so that several may share a bucket.
    """

    def __init__(self, url: str, schema: str) -> None:
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]

            self._files, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InvalidConfigError(
                f"store: artifacts={url!r:.200}: {error}; pip install 'router-sdk-postgres[fsspec]', and what fsspec "
                "needs for that scheme"
            ) from error
        self._root = f"{root.rstrip('/')}/{schema}"

    def _at(self, kind: str, name: str = "") -> str:
        return f"{self._root}/{kind}/{name}".rstrip("/")

    def put(self, kind: str, name: str, folder: Path) -> None:
        """See ``Shelf``."""
        with self._reached():
            for path, file in files_of(folder):
                target = f"{self._at(kind, name)}/{path or '_file'}"
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(file), target)
            self._files.pipe_file(f"{self._at(kind, name)}/_whole", repr(time.time()).encode())

    def fetch(self, kind: str, name: str, target: Path) -> bool:
        """See ``Shelf``."""
        with self._reached():
            root = self._at(kind, name)
            if not self._files.exists(f"{root}/_whole"):
                return False
            for found in self._files.find(root):
                path = str(found)[str(found).index(f"/{kind}/{name}/") + len(f"/{kind}/{name}/") :]
                if path != "_whole":
                    into = place(target, "" if path == "_file" else path)
                    self._files.get_file(found, str(into))
                    into.chmod(0o600)
        return True

    def remove(self, kind: str, name: str) -> None:
        """See ``Shelf``: the mark first."""
        with self._reached():
            root = self._at(kind, name)
            if self._files.exists(f"{root}/_whole"):
                self._files.rm_file(f"{root}/_whole")
            if self._files.exists(root):
                self._files.rm(root, recursive=True)

    def abandoned(self, kind: str, known: Collection[str], older_than_s: float = 3_600.0) -> list[str]:
        """See ``Shelf``; what has no mark is left, for somebody may be writing it."""
        with self._reached():
            if not self._files.exists(self._at(kind)):
                return []
            names = {str(each).rstrip("/").rpartition("/")[2] for each in self._files.ls(self._at(kind), detail=False)}
            old = time.time() - older_than_s
            return [name for name in sorted(names - set(known)) if self._marked_at(kind, name) <= old]

    def _marked_at(self, kind: str, name: str) -> float:
        mark = f"{self._at(kind, name)}/_whole"
        return float(self._files.cat_file(mark)) if self._files.exists(mark) else float("inf")

    @contextmanager
    def _reached(self) -> Iterator[Any]:
        try:
            yield
        except StoreUnavailableError:
            raise
        except Exception as error:  # of whatever library keeps the files
            raise StoreUnavailableError(
                f"the store's artifacts cannot be reached: {type(error).__name__}: {error}"
            ) from error
