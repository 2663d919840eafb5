"""What one request carries to the strategies, and where their encoders come from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from router_sdk.errors import InvalidConfigError
from router_sdk.records.record import describe
from router_sdk.strategy import Encoder, RouteContext

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.records import Decision, FeatureValue, Task
    from router_sdk.store.privacy import Privacy

_SESSIONS = 10_000
_REMEMBERED = 20


class Encoders(Mapping[str, Encoder]):
    """Registered encoders, each made at first use.

    Args:
        classes: Encoder classes by name.
        settings: Each encoder's own configuration, by name.

    Raises:
        InvalidConfigError: if an encoder is configured that is not registered.
    """

    def __init__(self, classes: Mapping[str, type[Encoder]], settings: Mapping[str, Mapping[str, Any]]) -> None:
        unknown = sorted(settings.keys() - classes.keys())
        if unknown:
            raise InvalidConfigError(f"encoder: {unknown} are not registered; there are {sorted(classes)}")
        self._classes, self._settings = classes, settings
        self._made: dict[str, Encoder] = {}
        self.lock = threading.RLock()

    def __getitem__(self, name: str) -> Encoder:
        found = self._made.get(name)
        if found is None:
            with self.lock:
                found = self._made.get(name)
                if found is None:
                    found = self._made[name] = self._make(name)
        return found

    def _make(self, name: str) -> Encoder:
        chosen = self._classes[name]
        try:
            return chosen(chosen.Config(**self._settings.get(name, {})))
        except ValidationError as error:
            raise InvalidConfigError(f"encoder {name!r}: {describe(error)}") from None

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self.lock = threading.RLock()

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


class Sessions:
    """The agents that acted last in each of the newest sessions of this process; sessions are their tenant's."""

    def __init__(self) -> None:
        self._agents: OrderedDict[tuple[str | None, str], tuple[str, ...]] = OrderedDict()
        self.lock = threading.RLock()

    def agents(self, task: Task) -> tuple[str, ...]:
        """Of a task's session, oldest first; empty for an unknown session."""
        session_id = task.session_id
        return () if session_id is None else self._agents.get((task.tenant, session_id), ())

    def remember(self, decision: Decision) -> None:
        """Note which agent was chosen, if any."""
        task, agent = decision.task, decision.agent
        if task.session_id is None or agent is None:
            return
        key = (task.tenant, task.session_id)
        with self.lock:
            acted = self._agents.pop(key, ())
            self._agents[key] = (*acted, agent)[-_REMEMBERED:]
            if len(self._agents) > _SESSIONS:
                self._agents.popitem(last=False)

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self.lock = threading.RLock()

    def forget(self, tenant: str | None, session_id: str) -> None:
        """Drop one session of a tenant."""
        with self.lock:
            self._agents.pop((tenant, session_id), None)


class Surroundings:
    """What all requests of one router share."""

    __slots__ = ("encoders", "privacy", "rng", "sessions")

    def __init__(self, encoders: Encoders, sessions: Sessions, privacy: Privacy, rng: np.random.Generator) -> None:
        self.encoders = encoders
        self.privacy = privacy
        self.sessions = sessions
        self.rng = rng

    def after_fork(self) -> None:
        """In a child: locks that nobody holds, and a generator of its own."""
        self.encoders.after_fork()
        self.sessions.after_fork()
        self.rng = np.random.default_rng()


class RequestContext(RouteContext):
    """The context of one request.

    Attributes:
        vectors: What was encoded so far, by encoder tag; logged with the decision.
    """

    __slots__ = ("_shared", "_task", "vectors")

    def __init__(self, shared: Surroundings, task: Task, now: float) -> None:
        self.now = now
        self._shared = shared
        self._task = task
        self.vectors: dict[str, NDArray[Any]] | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The router's generator."""
        return self._shared.rng

    @property
    def history(self) -> tuple[str, ...]:
        """Agents that acted before, oldest first."""
        return (*self._task.history, *self._shared.sessions.agents(self._task))

    def kept(self, features: Mapping[str, FeatureValue]) -> Mapping[str, FeatureValue]:
        """Features under the names and values by which the log keeps them."""
        return self._shared.privacy.features(features)

    def encode(self, encoder: str | Encoder) -> NDArray[Any]:
        """The task's text as that encoder sees it, computed once per request."""
        found = self._shared.encoders[encoder] if isinstance(encoder, str) else encoder
        if self.vectors is None:
            self.vectors = {}
        tag = found.tag
        vector = self.vectors.get(tag)
        if vector is None:
            vector = self.vectors[tag] = found.encode([self._task.text])[0]
        return vector

    def encode_batch(self, encoder: str | Encoder, contexts: Sequence[RouteContext]) -> list[NDArray[Any]]:
        """The tasks' texts as that encoder sees them; those that are not known are encoded together."""
        found = self._shared.encoders[encoder] if isinstance(encoder, str) else encoder
        own = [one for one in contexts if isinstance(one, RequestContext)]
        missing = [one for one in own if one.vectors is None or found.tag not in one.vectors]
        if missing:
            vectors = found.encode([one._task.text for one in missing])
            for one, vector in zip(missing, vectors, strict=True):
                one.vectors = {**(one.vectors or {}), found.tag: vector}
        return [one.encode(found) for one in contexts]
