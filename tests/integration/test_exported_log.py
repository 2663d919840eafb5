"""A log in Parquet files is judged without a router, as its router judges it."""

import json

import numpy as np
import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.errors import InvalidInputError

pytest.importorskip("duckdb", reason="duckdb is not installed: pip install 'router-sdk[parquet]'")
pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'router-sdk[parquet]'")

from router_sdk.experiments.exported_log import ExportedLog

AGENTS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A router with a log, and its export."""
    place = tmp_path_factory.mktemp("exported")
    rng = np.random.default_rng(1)
    with Router(AGENTS, ["thompson"], place / "router.db", learning=False, seed=1, epsilon=0.3) as router:
        for number in range(600):
            kind, tenant = f"type-{number % 2}", None if number % 3 else "acme"
            task = Task(f"text {number}", task_type=kind, tenant=tenant, session_id=f"session-{number // 4}")
            decision = router.route(task)
            good = rng.random() < 0.3 + 0.5 * (decision.agent == AGENTS[number % 2])
            if number % 10:
                router.record(decision, Outcome(success=good, latency_ms=100.0, cost_usd=0.01))
        router.observe("seen", agent="c", outcome=Outcome(success=True))
        router.flush()
        router.examples.export(place / "days", format="parquet", unanswered=True)
        yield router, place / "days"


@pytest.mark.slow
def test_what_its_policies_would_have_earned(exported):
    router, path = exported
    whole = router.experiments.off_policy_value(since=None).overall
    with ExportedLog(path) as log:
        report = log.judge("agent=a")
        assert report.overall.logged.mean == pytest.approx(whole.logged.mean)
        assert report.overall.logged.decisions == whole.logged.decisions == 540
        assert report.overall.logged.high == pytest.approx(whole.logged.high, abs=0.002)  # sessions are sketched
        assert dict(report.left_out) == {"no outcome": 60, "observed": 1}
        assert {one.task_type for one in report.task_types} == {"type-0", "type-1"}
        assert {one.tenant for one in report.tenants} == {"", "acme"}
        assert report.upto > report.since >= 0
        of_a = next(one for one in report.task_types if one.task_type == "type-0")
        assert of_a.value.mean > report.overall.value.mean
        assert log.judge("greedy").overall.value.mean > log.judge("uniform").overall.value.mean
    with ExportedLog(path, tenant="acme", task_type="type-0", since=1.0) as log:
        assert log.judge("uniform").overall.value.decisions < 150


def test_a_table_is_a_policy(exported, tmp_path):
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"type-0": {"a": 1}, "type-1": {"b": 1}}))
    with ExportedLog(exported[1]) as log:
        best = log.judge(str(table), estimator="switch")
        assert best.overall.value.mean > log.judge("agent=a").overall.value.mean + 0.1
        assert (best.policy, best.overall.verdict) == ("table.json", "better")
        table.write_text(json.dumps({"*": {"nobody": 1.0}}))
        same = log.judge(str(table)).overall  # it abstains: what was logged
        assert same.value.ess == pytest.approx(540)
        assert same.difference.low < 0.0 < same.difference.high


def test_who_did_how(exported):
    with ExportedLog(exported[1]) as log:
        found = {one.agent: one for one in log.agents()}
    assert sum(one.decisions for one in found.values()) == 601
    assert found["a"].latency_p95_ms == pytest.approx(100.0)
    assert 0.3 < found["a"].reward == found["a"].success < 0.9
    assert found["c"].decisions - found["c"].answered == missing(exported[0], "c")


def missing(router, agent):
    """Decisions for an agent without an outcome."""
    count = "SELECT count(*) FROM decisions d WHERE agent = ? AND decision_id NOT IN (SELECT decision_id FROM outcomes)"
    return router._parts.store.reader.query(lambda connection: connection.execute(count, (agent,)).fetchone()[0])


@pytest.mark.parametrize(
    ("policy", "words"),
    [("best", "not understood"), ("gone.json", "cannot read"), ("bad.json", "expected probabilities")],
)
def test_what_is_no_policy_says_so(exported, tmp_path, monkeypatch, policy, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"*": {"a": -1}}')
    with ExportedLog(exported[1]) as log, pytest.raises(InvalidInputError, match=words):
        log.judge(policy)


def test_files_of_somebody_else_say_so(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"]}), tmp_path / "theirs.parquet")
    with ExportedLog(tmp_path / "theirs.parquet") as log, pytest.raises(InvalidInputError, match="no log that router"):
        log.agents()
    with pytest.raises(InvalidInputError, match="there is no Parquet file"):
        ExportedLog(tmp_path / "nowhere")
