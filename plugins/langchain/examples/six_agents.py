"""A graph of six agents: the router chooses, a checkpointer remembers, and each agent's end is its outcome."""

from operator import add
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from router_sdk_langchain import RoutedState, recorded, route_node, verify_routes

from router_sdk import Agent, Router

AGENTS = [
    Agent("billing", description="invoices, charges and refunds", examples=["I was charged twice"]),
    Agent("technical", description="errors, crashes and set-up", examples=["the app does not start"]),
    Agent("shipping", description="parcels, delivery and tracking", examples=["where is my parcel"]),
    Agent("account", description="passwords, log-in and e-mail address", examples=["I forgot my password"]),
    Agent("sales", description="plans, prices and discounts", examples=["what does the large plan cost"]),
    Agent("legal", description="contracts, privacy and terms", examples=["delete my personal data"]),
]


class State(RoutedState, total=False):
    """The conversation, beside the decisions made for it."""

    messages: Annotated[list[AnyMessage], add_messages]
    refunds: Annotated[list[str], add]


def worker(name: str) -> Any:
    """Stands for a real agent; billing asks a person first."""

    def work(state: State) -> dict[str, Any]:
        if name == "billing":
            return {"refunds": [interrupt("refund?")], "messages": [AIMessage("refunded")]}
        if name == "shipping":
            raise LookupError("the carrier does not answer")
        return {"messages": [AIMessage(f"{name} took care of it")]}

    return work


def main() -> None:
    """Play three conversations."""
    with Router(AGENTS, ["heuristic"], ":memory:", epsilon=0.0) as router:
        names = [agent.name for agent in AGENTS]
        builder = StateGraph(State)
        builder.add_node("route", route_node(router, names))
        builder.add_edge(START, "route")
        for name in names:
            builder.add_node(name, recorded(router, worker(name)))
        verify_routes(builder, "route", names)
        graph = builder.compile(InMemorySaver())

        def say(thread: str, given: Any) -> dict[str, Any]:
            return graph.invoke(given, {"configurable": {"thread_id": thread}})

        print("a:", say("a", {"messages": [HumanMessage("I forgot my password")]})["messages"][-1].text)
        say("b", {"messages": [HumanMessage("I was charged twice, I want a refund")]})
        print("b waits for a person; outcomes so far:", len(router.examples))
        print("b:", say("b", Command(resume="yes"))["messages"][-1].text)
        try:
            say("c", {"messages": [HumanMessage("where is my parcel")]})
        except LookupError as error:
            print("c failed:", error)
        router.flush()
        print("learnt:", [(example.agent, example.reward) for example in router.examples])


if __name__ == "__main__":
    main()
