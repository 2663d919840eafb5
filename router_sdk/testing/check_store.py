"""The contract kit of stores: run it on your own engine, in your own tests."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.errors import FAULTS
from router_sdk.testing.checks.store_log import LOG_CHECKS
from router_sdk.testing.checks.store_processes import PROCESS_CHECKS
from router_sdk.testing.checks.store_records import RECORD_CHECKS
from router_sdk.testing.store_trial import StoreTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router_sdk.engine import Engine

STORE_CHECKS = (*LOG_CHECKS, *RECORD_CHECKS, *PROCESS_CHECKS)
"""Everything that is checked, each a function of one ``StoreTrial``, for those whose tests name one at a time."""


def check_store(store: str | Callable[[], str], *, engines: Mapping[str, type[Engine] | str] | None = None) -> None:
    """Hold an engine to the contract of ``router_sdk.plugin.Engine``.

    ::

        def test_contract(tmp_path):
            check_store("postgresql:///test?schema={}&folder=" + str(tmp_path / "{}"))

    Args:
        store: A URL, or a file's name, with ``{}`` where each check has a word of its own; or what gives the name of an
            empty store at each call. Nothing is deleted there afterwards.
        engines: Engines by the scheme of their URLs, where yours is not an installed plugin's. Other processes then do
            not know it, and what needs them is left out.

    Raises:
        AssertionError: naming the promise that is broken, and where.
    """
    numbers = count(1)
    new = store if callable(store) else (lambda: store.replace("{}", f"check{next(numbers)}"))
    for check in STORE_CHECKS:
        if engines is not None and check in PROCESS_CHECKS:
            continue
        promise = check.__name__.replace("_", " ")
        with (
            tempfile.TemporaryDirectory(prefix="check-store-") as folder,
            StoreTrial(new(), Path(folder), engines) as trial,
        ):
            try:
                check(trial)
            except AssertionError as error:
                raise AssertionError(f"the store breaks the promise that {promise}: {error}") from error
            except FAULTS as error:
                raise AssertionError(
                    f"the store breaks the promise that {promise}: {type(error).__name__}: {error}"
                ) from error
