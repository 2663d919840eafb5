"""Sessions of the marketing-mix scenario as a stream that any router can be replayed on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from router_sdk.demo.analyst import AGENT_NAMES, BUSINESS_ANALYST, DATA_SCIENTIST, STAKEHOLDER, Analyst
from router_sdk.demo.marketing_mix import MarketingMixSession, Turn, marketing_mix_agents
from router_sdk.demo.stream import Phase, Probe, Stream, StreamItem
from router_sdk.rewards import OutcomeReward

MAX_ITERATIONS = 8
BERT: dict[str, object] = {"update": "head", "wait_for_encoder": True, "confidence_threshold": 0.7}
"""Fits during the stream refit the head, which takes seconds; adapters in the encoder would take minutes on a CPU.
Where the transformer is not sure of a state told in words, the bandit knows its numbers."""
PROBES = 60
"""Tasks of each kind that show whether the old is forgotten for the new."""
FOLLOWS_ANALYST = 0.85
"""How often the recorded sessions went where the analyst wanted; the other turns took a random agent."""

RULES: tuple[dict[str, object], ...] = (
    {"agent": DATA_SCIENTIST, "when": "mape > 15", "name": "poor fit"},
    {"agent": BUSINESS_ANALYST, "when": "business_flags >= 2", "name": "open flags"},
    {"agent": STAKEHOLDER, "when": "mape <= 15", "name": "good enough to show"},
)
"""What a team would write down on day one: right for the analyst that the synthetic data are made with."""


def generate_turns(sessions: int, *, strictness: float = 0.0, seed: int = 0) -> Iterator[Turn]:
    """Play whole sessions and yield their turns.

    Args:
        sessions: How many.
        strictness: Of the analyst, in [0, 1].
        seed: The same seed gives the same turns.
    """
    rng = np.random.default_rng([seed, round(strictness * 1_000)])
    analyst = Analyst(strictness)
    for number in range(sessions):
        session = MarketingMixSession(f"{seed}-{strictness:g}-{number:05d}", analyst, rng)
        while not session.signed_off and session.state.iteration <= MAX_ITERATIONS:
            turn = session.turn()
            yield turn
            agent = turn.wanted if rng.random() < FOLLOWS_ANALYST else AGENT_NAMES[rng.integers(len(AGENT_NAMES))]
            session.advance(agent, turn.outcomes[agent])


def marketing_mix_stream(
    sessions: int, *, strictness: float = 1.0, seed: int = 0, past_sessions: int = 0, words: bool = False
) -> Stream:
    """Half the sessions with the synthetic analyst, then half with a stricter one.

    Args:
        sessions: In both phases together, at least 2.
        strictness: Of the second analyst, in [0, 1].
        seed: The same seed gives the same stream.
        past_sessions: Synthetic sessions from before, to pre-train on.
        words: Whether the states' texts go along.
    """
    half = sessions // 2

    def item(turn: Turn) -> StreamItem:
        return _item(turn, words)

    return Stream(
        title="Marketing-mix optimisation",
        agents=marketing_mix_agents(),
        phases=(
            Phase("synthetic analyst", [item(turn) for turn in generate_turns(sessions - half, seed=seed)]),
            Phase(
                "stricter analyst",
                [item(turn) for turn in generate_turns(half, strictness=strictness, seed=seed + 1)],
            ),
        ),
        past=[(turn.state.task(words=words), turn.wanted) for turn in generate_turns(past_sessions, seed=seed + 2)],
        probes={
            name: [
                _probe(turn, words) for turn in islice(generate_turns(PROBES, strictness=how, seed=seed + 3), PROBES)
            ]
            for name, how in (("old sessions", 0.0), ("new sessions", strictness))
        },
        strategy={"heuristic": {"rules": RULES}, **({"bert": BERT} if words else {})},
        notes=(
            f"{sessions:,} generated sessions. Their states are fixed in advance, so every contender meets the same "
            "tasks and, for the same choice, the same outcome.",
        ),
    )


def _probe(turn: Turn, words: bool) -> Probe:
    return turn.state.task(words=words), max(turn.preferences, key=turn.preferences.__getitem__)


def _item(turn: Turn, words: bool) -> StreamItem:
    reward = OutcomeReward()
    rewards = {name: reward(outcome.signals(), name) or 0.0 for name, outcome in turn.outcomes.items()}
    # The oracle knows the analyst's mind, not the toss of the coin.
    best = max(turn.preferences, key=turn.preferences.__getitem__)
    return StreamItem(turn.state.task(words=words), rewards, best, turn.outcomes)
