import json
import operator
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from router_sdk_server.gateway.upstreams import Usage

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "router.rules.yml").read_text())["groups"][0]["rules"]
SUM = re.compile(r'sum\(rate\((\w+)(?:\{(\w+)="(\w+)"\})?\[15m\]\)\)')
EXPRESSION = re.compile(r"(\w+)(?: / (\w+))? ([<>]) (-?[\d.]+)")


def figures(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def fires(expression, scrape):
    """Whether a rule's expression has a value on a scrape, as Prometheus evaluates it: nothing has none."""
    summed = dict(scrape)

    def add_up(found):
        name, label, value = found.groups()
        matching = [count for (one, *labels), count in scrape.items() if one == name]
        if label:
            matching = [count for (one, *labels), count in scrape.items() if one == name and (label, value) in labels]
        summed[f"{name}_{value}",] = sum(matching) if matching else None
        return f"{name}_{value}"

    scrape, expression = summed, SUM.sub(add_up, expression)
    expression = re.sub(r"delta\((\w+)\[15m\]\)", r"\1", expression)  # on a first scrape: what came since the start
    first, second, comparison, limit = EXPRESSION.fullmatch(expression).groups()
    values = [scrape.get((name,)) for name in (first, second) if name]
    if None in values or (second and values[1] == 0):
        return False
    value = values[0] / values[1] if second else values[0]
    return {"<": operator.lt, ">": operator.gt}[comparison](value, float(limit))


def firing(client):
    scrape = figures(client.get("/metrics").text)
    return {rule["alert"] for rule in RULES if fires(rule["expr"], scrape)}


@pytest.fixture
def quick(client):
    """A service whose figures of the store are asked for anew at each scrape."""
    metrics = client.app.state.service.metrics

    def scrape():
        metrics._asked_at = -1e9
        return client.get("/metrics")

    client.scrape = scrape
    return client


def test_what_is_decided_and_recorded_is_counted(quick):
    decision = quick.post("/v1/route", json={"task": {"text": "x", "session_id": "secret-session"}}).json()
    quick.post("/v1/route", json={"tasks": ["a", "b"]})
    outcome = {"success": True, "origin": "judge"}
    quick.post("/v1/outcomes", json={"decision_id": decision["decision_id"], "outcome": outcome})
    quick.post("/v1/route", json={})
    quick.app.state.service.router.flush()
    answer = quick.scrape()
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    scrape = figures(answer.text)
    made = {dict(labels)["agent"] for name, *labels in scrape if name == "router_decisions_total"}
    assert made <= {"billing", "fraud", "openai/gpt-5"}
    assert sum(value for (name, *_), value in scrape.items() if name == "router_decisions_total") == 3
    assert scrape["router_outcomes_total", ("origin", "judge")] == 1
    assert scrape["router_requests_total", ("path", "/v1/route"), ("status", "200")] == 2
    assert scrape["router_requests_total", ("path", "/v1/route"), ("status", "422")] == 1
    assert scrape["router_request_seconds_count", ("path", "/v1/route")] == 3
    assert scrape["router_samples_processed_total",] == 1
    assert scrape["router_agents_available",] == 3
    assert "secret" not in answer.text
    assert decision["decision_id"] not in answer.text


def test_how_streams_do_is_told_by_stream(quick, monkeypatch):
    router = quick.app.state.service.router
    calm = {"state": "reading", "rate": 2.0, "behind": 5, "at": 1.0}
    said = [
        {**calm, "stream": "kafka://h/t"},
        {**calm, "stream": "kafka://h/t", "state": "waiting", "rate": 0.5, "behind": 7, "at": 2.0},
        {**calm, "stream": "kafka://h/t", "state": "ended", "rate": 9.0, "behind": 0, "at": 0.5},
        {**calm, "stream": "stdin:", "behind": None},
    ]
    known = router.status(last=1)
    monkeypatch.setattr(router, "status", lambda last: {**known, "streams": said})
    scrape = figures(quick.scrape().text)
    assert scrape["router_stream_behind_messages", ("stream", "kafka://h/t")] == 7
    assert scrape["router_stream_messages_per_second", ("stream", "kafka://h/t")] == 2.5
    assert scrape["router_stream_waiting", ("stream", "kafka://h/t")] == 1
    assert ("router_stream_behind_messages", ("stream", "stdin:")) not in scrape


@pytest.mark.parametrize(
    ("alert", "told"),
    [
        ("RouterUpdatesFail", {"total_updates": 100, "failed_updates": 6}),
        ("RouterGetsWorse", {"improvement_rate": -0.11}),
        ("RouterUpdatesSlow", {"avg_update_time_ms": 1_001.0}),
    ],
)
def test_each_alert_fires_on_its_figure_and_on_no_other(quick, monkeypatch, alert, told):
    router = quick.app.state.service.router
    known = router.statistics()
    calm = {"total_updates": 100, "failed_updates": 5, "improvement_rate": -0.1, "avg_update_time_ms": 1_000.0}
    for figures_now, expected in ((calm, set()), ({**calm, **told}, {alert})):
        monkeypatch.setattr(router, "statistics", lambda found=figures_now: {**known, **found})
        quick.app.state.service.metrics._asked_at = -1e9
        assert firing(quick) == expected


def test_agents_that_fail_the_gateway_raise_an_alert(quick):
    count = quick.app.state.service.metrics.upstream
    for result, expected in ((["answered"] * 4 + ["failed"], set()), (["failed"], {"RouterUpstreamFails"})):
        for one in result:
            count("billing", one, 0.1, None, None)
        assert firing(quick) == expected


def test_nothing_fires_before_there_is_anything(quick):
    assert firing(quick) == set()


def test_alerts_say_what_to_do():
    assert {"RouterUpdatesFail", "RouterGetsWorse", "RouterUpdatesSlow"} <= {rule["alert"] for rule in RULES}
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in RULES)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: Debian's package prometheus has it"
)
@pytest.mark.parametrize(("what", "file"), [("check", "router.rules.yml"), ("test", "router.rules.test.yml")])
def test_prometheus_itself_understands_the_rules_and_fires_them_when_it_should(what, file):
    done = subprocess.run(
        ["promtool", what, "rules", DEPLOY / "prometheus" / file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_is_tried_both_ways():
    tried = yaml.safe_load((DEPLOY / "prometheus" / "router.rules.test.yml").read_text())["tests"]
    looks = [look for one in tried for look in one["alert_rule_test"]]
    for rule in RULES:
        assert {"exp_alerts" in look for look in looks if look["alertname"] == rule["alert"]} == {True, False}


def test_the_dashboard_and_the_rules_ask_for_figures_that_there_are(quick):
    quick.post("/v1/route", json={"task": "x"})
    quick.post("/v1/outcomes", json={"decision_id": "0" * 32, "outcome": {"success": True}})
    quick.app.state.service.metrics.upstream("billing", "answered", 0.1, Usage(2, 1, 1), 0.5)
    there = {name for name, *_ in figures(quick.scrape().text)}
    there |= {"router_improvement_rate", "router_model_score", "router_saved_usd"}  # known with enough outcomes
    there |= {f"router_experiment_{name}" for name in ("units", "units_needed", "share", "arms_behind")}  # of those
    there.add("router_experiments_ended_total")
    board = json.loads((DEPLOY / "grafana" / "router.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    for expression in [*asked, *(rule["expr"] for rule in RULES)]:
        names = set(re.findall(r"router_\w+", expression))
        assert names, expression
        assert names <= there, expression
    assert len(board["panels"]) == len({panel["id"] for panel in board["panels"]}) >= 12


COUNTING = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
from router_sdk_server.metrics import Metrics
metrics = Metrics(folder)
for _ in range(int(sys.argv[2])):
    metrics.request("/v1/route", 200, 0.01)
metrics._queue.set(float(sys.argv[2]))
print(metrics.counted().decode(), flush=True)
os._exit(0)  # as if killed
"""


def test_workers_count_together_and_a_dead_one_has_no_queue(tmp_path):
    told = ""
    for count in ("3", "9"):
        told = subprocess.run(
            [sys.executable, "-c", COUNTING, tmp_path, count], check=True, capture_output=True, text=True
        ).stdout
    scrape = figures(told)
    assert scrape["router_requests_total", ("path", "/v1/route"), ("status", "200")] == 12
    assert scrape["router_request_seconds_count", ("path", "/v1/route")] == 12
    assert scrape["router_queue_decisions",] == 9  # that of the first has gone with it


def test_what_was_spent_is_told(client):
    for _ in range(30):
        decision = client.post("/v1/route", json={"task": "x"}).json()
        report = {"decision_id": decision["decision_id"], "outcome": {"success": True, "cost_usd": 0.5}}
        assert client.post("/v1/outcomes", json=report).status_code == 200
    client.app.state.service.router.flush()
    client.app.state.service.metrics._asked_at = -1e9
    assert 'router_saved_usd{baseline="dearest"} 0.0' in client.get("/metrics").text
    told = client.get("/v1/savings", params={"baseline": "dearest"}).json()
    assert (told["spent_usd"], told["saved_usd"], told["compared"]) == (15.0, 0.0, 30)
    assert client.get("/v1/savings", params={"baseline": "nobody"}).status_code == 422
