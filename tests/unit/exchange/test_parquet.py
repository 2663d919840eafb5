"""Parquet out and in, a folder for each day."""

import json
import sys
from contextlib import closing

import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.errors import InvalidInputError
from router_sdk.exchange.parquet import PartitionedWriter, parquet_files, read_parquet

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'router-sdk[parquet]'")

DAY = 86_400.0


def opened(path, **settings):
    return Router(["a", "b"], ["thompson"], path, retrain=False, seed=1, **settings)


def row(number, at):
    return {"decision_id": f"id-{number}", "position": number, "at": at, "eligible": ["a"], "probabilities": {"a": 1.0}}


def test_each_day_is_a_file_and_rows_keep_their_order(tmp_path):
    with closing(PartitionedWriter(tmp_path)) as writer:
        for number in range(12):
            writer.add(row(number, number // 4 * DAY))
        writer.finish()
    names = [path.relative_to(tmp_path).as_posix() for path in parquet_files(tmp_path)]
    assert names == [f"day=1970-01-0{day}/part-0.parquet" for day in (1, 2, 3)]
    assert [found["position"] for _, found in read_parquet(tmp_path)] == list(range(12))
    assert pq.read_table(tmp_path).column("day").to_pylist()[::4] == ["1970-01-01", "1970-01-02", "1970-01-03"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in parquet_files(tmp_path))


def test_a_time_beyond_every_calendar_has_a_day_too(tmp_path):
    writer = PartitionedWriter(tmp_path / "out")
    with closing(writer):
        for number, at in enumerate((1e300, 1.7e12, -1e300)):
            writer.add(row(number, at))
        writer.finish()
    days = [path.parent.name for path in parquet_files(tmp_path / "out")]
    assert days == ["day=1970-01-01", "day=9999-12-31"]


def test_what_is_not_finished_leaves_what_was_there(tmp_path):
    for numbers in (range(3), range(9)):
        with closing(PartitionedWriter(tmp_path)) as writer:
            for number in numbers:
                writer.add(row(number, 0.0))
            if numbers == range(3):
                writer.finish()
            else:
                writer._write(next(iter(writer.ids)))
    assert len(list(read_parquet(tmp_path))) == 3
    assert len(list((tmp_path / "day=1970-01-01").iterdir())) == 1


def test_forget_reaches_its_rows(tmp_path):
    with opened(tmp_path / "router.db") as router:
        for session in ("gone", "kept"):
            router.record(router.route(Task(f"text of {session}", session_id=session)), Outcome(success=True))
        assert router.examples.export(tmp_path / "days", format="parquet") == 2
        router.forget("gone")
        found = [one["text"] for _, one in read_parquet(tmp_path / "days")]
        assert found == ["text of kept"]
        (file,) = parquet_files(tmp_path / "days")
        assert b"text of gone" not in file.read_bytes()
        assert json.loads(pq.read_table(file).column("parts")[0].as_py())[0]["success"] is True


def test_rows_of_somebody_else_are_observed(tmp_path):
    import pyarrow

    table = pyarrow.table({"text": ["refund me", "hello"], "label": ["a", "b"], "quality": [0.5, 0.75]})
    pq.write_table(table, tmp_path / "theirs.parquet")
    with opened(tmp_path / "router.db") as router:
        assert router.examples.import_from(tmp_path / "theirs.parquet").imported == 2
        assert [one.label for one in router.examples] == ["a", "b"]


def test_what_is_none_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with opened(tmp_path / "router.db") as router:
        router.record(router.route("x"), Outcome(success=True))
        with pytest.raises(InvalidInputError, match="it is no folder"):
            router.examples.export(tmp_path / "file", format="parquet")
        with pytest.raises(InvalidInputError, match=r"no \.parquet file"):
            router.examples.import_from(tmp_path / "empty")
        with pytest.raises(InvalidInputError, match=r"cannot read .*bad\.parquet"):
            router.examples.import_from(tmp_path / "bad.parquet")


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with opened(tmp_path / "router.db") as router, pytest.raises(InvalidInputError, match="pip install 'router-sdk"):
        router.examples.export(tmp_path / "days", format="parquet")
