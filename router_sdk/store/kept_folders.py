"""Large, immutable parts of learnt state, such as a fine-tuned encoder: kept while any process serves from them.

A saved state holds such a part as hard links of its own, so that every snapshot and version is whole and none costs the
space again. What *serves* needs a place that outlasts the folder it was loaded from, because snapshots come and go:
here, under the digest of its content, guarded by a lock that the operating system lets go of when its holder ends,
however it ends.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from router_sdk.store.artifacts import DRAFT, files_in, remove_strangers, sha256
from router_sdk.store.connection import private_folder

if sys.platform != "win32":
    import fcntl


def link_folder(source: Path, target: Path) -> None:
    """Fill a folder with hard links to another one's files; with copies where the file system has none."""
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: Any, target: Any) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class KeptFolder:
    """A folder that stays for as long as this object is there, or until ``release``.

    Attributes:
        path: Where it stands; never written to.
    """

    def __init__(self, path: Path, descriptor: int = -1) -> None:
        self.path = path
        self._descriptor = descriptor

    def __fspath__(self) -> str:
        return str(self.path)

    def release(self) -> None:
        """Need it no more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()


class KeptFolders:
    """The parts that processes on one store serve from.

    Args:
        folder: The store's folder for artefacts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "parts"

    def keep(self, source: Path) -> KeptFolder:
        """A lasting place for what stands in a folder now.

        Args:
            source: Written whole and never again.
        """
        name = _digest(source)
        while True:
            held = self._hold(self._place(source, name))
            if held is not None:
                return held

    def _place(self, source: Path, name: str) -> Path:
        place = private_folder(self._folder) / name
        if not place.is_dir():
            draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self._folder))
            try:
                link_folder(source, draft)
                draft.rename(place)
            except OSError as error:
                shutil.rmtree(draft, ignore_errors=True)
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else somebody was faster
                    raise
        return place

    @staticmethod
    def _hold(place: Path) -> KeptFolder | None:
        """Take a shared lock on a folder; None where it was deleted meanwhile."""
        if sys.platform == "win32":  # which keeps a folder with an open file in it
            return KeptFolder(place, os.open(files_in(place)[0], os.O_RDONLY))
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            if os.path.samestat(os.stat(place), os.fstat(descriptor)):
                return KeptFolder(place, descriptor)
        except FileNotFoundError:
            pass
        os.close(descriptor)
        return None

    def sweep(self) -> None:
        """Delete the parts that no process serves from; snapshots and versions have links of their own."""
        found = list(self._folder.iterdir()) if self._folder.is_dir() else []
        parts = {place.name: place for place in found if not place.name.startswith(DRAFT)}
        for place in parts.values():
            self._delete(place)
        remove_strangers(self._folder, parts)

    @staticmethod
    def _delete(place: Path) -> None:
        if sys.platform == "win32":
            shutil.rmtree(place, ignore_errors=True)
            return
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            doomed = place.with_name(f"{DRAFT}{place.name}-{os.getpid()}")
            place.rename(doomed)  # who waits for the lock finds another folder, or none
            shutil.rmtree(doomed, ignore_errors=True)
        except OSError:
            return  # it serves
        finally:
            os.close(descriptor)


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in files_in(folder):
        whole.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return whole.hexdigest()[:32]
