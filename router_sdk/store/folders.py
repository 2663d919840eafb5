"""What of one kind belongs to a log: folders of snapshots and versions, files of reports; here, and on the shelf.

An engine that serves many machines has a shelf: what one machine writes is put there before a table names it, and
fetched by another that needs it. What stands on a machine is then a copy, which is checked before it is read.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.errors import CorruptArtifactError
from router_sdk.private_files import DRAFT, private_folder
from router_sdk.store.artifacts import entry, plain_name, remove, remove_strangers, strangers, write_artifact

if TYPE_CHECKING:
    from router_sdk.engine import Shelf

_log = logging.getLogger(__name__)


class Folders:
    """See above.

    Args:
        root: The store's folder for artefacts.
        kind: Name of the folder in it.
        shelf: Where all machines find them; None where there is one machine.
    """

    def __init__(self, root: Path, kind: str, shelf: Shelf | None) -> None:
        self.root, self._kind, self._shelf = root / kind, kind, shelf

    def path(self, name: object) -> Path:
        """The folder or file of that name, which is not there where it was lost.

        Raises:
            CorruptArtifactError: if the name could lead elsewhere.
            StoreUnavailableError: if the shelf cannot be reached.
        """
        found = entry(self.root, name)
        if self._shelf is not None and not found.exists():
            draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=private_folder(self.root)))
            try:
                if self._shelf.fetch(self._kind, found.name, draft / found.name):
                    (draft / found.name).rename(found)
            except OSError:
                if not found.exists():  # else somebody was faster
                    raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return found

    def write(self, name: str, fill: Callable[[Path], None]) -> Path:
        """Let ``fill`` write one, whole or not at all, see ``write_artifact``."""
        folder = self.root / plain_name(name)
        write_artifact(folder, fill)
        self.share(folder)
        return folder

    def share(self, folder: Path) -> None:
        """Put one that stands here on the shelf."""
        if self._shelf is not None:
            self._shelf.put(self._kind, folder.name, folder)

    def remove(self, name: object) -> None:
        """Delete one, here and on the shelf; where the name could lead elsewhere, nothing."""
        remove(self.root, name)
        if self._shelf is not None:
            with suppress(CorruptArtifactError):
                self._shelf.remove(self._kind, plain_name(name))

    def tidy(self, known: Collection[str], **age: float) -> list[str]:
        """Delete what killed processes left, see ``remove_strangers``; the names of what somebody may be writing."""
        gone = remove_strangers(self.root, known, **age)
        if self._shelf is not None:
            for name in self._shelf.abandoned(self._kind, known):
                self._shelf.remove(self._kind, name)
        if gone:
            _log.debug("of %s were deleted: %s", self._kind, gone)
        return strangers(self.root, known)
