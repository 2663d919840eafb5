"""Asking the server: on threads of its own, within a budget, each text once, and not while it is away.

The format is ``POST /v1/systemone`` as langchain-core (``langchain_core.decisions``), dspy, litellm and semantic-router
speak it: one question of type ``choice`` whose labels are the agents. Only ``probabilities`` is read: a ``choice`` may
be a draw.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.plugin import AgentSet, folded

if TYPE_CHECKING:
    from router_sdk_systemone.config import SystemOneConfig

Probabilities = Mapping[str, float]

_QUESTION = "agent"
_LONGEST = 8_000
"""Characters of a text that are sent."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_DAY_S, _MINUTE_S = 86_400.0, 60.0


class _Kept(NamedTuple):
    at: float
    probabilities: Probabilities


class Asker:
    """Asks one server about one set of agents, which may change.

    Args:
        config: Where it is, and how much may be asked.
        logger: Where it is said that the server is away, and that it is back.
    """

    def __init__(self, config: SystemOneConfig, logger: logging.Logger) -> None:
        self._config, self._logger = config, logger
        self._answers: OrderedDict[str, _Kept] = OrderedDict()
        self._agents: AgentSet | None = None
        self.asked = self.answered = self.failed = self.unasked = 0
        self.fault: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, Future[None]] = {}
        self._lately: deque[float] = deque()
        self._today: deque[float] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._client: Any = None
        self._not_before, self._pause_s = 0.0, _FIRST_PAUSE_S
        self._closed = False

    @property
    def agents(self) -> AgentSet | None:
        """Whom it asks about."""
        return self._agents

    def prepare(self, agents: AgentSet) -> None:
        """Ask about these from now on; what was answered about others is of no use."""
        with self._lock:
            if self._agents is None or described(self._agents) != described(agents):
                self._answers.clear()
                self._pending.clear()
            self._agents = agents

    def known(self, text: str) -> Probabilities | None:
        """The answer about a text, where there is one; does no I/O and never waits."""
        kept = self._answers.get(folded(text))
        if kept is None or time.monotonic() - kept.at > self._config.cache_seconds:
            return None
        return kept.probabilities

    def ask(self, text: str) -> Future[None] | None:
        """Begin to ask about a text; ended once the answer is known, or there is none.

        Returns:
            None where nothing is asked: it is known already, the budget is spent, or the server is away.
        """
        key = folded(text)
        with self._lock:
            if self._closed or not self._agents or self.known(text) is not None:
                return None
            pending = self._pending.get(key)
            if pending is not None:
                return pending
            now = time.monotonic()
            if now < self._not_before or not self._may(now):
                self.unasked += 1
                return None
            self.asked += 1
            done = self._pending[key] = Future[None]()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._config.parallel, "router-systemone")
            self._pool.submit(self._work, key, text, self._agents, done)
            return done

    def _may(self, now: float) -> bool:
        """Whether the budget allows one more; then it is taken."""
        for asked, span, most in (
            (self._lately, _MINUTE_S, self._config.per_minute),
            (self._today, _DAY_S, self._config.per_day),
        ):
            while asked and now - asked[0] > span:
                asked.popleft()
            if most is not None and len(asked) >= most:
                return False
        self._lately.append(now)
        if self._config.per_day is not None:
            self._today.append(now)
        return True

    def _work(self, key: str, text: str, agents: AgentSet, done: Future[None]) -> None:
        """On a thread of the pool; whatever happens, nobody waits for ever."""
        try:
            found = self._request(text, agents)
        except Exception as error:
            self._away(error)
        else:
            self._there(key, agents, found)
        finally:
            with self._lock:
                if self._pending.get(key) is done:
                    del self._pending[key]
            done.set_result(None)

    def _there(self, key: str, agents: AgentSet, found: Probabilities) -> None:
        with self._lock:
            self.answered += 1
            if self.fault is not None:
                self._logger.warning("systemone: the server answers again")
            self.fault, self._not_before, self._pause_s = None, 0.0, _FIRST_PAUSE_S
            if agents is self._agents:
                self._answers[key] = _Kept(time.monotonic(), found)
                while len(self._answers) > self._config.cache_size:
                    self._answers.popitem(last=False)

    def _away(self, error: Exception) -> None:
        """Leave it in peace, each time twice as long, up to a minute."""
        with self._lock:
            self.failed += 1
            words = f"{type(error).__name__}: {error}"[:300]
            if self.fault is None:
                self._logger.warning("systemone: the server gives no answer, the chain goes on without: %s", words)
            self.fault = words
            self._not_before = time.monotonic() + self._pause_s
            self._pause_s = min(2.0 * self._pause_s, _LONGEST_PAUSE_S)

    def _request(self, text: str, agents: AgentSet) -> Probabilities:
        """One request.

        Raises:
            Exception: whatever went wrong.
        """
        config = self._config
        if self._client is None:
            import httpx2

            token = os.environ.get(config.api_key_variable)
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            client = httpx2.Client(headers=headers, timeout=config.timeout_ms / 1_000)
            with self._lock:
                self._client = self._client or client
        body = {
            "state": text[:_LONGEST],
            "questions": {
                _QUESTION: {"type": "choice", "instructions": config.instructions, "criteria": described(agents)}
            },
            **({} if config.model is None else {"model": config.model}),
        }
        answer = self._client.post(config.url, json=body)
        answer.raise_for_status()
        return read(answer.json(), agents)

    def report(self) -> dict[str, Any]:
        """How it goes, as JSON values."""
        told = {"asked": self.asked, "answered": self.answered, "failed": self.failed, "not_asked": self.unasked}
        return {**told, "cached": len(self._answers), "fault": self.fault}

    def close(self) -> None:
        """Ask nothing more; what is under way is left to its time-out."""
        with self._lock:
            self._closed = True
            pool, client = self._pool, self._client
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if client is not None:
            client.close()

    def after_fork(self) -> None:
        """In a child: threads and connections of its own."""
        self._begin()


def described(agents: AgentSet) -> dict[str, str]:
    """The labels: each agent with what is known of it."""
    return {
        agent.name: "; ".join(filter(None, (agent.description, *agent.examples[:5]))) or agent.name for agent in agents
    }


def read(answer: Any, agents: AgentSet) -> Probabilities:
    """The probabilities of an answer over the agents; a label that is missing has none.

    Raises:
        ValueError: if it is no such answer.
    """
    try:
        told = answer["answers"][_QUESTION]["probabilities"]
        found = {name: float(told.get(name, 0.0)) for name in agents.names}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no answer with probabilities: {answer!r:.100}") from error
    total = sum(found.values())
    if not all(math.isfinite(share) and share >= 0.0 for share in found.values()) or not total > 0.0:
        raise ValueError(f"its probabilities are none: {told!r:.100}")
    return {name: share / total for name, share in found.items()}
