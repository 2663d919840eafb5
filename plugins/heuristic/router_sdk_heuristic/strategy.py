"""The strategy: rules, then capabilities, then text, then the default agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from router_sdk.plugin import DEFAULT_TASK_TYPE, AgentSet, InvalidConfigError, Proposal, Restriction, Strategy
from router_sdk_heuristic.belief import Belief, Floats
from router_sdk_heuristic.config import HeuristicConfig
from router_sdk_heuristic.rule_matcher import RuleMatcher
from router_sdk_heuristic.text_index import TextIndex

if TYPE_CHECKING:
    from router_sdk.plugin import RouteContext, StrategyConfig, StrategyServices, Task

_TIE = 1e-9
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Prepared:
    """The agents and what is known of them, published together."""

    agents: AgentSet
    index: TextIndex

    def similarities(self, text: str, agents: AgentSet) -> Floats:
        """Similarity of a text to each of ``agents``; 0 for one that came after ``prepare``."""
        known = self.index.similarities(text)
        if agents.set_id == self.agents.set_id:
            return known
        positions = np.array([self.agents.positions.get(name, -1) for name in agents.names], dtype=np.intp)
        return np.where(positions >= 0, known[positions], 0.0)


class HeuristicStrategy(Strategy):
    """Rules, capabilities, text overlap and a default agent.

    Its favourite gets all the probability (agents that tie share it), because the router adds exploration;
    ``scores`` hold the belief behind it, and ``confidence`` is the favourite's.
    """

    name: ClassVar[str] = "heuristic"
    Config: ClassVar[type[StrategyConfig]] = HeuristicConfig

    def __init__(self, config: StrategyConfig, services: StrategyServices) -> None:
        super().__init__(config, services)
        if not isinstance(config, HeuristicConfig):
            raise InvalidConfigError(f"heuristic: expected a HeuristicConfig, got {type(config).__name__}")
        self._settings = config
        self._rules = tuple(RuleMatcher(rule, place) for place, rule in enumerate(config.rules, start=1))
        self._hard = tuple(matcher for matcher in self._rules if matcher.rule.hard)
        self._prepared: Prepared | None = None
        self._missed: frozenset[str] = frozenset()

    def prepare(self, agents: AgentSet) -> None:
        """Index the agents' texts; names in rules that no agent has are logged and have no effect yet."""
        self._prepared = Prepared(agents, TextIndex.build(agents)) if agents else None
        named = {name for matcher in self._rules for name in matcher.rule.agents}
        if self._settings.default_agent is not None:
            named.add(self._settings.default_agent)
        missing = frozenset(named.difference(agents.names))
        if missing - self._missed:
            self.services.logger.warning("heuristic: no agent is called %s", ", ".join(sorted(missing - self._missed)))
        self._missed = missing

    def restrict(self, task: Task, agents: AgentSet, context: RouteContext) -> Restriction | None:
        """Leave those whom every hard rule that applies allows; nobody, if they are not eligible."""
        allowed: frozenset[str] | None = None
        reasons = []
        for matcher in self._hard:
            match = matcher.match(task, agents, context)
            if match is not None:
                allowed = frozenset(match[0]) if allowed is None else allowed.intersection(match[0])
                reasons.append(f"{matcher.name} ({match[1]})")
        return None if allowed is None else Restriction(allowed, "; ".join(reasons))

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """Weigh the evidence; abstain where there is none."""
        prepared = self._prepared
        belief = Belief(len(agents))
        self._apply_rules(belief, task, agents, context)
        self._apply_capabilities(belief, task, agents)
        if prepared is not None and task.text:
            self._apply_text(belief, prepared.similarities(task.text[: self._settings.max_chars], agents))
        default = agents.positions.get(self._settings.default_agent or "")
        if default is not None:
            belief.favour((default,), self._settings.default_weight, "default agent", agents.names[default], "")
        if not belief.sources:
            return None
        chances = belief.probabilities()
        best = float(chances.max())
        winners = np.flatnonzero(chances >= best - _TIE)
        probabilities = dict.fromkeys(agents.names, 0.0)
        for position in winners.tolist():
            probabilities[agents.names[position]] = 1.0 / len(winners)
        return Proposal(
            probabilities,
            scores=dict(zip(agents.names, chances.tolist(), strict=True)),
            confidence=min(best, 1.0),
            evidence=lambda: self._explain(belief, task, agents, prepared),
        )

    def _apply_rules(self, belief: Belief, task: Task, agents: AgentSet, context: RouteContext) -> None:
        for matcher in self._rules:
            match = matcher.match(task, agents, context)
            if match is not None:
                names, reason = match
                positions = sorted({agents.positions[name] for name in names if name in agents.positions})
                if positions:
                    belief.favour(positions, matcher.rule.weight, "rule", matcher.name, reason)

    def _apply_capabilities(self, belief: Belief, task: Task, agents: AgentSet) -> None:
        if task.task_type != DEFAULT_TASK_TYPE and self._settings.capability_weight:
            able = [position for position, agent in enumerate(agents) if task.task_type in agent.capabilities]
            if able:
                weight, reason = self._settings.capability_weight, f"can do {task.task_type!r}, the task's type"
                belief.favour(able, weight, "capability", task.task_type, reason)

    def _apply_text(self, belief: Belief, similarities: Floats) -> None:
        """A softmax measured from zero: no overlap is no evidence, and ``floor`` stands for none of them."""
        odds = np.expm1(similarities / self._settings.temperature)
        total = float(odds.sum())
        if total > 0.0:
            nobody = float(np.expm1(self._settings.floor / self._settings.temperature))
            belief.spread(odds / (total + nobody), "text", "overlap", "")

    def _explain(self, belief: Belief, task: Task, agents: AgentSet, prepared: Prepared | None) -> Mapping[str, Any]:
        """Say what decided, which rules spoke, and which known text was nearest."""
        chances = belief.probabilities()
        favourite = int(chances.argmax())
        decisive = max(belief.sources, key=lambda source: float(source.shares[favourite]))
        leaders = np.argsort(-chances, kind="stable")[:_SHOWN].tolist()
        evidence: dict[str, Any] = {
            "decided_by": decisive.kind,
            "sources": [
                {
                    "kind": source.kind,
                    "name": source.name,
                    "reason": source.reason,
                    "gave": {
                        agents.names[i]: round(float(source.shares[i]), 6) for i in leaders if source.shares[i] > 0.0
                    },
                }
                for source in belief.sources
            ],
            "doubt": round(belief.doubt, 6),
        }
        known = None if prepared is None else prepared.agents.positions.get(agents.names[favourite])
        if prepared is not None and known is not None and any(source.kind == "text" for source in belief.sources):
            document, similarity = prepared.index.nearest(task.text[: self._settings.max_chars], known)
            evidence["nearest"] = {"text": document, "similarity": round(similarity, 6)}
        return evidence
