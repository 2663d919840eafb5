"""The router as a decision model: goes wherever LangChain takes a classifier, and learns from what came of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from langchain_core.decisions import BaseDecisionModel, Choice, ChoiceAnswer, ClassifierResponse, Question, State
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict, Field, PrivateAttr

from router_sdk import Decision, Router, RouterError, Task
from router_sdk_langchain.conversation import TURNS, text_of

_MARGIN = 1e-6
"""By how much the label that is answered leads."""


class RouterDecisionModel(BaseDecisionModel):  # a pydantic model of LangChain's
    """Answers ``Choice`` questions whose labels are the router's agents.

    The choice is drawn, as the router's decisions are, and has the largest probability in the answer: where another
    than the favourite was drawn, their two probabilities are exchanged, so that a client that takes the largest one
    does what was logged. The exact ones are in the decision. ``request_id`` is its id; what does not pass that on asks
    ``decided(config)``.

    What is asked about a thread (``configurable.thread_id``) is read together with what was asked before: middlewares
    hand over the newest message alone, and "yes" says nothing by itself. The same message of a thread gets the same
    decision. Both are kept in this process, for the newest ``most_threads``.

    Args:
        router: Whose decisions they are. It stays the caller's.
        no_agent_label: Which label means that no agent fits, such as ``"other"``; it need not be an agent.
        most_threads: How many threads are remembered.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: str = "router-sdk"
    router: Router = Field(exclude=True)
    no_agent_label: str | None = None
    most_threads: int = 10_000

    _threads: OrderedDict[str, _Thread] = PrivateAttr(default_factory=OrderedDict)
    _lock: Any = PrivateAttr(default_factory=Lock)

    @property
    def _provider(self) -> str:
        return "router-sdk"

    def decided(self, config: RunnableConfig) -> Decision | None:
        """The newest decision about a run's thread, to record its outcome; None where there is none here."""
        with self._lock:
            thread = self._threads.get(_thread_id(config) or "")
            return None if thread is None else next(reversed(thread.decisions.values()), None)

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        return self._answered(state, questions)

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        return self._answered(state, questions)  # ``Router.route`` neither waits nor does I/O

    def _answered(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        thread_id = _thread_id(ensure_config())
        with self._lock:
            thread = self._thread(thread_id)
            text = thread.heard(state)
        decisions = {name: self._decide(name, one, state, text, thread_id, thread) for name, one in questions.items()}
        return ClassifierResponse(
            model=self.model,
            answers={name: self._answer(decision, questions[name]) for name, decision in decisions.items()},
            request_id=next((decision.decision_id for decision in decisions.values()), None),
        )

    def _decide(
        self, name: str, question: Question, state: State, text: str, thread_id: str | None, thread: _Thread
    ) -> Decision:
        if not isinstance(question, Choice):
            raise ValueError(f"question {name!r}: a router answers choices alone, not {question.type!r}")
        labels = question.criteria.keys() - {self.no_agent_label}
        known = {agent.name for agent in self.router.agents}
        if strange := sorted(labels - known):
            raise ValueError(f"question {name!r}: no agent is called {', '.join(strange)}; add_agent makes one")
        key = (name, frozenset(labels), getattr(state, "id", None))
        if key[2] is not None and (made := thread.decisions.get(key)) is not None:
            return made
        session = thread_id[:200] if thread_id else None
        decision = self.router.route(Task(text, session_id=session), exclude=known - labels)
        if decision.agent is None and (self.no_agent_label is None or self.no_agent_label not in question.criteria):
            raise RouterError(f"question {name!r}: no agent fits; give it a label for that, and no_agent_label")
        with self._lock:
            thread.keep(key, decision)
        return decision

    def _answer(self, decision: Decision, question: Question) -> ChoiceAnswer:
        chosen = decision.agent if decision.agent is not None else str(self.no_agent_label)
        probabilities = leading(
            {**dict.fromkeys(getattr(question, "criteria", ()), 0.0), **decision.probabilities}, chosen
        )
        favourite = decision.confidence if not decision.explored else None
        confidence = probabilities[chosen] if favourite is None else favourite
        return ChoiceAnswer(type="choice", choice=chosen, probabilities=probabilities, confidence=min(confidence, 1.0))

    def _thread(self, thread_id: str | None) -> _Thread:
        if thread_id is None:
            return _Thread()
        thread = self._threads.setdefault(thread_id, _Thread())
        self._threads.move_to_end(thread_id)
        while len(self._threads) > self.most_threads:
            self._threads.popitem(last=False)
        return thread


class _Thread:
    """What was heard and decided in one conversation."""

    def __init__(self) -> None:
        self.said: list[tuple[str | None, str]] = []
        self.decisions: OrderedDict[tuple[str, frozenset[str], str | None], Decision] = OrderedDict()

    def heard(self, state: State) -> str:
        """The text to route: the state's, after what was said before where the state is one message of the user."""
        if not isinstance(state, HumanMessage):
            return text_of(state)
        ids = [known for known, _ in self.said]
        if state.id is not None and state.id in ids:  # the thread was taken back to that message
            del self.said[ids.index(state.id) :]
        self.said = [*self.said[-TURNS + 1 :], (state.id, text_of(state))]
        return "\n".join(text for _, text in self.said)

    def keep(self, key: tuple[str, frozenset[str], str | None], decision: Decision) -> None:
        """Remember it as the newest."""
        self.decisions[key] = decision
        while len(self.decisions) > 32:
            self.decisions.popitem(last=False)


def leading(probabilities: Mapping[str, float], chosen: str) -> dict[str, float]:
    """The probabilities with that of ``chosen`` strictly the largest; they sum to 1."""
    found = dict(probabilities)
    if not any(found.values()):
        return {**found, chosen: 1.0}
    first = max(found, key=lambda name: found[name])
    found[first], found[chosen] = found[chosen], found[first]
    others = [value for name, value in found.items() if name != chosen]
    if others and max(others) + _MARGIN > found[chosen]:
        found = {name: value * (1.0 - 2 * _MARGIN) for name, value in found.items()}
        found[chosen] = 1.0 - sum(value for name, value in found.items() if name != chosen)
    return found


def _thread_id(config: RunnableConfig) -> str | None:
    found = (config.get("configurable") or {}).get("thread_id")
    return None if found is None else str(found)
