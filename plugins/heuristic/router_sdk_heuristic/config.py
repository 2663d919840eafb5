"""What a user writes: rules and a few numbers."""

from collections.abc import Callable, Collection
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from router_sdk.plugin import AgentSet, RouteContext, StrategyConfig, Task, normal
from router_sdk_heuristic.predicate import Keywords, Regex, parse_predicate

RuleFunction = Callable[[Task, AgentSet, RouteContext], str | Collection[str] | None]
"""Returns the name of an agent, several, or None where the rule does not apply. It must be pure and quick."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _checked_by(parse: Callable[[str], object]) -> AfterValidator:
    def check(value: str) -> str:
        parse(value)
        return value

    return AfterValidator(check)


def _qualified_name(function: object) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several)]
Name = Annotated[Text, AfterValidator(normal)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_several)]


class Rule(BaseModel):
    """If every given condition holds, these agents. Conditions that are left out always hold.

    Args:
        name: What explanations call it; by default its place in the list.
        agents: Who gets the task, one name or several (``agent`` is accepted too).
        function: A Python function that names the agents instead.
        keywords: Words or phrases, of which one must stand in the text, as whole words, in any case and Unicode form;
            inside a run of characters where a script puts no spaces between words.
        regex: Regular expression that must match somewhere in the text; ``(?i)`` ignores case.
        when: Condition on the task's features, such as ``mape > 15 and region == "EU"``.
        task_type: The task's type.
        capability: A capability that the task requires.
        after: The agents that acted last in the session, oldest of them first.
        seen: Agents that must all have acted in the session.
        unseen: Agents of which none may have acted in the session.
        hard: Whether nobody else may be chosen. All hard rules that apply must agree on somebody.
        weight: How far to trust it: its share, in (0, 1], of the probability that earlier rules left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Text | None = None
    agents: Names = Field(default=(), validation_alias=AliasChoices("agents", "agent"))
    function: Annotated[RuleFunction, PlainSerializer(_qualified_name, return_type=str)] | None = None
    keywords: Texts = ()
    regex: Annotated[str, _checked_by(Regex)] | None = None
    when: Annotated[str, _checked_by(parse_predicate)] | None = None
    task_type: Name | None = None
    capability: Name | None = None
    after: Names = ()
    seen: Names = ()
    unseen: Names = ()
    hard: bool = False
    weight: float = Field(default=0.9, gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _check_what_it_says(self) -> "Rule":
        if bool(self.agents) == (self.function is not None):
            raise ValueError("a rule needs agents, or a function that names them, and not both")
        conditions = (self.keywords, self.regex, self.when, self.task_type, self.capability)
        if self.function is None and not any((*conditions, self.after, self.seen, self.unseen)):
            raise ValueError("a rule needs a condition; for an agent that gets what is left, set default_agent")
        if self.keywords:
            Keywords(self.keywords)
        return self


class HeuristicConfig(StrategyConfig):
    """How the heuristic weighs what it sees.

    Args:
        rules: Asked in this order; each takes its weight of the probability that is left.
        default_agent: Who gets what nothing else decides.
        default_weight: Share of what is left that the default agent takes, in (0, 1]; the rest is doubt.
        capability_weight: Share of what the rules left that goes to agents which list the task's type among
            their capabilities, in [0, 1].
        temperature: Difference in similarity that counts as a factor of e in the odds; above 0.
        floor: Similarity at which an agent is as likely as "none of them", in (0, 1].
        max_chars: How much of a text is compared, in characters from its start; rules see all of it.
    """

    rules: tuple[Rule, ...] = ()
    default_agent: Name | None = None
    default_weight: float = Field(default=0.5, gt=0.0, le=1.0)
    capability_weight: float = Field(default=0.5, ge=0.0, le=1.0)
    temperature: float = Field(default=0.04, ge=0.005)
    floor: float = Field(default=0.1, gt=0.0, le=1.0)
    max_chars: int = Field(default=2_000, ge=1)
