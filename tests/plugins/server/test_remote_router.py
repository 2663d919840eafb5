import dataclasses
import json
import socket
import threading
import time
from contextlib import contextmanager

import httpx2
import pytest
import uvicorn
from router_sdk_server import ServiceSettings, create_app
from router_sdk_server.endpoints.routing import told

from router_sdk import Decision, Outcome
from router_sdk.client import RemoteRouter
from router_sdk.client.outbox import Outbox
from router_sdk.client.wire import decision_of
from router_sdk.errors import (
    AccessDeniedError,
    InvalidIdError,
    InvalidInputError,
    InvalidOutcomeError,
    NoEligibleAgentError,
    RouterClosedError,
    ServiceError,
    ServiceUnavailableError,
    UnknownAgentError,
)


@contextmanager
def serving(store, port, **settings):
    """A service on a port of this machine, on a thread of its own."""
    app = create_app(ServiceSettings(store=store, **{"insecure": True, **settings}))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield app.state.service
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def service(store, port):
    with serving(store, port) as found:
        yield found


@pytest.fixture
def remote(service, port):
    with RemoteRouter(f"http://127.0.0.1:{port}") as router:
        yield router


def delivered(service):
    rows = "SELECT decision_id, quality FROM outcomes ORDER BY seq"
    return service.router._parts.store.reader.query(lambda connection: connection.execute(rows).fetchall())


def test_it_has_the_routers_own_face(remote, service):
    decision = remote.route("I was charged twice", exclude=["fraud"])
    assert isinstance(decision, Decision)
    assert decision.excluded == {"fraud": "excluded by the caller"}
    here = service.router.decision(decision.decision_id)
    assert (here.agent, here.propensity) == (decision.agent, pytest.approx(decision.propensity))
    assert here.at == pytest.approx(decision.at, abs=0.01)
    remote.record(decision, Outcome(quality=0.5))
    remote.record(decision.decision_id, {"feedback": -1})
    assert [one.rank for one in remote.rank("x", top_k=2)] == [1, 2]
    assert remote.route("x", idempotency_key="k") == remote.route("x", idempotency_key="k")
    service.router.flush()
    (example,) = service.router.examples[-1:]
    assert (example.signals.quality, example.signals.feedback) == (0.5, -1)


def test_whom_the_compared_strategies_prefer_comes_along_and_what_a_newer_service_says_is_passed_over(service):
    made = dataclasses.replace(service.router.route("x"), favourites={"bert": "billing", "thompson": "fraud"})
    answer = json.loads(json.dumps({**told(made), "of_the_future": 1}))
    found = decision_of(made.task, answer)
    assert (found, found.favourites) == (made, made.favourites)
    plain = service.router.route("x", exclude=["fraud", "billing"])
    assert "favourites" not in told(plain)
    skipped = [{"strategy": "bert", "reason": "no encoder", "code": 7}]
    found = decision_of(plain.task, {**json.loads(json.dumps(told(plain))), "favourites": None, "skipped": skipped})
    assert (found.favourites, found.skipped) == ({}, (("bert", "no encoder"),))


def test_a_call_is_recorded_by_itself(remote, service):
    with remote.handle("cancel my plan") as call:
        call.result = "done"
    with pytest.raises(KeyError), remote.handle("cancel my plan"):
        raise KeyError("no plan")
    service.router.flush()
    assert [one.signals.success for one in service.router.examples] == [True, False]


async def test_coroutines_have_the_same(service, port):
    async with RemoteRouter(f"http://127.0.0.1:{port}") as remote:
        decision = await remote.aroute("I was charged twice")
        await remote.arecord(decision, {"success": True})
        assert len(await remote.arank("x")) == 3
        async with remote.handle("cancel my plan") as call:
            call.result = "done"
    service.router.flush()
    assert len(service.router.examples) == 2


def test_what_the_service_raises_is_raised_here(remote):
    with pytest.raises(UnknownAgentError, match="nobody"):
        remote.route("x", exclude=["nobody"])
    with pytest.raises(NoEligibleAgentError):
        remote.route({"text": "x", "requires": ["wings"]})
    decision = remote.route("x")
    with pytest.raises(InvalidOutcomeError):
        remote.record(decision, {"quality": 7})
    with pytest.raises(UnknownAgentError):
        remote.record(decision, {"correct_agent": "nobody"})


def test_a_key_is_shown_and_refused_by_name(store, port):
    with serving(store, port, insecure=False) as service:
        _, key = service.router.keys.create("app", scopes=["route"])
        url = f"http://127.0.0.1:{port}"
        with RemoteRouter(url, key=key) as remote:
            decision = remote.route("x")
            with pytest.raises(AccessDeniedError, match="'record'"):
                remote.record(decision, {"success": True})
        with RemoteRouter(url, key="rk_wrong") as remote, pytest.raises(AccessDeniedError, match="revoked"):
            remote.route("x")


def test_outcomes_wait_on_disk_while_the_service_is_away_and_come_in_order(store, port, tmp_path):
    url, queue = f"http://127.0.0.1:{port}", tmp_path / "outcomes.db"
    with serving(store, port), RemoteRouter(url) as remote:
        decisions = [remote.route(f"task {i}").decision_id for i in range(5)]
    with RemoteRouter(url, queue=queue, timeout_s=1) as remote:  # it has gone meanwhile
        for i, decision in enumerate(decisions):
            remote.record(decision, {"quality": i / 10})
        remote.record(decisions[0], {"quality": 0.9}, outcome_id="twice")
        remote.record(decisions[0], {"quality": 0.9}, outcome_id="twice")
        remote.record(decisions[0], {"correct_agent": "nobody"})
        assert remote.waiting == 8
    with serving(store, port) as service:
        with RemoteRouter(url, queue=queue) as remote:  # another process, later
            remote.flush()
            assert remote.waiting == 0
            ((report, reason),) = remote.refused()
            assert report["outcome"] == {"correct_agent": "nobody"}
            assert "nobody" in reason
            remote.record(decisions[1], {"quality": 1.0})  # and then at once again
        expected = [(decision, i / 10) for i, decision in enumerate(decisions)]
        assert delivered(service) == [*expected, (decisions[0], 0.9), (decisions[1], 1.0)]


def test_what_waits_is_sent_by_itself_once_the_service_is_back(store, port, tmp_path):
    url = f"http://127.0.0.1:{port}"
    with RemoteRouter(url, queue=tmp_path / "outcomes.db", timeout_s=1) as remote:
        remote.record("0" * 32, {"success": True})
        with serving(store, port):
            end = time.monotonic() + 30
            while remote.waiting:
                assert time.monotonic() < end
                time.sleep(0.02)


def test_the_queue_is_bounded_and_says_so(port, tmp_path):
    with RemoteRouter(f"http://127.0.0.1:{port}", queue=tmp_path / "q.db", queue_size=2, timeout_s=1) as remote:
        remote.record("0" * 32, {"success": True})
        remote.record("0" * 32, {"success": True})
        with pytest.raises(ServiceUnavailableError, match="2 outcomes wait"):
            remote.record("0" * 32, {"success": True})
        assert remote.waiting == 2
        assert (tmp_path / "q.db").stat().st_mode & 0o077 == 0


class Answers(httpx2.BaseTransport):
    """Answers as it is told to, one after the other."""

    def __init__(self, *answers):
        self.answers, self.seen = list(answers), []

    def handle_request(self, request):
        self.seen.append(json.loads(request.read()))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer, json={"detail": "not now", "decision_id": "0" * 32, "recorded": 1})


@pytest.fixture
def answering():
    opened = []

    def make(*answers, **options):
        transport = Answers(*answers)
        opened.append(RemoteRouter("http://service", transport=transport, **options))
        opened[-1]._closing.wait = lambda seconds: False  # retries do not wait
        return opened[-1], transport

    yield make
    for remote in opened:
        remote.close()


def test_an_outcome_is_sent_again_under_one_id(answering):
    remote, transport = answering(httpx2.ReadTimeout("lost"), 503, httpx2.ConnectError("gone"), 200)
    remote.record("0" * 32, {"success": True})
    assert len({report["outcome_id"] for report in transport.seen}) == 1
    assert len(transport.seen) == 4


def test_a_decision_is_asked_for_again_only_where_that_makes_no_second_one(answering):
    remote, transport = answering(httpx2.ReadTimeout("lost"))
    with pytest.raises(ServiceUnavailableError, match="ReadTimeout"):
        remote.route("x")
    assert len(transport.seen) == 1
    remote, transport = answering(*[httpx2.ReadTimeout("lost")] * 4)
    with pytest.raises(ServiceUnavailableError):
        remote.route("x", idempotency_key="k")
    assert [body["idempotency_key"] for body in transport.seen] == ["k"] * 4
    remote, transport = answering(504)
    with pytest.raises(ServiceUnavailableError, match="504"):
        remote.route("x")
    assert len(transport.seen) == 1
    remote, transport = answering(*[httpx2.ConnectError("gone")] * 4)
    with pytest.raises(ServiceUnavailableError):
        remote.route("x")
    assert len(transport.seen) == 4


def pages(answer):
    """A transport that answers so whatever is asked."""
    return httpx2.MockTransport(lambda request: answer)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>Log in</html>"),
        httpx2.Response(200, json={}),
        httpx2.Response(200, json=None),
        httpx2.Response(302, headers={"location": "https://elsewhere/login"}),
    ],
)
def test_who_answers_and_is_no_service_has_nothing(answer, tmp_path):
    with RemoteRouter("http://service", transport=pages(answer)) as remote:
        for call in (
            lambda: remote.route("x"),
            lambda: remote.rank("x"),
            lambda: remote.record("0" * 32, {"success": True}),
        ):
            with pytest.raises(ServiceUnavailableError, match=r"http://service/v1/.* is no service of a router"):
                call()
    with RemoteRouter("http://service", transport=pages(answer), queue=tmp_path / "q.db") as remote:
        remote.record("0" * 32, {"success": True})
        assert remote.waiting == 1


def test_what_is_too_much_together_is_sent_in_parts(tmp_path):
    sent = []

    def answer(request):
        reports = json.loads(request.read())["outcomes"]
        if len(reports) > 3 or "large" in [report["decision_id"] for report in reports]:
            return httpx2.Response(413, json={"type": "about:blank", "detail": "too large"})
        sent.extend(report["outcome_id"] for report in reports)
        results = [{"recorded": True} for _ in reports]
        return httpx2.Response(200, json={"recorded": len(results), "results": results})

    outbox = Outbox(tmp_path / "q.db", 100)
    for number in range(10):
        outbox.put({"decision_id": "large" if number == 5 else "0" * 32, "outcome": {}, "outcome_id": str(number)})
    with RemoteRouter("http://service", transport=httpx2.MockTransport(answer), queue=tmp_path / "q.db") as remote:
        remote.flush()
        assert remote.waiting == 0
        ((report, reason),) = remote.refused()
    assert (report["outcome_id"], reason) == ("5", "too large")
    assert sent == [str(number) for number in range(10) if number != 5]


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("localhost:8000", {}, "url: expected .* got 'localhost:8000'"),
        ("", {}, "url: expected"),
        ("http://service", {"key": "rk_é"}, "key: expected what router keys create showed"),
        ("http://service", {"key": "rk_a b"}, "key: expected what router keys create showed"),
    ],
)
def test_what_cannot_be_an_address_or_a_key_is_said_at_once(url, options, says):
    with pytest.raises(InvalidInputError, match=says):
        RemoteRouter(url, **options)


def test_a_queue_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "text").write_text("no database " * 100)
    for queue in (tmp_path, tmp_path / "nowhere" / "q.db", tmp_path / "text"):
        with pytest.raises(ServiceError, match=f"the queue of outcomes {queue} cannot be used"):
            RemoteRouter("http://service", queue=queue)


async def test_a_closed_one_says_so(tmp_path):
    remote = RemoteRouter("http://127.0.0.1:1", queue=tmp_path / "q.db")
    await remote.aclose()
    for call in (lambda: remote.route("x"), lambda: remote.record("0" * 32, {"success": True})):
        with pytest.raises(RouterClosedError):
            call()
    with pytest.raises(RouterClosedError):
        await remote.aroute("x")
    assert remote.waiting == 0
    with pytest.raises(InvalidIdError, match="got NoneType"):
        remote.record(None, {"success": True})


def test_what_is_no_problem_of_ours_is_an_error_all_the_same(answering):
    remote, _ = answering(418)
    with pytest.raises(ServiceError, match="not now"):
        remote.route("x")
