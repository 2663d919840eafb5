"""What a transaction says goes in few messages, and means what it would one by one."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_sdk.errors import InvalidOutcomeError
from router_sdk.testing import StoreTrial

pytestmark = pytest.mark.services


@pytest.fixture
def trial(store_url, tmp_path):
    pytest.importorskip("psycopg")
    with StoreTrial(store_url, tmp_path) as made:
        yield made


@pytest.fixture
def messages(monkeypatch):
    from router_sdk_postgres.connection import FreeTextCursor

    said, execute = [], FreeTextCursor.execute

    def noted(self, query, *args, **options):
        if options.get("prepare") is False:
            said.append(query.decode())
        return execute(self, query, *args, **options)

    monkeypatch.setattr(FreeTextCursor, "execute", noted)
    return said


def test_a_group_commit_needs_three_answers(trial, messages):
    decision = trial.decide()
    for needed in (3, 2):
        messages.clear()
        if needed == 3:
            assert trial.store.writer.offer(trial.decision())
            trial.store.writer.flush()
        else:
            trial.tell(decision, quality=0.5)
        begun = [number for number, said in enumerate(messages) if said.startswith("BEGIN")]
        ended = [number for number, said in enumerate(messages) if said.endswith("COMMIT")]
        assert [end - begin + 1 for begin, end in zip(begun, ended, strict=True)] == [needed]


def test_where_nobody_else_wrote_the_log_is_not_asked_where_it_stands(trial):
    query = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE said_0 ({})"

    def plan(connection, seq):
        name = next(iter(connection._prepared._names.values()))
        text = next(text for (text, *_), known in connection._prepared._names.items() if known == name)
        assert "nextval('turns')" in text
        (turn,) = connection.execute("SELECT last_value FROM turns").fetchone()
        return [
            sum("never executed" in line for (line,) in connection.say(query.format(turn + step)).fetchall())
            for step in (1, 5)
        ]

    for _ in range(3):
        trial.store.writer.transact(lambda connection, seq: None)
    skipped, asked = trial.store.writer.transact(plan)
    assert skipped > asked == 0


def test_rows_come_in_pieces(trial):
    def read(connection, seq):
        rows = connection.execute("SELECT n FROM generate_series(1, 5) AS n")
        return (
            rows.description[0][0],
            rows.rowcount,
            rows.fetchone(),
            rows.fetchmany(2),
            rows.fetchall(),
            rows.fetchone(),
        )

    assert trial.store.writer.transact(read) == ("n", 5, (1,), [(2,), (3,)], [(4,), (5,)], None)


def test_after_a_refused_row_all_is_prepared_anew(trial):
    decision = trial.decide()
    for _ in range(5):
        trial.tell(decision, quality=0.5)
    entry = trial.entry(decision, quality=0.5)
    spoilt = entry._replace(outcome=tuple(5.0 if value == 0.5 else value for value in entry.outcome))
    with pytest.raises(InvalidOutcomeError, match="refused the row"):
        trial.store.writer.append([spoilt])
    for _ in range(5):
        trial.tell(decision, quality=0.25)
    assert trial.rows("SELECT count(*) FROM outcomes") == [(10,)]


texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\\'\"{},\0\ufdd0$1 %s;"), max_size=20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.none() | texts,
            st.none() | st.floats(allow_nan=False),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.binary(max_size=20),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_values_come_back_to_the_last_bit(trial, rows):
    def copied(connection, seq):
        connection.kinds = {"t": {"text": "text", "real": "double precision", "number": "bigint", "data": "bytea"}}
        connection.say(
            "CREATE TEMP TABLE t (text text, real double precision, number bigint, data bytea) ON COMMIT DROP"
        )
        connection.insert_rows("t", "text, real, number, data", rows)
        one_by_one = [
            connection.execute("SELECT :a || '', :b, :c, :d", dict(zip("abcd", row, strict=True))).fetchone()
            for row in rows
        ]
        return connection.execute("SELECT * FROM t").fetchall(), one_by_one

    together, one_by_one = trial.store.writer.transact(copied)
    assert together == one_by_one == rows
    signs = [[math.copysign(1.0, row[1]) for row in each if row[1] is not None] for each in (together, rows)]
    assert signs[0] == signs[1]
