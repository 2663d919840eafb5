"""The router as a decision model: asked by itself, and by LangChain's own middleware in a real agent."""

import pytest

pytest.importorskip("langchain_core.decisions", reason="the framework of router-sdk-langchain")
pytest.importorskip("router_sdk_langchain", reason="plugins/langchain")

from chat_models import Scripted
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.middleware import ModelChoice, ModelFallbackMiddleware, ModelRouterMiddleware
from langchain_core.decisions import Choice, Noul
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from router_sdk_langchain import RouterDecisionModel
from router_sdk_langchain.decision_model import leading

from router_sdk import Agent, Outcome, Proposal, RouterError, Strategy

AGENTS = [Agent("cheap", description="greetings and small talk"), Agent("strong", description="proofs and programs")]
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


@pytest.fixture
def router(make_router):
    return make_router(["heuristic"], agents=AGENTS, epsilon=0.0)


def question(*labels):
    return Choice(instructions="Who?", criteria=dict.fromkeys(labels))


def ask(model, state, *labels, config=None):
    return model.invoke({"state": state, "questions": {"who": question(*labels)}}, config)


def thread(name="t"):
    return {"configurable": {"thread_id": name}}


async def test_a_choice_is_a_decision(router):
    model = RouterDecisionModel(router=router)
    answer = ask(model, "proofs and programs", "cheap", "strong")
    router.flush()
    decision = router.decision(answer.request_id)
    assert (answer.answers["who"].choice, decision.agent) == ("strong", "strong")
    request = {"state": [HumanMessage("greetings")], "questions": {"who": question("cheap", "strong")}}
    assert (await model.ainvoke(request)).answers["who"].choice == "cheap"


def test_labels_are_who_can_be_chosen(router):
    model = RouterDecisionModel(router=router)
    answer = ask(model, "proofs and programs", "cheap").answers["who"]
    assert (answer.choice, answer.probabilities) == ("cheap", {"cheap": 1.0})
    with pytest.raises(ValueError, match="no agent is called other"):
        ask(model, "x", "cheap", "other")
    with pytest.raises(ValueError, match="choices alone"):
        model.invoke({"state": "x", "questions": {"q": Noul(instructions="Is it?")}})


class Nobody(Strategy):
    """Says that no agent fits."""

    name = "nobody"

    def propose(self, task, agents, context):
        return Proposal({}, no_agent_fits=True)


def test_no_agent_fits_has_a_label_of_its_own(make_router):
    router = make_router([Nobody], agents=AGENTS)
    model = RouterDecisionModel(router=router, no_agent_label="other")
    answer = ask(model, "x", "cheap", "strong", "other").answers["who"]
    assert answer.choice == "other"
    assert answer.probabilities == {"cheap": 0.0, "strong": 0.0, "other": 1.0}
    with pytest.raises(RouterError, match="no agent fits"):
        ask(RouterDecisionModel(router=router), "x", "cheap", "strong")


def test_who_takes_the_largest_probability_does_what_was_logged(make_router):
    """The half of the draws that explore, and ties, included."""
    names = [f"agent-{i}" for i in range(8)]
    router = make_router(["heuristic"], agents=[Agent(name) for name in names], epsilon=0.5, store=":memory:")
    model = RouterDecisionModel(router=router)
    agreed = 0
    for i in range(1_000):
        response = ask(model, f"agent-{i % 3}" if i % 2 else "nothing known", *names)
        answer = response.answers["who"]
        assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-9)
        agreed += max(answer.probabilities, key=answer.probabilities.get) == answer.choice
    assert agreed == 1_000


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40).filter(any), st.data())
def test_the_chosen_leads_whatever_the_probabilities_are(weights, data):
    total = sum(weights)
    given_ones = {f"a{i}": weight / total for i, weight in enumerate(weights)}
    chosen = data.draw(st.sampled_from(sorted(given_ones)))
    found = leading(given_ones, chosen)
    assert found.keys() == given_ones.keys()
    assert all(found[chosen] > value for name, value in found.items() if name != chosen)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-9)
    assert all(0.0 <= value <= 1.0 for value in found.values())


@pytest.fixture
def models():
    return {"cheap": Scripted(model="small-1"), "strong": Scripted(model="large-1")}


def agent(router, models, *more, **options):
    choices = {name: ModelChoice(model=one, criteria=name) for name, one in models.items()}
    classifier = RouterDecisionModel(router=router, **options)
    own = ModelRouterMiddleware(choices=choices, instructions="Who?", classifier=classifier)
    made = create_agent(Scripted(model="default"), [], middleware=[own, *more], checkpointer=InMemorySaver())
    return made, classifier


def asks(text):
    return {"messages": [HumanMessage(text)]}


async def test_in_langchains_own_middleware(router, models):
    made, classifier = agent(router, models)
    ended = made.invoke(asks("proofs and programs"), thread())
    assert ended["messages"][-1].text == "large-1 answered"
    decision = classifier.decided(thread())
    assert ended["model_route"].choice == decision.agent == "strong"
    router.record(decision, Outcome(success=True))
    assert (await made.ainvoke(asks("greetings"), thread("other")))["messages"][-1].text == "small-1 answered"
    assert classifier.decided(thread("other")).agent == "cheap"
    assert classifier.decided(thread()) is decision
    assert classifier.decided(thread("never")) is None


def test_it_reads_the_conversation_of_which_the_middleware_shows_the_newest_message_alone(router, models):
    made, classifier = agent(router, models)
    made.invoke(asks("proofs and programs"), thread())
    ended = made.invoke(asks("yes"), thread())
    assert ended["model_route"].choice == "strong"
    assert classifier.decided(thread()).task.text == "proofs and programs\nyes"
    assert classifier.decided(thread()).task.session_id == "t"


def test_the_same_message_gets_the_same_decision_and_time_travel_takes_the_rest_back(router, models):
    made, classifier = agent(router, models)
    made.invoke(asks("proofs and programs"), thread())
    first = classifier.decided(thread())
    made.invoke(asks("greetings"), thread())
    earlier = [one for one in made.get_state_history(thread()) if one.next == ("ModelRouterMiddleware.before_agent",)]
    made.invoke(None, earlier[-1].config)
    router.flush()
    assert router.status()["store"]["decisions"] == 2
    made.invoke(asks("yes"), thread())
    assert classifier.decided(thread()).task.text == "proofs and programs\nyes"
    assert first.decision_id != classifier.decided(thread()).decision_id


def test_the_threads_that_are_remembered_are_bounded(router):
    model = RouterDecisionModel(router=router, most_threads=3)
    for i in range(10):
        ask(model, HumanMessage("x", id=str(i)), "cheap", "strong", config=thread(str(i)))
    assert [i for i in range(10) if model.decided(thread(str(i)))] == [7, 8, 9]


def test_whom_the_state_names_is_not_who_answered_where_a_fallback_is_inside(router, models):
    """The middleware's own limit: its state names the model that failed. ``RouterMiddleware`` tells them apart."""
    models["strong"].script.append(TimeoutError("too slow"))
    made, classifier = agent(router, models, ModelFallbackMiddleware(models["cheap"]))
    ended = made.invoke(asks("proofs and programs"), thread())
    assert ended["messages"][-1].text == "small-1 answered"
    assert ended["model_route"].choice == classifier.decided(thread()).agent == "strong"


def test_a_failure_to_choose_reaches_the_caller_and_is_no_decision(router, models):
    made, classifier = agent(router, models)
    for name in list(models):
        router.set_health(name, healthy=False)
    with pytest.raises(RouterError):
        made.invoke(asks("x"), thread())
    assert classifier.decided(thread()) is None
    for name in list(models):
        router.set_health(name, healthy=True)
    made.invoke(asks("greetings"), thread())
    assert classifier.decided(thread()).agent == "cheap"


def test_messages_of_every_kind_are_read(router):
    model = RouterDecisionModel(router=router)
    states = [
        {"messages": [AIMessage("hello"), HumanMessage("proofs and programs")]},
        [HumanMessage([{"type": "text", "text": "proofs and programs"}])],
        {"subject": "proofs", "body": ["and", {"more": "programs"}]},
        [AIMessage("proofs and programs")],
    ]
    for state in states:
        assert ask(model, state, "cheap", "strong").answers["who"].choice == "strong"
