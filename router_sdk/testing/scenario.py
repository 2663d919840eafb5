"""Agents, tasks and outcomes to try a strategy on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_sdk.records import Agent, AgentSet, Example, Signals, Task
from router_sdk.testing.examples import make_example, revise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_sdk.strategy import Encoder


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
