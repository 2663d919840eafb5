"""A fit's request with all that it names in one folder: the fit can be done where this machine's files are not."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.engine import scheme_of
from router_sdk.errors import FitError
from router_sdk.executors.executor import CHECKPOINTS, REQUEST
from router_sdk.private_files import make_private, private_folder
from router_sdk.store.connection import open_reader
from router_sdk.training.fit import BASE
from router_sdk.training.selection import CASES

if TYPE_CHECKING:
    from router_sdk.training.fit import FitRequest

LOG = "log.db"
_CACHES = "caches"


def copy_request(request: FitRequest, folder: Path) -> None:
    """Write a request into a new folder, with all that it names: the log up to now as one file, and the user's own.

    Where the folder stands when the request is read does not matter. Paths in the settings of strategies and encoders
    stay as they are: what they lead to must be there, as plugins must.

    Args:
        request: What to do.
        folder: Where to.

    Raises:
        FitError: if the log is in no file.
    """
    if scheme_of(request.store) is not None:
        raise FitError("only a log in a SQLite file is copied for a fit elsewhere; use fit_executor='process'")
    own = Path(request.folder)
    private_folder(folder)
    for name in (BASE, CHECKPOINTS):
        if (own / name).is_dir():
            shutil.copytree(own / name, folder / name)
    if (own / CASES).is_file():
        shutil.copyfile(own / CASES, folder / CASES)
    with closing(open_reader(Path(request.store))) as connection:
        connection.execute("PRAGMA query_only = OFF")  # it would refuse a copy, which writes nothing here
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("VACUUM INTO ?", (str(folder / LOG),))

    def copied(path: str, what: str) -> str:
        """Under a name that ends as the user's own does, which says how to read it."""
        name = f"{what}-{Path(path).name}"
        (shutil.copytree if Path(path).is_dir() else shutil.copyfile)(path, folder / name)
        return name

    golden, existing = request.golden, request.training.get("existing")
    moved = replace(
        request,
        copied=True,
        folder=".",
        store=LOG,
        caches=_CACHES,
        behind=[(name, settings, _CACHES) for name, settings, _ in request.behind],
        golden=copied(golden, "golden") if isinstance(golden, str) and golden else golden,
        validation=None if request.validation is None else copied(request.validation, "validation"),
        training=request.training
        if existing is None
        else {**request.training, "existing": copied(existing, "existing")},
        made=None if request.made is None else copied(request.made, "brought"),
        start=None if request.start is None else copied(request.start, "start"),
    )
    moved.write(folder / REQUEST)
    for path in folder.rglob("*"):
        make_private(path)
