"""A rule, made ready to be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from router_sdk.plugin import normal
from router_sdk_heuristic.predicate import Keywords, Regex, parse_predicate

if TYPE_CHECKING:
    from router_sdk.plugin import AgentSet, RouteContext, Task
    from router_sdk_heuristic.config import Rule

Condition = Callable[["Task", "RouteContext"], str | None]
"""Why it holds, in words that quote the rule and never the task; None where it does not."""


class RuleMatcher:
    """Asks one rule.

    Attributes:
        rule: What the user wrote.
        name: What explanations call it.
    """

    __slots__ = ("_conditions", "name", "rule")

    def __init__(self, rule: Rule, place: int) -> None:
        self.rule = rule
        self.name = rule.name or f"rule {place}"
        self._conditions = _conditions(rule)

    def match(self, task: Task, agents: AgentSet, context: RouteContext) -> tuple[tuple[str, ...], str] | None:
        """The agents it names, and why; None where it does not apply."""
        reasons = []
        for condition in self._conditions:
            reason = condition(task, context)
            if reason is None:
                return None
            reasons.append(reason)
        if self.rule.function is None:
            return self.rule.agents, ", ".join(reasons)
        named = self.rule.function(task, agents, context)
        if named is None:
            return None
        reasons.append(f"function {getattr(self.rule.function, '__name__', 'without a name')}")
        names = (named,) if isinstance(named, str) else named
        return tuple(normal(name) for name in names), ", ".join(reasons)


def _conditions(rule: Rule) -> tuple[Condition, ...]:
    """The rule's conditions, those that cost least first."""
    made: list[Condition] = []
    if rule.task_type is not None:
        made.append(_task_type(rule.task_type))
    if rule.capability is not None:
        made.append(_capability(rule.capability))
    if rule.when is not None:
        made.append(_when(rule.when))
    if rule.after or rule.seen or rule.unseen:
        made.append(_history(rule.after, frozenset(rule.seen), frozenset(rule.unseen)))
    if rule.keywords:
        made.append(_keywords(rule.keywords))
    if rule.regex is not None:
        made.append(_regex(rule.regex))
    return tuple(made)


def _task_type(expected: str) -> Condition:
    return lambda task, context: f"task type {expected!r}" if task.task_type == expected else None


def _capability(expected: str) -> Condition:
    return lambda task, context: f"requires {expected!r}" if expected in task.requires else None


def _when(text: str) -> Condition:
    predicate = parse_predicate(text)
    return lambda task, context: text if predicate.holds(task.features) else None


def _history(after: tuple[str, ...], seen: frozenset[str], unseen: frozenset[str]) -> Condition:
    parts = [("after", after), ("seen", sorted(seen)), ("unseen", sorted(unseen))]
    words = " and ".join(f"{part} {', '.join(names)}" for part, names in parts if names)

    def holds(task: Task, context: RouteContext) -> str | None:
        acted = context.history
        follows = not after or acted[-len(after) :] == after
        return words if follows and seen.issubset(acted) and unseen.isdisjoint(acted) else None

    return holds


def _keywords(keywords: tuple[str, ...]) -> Condition:
    wanted = Keywords(keywords)

    def holds(task: Task, context: RouteContext) -> str | None:
        found = wanted.found_in(task.text)
        return None if found is None else f"keyword {' '.join(found.split())!r}"

    return holds


def _regex(text: str) -> Condition:
    wanted = Regex(text)
    return lambda task, context: f"regex {text!r}" if wanted.stands_in(task.text) else None
