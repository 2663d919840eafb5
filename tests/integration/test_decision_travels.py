"""A decision, and what else a router says, through the frameworks that carry it: FastAPI and LangGraph."""

import json
import pickle
from typing import Any, TypedDict

import msgpack
import numpy as np
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from router_sdk import Decision, Outcome, Router, Task
from router_sdk.learning.performance import AgentPerformance
from router_sdk.plugin import Proposal, Strategy
from router_sdk.router import Ranked


class Numpy(Strategy):
    """Answers in numpy's numbers, and says of itself whatever comes to its mind."""

    name = "numpy"

    def propose(self, task, agents, context):
        scores = {name: np.float32(number) for number, name in enumerate(agents.names)}
        shares = dict.fromkeys(agents.names, np.float32(1 / len(agents)))
        return Proposal(shares, scores, np.float32(0.3), lambda: {"seen": np.arange(2), "pair": (1, object)})

    def report(self):
        return {"weights": np.ones(2, np.float32), "by type": {3: np.int64(2)}, "worst": np.float32("nan")}

    def expected(self):
        return {"a": {"quality": np.float32(0.5)}}


class State(TypedDict):
    decision: Decision
    ranked: list[Ranked]
    report: list[AgentPerformance]
    told: dict[str, Any]


class Reply(BaseModel):
    decision: Decision
    ranked: list[Ranked]


@pytest.fixture
def router():
    with Router(["a", "b", "c"], [Numpy, "heuristic"], ":memory:", seed=1) as router:
        yield router


async def ask(app, method, path, body=None):
    """One request, as a server would hand it on."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": method}
    address = {"path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers}
    await app({**scope, **address, "server": ("here", 80), "client": ("here", 1)}, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def test_it_is_a_response_and_a_body_of_fastapi(router):
    app = FastAPI()

    @app.post("/route")
    async def route(task: Task) -> Decision:
        return router.route(task)

    @app.post("/brief", response_model=Decision, response_model_exclude={"task", "vectors"})
    async def brief(task: Task):
        return router.route(task)

    @app.post("/reply")
    async def reply(task: Task) -> Reply:
        return Reply(decision=router.route(task), ranked=router.rank(task))

    @app.post("/record")
    async def record(decision: Decision, outcome: Outcome) -> dict[str, str]:
        router.record(decision, outcome)
        return {"recorded": decision.decision_id}

    @app.get("/agents")
    async def agents() -> list[AgentPerformance]:
        return router.agent_performance()

    status, said = await ask(app, "POST", "/route", {"text": "who?", "requires": [], "history": ["a"]})
    assert status == 200
    router.flush()
    assert Decision.model_validate(said).model_dump() == {**said, "durable": False}
    known = router.decision(said["decision_id"])
    assert (known.agent, known.task, known.propensity) == (
        said["agent"],
        Task("who?", history=["a"]),
        said["propensity"],
    )

    status, short = await ask(app, "POST", "/brief", {"text": "who?"})
    assert (status, said.keys() - short.keys()) == (200, {"task", "vectors"})
    status, both = await ask(app, "POST", "/reply", {"text": "who?"})
    assert (status, [row[0] for row in both["ranked"]]) == (200, ["c", "b", "a"])
    status, done = await ask(app, "POST", "/record", {"decision": said, "outcome": {"success": True}})
    assert (status, done) == (200, {"recorded": said["decision_id"]})
    router.flush()
    assert router.statistics()["total_examples"] == 1
    status, table = await ask(app, "GET", "/agents")
    assert (status, {row["agent"]: row["expected"] for row in table}["a"]) == (200, {"quality": 0.5})

    status, refused = await ask(app, "POST", "/route", {"text": ""})
    assert (status, "nothing to route by" in refused["detail"][0]["msg"]) == (422, True)
    status, refused = await ask(app, "POST", "/record", {"decision": {**said, "at": "soon"}, "outcome": {"quality": 1}})
    assert (status, refused["detail"][0]["loc"]) == (422, ["body", "decision", "at"])

    status, described = await ask(app, "GET", "/openapi.json")
    assert status == 200
    assert {"Decision", "Task", "Outcome", "AgentPerformance"} <= described["components"]["schemas"].keys()
    answer = described["paths"]["/route"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/Decision"}


def test_what_a_router_says_is_json_and_msgpack(router):
    decision = router.route("who?")
    router.record(decision, Outcome(no_agent_fits=True, feedback=np.int64(-1), quality=np.float32(0.25)))
    router.flush()
    performance = router.agent_performance(top_k=np.int64(3))
    for said in (
        *(decision.explain(), decision.to_dict(), decision.model_dump(), router.statistics(), router.status()),
        [one.to_dict() for one in performance],
        [one._asdict() for one in router.rank("who?", top_k=np.int64(2))],
    ):
        assert json.loads(json.dumps(said, allow_nan=False)) == said
        assert msgpack.unpackb(msgpack.packb(said)) == said
        assert pickle.loads(pickle.dumps(said)) == said
    for said, kind in ((performance, list[AgentPerformance]), (router.rank("who?"), list[Ranked])):
        adapter = TypeAdapter(kind)
        assert adapter.validate_json(adapter.dump_json(said)) == said == pickle.loads(pickle.dumps(said))
    assert router.rank("who?", top_k=np.int64(2))[0] == Ranked("c", 1, 2.0, pytest.approx(1 / 3))
    assert router.status()["strategies"][0]["by type"] == {"3": 2}


def test_a_graph_keeps_it_in_its_checkpoints(router):
    graphs = pytest.importorskip("langgraph.graph")
    memory = pytest.importorskip("langgraph.checkpoint.memory").InMemorySaver()
    builder = graphs.StateGraph(State)
    decision, ranked, report = (
        router.route(Task("who?", history=["a"])),
        router.rank("who?"),
        router.agent_performance(),
    )
    router.flush()
    given = {"decision": decision, "ranked": ranked, "report": report, "told": router.status()}
    builder.add_node("route", lambda state: given)
    builder.add_edge(graphs.START, "route")
    graph = builder.compile(checkpointer=memory)
    thread = {"configurable": {"thread_id": "1"}}
    graph.invoke({"told": {}}, thread)
    kept = graph.get_state(thread).values
    assert kept["decision"].model_dump() == decision.model_dump()
    assert kept["decision"].task == decision.task
    assert (kept["ranked"], kept["report"], kept["told"]) == (ranked, report, given["told"])
