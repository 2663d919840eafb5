"""The strategy: what the server says, with the weight that outcomes gave it; it abstains where others do better."""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from router_sdk.plugin import (
    AgentSet,
    CorruptArtifactError,
    Encoder,
    EncoderConfig,
    InvalidConfigError,
    Prefetched,
    Proposal,
    Strategy,
    folded,
)
from router_sdk_systemone.asking import Asker
from router_sdk_systemone.config import SystemOneConfig
from router_sdk_systemone.trust import Trust

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.plugin import Example, RouteContext, StrategyConfig, StrategyServices, Task

_FILE = "trust.json"
_LEAST = 0.05
"""How much of the server's belief must be in whom may be chosen."""


class _Answer(Encoder):
    """A server's answer as what is logged with a decision: pairs of an agent's name, as crc32, and its probability."""

    name = "systemone-answer"
    precision = "fp64"

    def __init__(self, asker: Asker) -> None:
        super().__init__(EncoderConfig())
        self._asker = asker

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Raises ``LookupError`` where one is not known: nothing is asked here."""
        return [self._pairs(self._asker.known(text)) for text in texts]

    @staticmethod
    def _pairs(found: Mapping[str, float] | None) -> NDArray[Any]:
        if found is None:
            raise LookupError("no answer")
        return np.array([[_number(name), share] for name, share in found.items()]).ravel()


class _Turn(Encoder):
    """Whose turn a task was, 1 for the server's, and with which chance, as what is logged with a decision."""

    name = "systemone-turn"
    precision = "fp64"

    def __init__(self, turn: bool, chance: float) -> None:
        super().__init__(EncoderConfig())
        self._told = np.array([float(turn), chance])

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """The same for each."""
        return [self._told for _ in texts]


ANSWER, TURN = f"{_Answer.name}:{_Answer.precision}", f"{_Turn.name}:{_Turn.precision}"
"""Under these tags both are logged."""


class SystemOneStrategy(Strategy):
    """Asks a decision-model server.

    What it says is logged with the decision, and so is whose turn it was. So all that is learnt follows from the log.
    """

    name: ClassVar[str] = "systemone"
    Config: ClassVar[type[StrategyConfig]] = SystemOneConfig

    def __init__(self, config: StrategyConfig, services: StrategyServices) -> None:
        super().__init__(config, services)
        if not isinstance(config, SystemOneConfig):
            raise InvalidConfigError(f"systemone: expected a SystemOneConfig, got {type(config).__name__}")
        self._settings = config
        self._asker = Asker(config, services.logger)
        self._answer = _Answer(self._asker)
        self._trust = Trust(config.trust)
        self._most = 1.0
        self._borrowed = False

    def prepare(self, agents: AgentSet) -> None:
        """Ask about these agents from now on."""
        self._asker.prepare(agents)
        self._publish(self._trust, agents)

    def prefetch(self, task: Task, agents: AgentSet) -> Prefetched | None:
        """Ask about a task whose turn it may be; nothing where the answer is known or not worth its price."""
        if not task.text or _coin(task.text) >= max(self._most, self._settings.probe):
            return None
        done = self._asker.ask(task.text)
        wait = done is not None and self._settings.wait
        return Prefetched(done, self._settings.timeout_ms / 1_000) if wait and done is not None else None

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """Weigh what the server said, where it is known and its turn."""
        if not task.text:
            return None
        try:
            told = told_of(context.encode(self._answer), agents.names)
        except LookupError:
            told = {}
        total = sum(told.values())
        if total < _LEAST:
            context.encode(_Turn(False, 1.0))
            return None
        shares = {name: share / total for name, share in told.items()}
        favourite = max(shares, key=lambda name: shares[name])
        trust, settings = self._trust, self._settings
        better = trust.better(favourite, shares[favourite], len(shares))
        chance = min(max(better, settings.probe), 1.0 - settings.held_out)
        turn = _coin(task.text) < chance
        context.encode(_Turn(turn, chance if turn else 1.0 - chance))
        if not turn:
            return None
        chain, server = trust.known(favourite, shares[favourite], len(shares))
        weight = _weight(server.mean, shares[favourite], len(shares))
        scores = {name: weight * share + (1.0 - weight) / len(shares) for name, share in shares.items()}
        return Proposal(
            {name: float(name == favourite) for name in shares},
            scores=scores,
            confidence=server.mean,
            evidence=lambda: {
                "said": {name: round(share, 6) for name, share in shares.items()},
                "weight": round(weight, 6),
                "expected": {"server": round(server.mean, 6), "rest_of_the_chain": round(chain.mean, 6)},
                "chance_to_be_better": round(better, 6),
            },
        )

    def learn(self, examples: Sequence[Example]) -> None:
        """Take in what each earned whose turn it was, and publish what that comes to."""
        trust = self._trust.copy()
        for example in examples:
            if example.source != "routed" or example.reward is None:
                continue
            turn = example.vectors.get(TURN)
            if turn is None or turn.shape != (2,):
                continue
            before = example.previous_reward
            reward = example.reward if before is None else example.reward - before
            outcome = example.decision_seq, reward, before is None
            told = told_of(example.vectors.get(ANSWER), example.eligible)
            total = sum(told.values())
            if total >= _LEAST:
                favourite = max(told, key=lambda name: told[name])
                trust.add(favourite, told[favourite] / total, int(turn[0] > 0.5), float(turn[1]), *outcome)
            else:
                trust.add_unasked(*outcome)
        self._publish(trust, self._asker.agents)

    def _publish(self, trust: Trust, agents: AgentSet | None) -> None:
        self._most = trust.best(max(len(agents) if agents else 0, 2))
        self._trust = trust

    def untaught(self) -> Strategy:
        """Another one that shares what the server said."""
        other = type(self)(self.config, self.services)
        other._asker, other._answer, other._borrowed = self._asker, self._answer, True
        return other

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what was learnt of tasks for which the server favoured these."""
        trust = self._trust.copy()
        for name in names:
            trust.forget(name)
        self._publish(trust, self._asker.agents)

    def save(self, folder: Path) -> None:
        """Write what both have earned."""
        (folder / _FILE).write_text(json.dumps(self._trust.to_dict()), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
        try:
            told = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            trust = Trust.from_dict(told, self._settings.trust)
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
            raise CorruptArtifactError(f"{_FILE}: {type(error).__name__}: {error}") from error
        self._publish(trust, self._asker.agents)

    def report(self) -> Mapping[str, Any]:
        """How the server answers, and what both are expected to earn."""
        agents = self._asker.agents
        chain, server = self._trust.known("", 0.9, max(len(agents) if agents else 0, 2))
        return {
            "server": self._asker.report(),
            "expected": {"server": server.mean, "rest_of_the_chain": chain.mean},
            "outcomes": {"server": server.worth, "rest_of_the_chain": chain.worth},
        }

    def close(self) -> None:
        """Ask nothing more."""
        if not self._borrowed:
            self._asker.close()

    def after_fork(self) -> None:
        """In a child: connections of its own."""
        self._asker.after_fork()


def told_of(pairs: NDArray[Any] | None, names: Sequence[str]) -> dict[str, float]:
    """What a logged answer gives these agents; nothing where there is none."""
    if pairs is None:
        return {}
    found = dict(zip(pairs[::2].tolist(), pairs[1::2].tolist(), strict=True))
    return {name: found.get(_number(name), 0.0) for name in names}


def _number(name: str) -> float:
    """A number for a name, exact as a float."""
    return float(crc32(name.encode()))


def _coin(text: str) -> float:
    """In [0, 1), always the same for a text in whatever spelling."""
    return int.from_bytes(blake2b(folded(text).encode(), digest_size=7).digest()) / 2**56


def _weight(mean: float, stated: float, agents: int) -> float:
    """How much of the server's belief makes its favourite as likely as it turned out to be."""
    even = 1.0 / agents
    return min(max((mean - even) / (stated - even), 0.0), 1.0) if stated > even else 0.0
