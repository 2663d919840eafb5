"""The support-desk scenario: texts of customers, six agents, and a world that changes three times.

Sentences are put together from the phrases of ``support_desk.toml``: what a customer wants, often with something
beside the point in words of somebody else's subject, in the customer's own habits and with typing errors. So words
overlap between agents, and the same wish comes in other words later on. Sessions become a stream that any router
can be replayed on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.demo.stream import Phase, Probe, Stream, StreamItem
from router_sdk.records import Agent, Outcome, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

RESOLVES = 0.93
"""Chance that the agent whose task it is resolves it."""
RESOLVES_NEAR = 0.30
"""The same of an agent with a neighbouring subject."""
RESOLVES_OTHER = 0.04
FALTERING = "technical"
FALTERS_TO = 0.35
"""What is left of that chance in the last phase for the agent whose new release is bad."""
STANDS_IN = "returns"
STANDS_IN_WITH = 0.75
"""Chance of the agent that swaps what the faltering one cannot mend."""
FOR_NOBODY = 0.06
"""Share of sessions in which no agent can do anything."""
HANDED_OVER = 0.25
"""Share of failures that a person hands over, by which the right agent is known."""
GOES_ON = 0.55
"""Chance that a session has another message; four at most."""
MOST_MESSAGES = 4
SAME_WISH = 0.7
PROBES = 40
"""Tasks of each kind that nobody learns from."""
PROBE_SEEDS = 10_000
"""Seeds from which on no stream is played."""
LATENCY_MS = 900.0
NOBODY = "for nobody"

BERT: dict[str, object] = {"update": "head", "wait_for_encoder": True}
"""The fit refits the head, which takes seconds; adapters in the encoder would take minutes on a CPU."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a customer may want.

    Attributes:
        name: What to call it.
        agent: Whose task it is; None where it is nobody's.
        near: Who resolves it now and then.
        moves_to: Who takes it over in the third phase.
        usual: Its wordings in the first phase.
        other: Its wordings from the second phase on.
    """

    name: str
    agent: str | None
    near: tuple[str, ...]
    moves_to: str | None
    usual: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class World:
    """What holds during one phase.

    Attributes:
        name: What to call the phase.
        other_words: Share of messages in the other wordings, in [0, 1].
        typing_errors: Chance of an error in a word, of a customer who types carelessly.
        moved: Whether some intents have gone to other agents.
        falters: Whether one agent's new release is bad.
    """

    name: str
    other_words: float
    typing_errors: float
    moved: bool = False
    falters: bool = False

    def owner(self, intent: Intent) -> str | None:
        """Whose task an intent is, by the desk's rules; None where it is nobody's."""
        return intent.moves_to if self.moved and intent.moves_to is not None else intent.agent

    def chances(self, intent: Intent, agents: Sequence[str]) -> dict[str, float]:
        """Probability that each agent resolves it."""
        owner = self.owner(intent)
        if owner is None:
            return dict.fromkeys(agents, 0.0)
        chances = {name: RESOLVES_NEAR if name in intent.near else RESOLVES_OTHER for name in agents}
        chances[owner] = RESOLVES
        if self.falters and owner == FALTERING:
            chances |= {FALTERING: FALTERS_TO, STANDS_IN: STANDS_IN_WITH}
        return chances


WORLDS = (
    World("first weeks", other_words=0.0, typing_errors=0.05),
    World("other words", other_words=0.85, typing_errors=0.12),
    World("tasks move", other_words=0.6, typing_errors=0.08, moved=True),
    World("an agent falters", other_words=0.6, typing_errors=0.08, moved=True, falters=True),
)
"""The phases, in order; a change stays."""


@cache
def _phrases() -> Mapping[str, Any]:
    return tomllib.loads(files(__package__).joinpath("support_desk.toml").read_text(encoding="utf-8"))


@cache
def intents() -> tuple[Intent, ...]:
    """Everything a customer may want; what is for nobody comes last."""
    return tuple(
        Intent(
            one["name"],
            one.get("agent"),
            tuple(one.get("near", ())),
            one.get("moves_to"),
            tuple(one["usual"]),
            tuple(one["other"]),
        )
        for one in _phrases()["intents"]
    )


def support_desk_agents() -> tuple[Agent, ...]:
    """The six agents, with four examples each, as a team would describe them on day one."""
    rng = np.random.default_rng(0)
    return tuple(
        Agent(
            name,
            description=told["description"],
            examples=tuple(_filled(example, rng) for example in told["examples"]),
        )
        for name, told in _phrases()["agents"].items()
    )


def _filled(phrase: str, rng: np.random.Generator) -> str:
    """A phrase with something in each of its places."""
    order = f"{'ABCDEFGH'[rng.integers(8)]}-{rng.integers(10_000, 99_999)}"
    amount = f"{rng.integers(4, 190)}.{('00', '50', '90', '99')[rng.integers(4)]}"
    drawn = {name: values[rng.integers(len(values))] for name, values in _phrases()["slots"].items()}
    return phrase.format(order=order, amount=amount, **drawn)


@dataclass(frozen=True, slots=True)
class Customer:
    """How somebody writes.

    Attributes:
        greets: Whether messages begin with a greeting.
        closes: Chance of a closing.
        rambles: Chance of something beside the point.
        careless: Whether there are typing errors.
        lower: Whether everything is in small letters, without full stops.
    """

    greets: bool
    closes: float
    rambles: float
    careless: bool
    lower: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Customer:
        """Somebody."""
        return cls(
            greets=bool(rng.random() < 0.4),
            closes=rng.uniform(0.0, 0.6),
            rambles=rng.uniform(0.1, 0.8),
            careless=bool(rng.random() < 0.5),
            lower=bool(rng.random() < 0.4),
        )

    def message(self, intent: Intent, world: World, number: int, rng: np.random.Generator) -> str:
        """What this customer writes.

        Args:
            intent: What is wanted.
            world: The phase.
            number: Of the message in its session, from 0.
            rng: Draws the words.
        """

        def one_of(phrases: Sequence[str]) -> str:
            return _filled(phrases[int(rng.integers(len(phrases)))], rng)

        phrases = _phrases()["phrases"]
        parts = [one_of(intent.other if rng.random() < world.other_words else intent.usual)]
        if rng.random() < self.rambles:
            parts.insert(int(rng.integers(2)), one_of(phrases["asides"]))
        if number and rng.random() < 0.5:
            parts.insert(0, one_of(phrases["again"]))
        if self.greets and not number:
            parts.insert(0, one_of(phrases["greetings"]))
        if rng.random() < self.closes:
            parts.append(one_of(phrases["closings"]))
        text = ", ".join(parts)
        if self.careless:
            text = " ".join(_mistyped(word, world.typing_errors, rng) for word in text.split(" "))
        return text.lower() if self.lower else f"{text[0].upper()}{text[1:]}."


def _mistyped(word: str, chance: float, rng: np.random.Generator) -> str:
    """A word in which, by chance, two letters are swapped, one is left out, or one stands twice."""
    if len(word) < 4 or rng.random() >= chance:
        return word
    at = int(rng.integers(1, len(word) - 1))
    match int(rng.integers(3)):
        case 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
        case _:
            return word[:at] + word[at] + word[at:]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a session with every agent's potential outcome, so that any choice can be judged on it.

    Attributes:
        task: What is routed.
        intent: What the customer wants.
        best: The agent that is likeliest to resolve it; None where nobody can.
        outcomes: What each agent would bring about.
    """

    task: Task
    intent: Intent
    best: str | None
    outcomes: Mapping[str, Outcome]


def generate_messages(world: World, *, seed: int = 0) -> Iterator[Message]:
    """Session after session without end, message by message.

    Args:
        world: The phase.
        seed: The same seed gives the same messages.
    """
    rng = np.random.default_rng([seed, WORLDS.index(world)])
    agents = tuple(_phrases()["agents"])
    wishes, nobody = intents()[:-1], intents()[-1]
    for number in count():
        customer = Customer.drawn(rng)
        intent = nobody if rng.random() < FOR_NOBODY else wishes[rng.integers(len(wishes))]
        for step in range(MOST_MESSAGES):
            if step and rng.random() >= GOES_ON:
                break
            if step and intent is not nobody and rng.random() >= SAME_WISH:
                around = [one for one in wishes if one.agent in (intent.agent, *intent.near) and one is not intent]
                intent = around[rng.integers(len(around))]
            text = customer.message(intent, world, step, rng)
            chances = world.chances(intent, agents)
            best = None if world.owner(intent) is None else max(chances, key=chances.__getitem__)
            handed_over = bool(rng.random() < HANDED_OVER)
            lucks = rng.random(len(agents))
            yield Message(
                Task(text, session_id=f"{seed}-{world.name}-{number:05d}"),
                intent,
                best,
                {
                    name: _outcome(bool(luck < chances[name]), best, name, handed_over, rng)
                    for name, luck in zip(agents, lucks, strict=True)
                },
            )


def _outcome(success: bool, best: str | None, agent: str, handed_over: bool, rng: np.random.Generator) -> Outcome:
    """What is reported of an agent; of some failures also whose task it was."""
    latency_ms = round(LATENCY_MS * float(rng.lognormal(0.0, 0.3)), 1)
    if success or not handed_over or agent == best:
        return Outcome(success=success, latency_ms=latency_ms)
    if best is None:
        return Outcome(success=False, no_agent_fits=True, latency_ms=latency_ms)
    return Outcome(success=False, correct_agent=best, latency_ms=latency_ms)


def support_desk_stream(messages: int, *, seed: int = 0) -> Stream:
    """Messages in four phases: the first weeks, other words, tasks that move to other agents, an agent that falters.

    Args:
        messages: In each phase.
        seed: The same seed gives the same stream; another seed gives one of the same length.
    """
    return Stream(
        title="Support desk",
        agents=support_desk_agents(),
        phases=tuple(
            Phase(
                world.name,
                [_item(one) for one in islice(generate_messages(world, seed=seed), messages)],
                contradicts=tuple(one.name for one in WORLDS if one.moved < world.moved or one.falters < world.falters),
            )
            for world in WORLDS
        ),
        probes={
            world.name: [_probe(one) for one in islice(generate_messages(world, seed=PROBE_SEEDS + seed), PROBES)]
            for world in (WORLDS[0], WORLDS[-1])
        },
        strategy={"bert": BERT},
        notes=(
            f"Generated texts in sessions of one to {MOST_MESSAGES} messages. Texts, and what each agent would make of "
            "them, are fixed in advance: every contestant meets the same tasks and, for the same choice, the same "
            "outcome.",
            f"Of the sessions {FOR_NOBODY:.0%} are for nobody: every agent fails, and who says so is right. Of "
            f"failures {HANDED_OVER:.0%} come back with the right agent named, as when a person hands a case over.",
            f"From “{WORLDS[1].name}” on most messages are worded differently; from “{WORLDS[2].name}” on four of the "
            f"{len(intents()) - 1} subjects are another agent's; in “{WORLDS[3].name}” {FALTERING} resolves "
            f"{FALTERS_TO:.0%} instead of {RESOLVES:.0%} of its tasks, and {STANDS_IN} {STANDS_IN_WITH:.0%} of them.",
        ),
    )


def _probe(message: Message) -> Probe:
    return message.task, message.best


def _item(message: Message) -> StreamItem:
    rewards = {name: float(bool(outcome.success)) for name, outcome in message.outcomes.items()}
    return StreamItem(message.task, rewards, message.best, message.outcomes)
