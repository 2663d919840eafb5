"""What to try a strategy with, without a log behind it: agents, tasks, outcomes, examples, services, an encoder."""

from __future__ import annotations

import logging
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from router_sdk.records import Agent, AgentSet, Example, FixedExampleContext, Forecast, Signals, Task
from router_sdk.strategy import Encoder, EncoderConfig, StrategyServices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.strategy import Encoder

STRIDE = 10
"""Places in the log for each numbered decision: its own, its outcome's, and room for corrections."""


def make_example(
    agent: str | None,
    reward: float | None,
    *,
    number: int = 1,
    task: Task | str = "a task",
    signals: Signals | None = None,
    propensity: float | None = 0.5,
    eligible: Sequence[str] = (),
    probabilities: Mapping[str, float] | None = None,
    vectors: Mapping[str, NDArray[Any]] | None = None,
    forecast: Forecast | None = None,
    favourites: Mapping[str, str] | None = None,
) -> Example:
    """The first revision of one decision's outcome.

    Args:
        agent: Who acted; None where the decision was "no agent fits".
        reward: Its reward in [0, 1], or None while unknown.
        number: Which decision, from 1; gives the id, the places in the log and the times, in seconds.
        task: What was routed.
        signals: Joined parts of the outcome; by default what the reward alone says.
        propensity: Probability of the choice; None marks it as observed, made by somebody else.
        eligible: Who could have been chosen; by default ``agent`` alone.
        probabilities: The logged distribution; by default uniform over ``eligible``, empty where observed.
        vectors: Logged embeddings by encoder tag.
        forecast: What was given for the reward of ``agent``; None where it was not the favourite.
        favourites: Whom each of the compared strategies preferred, by its name.
    """
    names = tuple(eligible) or (() if agent is None else (agent,))
    uniform = {} if propensity is None else dict.fromkeys(names, 1.0 / len(names) if names else 0.0)
    drawn = dict(probabilities or uniform)
    context = FixedExampleContext(Task.of(task), dict(vectors or {}), names, drawn, forecast, dict(favourites or {}))
    at = number + 1 / STRIDE
    return Example(
        decision_id=f"{number:032x}",
        seq=STRIDE * number + 1,
        decision_seq=STRIDE * number,
        revision=0,
        agent=agent,
        task_type=context.fixed_task.task_type,
        reward=reward,
        previous_reward=None,
        signals=_said(reward) if signals is None else signals,
        previous=None,
        propensity=propensity,
        at=at,
        first_at=at,
        decided_at=float(number),
        source="observed" if propensity is None else "routed",
        context=context,
    )


def revise(
    example: Example, reward: float | None, *, seq: int | None = None, signals: Signals | None = None
) -> Example:
    """The next revision of an example: its outcome was corrected.

    Args:
        example: The revision before.
        reward: What is known now.
        seq: Place of the correction in the log; by default right after the revision before.
        signals: What the correction says; by default what the reward alone says.
    """
    place = example.seq + 1 if seq is None else seq
    return replace(
        example,
        seq=place,
        revision=example.revision + 1,
        reward=reward,
        previous_reward=example.reward,
        signals=example.signals.updated(_said(reward) if signals is None else signals),
        previous=example.signals,
        at=place / STRIDE,
    )


def _said(reward: float | None) -> Signals:
    """The outcome that has this reward and says nothing else."""
    return Signals() if reward is None else Signals(success=reward >= 0.5, quality=reward)


def sample_agents() -> tuple[Agent, ...]:
    """Four agents of a help desk."""
    return (
        Agent(
            "billing",
            description="invoices, refunds and payments",
            examples=["I was charged twice", "send me my invoice", "I want my money back"],
            capabilities={"payments", "email"},
        ),
        Agent(
            "technical",
            description="errors, crashes and log-in problems",
            examples=["the app crashes when I open it", "I cannot log in", "error 500 on upload"],
            capabilities={"debugging"},
        ),
        Agent(
            "sales",
            description="prices, plans and upgrades",
            examples=["how much is the pro plan", "I want to upgrade", "do you have a discount"],
            capabilities={"email"},
        ),
        Agent("forecasting", description="time series, demand and sales forecasts", capabilities={"forecasting"}),
    )


def sample_tasks() -> tuple[Task, ...]:
    """Tasks with a text, with features, with a history, and with characters from everywhere."""
    return (
        Task("I was charged twice, I want my money back"),
        Task("the app crashes with error 500", session_id="a"),
        Task("how much does an upgrade cost", task_type="sales", session_id="b", history=("billing",)),
        Task(features={"mape": 17.5, "series": 120, "seasonal": True}, task_type="forecasting"),
        Task("ありがとう 🙏 \x00", features={"language": "ja"}),
    )


def many_agents(count: int) -> AgentSet:
    """That many agents with a description and an example each."""
    return AgentSet(
        [
            Agent(f"agent-{i}", description=f"looks after topic {i}", examples=[f"a question on topic {i}"])
            for i in range(count)
        ]
    )


def outcome_stream(
    agents: AgentSet,
    tasks: Sequence[Task],
    *,
    count: int,
    first: int = 1,
    seed: int = 0,
    encoders: Mapping[str, Encoder] | None = None,
) -> list[Example]:
    """Outcomes as they come in: mostly plain, some observed, unknown, labelled, corrected or of a gone agent.

    Each task has one agent that serves it well (reward near 0.9); the others are poor at it (near 0.2).

    Args:
        agents: Who acted.
        tasks: What was routed, in turn.
        count: How many decisions.
        first: Number of the first decision; at least 1.
        seed: Seed of the choices and rewards.
        encoders: Encoders whose vectors the decisions log.
    """
    rng = np.random.default_rng([seed, first])
    stream: list[Example] = []
    for number in range(first, first + count):
        task = tasks[number % len(tasks)]
        agent: str | None = agents.names[int(rng.integers(len(agents)))]
        right = agents.names[(number % len(tasks)) % len(agents)]
        reward: float | None = round(float(np.clip((0.9 if agent == right else 0.2) + rng.normal(0, 0.1), 0, 1)), 3)
        signals, propensity = None, 1.0 / len(agents)
        match number % 17:
            case 5:
                agent = "an agent that has gone"
            case 7:
                reward, signals = None, Signals(latency_ms=350.0)
            case 11:
                agent, reward, signals = None, 0.0, Signals(correct_agent=right)
            case 13:
                signals = Signals(quality=reward, correct_agent=right)
        example = make_example(
            agent,
            reward,
            number=number,
            task=task,
            signals=signals,
            propensity=None if number % 17 == 3 else propensity,
            eligible=agents.names,
            vectors={coder.tag: coder.encode([task.text])[0] for coder in (encoders or {}).values()},
        )
        stream.append(example)
        if number % 6 == 4 and len(stream) > 3:
            earlier = stream[-3]
            if earlier.reward is not None:
                stream.append(revise(earlier, round(1.0 - earlier.reward, 3), seq=example.seq + 5))
    return stream


def make_services(
    folder: Path | None = None, *, encoders: Mapping[str, Encoder] | None = None, seed: int | None = 0
) -> StrategyServices:
    """Services for one strategy.

    Args:
        folder: The strategy's own folder; None suits a strategy that keeps no caches, and names one that
            does not exist.
        encoders: Encoders by name.
        seed: Seed of the strategy's own generator, or None for fresh entropy.
    """
    return StrategyServices(
        folder=folder if folder is not None else Path("no-folder-was-given"),
        encoders=dict(encoders or {}),
        logger=logging.getLogger("router_sdk.testing"),
        seed=seed,
    )


class HashedWordsConfig(EncoderConfig):
    """How wide the vectors are."""

    dimensions: int = Field(default=64, ge=1)


class HashedWordsEncoder(Encoder):
    """Unit vectors of hashed word counts (the *hashing trick*, Weinberger et al., 2009), equal in every process."""

    name: ClassVar[str] = "hashed-words"
    Config: ClassVar[type[EncoderConfig]] = HashedWordsConfig

    def __init__(self, config: EncoderConfig | None = None) -> None:
        settings = HashedWordsConfig() if config is None else config
        super().__init__(settings)
        self._dimensions = settings.dimensions if isinstance(settings, HashedWordsConfig) else 64

    def encode(self, texts: Sequence[str]) -> Sequence[NDArray[Any]]:
        """One float32 vector of shape ``(dimensions,)`` per text; zeros for a text without words."""
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector = np.zeros(self._dimensions, dtype=np.float32)
        for word in text.lower().split():
            code = zlib.crc32(word.encode())
            vector[(code >> 1) % self._dimensions] += 1.0 if code & 1 else -1.0
        length = float(np.linalg.norm(vector))
        return vector / np.float32(length) if length else vector
