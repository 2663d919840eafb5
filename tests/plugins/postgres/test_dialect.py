"""The log's statements in PostgreSQL's words, its tables, and what a URL says; no server is needed."""

import re
import sqlite3

import pytest
from psycopg.conninfo import conninfo_to_dict
from router_sdk_postgres.address import Address
from router_sdk_postgres.dialect import translate
from router_sdk_postgres.tables import tables_of
from router_sdk_postgres.values import escaped, original

from router_sdk.errors import InvalidConfigError
from router_sdk.store import tail
from router_sdk.store.schema import migrate, schema


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SELECT ? + ?", "SELECT $1 + $2"),
        ("SELECT ?2, ?1, ?2", "SELECT $2, $1, $2"),
        ("SELECT :b, :a, :b", "SELECT $1, $2, $1"),
        ("SELECT 'what? it''s :this' || ?", "SELECT 'what? it''s :this' || $1"),
        ("WHERE d.tenant IS ?", "WHERE d.tenant IS NOT DISTINCT FROM $1"),
        ("WHERE o.tenant IS NOT d.tenant", "WHERE o.tenant IS DISTINCT FROM d.tenant"),
        ("WHERE a IS NULL AND b IS NOT NULL", "WHERE a IS NULL AND b IS NOT NULL"),
        (
            "d.seq IN (SELECT value FROM json_each(?))",
            "d.seq IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
        ),
        (
            "arm NOT IN (SELECT value FROM json_each(?2))",
            "arm NOT IN (SELECT value::text FROM json_array_elements_text($2::json))",
        ),
        ("instr(a, ?) > 0", "strpos(a, $1) > 0"),
    ],
)
def test_a_statement_is_put_into_its_words(ours, theirs):
    assert translate(ours).text == theirs


def test_where_a_table_is_cut_a_decision_is_looked_for_from_its_outcome_back():
    """Whatever a tail reads is so read; what asks for decisions that came later is left as it is."""
    for query in (tail._OUTCOMES.format(""), tail._COLUMNS, tail._REST):
        assert "LATERAL" in translate(query, True).text
        assert "LATERAL" not in translate(query).text
    assert translate(tail._LATE_DECISIONS, True) == translate(tail._LATE_DECISIONS)


def test_values_by_name_come_in_their_order():
    assert translate("SELECT :b, :a, :b").names == ("b", "a")


@pytest.mark.parametrize(
    ("query", "free"),
    [
        ("SELECT p.text FROM payloads p", True),
        ("SELECT * FROM payloads", True),
        ("SELECT names FROM agent_sets", True),
        ("SELECT count(*) FROM payloads", False),
        ("SELECT seq FROM payloads WHERE text IS NOT NULL", False),
        ("SELECT decision_id, seq FROM outcomes", False),
    ],
)
def test_texts_that_people_wrote_are_told_from_others(query, free):
    assert translate(query).free_text is free


@pytest.mark.parametrize("text", ["", "plain", "\x00", "a\x00\ufdd0b", "\ufdd00", "\ufdd01\x00", "\ufdd0\ufdd0"])
def test_no_two_texts_are_written_alike(text):
    assert "\x00" not in escaped(text)
    assert original(escaped(text)) == text


def test_the_tables_are_sqlites_column_by_column():
    found = {table.name: list(table.columns) for table in tables_of(schema())}
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 1) != '_'")
    expected = {
        name: [column for _, column, *_ in connection.execute(f"PRAGMA table_info({name})")]
        for (name,) in names.fetchall()
    }
    connection.close()
    assert found == expected
    definitions = " ".join(table.definition for table in tables_of(schema()))
    assert not re.search(r"\b(INTEGER|REAL|BLOB|STRICT|ROWID)\b", definitions)


@pytest.mark.parametrize(
    ("url", "schema_name", "told"),
    [
        ("postgresql:///test", "router", {"dbname": "test"}),
        ("postgresql://u:p@h:5433/d?schema=s&sslmode=require", "s", {"host": "h", "port": "5433", "password": "p"}),
        ("postgres://h/d?schema=s&folder=/x", "s", {"host": "h", "dbname": "d"}),
        ("postgresql://a,b/d?target_session_attrs=read-write", "router", {"host": "a,b"}),
    ],
)
def test_a_url_says_where(url, schema_name, told):
    address = Address.of(url)
    fields = conninfo_to_dict(address.conninfo)
    assert address.schema == schema_name
    assert told.items() <= fields.items()
    assert ":p@" not in address.shown
    assert "password" not in address.shown


@pytest.mark.parametrize(
    "url", ["postgresql://h/d?colour=red", "postgresql://h/d?schema=pg_x", "postgresql://h/d?statement_timeout_s=soon"]
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(InvalidConfigError):
        Address.of(url)
