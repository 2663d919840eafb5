"""The router as a decision model: goes wherever LangChain takes a classifier, and learns from what came of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any, NamedTuple

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
        asked = self._asked(state, questions)
        made = [one.made or self.router.route(one.task, exclude=one.exclude) for one in asked.about]
        return self._answered(state, questions, asked, made)

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        asked = self._asked(state, questions)
        made = [one.made or await self.router.aroute(one.task, exclude=one.exclude) for one in asked.about]
        return self._answered(state, questions, asked, made)

    def _asked(self, state: State, questions: dict[str, Question]) -> _Asked:
        """What is to be decided; nothing of it is remembered before it is."""
        thread_id = _thread_id(ensure_config())
        with self._lock:
            thread = self._thread(thread_id)
            said = thread.said_with(state) if isinstance(state, HumanMessage) else None
        text = text_of(state) if said is None else "\n".join(words for _, words in said)
        task = Task(text, session_id=thread_id[:200] if thread_id else None)
        known = {agent.name for agent in self.router.agents}
        about = [self._about(name, one, state, task, known, thread) for name, one in questions.items()]
        return _Asked(thread, said, about)

    def _about(
        self, name: str, question: Question, state: State, task: Task, known: set[str], thread: _Thread
    ) -> _About:
        if not isinstance(question, Choice):
            raise ValueError(f"question {name!r}: a router answers choices alone, not {question.type!r}")
        labels = question.criteria.keys() - {self.no_agent_label}
        if strange := sorted(labels - known):
            raise ValueError(f"question {name!r}: no agent is called {', '.join(strange)}; add_agent makes one")
        key = (name, frozenset(labels), getattr(state, "id", None))
        return _About(key, task, known - labels, None if key[2] is None else thread.decisions.get(key))

    def _answered(
        self, state: State, questions: dict[str, Question], asked: _Asked, made: list[Decision]
    ) -> ClassifierResponse:
        for (name, question), decision in zip(questions.items(), made, strict=True):
            if decision.agent is None and self.no_agent_label not in getattr(question, "criteria", ()):
                raise RouterError(f"question {name!r}: no agent fits; give it a label for that, and no_agent_label")
        with self._lock:
            asked.thread.keep(asked.said, zip((one.key for one in asked.about), made, strict=True))
        return ClassifierResponse(
            model=self.model,
            answers={
                name: self._answer(decision, question)
                for (name, question), decision in zip(questions.items(), made, strict=True)
            },
            request_id=made[0].decision_id if made else None,
        )

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


_Key = tuple[str, frozenset[str], str | None]
"""A question's name, its labels, and the id of the message that it is about."""

_Said = list[tuple[str | None, str]]
"""Messages: their ids, and their words."""


class _Thread:
    """What was heard and decided in one conversation."""

    def __init__(self) -> None:
        self.said: _Said = []
        self.decisions: OrderedDict[_Key, Decision] = OrderedDict()

    def said_with(self, state: HumanMessage) -> _Said:
        """One message of the user, after what was said before."""
        ids = [known for known, _ in self.said]
        before = self.said
        if state.id is not None and state.id in ids:  # the thread was taken back to that message
            before = self.said[: ids.index(state.id)]
        return [*before[-TURNS + 1 :], (state.id, text_of(state))]

    def keep(self, said: _Said | None, made: Iterable[tuple[_Key, Decision]]) -> None:
        """Remember what was heard, where that was a message of the user, and the decisions as the newest."""
        self.said = self.said if said is None else said
        self.decisions.update(made)
        while len(self.decisions) > 32:
            self.decisions.popitem(last=False)


class _About(NamedTuple):
    """One question: the task that it stands for, who cannot be chosen, and what was decided on it before, if it was."""

    key: _Key
    task: Task
    exclude: set[str]
    made: Decision | None


class _Asked(NamedTuple):
    """What is asked about a thread."""

    thread: _Thread
    said: _Said | None
    about: list[_About]


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
