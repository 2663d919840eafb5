"""The decision-model endpoint asked by the real clients of other libraries, which `.ci/adapters systemone` installs."""

import asyncio
import contextvars
import socket
import threading
import time
from typing import Literal

import pytest
import uvicorn
from router_sdk_server import ServiceSettings, create_app

LABELS = {"billing": "invoices and refunds", "fraud": "stolen cards"}
TEXT = "what nobody knows"


@pytest.fixture
def served(store, monkeypatch):
    """A service that needs no key, at an address; gives the address, its router, and what it decided as it goes."""
    app, made = create_app(ServiceSettings(store=store, insecure=True)), []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            end = time.monotonic() + 30
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < end
                time.sleep(0.01)
            service = app.state.service
            counted = service.decided
            monkeypatch.setattr(service, "decided", lambda decisions: (made.extend(decisions), counted(decisions)))
            host, port = listening.getsockname()
            yield f"http://{host}:{port}", service.router, made
        finally:
            server.should_exit = True
            thread.join()


class TestDspy:
    """``dspy.experimental.TypeSafe`` of ``dspy[typesafe]``: its own cache, then the client of ``typesafe-sdk``."""

    @pytest.fixture(autouse=True)
    def dspy(self, tmp_path):
        pytest.importorskip("typesafe_sdk", reason="typesafe-sdk is not installed: pip install 'dspy[typesafe]'")
        dspy = pytest.importorskip("dspy", reason="dspy is not installed")
        pytest.importorskip("dspy.experimental", reason="before dspy 3.4")
        self.cache = {"disk_cache_dir": str(tmp_path / "dspy")}
        dspy.configure_cache(**self.cache)
        return dspy

    @pytest.fixture
    def lm(self, dspy, served):
        return dspy.experimental.TypeSafe("router", api_key="none", base_url=served[0], cache=False)

    def asking(self, dspy, annotation):
        """A predictor with one output of this type."""
        fields = {"text": (str, dspy.InputField()), "agent": (annotation, dspy.OutputField(desc="who should get it"))}
        return dspy.Predict(dspy.Signature(fields, "Send the message to an agent."))

    def test_either_way_to_ask_for_a_choice_executes_the_logged_agent(self, dspy, lm, served):
        made = served[2]
        for kind in (Literal["billing", "fraud"], dspy.experimental.Choice[tuple(LABELS.items())]):
            asked = self.asking(dspy, kind)
            for _ in range(20):
                agent = asked(text=TEXT, lm=lm).agent
                assert getattr(agent, "value", agent) == made[-1].agent
                assert made[-1].task.text == TEXT
        assert any(one.explored for one in made)  # so that it is no matter of course

    def test_its_coroutine_asks_alike(self, dspy, lm, served):
        answered = asyncio.run(self.asking(dspy, Literal["billing", "fraud"]).acall(text=TEXT, lm=lm))
        assert answered.agent == served[2][-1].agent

    def test_several_outputs_are_several_decisions(self, dspy, lm, served):
        one = Literal["billing", "fraud"]
        fields = {
            "text": (str, dspy.InputField()),
            **{name: (one, dspy.OutputField(desc=f"who is {name}")) for name in ("first", "second")},
        }
        answered = dspy.Predict(dspy.Signature(fields, "Two."))(text=TEXT, lm=lm)
        assert {answered.first, answered.second} <= set(LABELS)
        assert len(served[2]) == 2

    @pytest.mark.parametrize("kind", ["noul", "score"])
    def test_other_types_are_refused_by_name_and_nothing_is_logged(self, dspy, lm, served, kind):
        annotation = {"noul": bool, "score": dspy.experimental.Score["calm", "angry"]}[kind]
        with pytest.raises(Exception, match=f"type '{kind}' asks for .* ask with type 'choice'"):
            self.asking(dspy, annotation)(text=TEXT, lm=lm)
        assert len(served[2]) == 0

    def test_its_cache_repeats_a_draw_for_ever_on_disk_too_and_cache_false_does_not(self, dspy, lm, served):
        asked, cached = self.asking(dspy, Literal["billing", "fraud"]), lm.copy(cache=True)
        first = asked(text=TEXT, lm=cached).agent
        for _ in range(9):
            assert asked(text=TEXT, lm=cached).agent == first
        dspy.configure_cache(**self.cache, enable_memory_cache=False)  # as another process finds it
        assert asked(text=TEXT, lm=cached).agent == first
        assert len(served[2]) == 1
        drawn = {asked(text=TEXT, lm=lm).agent for _ in range(30)}
        assert drawn == set(LABELS)
        assert len(served[2]) == 31

    def test_an_outcome_is_recorded_by_the_id_that_its_client_leaves_out(self, dspy, served):
        address, router, _ = served
        from typesafe_sdk import TypeSafeClient

        decision_id = contextvars.ContextVar("decision_id")

        class RouterLM:  # as docs/service.md has it
            supports_decision_requests = True

            def __call__(self, state, questions):
                with TypeSafeClient(api_key="none", base_url=address, model="router") as client:
                    answer = client.system_one(state=state, questions=questions)
                decision_id.set(answer.raw_http_response.headers["x-typesafe-request-id"])
                return {name: one.model_dump() for name, one in answer.answers.items()}

        agent = self.asking(dspy, Literal["billing", "fraud"])(text=TEXT, lm=RouterLM()).agent
        decision = router.decision(decision_id.get())
        assert decision.agent == agent
        router.record(decision, {"success": True})


def test_semantic_routers_decision_router_takes_the_logged_agent(served):
    semantic_router = pytest.importorskip("semantic_router", reason="semantic-router is not installed")
    decision_models = pytest.importorskip("semantic_router.decision_models", reason="before semantic-router 1.1")
    from semantic_router.routers import DecisionRouter

    address, _, made = served
    model = decision_models.SystemOneDecisionModel(name="router", base_url=address)
    routes = [semantic_router.Route(name=name, utterances=[text]) for name, text in LABELS.items()]

    async def ask():
        asked = DecisionRouter(model, routes)
        taken = [(await asked.acall(TEXT)).name for _ in range(20)]
        await model.aclose()
        return taken

    assert asyncio.run(ask()) == [decision.agent for decision in made]
    assert any(decision.explored for decision in made)


@pytest.mark.filterwarnings("ignore")  # its own, at import
def test_litellms_systemone_takes_the_logged_agent(served):
    litellm = pytest.importorskip("litellm", reason="litellm is not installed")
    address, _, made = served
    question = {"type": "choice", "instructions": "Who?", "criteria": LABELS}
    for _ in range(5):
        answer = litellm.systemone(
            model="typesafe/router", state=TEXT, questions={"who": question}, api_base=address, api_key="none"
        )
        assert answer.answers["who"].choice == made[-1].agent
