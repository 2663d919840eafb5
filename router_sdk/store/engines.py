"""Which database a store's name stands for: a file, or what an installed plugin's scheme leads to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from router_sdk.engine import scheme_of
from router_sdk.errors import FAULTS, InvalidConfigError, PluginLoadError, let_end
from router_sdk.plugins import PluginRegistry
from router_sdk.store.schema import schema
from router_sdk.store.sqlite import SQLiteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router_sdk.engine import Connection, Engine


def engine_of(location: str, engines: Mapping[str, type[Engine] | str] | None = None) -> Engine:
    """The database that a name stands for; nothing is opened by that.

    Args:
        location: A file's name, or a URL.
        engines: Engines by the scheme of their URLs, or where they are, as ``module:Class``; None asks the installed
            plugins.

    Raises:
        InvalidConfigError: if no plugin knows the scheme, or the URL cannot be understood.
        PluginLoadError: if the engine cannot be imported.
    """
    scheme = scheme_of(location)
    if scheme is None:
        return SQLiteEngine(Path(location))
    known = PluginRegistry.load().engines if engines is None else engines
    if scheme not in known:
        hint = "; pip install router-sdk-postgres" if scheme in ("postgres", "postgresql") else ""
        raise InvalidConfigError(f"store: no plugin keeps a log at {scheme}://; there are {sorted(known)}{hint}")
    found = known[scheme]
    return (_imported(scheme, found) if isinstance(found, str) else found).of(location, schema())


def _imported(scheme: str, name: str) -> type[Engine]:
    try:
        found: type[Engine] = resolve_name(name)
    except FAULTS as error:
        let_end(error)
        raise PluginLoadError(f"store: the engine of {scheme}:// cannot be imported ({name}): {error}") from error
    return found


@contextmanager
def reading(location: str) -> Iterator[Connection]:
    """A connection to a log that reads, by its name; closed at the end."""
    engine = engine_of(location)
    try:
        with closing(engine.reader()) as connection:
            yield connection
    finally:
        engine.close()
