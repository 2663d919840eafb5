"""What a store's URL says, and what is said of one that is wrong."""

import contextlib

import pytest

pytest.importorskip("psycopg")

from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from router_sdk_postgres.address import Address
from router_sdk_postgres.connection import LogConnection
from router_sdk_postgres.engine import _keep
from router_sdk_postgres.faults import ConnectionLostError

from router_sdk.config import RouterConfig
from router_sdk.errors import InvalidConfigError, NotAStoreError


def fields(url):
    return conninfo_to_dict(Address.of(url).conninfo)


def test_what_is_not_ours_reaches_the_server_as_it_is_written(tmp_path):
    url = f"postgresql://u:p%40+%20ss@h:5/db?options=-c%20geqo%3Doff&schema=s&folder={tmp_path}/a+b&sslmode=disable"
    address = Address.of(url)
    assert (address.schema, address.folder) == ("s", tmp_path / "a+b")
    told = fields(url)
    assert (told["options"], told["password"], told["sslmode"]) == ("-c geqo=off", "p@+ ss", "disable")
    assert (told["host"], told["port"], told["dbname"]) == ("h", "5", "db")


def test_a_question_mark_in_a_password_begins_no_parameters():
    told = fields("postgresql://u:p?schema=x@h/db?connect_timeout=7")
    assert (told["password"], told["host"], told["connect_timeout"]) == ("p?schema=x", "h", "7")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("root:50%zz-hunter2@/db", "the URL's password has a '%'"),
        ("root:hun[ter2@h%zz/db", "the URL's host has a '%'"),
        ("root@h/db?password=hunter2&hunter2", "number 2 of those"),
        ("root@h/db?hunter2=1", "number 1 of those"),
        ("root:x/hunter2@h/db", "the URL's port is no number"),
        ("root:x@hunter2@h/db", "a second '@'"),
        ("root@[hunter2/db", "the URL's host cannot be understood"),
        ("root@h/db?statement_timeout_s=hunter2", "no number of seconds"),
        ("root@h/db?statement_timeout_s=nan", "no number of seconds"),
        ("root@h/db?statement_timeout_s=0", "no number of seconds"),
        ("root@h/db?patience_s=-1", "no number of seconds"),
        ("root@h/db?row_security=hunter2", "neither on nor off"),
        ("root@h/db?partition_days=hunter2", "no number of days"),
        ("root@h/db?partition_days=nan", "no number of days"),
        ("root@h/db?partition_days=0", "no number of days"),
    ],
)
def test_a_wrong_url_is_refused_without_its_words(place, words):
    with pytest.raises(InvalidConfigError) as refused:
        Address.of(f"postgresql://{place}")
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_bracket_in_a_password_is_one_of_its_letters():
    assert fields("postgresql://root:hun[ter2@h/db")["password"] == "hun[ter2"


def test_a_password_is_in_nothing_that_is_shown(monkeypatch):
    url = "postgresql://root:hunter2@h/db"
    config = RouterConfig.of(store=url)
    assert str(config.store) == url
    assert "hunter2" not in f"{config!r} {config} {Address.of(url)!r} {Address.of(url).shown}"
    assert "postgresql://***" in repr(config)


def test_each_database_has_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGSERVICE", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)
    found = [Address.of(f"postgresql://{each}").folder for each in ("", "/?service=one", "/?service=two", "/db")]
    for name, value in (("PGHOST", "elsewhere"), ("PGPORT", "5433"), ("PGDATABASE", "other"), ("PGSERVICE", "three")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            found.append(Address.of("postgresql://").folder)
    assert len(set(found)) == len(found)
    with monkeypatch.context() as changed:
        changed.setenv("PGDATABASE", "db")
        assert Address.of("postgresql://").folder == Address.of("postgresql:///db").folder


def test_a_folder_of_another_log_is_refused(tmp_path):
    folder = tmp_path / "folder"
    _keep(folder, b"1" * 32)
    _keep(folder, b"1" * 32)
    assert [path.name for path in folder.iterdir()] == ["privacy.key"]
    assert (folder / "privacy.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotAStoreError, match="another log's folder"):
        _keep(folder, b"2" * 32)


class Lost:
    """A connection that is gone."""

    class pgconn:  # noqa: N801
        transaction_status = TransactionStatus.UNKNOWN


def test_a_lost_connection_is_given_back_once(monkeypatch):
    given = []

    def again():
        raise ConnectionLostError("not there yet")

    def lost(self, query, values):
        assert self.server is not None
        raise ConnectionLostError("gone")

    monkeypatch.setattr(LogConnection, "_execute", lost)
    with contextlib.closing(LogConnection(Lost(), {}, again, given.append)) as connection:
        for _ in range(2):
            with pytest.raises(ConnectionLostError):
                connection.execute("SELECT 1")
    assert len(given) == 1
