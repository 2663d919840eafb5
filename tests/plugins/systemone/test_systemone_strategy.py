"""The strategy in a router, with servers of this machine: asked, trusted, left alone."""

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from router_sdk import Agent, Outcome, Router
from router_sdk.errors import InvalidConfigError
from router_sdk.plugin import AgentSet, CorruptArtifactError
from router_sdk.testing import make_services

pytest.importorskip("httpx2", reason="httpx2 is not installed: pip install router-sdk-systemone")

from router_sdk_systemone import SystemOneConfig, SystemOneStrategy
from router_sdk_systemone.asking import read
from router_sdk_systemone.trust import Trust

AGENTS = [Agent("billing", description="invoices"), Agent("fraud"), Agent("sales", examples=["an offer"])]
NAMES = [agent.name for agent in AGENTS]


class Server:
    """Answers with a function of the text; counts, and holds answers back until it may give them."""

    def __init__(self, answer):
        self.asked, self.headers, self.answer = [], [], answer
        self.may = threading.Event()
        self.may.set()
        self.status = 200

    @contextmanager
    def serving(self):
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                told.asked.append(body)
                told.headers.append((self.path, self.headers.get("authorization")))
                told.may.wait(30)
                shares = told.answer(body["state"])
                answer = {"type": "choice", "choice": "ignored", "probabilities": shares, "confidence": 1.0}
                content = json.dumps({"model": "m", "answers": {"agent": answer}}).encode()
                self.send_response(told.status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *words):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            told.may.set()
            server.shutdown()
            server.server_close()
            thread.join()


def sure_of(name, share=0.9):
    return {other: share if other == name else (1 - share) / (len(NAMES) - 1) for other in NAMES}


@pytest.fixture
def opened(store_path):
    def open_one(url, *, agents=AGENTS, **settings):
        own = {"url": url, "timeout_ms": 20_000, **settings.pop("systemone", {})}
        options = {"retrain": False, "seed": 1, "epsilon": 0.0, "learn_now": True, "strategy": {"systemone": own}}
        return Router(agents, ["systemone", "thompson"], store_path, **{**options, **settings})

    return open_one


def by(decisions):
    return [one.strategy for one in decisions].count("systemone")


def test_its_favourite_is_chosen_from_the_first_task_on(opened):
    server = Server(lambda text: sure_of(text.split()[0]))
    with server.serving() as url, opened(url) as router:
        decisions = [router.route(f"{NAMES[number % 3]} number {number}") for number in range(30)]
        ours = [one for one in decisions if one.strategy == "systemone"]
        assert 20 <= len(ours) < 30  # the rest of the chain is heard on a tenth
        assert all(one.agent == one.task.text.split()[0] for one in ours)
        told = ours[0].explain()["evidence"]
        assert told["said"] == pytest.approx(sure_of(ours[0].agent))
        assert 0.8 < ours[0].confidence < 0.9
        question = server.asked[0]["questions"]["agent"]
        assert question["type"] == "choice"
        assert question["criteria"] == {"billing": "invoices", "fraud": "fraud", "sales": "an offer"}
        assert server.headers[0] == ("/v1/systemone", None)
        assert "model" not in server.asked[0]
        again = len(server.asked)
        assert router.route("billing number 0").agent == "billing"  # known
        assert len(server.asked) == again


def test_one_that_is_sure_and_wrong_is_left_alone_after_a_handful(opened):
    server = Server(lambda text: sure_of(NAMES[(NAMES.index(text.split()[0]) + 1) % 3], 0.95))
    with server.serving() as url, opened(url) as router:
        decisions = []
        for number in range(160):
            right = NAMES[number % 3]
            decisions.append(router.route(f"{right} number {number}"))
            router.record(decisions[-1], Outcome(success=decisions[-1].agent == right))
        assert by(decisions) < 40
        assert by(decisions[100:]) <= 6
        assert len(server.asked) < 120  # nobody pays for what is not heard
        told = next(one for one in router.status()["strategies"] if one["name"] == "systemone")
        assert told["expected"]["server"] < told["expected"]["rest_of_the_chain"]


@pytest.mark.slow
def test_one_that_gets_worse_than_the_chain_is_left(opened):
    rng = np.random.default_rng(1)

    def answer(text):
        right = text.split()[0]
        return sure_of(right if rng.random() < 0.6 else str(rng.choice(NAMES)), 0.7)

    server = Server(answer)
    with server.serving() as url, opened(url) as router:
        for number in range(60):  # what the chain knows by then
            router.observe(f"{NAMES[number % 3]} number", agent=NAMES[number % 3], outcome=Outcome(success=True))
        late = []
        for number in range(300):
            right = NAMES[number % 3]
            decision = router.route(f"{right} task {number}")
            router.record(decision, Outcome(success=decision.agent == right))
            late.append(decision.agent == right)
        assert np.mean(late[200:]) > 0.8


@pytest.mark.slow
def test_what_is_learnt_follows_from_the_log(opened, store_path, tmp_path):
    server = Server(lambda text: sure_of(text.split()[0]))
    with server.serving() as url:
        with opened(url, snapshot_seconds=1e6) as router:
            for number in range(40):
                decision = router.route(f"{NAMES[number % 3]} number {number}")
                router.record(decision, Outcome(success=number % 4 > 0))
            router.record(decision, Outcome(success=False, quality=0.25))  # corrected
            router.examples.export(tmp_path / "log.jsonl")
            here = router._parts.chain.stages[0].strategy._trust
        (tmp_path / "copy").mkdir()
        with Router(
            AGENTS, [("systemone", {"url": url}), "thompson"], tmp_path / "copy" / "r.db", retrain=False
        ) as copy:
            copy.examples.import_from(tmp_path / "log.jsonl")
            copy.flush()
            there = copy._parts.chain.stages[0].strategy._trust
            for key, sides in here.cells.items():
                for side, other in zip(sides, there.cells[key], strict=True):
                    assert other.known == pytest.approx(side.known, rel=0.05)  # positions are others
        assert len(here.cells) == 5


def test_a_coroutine_gives_way_while_it_waits(opened):
    server = Server(lambda text: sure_of("sales"))

    async def ask(router):
        server.may.clear()
        task = asyncio.create_task(router.aroute("what do you sell"))
        turns = 0
        while not server.asked:
            await asyncio.sleep(0.001)
            turns += 1
        assert not task.done()
        server.may.set()
        return await task, turns

    with server.serving() as url, opened(url) as router:
        decision, turns = asyncio.run(ask(router))
        assert decision.strategy == "systemone"
        assert turns > 0
        batch = router.route_batch([f"text {number}" for number in range(8)])
        assert by(batch) >= 5


def test_one_that_is_slow_is_not_waited_for_and_serves_the_next_with_the_same_words(opened):
    server = Server(lambda text: sure_of("fraud"))
    with server.serving() as url, opened(url, systemone={"wait": False}) as router:
        assert router.route("strange  card").strategy != "systemone"
        asker = router._parts.chain.stages[0].strategy._asker
        while asker.known("Strange card") is None:
            threading.Event().wait(0.005)
        assert router.route("Strange card").strategy == "systemone"
        assert len(server.asked) == 1


def test_a_server_that_is_away_is_left_in_peace(opened, caplog):
    server = Server(lambda text: sure_of("fraud"))
    with server.serving() as url:
        pass  # nobody listens there any more
    with opened(url) as router:
        assert by(router.route(f"text {number}") for number in range(30)) == 0
        told = router._parts.chain.stages[0].strategy.report()["server"]
        assert told["failed"] <= 3
        assert told["not_asked"] > 20
        assert "Connect" in told["fault"]
        assert caplog.text.count("gives no answer") == 1


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, sure_of("sales")), (200, {}), (200, {"billing": -1.0, "fraud": 2.0}), (200, {"billing": float("nan")})],
)
def test_an_answer_that_is_none_is_no_evidence(opened, status, answer):
    server = Server(lambda text: answer)
    server.status = status
    with server.serving() as url, opened(url) as router:
        assert router.route("text").strategy != "systemone"
        assert router._parts.chain.stages[0].strategy.report()["server"]["failed"] == 1


def test_the_budget_is_kept(opened):
    server = Server(lambda text: sure_of("sales"))
    with server.serving() as url, opened(url, systemone={"per_minute": 3, "per_day": 2}) as router:
        for number in range(10):
            router.route(f"text {number}")
        assert len(server.asked) == 2


def test_a_key_and_a_model_are_sent(opened, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    server = Server(lambda text: sure_of("sales"))
    with server.serving() as url:
        own = {"api_key_variable": "MY_KEY", "model": "small"}
        with opened(f"{url}/v1/systemone", systemone=own) as router:
            router.route("text")
        assert server.headers == [("/v1/systemone", "Bearer secret")]
        assert server.asked[0]["model"] == "small"


def test_who_is_not_eligible_gets_nothing(opened):
    server = Server(lambda text: {"billing": 0.7, "fraud": 0.2, "sales": 0.1})
    with server.serving() as url, opened(url) as router:
        found = [router.route(f"text {number}", exclude=["billing"]) for number in range(12)]
        assert {one.agent for one in found if one.strategy == "systemone"} == {"fraud"}
        router.remove_agent("fraud")  # what was answered about others is of no use
        assert router.route("text 0").agent in ("billing", "sales")


def test_no_address_is_a_clear_error(tmp_path):
    with pytest.raises(InvalidConfigError, match="url"):
        Router(AGENTS, ["systemone"], tmp_path / "r.db")


def test_a_state_that_is_none_is_refused(tmp_path):
    strategy = SystemOneStrategy(SystemOneConfig(url="http://nobody"), make_services(tmp_path))
    strategy.save(tmp_path)
    strategy.load(tmp_path)
    for content in ("{", "{}", '{"cells": [["a", 9, [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]]}', '{"cells": [["", 1, [-1]]]}'):
        (tmp_path / "trust.json").write_text(content)
        with pytest.raises(CorruptArtifactError):
            strategy.load(tmp_path)


def test_labels_that_are_missing_have_no_probability():
    agents = AgentSet(AGENTS)
    answer = {"answers": {"agent": {"probabilities": {"billing": 1.0, "somebody": 1.0}}}}
    assert read(answer, agents) == {"billing": 1.0, "fraud": 0.0, "sales": 0.0}
    for wrong in ({}, [], {"answers": {"agent": {"choice": "billing"}}}, {"answers": {"agent": {"probabilities": []}}}):
        with pytest.raises(ValueError):
            read(wrong, agents)


def test_trust_is_what_outcomes_say():
    trust = Trust(0.9)
    assert trust.better("a", 0.95, 10) > 0.99
    for number in range(8):
        trust.add("a", 0.95, 1, 0.9, number, 0.0, True)
    assert trust.better("a", 0.95, 10) < 0.25
    good = Trust(0.9)
    for number in range(60):
        good.add("a", 0.9, 1, 0.9, 2 * number, float(number % 10 > 0), True)
        good.add("a", 0.9, 0, 0.1, 2 * number + 1, float(number % 10 > 4), True)
    assert good.better("a", 0.9, 10) > 0.9
    assert good.best(10) > 0.9
    before = good.known("a", 0.9, 10)
    good.add("a", 0.9, 1, 0.9, 118, -1.0, False)  # the last one failed after all
    assert good.known("a", 0.9, 10)[1].mean < before[1].mean
    assert good.known("a", 0.9, 10)[1].worth == before[1].worth
    assert Trust.from_dict(json.loads(json.dumps(good.to_dict())), 0.9).to_dict() == good.to_dict()
