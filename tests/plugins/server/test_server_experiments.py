import threading

import pytest

from router_sdk.plugin import Proposal, Strategy, hookimpl
from router_sdk.records import SCOPES

CHALLENGER = {"name": "last", "strategies": ["last"]}


class First(Strategy):
    """Always the first agent."""

    name = "first"

    def propose(self, task, agents, context):
        return Proposal({name: float(place == 0) for place, name in enumerate(agents.names)})


class Last(Strategy):
    """Always the last one."""

    name = "last"

    def propose(self, task, agents, context):
        return Proposal({name: float(place == len(agents) - 1) for place, name in enumerate(agents.names)})


class Held(First):
    """Waits until the test lets it go on."""

    name = "held"
    asked, go_on = threading.Event(), threading.Event()

    def propose(self, task, agents, context):
        self.asked.set()
        assert self.go_on.wait(30)
        return super().propose(task, agents, context)


@hookimpl
def register_strategies():
    return [First, Last, Held]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """What serves always takes the first of three agents, but for the floor; this module is the plugin."""
    info = tmp_path / "site" / "alike-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: alike\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[router_sdk]\nalike = {__name__}\n")
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.delenv("ROUTER_STRATEGIES", raising=False)
    file = tmp_path / "router.toml"
    file.write_text(
        'strategies = ["first"]\nepsilon = 0.7\nseed = 1\nretrain = false\n[quality]\nscorers = ["feedback"]\n'
    )
    return file


@pytest.fixture
def client(make_client, config):
    Held.asked.clear()
    Held.go_on.clear()
    yield make_client(insecure=True, config=config)
    Held.go_on.set()


@pytest.fixture
def logged(client):
    """A log that tells enough of both strategies: the last agent earns more than the first."""
    router = client.app.state.service.router
    for i in range(400):
        decision = router.route(f"task {i}")
        router.record(decision, {"quality": 0.9 if decision.agent == "openai/gpt-5" else 0.2})
    router.flush()
    return client


def begun(client, **fields):
    return client.post("/v1/experiments", json={"name": "two", "challengers": [CHALLENGER], **fields})


def test_an_experiment_is_begun_looked_at_and_stopped(client):
    answer = begun(client, shares={"last": 0.5}, settings={"min_units": 30, "min_duration_hours": 0})
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/experiments/two")
    assert answer.json()["shares"] == {"champion": 0.5, "last": 0.5}
    told = client.post("/v1/route", json={"tasks": [f"task {i}" for i in range(40)]}).json()["decisions"]
    assert {one["arm"] for one in told} == {"two/champion", "two/last"}
    assert all(one["arm_probability"] == 0.5 for one in told)
    assert client.get("/v1/experiments").json()["experiments"] == [answer.json()]
    shown = client.get("/v1/experiments/two").json()
    assert shown["settings"]["min_units"] == 30
    assert sum(arm["decisions"] for arm in shown["arms"]) == 40
    page = client.get("/v1/experiments/two/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "two" in page.text
    assert "</html>" in page.text
    ended = client.post("/v1/experiments/two/stop", json={"winner": "last", "reason": "it is better"}).json()
    assert (ended["status"], ended["winner"], ended["serves"]) == ("stopped", "last", True)
    assert "it is better" in ended["reason"]
    assert client.post("/v1/route", json={"task": "x"}).json()["strategy"].startswith("last")
    assert client.post("/v1/experiments/two/stop").json()["serves"] is False
    assert client.post("/v1/experiments/two/stop").status_code == 409


def test_without_an_experiment_a_decision_has_no_arm(client):
    assert "arm" not in client.post("/v1/route", json={"task": "x"}).json()


def test_a_challenger_has_settings_of_its_own_or_is_what_serves_frozen(client):
    arms = [{"name": "a", "strategies": [["last", {}], "first"], "shadow": True}]
    assert begun(client, challengers=arms).status_code == 201
    page = client.get("/v1/experiments/two/report")
    assert (page.status_code, "shadows alone" in page.json()["detail"]) == (409, True)
    frozen = {"name": "static", "learning": False}
    assert begun(client, name="three", challengers=[frozen]).status_code == 201


INCOMPARABLE = [
    ({"name": "a b"}, 422, "letters"),
    ({"challengers": []}, 422, "challengers"),
    ({"challengers": [{"name": "a"}]}, 422, "configured chain"),
    ({"challengers": [{"name": "a", "strategies": ["magic"]}]}, 404, "magic"),
    ({"challengers": [{"name": "a", "version": ["first", 7]}]}, 404, "7"),
    ({"challengers": [CHALLENGER, CHALLENGER]}, 422, "name of its own"),
    ({"shares": {"nobody": 0.5}}, 422, "nobody"),
    ({"settings": {"self": 1}}, 422, "self"),
    ({"settings": {"actor": "me"}}, 422, "actor"),
    ({"settings": {"alpha": 2}}, 422, "alpha"),
    ({"colour": "red"}, 422, "colour"),
]


def test_what_cannot_be_compared_is_said(client):
    for fields, status, says in INCOMPARABLE:
        answer = begun(client, **fields)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), fields
        assert says in answer.json()["detail"]
    assert client.get("/v1/experiments").json() == {"experiments": []}


def test_one_experiment_serves_challengers_and_a_name_is_used_once(client):
    assert begun(client).status_code == 201
    assert begun(client).status_code == 409
    answer = begun(client, name="other")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:router-sdk:ExperimentError")
    assert client.post("/v1/experiments/two/stop", json={"winner": "nobody"}).status_code == 409
    for path in ("/v1/experiments/none", "/v1/experiments/none/report"):
        assert client.get(path).status_code == 404
    assert client.post("/v1/experiments/none/stop").status_code == 404


def test_it_is_counted_without_a_word_of_the_callers(client):
    assert begun(client, shares={"last": 0.25}).status_code == 201
    client.post("/v1/route", json={"task": {"text": "x", "session_id": "secret-session", "tenant": "secret-tenant"}})
    text = client.get("/metrics").text
    assert "router_experiments_running 1.0" in text
    assert 'router_experiment_share{arm="last",experiment="two"} 0.25' in text
    assert 'router_experiment_units{arm="champion",experiment="two"} 0.0' in text
    assert 'router_quality_scores_total{scorer="feedback"} 0.0' in text
    assert 'arm="two/' in next(line for line in text.splitlines() if line.startswith("router_decisions_total"))
    assert "secret" not in text
    client.post("/v1/experiments/two/stop")
    client.app.state.service.metrics._asked_at = -1e9
    text = client.get("/metrics").text
    assert "router_experiments_running 0.0" in text
    assert 'router_experiments_ended_total{verdict="stopped"} 1.0' in text
    assert "router_experiment_share{" not in text
    assert client.get("/v1/status").json()["quality"]["scorers"] == ["feedback"]


def test_what_another_router_would_have_earned(logged):
    told = logged.post("/v1/evaluate", json={"strategies": ["last"], "since": "2d"}).json()
    assert (told["verdict"], told["value"]["insufficient"]) == ("better", None)
    truth = 0.2 + 0.7 * (0.3 + 0.7 / 3)  # its favourite, and what the floor gives that
    assert told["value"]["mean"] == pytest.approx(truth, abs=0.1)
    assert told["left_out"] == {}
    assert logged.post("/v1/evaluate").json()["verdict"] == "not told apart"
    same = logged.post("/v1/evaluate", json={"since": None, "estimator": "self_normalized"}).json()
    assert same["verdict"] == "not told apart"
    few = logged.post("/v1/evaluate", json={"strategies": [["last", {}]], "upto": 60}).json()
    assert few["verdict"] == "insufficient"
    narrow = {"strategies": ["last"], "upto": 60, "least_ess": 0, "tenant": ""}
    assert logged.post("/v1/evaluate", json=narrow).json()["verdict"] != "insufficient"


UNJUDGED = [
    ({"strategies": ["magic"]}, 404, "magic"),
    ({"versions": {"first": 7}}, 404, "7"),
    ({"estimator": "guess"}, 422, "guess"),
    ({"since": "yesterday"}, 422, "since"),
    ({"since": "99999d", "upto": "f" * 32}, 404, "upto"),
    ({"since": "9999999999d"}, 422, "since"),
    ({"since": "0001-01-01"}, 422, "too far"),
    ({"since": 0, "upto": 0}, 422, "no decision"),
    ({"least_ess": -1}, 422, "least_ess"),
]


def test_what_cannot_be_judged_is_said(client):
    client.post("/v1/route", json={"task": "x"})
    for body, status, says in UNJUDGED:
        answer = client.post("/v1/evaluate", json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), body
        assert says in answer.json()["detail"]


def test_one_is_judged_at_a_time_and_given_up_with_its_request(make_client, config):
    client = make_client(insecure=True, config=config, timeout_s=0.2)
    service = client.app.state.service
    decision = client.post("/v1/route", json={"task": "x"}).json()["decision_id"]
    client.post("/v1/outcomes", json={"decision_id": decision, "outcome": {"quality": 1.0}})
    Held.go_on.clear()
    while not Held.asked.wait(0.01):  # where the machine is busy, one is given up before it is asked
        assert client.post("/v1/evaluate", json={"strategies": ["held"]}).status_code in (409, 504)
    assert client.post("/v1/evaluate", json={}).status_code == 409
    assert client.get("/livez").status_code == 200
    Held.go_on.set()
    assert service.evaluating.acquire(timeout=10)
    service.evaluating.release()
    service.settings = service.settings.model_copy(update={"timeout_s": 60.0})  # however busy the machine is
    assert client.post("/v1/evaluate", json={}).status_code == 200


def test_it_is_the_admins_of_all_tenants(keyed):
    bound = keyed("bound", scopes=SCOPES, tenant="acme")
    figures = keyed("figures", scopes=["metrics"])
    ops = keyed("ops", scopes=["admin"])
    asked = [("get", ""), ("get", "/two"), ("get", "/two/report"), ("post", "/two/stop"), ("post", "")]
    body = {"name": "two", "challengers": [{"name": "static", "learning": False}]}
    for verb, path in asked:
        options = {"json": body} if (verb, path) == ("post", "") else {}
        assert getattr(bound, verb)(f"/v1/experiments{path}", **options).status_code == 403
    assert bound.post("/v1/evaluate").status_code == 403
    assert figures.post("/v1/experiments", json=body).status_code == 403
    assert figures.post("/v1/evaluate").status_code == 403
    assert ops.post("/v1/experiments", json=body).json()["actor"] == "ops"
    assert figures.get("/v1/experiments/two").status_code == 200


def test_what_was_said_of_a_decision_is_told_to_who_may_record(keyed):
    both, route_alone = keyed("both"), keyed("deciding", scopes=["route"])
    decision = both.post("/v1/route", json={"task": "x"}).json()["decision_id"]
    outcome = {"quality": 0.25, "origin": "judge", "reason": "it names no invoice"}
    assert both.post("/v1/outcomes", json={"decision_id": decision, "outcome": outcome}).status_code == 200
    told = both.get(f"/v1/explain/{decision}").json()
    (part,) = told["parts"]
    assert (part["quality"], part["actor"], part["reason"]) == (0.25, "both", "it names no invoice")
    assert 0 <= told["reward"] <= 1
    told = route_alone.get(f"/v1/explain/{decision}").json()
    assert "parts" not in told
    assert "reward" not in told
