"""Who plays the streams of `feedback.py`: the router as shipped, its strategies alone, and peers on the same vectors.

All see the same texts in the same order, learn each outcome before the next text, and keep the same exploration floor.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from unittest import mock

import numpy as np
from bandit_peers import LinUCB, Policy, VowpalWabbit
from feedback_streams import FeedbackStream

from router_sdk import Agent, Outcome, Router
from router_sdk.routing.sampling import UNIFORM
from router_sdk.store import identity

EPSILON = 0.02
"""The router's default exploration floor, which the peers get as well."""
START, ROUND_S = 1_800_000_000.0, 60.0
"""Log time: a decision a minute."""
NOBODY = -1
TOLD_EVERY = 5_000
"""Rounds between two words about where a long run stands."""

Chain = Sequence[Any] | None


@dataclass(frozen=True)
class Played:
    """What one contestant did on a stream.

    Attributes:
        chosen: Place of the agent that got each text, shape ``(n,)``; ``NOBODY`` where none did.
        favourite: Place of the agent that it would have been without exploration, shape ``(n,)``; ``NOBODY`` where no
            strategy had an answer. None of a peer.
        confidence: What was said of that one, shape ``(n,)``, in [0, 1]; None of a peer.
        answered: Share of the rounds that each strategy of a chain decided; empty of a peer.
    """

    chosen: Any
    favourite: Any = None
    confidence: Any = None
    answered: Mapping[str, float] | None = None


Contestant = Callable[[FeedbackStream, int], Played]
"""Plays a stream with a seed."""


class Clock:
    """Stands for ``time.time``."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Log time, in seconds since the epoch."""
        return self.now


@contextmanager
def opened(agents: Sequence[Any], chain: Chain, seed: int) -> Iterator[tuple[Router, Clock]]:
    """A router as shipped, on a store in memory, that learns inside ``record``; and its clock.

    Time and the ids of decisions come from the seed: by its id the transformer's head chooses what it holds out.
    """
    clock, tails = Clock(), random.Random(seed)
    ids = mock.patch.multiple(identity, _tails=deque(), _refill=lambda: f"{tails.getrandbits(80):020x}")
    settings: dict[str, Any] = {"seed": seed, "learn_now": True, "retrain": False}
    with mock.patch("time.time", clock), ids, Router(agents, chain, ":memory:", **settings) as router:
        missing = router.warm_up()
        if missing:
            raise RuntimeError(f"strategies that cannot get ready: {missing}")
        yield router, clock


def outcome_of(reward: float, graded: bool) -> Outcome:
    """What an orchestrator would record."""
    return Outcome(quality=reward) if graded else Outcome(success=reward > 0.5)


def routed(chain: Chain = None, *, fitted: bool = False, outcomes: bool = True) -> Contestant:
    """The router with a chain.

    Args:
        chain: Its strategies; None is the chain as shipped.
        fitted: Whether the agents' examples are told as labels, by ``fit``; else the agents state them.
        outcomes: Whether what the agents earn is recorded.
    """

    def contestant(stream: FeedbackStream, seed: int) -> Played:
        stated = {} if fitted else stream.examples
        agents = [Agent(name, examples=stated.get(name, [])) for name in stream.agents]
        with opened(agents, chain, seed) as (router, clock):
            if fitted:
                told = [(text, name) for name, texts in stream.examples.items() for text in texts]
                router.fit([text for text, _ in told], [name for _, name in told])
            return follow(router, clock, stream, outcomes=outcomes)

    return contestant


def follow(router: Router, clock: Clock, stream: FeedbackStream, *, outcomes: bool = True) -> Played:
    """Route every text of a stream, and record what its agent earned before the next."""
    place_of = {name: place for place, name in enumerate(stream.agents)}
    count = len(stream.texts)
    chosen, favourite, confidence = np.full(count, NOBODY), np.full(count, NOBODY), np.zeros(count)
    answered: Counter[str] = Counter()
    # What is read of a decision is read at once: one that is kept keeps all that its strategy knew.
    for turn, text in enumerate(stream.texts):
        clock.now += ROUND_S
        decision = router.route(text)
        answered[decision.strategy] += 1
        if (turn + 1) % TOLD_EVERY == 0:
            print(f"  {turn + 1:,} of {count:,} rounds", file=sys.stderr, flush=True)
        if decision.agent is None:
            continue
        drawn = decision.distribution
        chosen[turn] = place_of[decision.agent]
        if decision.strategy != UNIFORM:  # else it is nobody's confidence
            favourite[turn] = place_of[drawn.agents.names[drawn.favourite]]
            confidence[turn] = decision.confidence or 0.0
        if outcomes:
            router.record(decision, outcome_of(float(stream.rewards[turn, chosen[turn]]), stream.graded))
    return Played(chosen, favourite, confidence, {name: times / count for name, times in sorted(answered.items())})


def peer(make: Callable[[int, int, int], Policy], told: Callable[[FeedbackStream], Any] | None = None) -> Contestant:
    """A peer over the vectors.

    Args:
        make: From the number of agents, the vectors' width and a seed.
        told: What it is told of each text of a stream; None tells the vectors.
    """

    def contestant(stream: FeedbackStream, seed: int) -> Played:
        contexts = stream.vectors if told is None else told(stream)
        policy = make(len(stream.agents), stream.vectors.shape[1], seed)
        rng = np.random.default_rng(1_000 + seed)
        chosen = np.zeros(len(stream.texts), int)
        for turn, context in enumerate(contexts):
            chosen[turn] = arm = policy.choose(context, rng)
            policy.update(context, arm, float(stream.rewards[turn, arm]), turn, turn)
        return Played(chosen)

    return contestant


def words(stream: FeedbackStream) -> list[str]:
    """The words of each text, lower-cased, as features."""
    return [" ".join(re.findall(r"\w+", text.lower())) for text in stream.texts]


def words_and_grams(stream: FeedbackStream) -> list[str]:
    """The same with pairs of neighbours and the four-letter pieces of every word, its ends marked."""
    told = []
    for each in words(stream):
        apart = each.split()
        grams = [f"c_{gram}" for word in apart for gram in _pieces(f"_{word}_")]
        told.append(" ".join([*apart, *(f"{one}_{two}" for one, two in pairwise(apart)), *grams]))
    return told


def _pieces(word: str, length: int = 4) -> list[str]:
    return [word[start : start + length] for start in range(max(len(word) - length + 1, 1))]


def best_single(stream: FeedbackStream, seed: int) -> Played:
    """The agent that is the best on average, known in advance."""
    return Played(np.full(len(stream.texts), stream.rewards.mean(0).argmax()))


def any_agent(stream: FeedbackStream, seed: int) -> Played:
    """Any agent."""
    return Played(np.random.default_rng(1_000 + seed).integers(len(stream.agents), size=len(stream.texts)))


def oracle(stream: FeedbackStream, seed: int) -> Played:
    """The agent that earns most, known in advance."""
    return Played(stream.rewards.argmax(1) if stream.right is None else stream.right)


def vw(options: str, cost_of_failure: float = 0.0) -> Callable[[int, int, int], Policy]:
    """Vowpal Wabbit with the exploration floor."""
    return lambda arms, width, seed: VowpalWabbit(arms, width, seed, options, EPSILON, cost_of_failure)


def linucb(alpha: float) -> Callable[[int, int, int], Policy]:
    """LinUCB with the exploration floor."""
    return lambda arms, width, seed: LinUCB(arms, width, seed, alpha, EPSILON)


VW_ON_TEXT = [
    ("--squarecb", 0.0, words),
    ("--squarecb -l 2", 0.0, words_and_grams),
    ("--squarecb --gamma_scale 100 -l 2", 1.0, words),
    ("--squarecb --gamma_scale 1000 -l 1 -b 22", 1.0, words_and_grams),
    ("--epsilon 0 -l 1", 1.0, words_and_grams),
]
"""Options, what a failure costs, and features: what anybody begins with, and the best of 30 on seeds 1000 and 1001."""
SHIPPED = "as shipped"
ALONE: dict[str, Contestant] = {
    "bert": routed(["bert"]),
    "bert, independent": routed([("bert", {"labels": "independent"})]),
    "bert, exclusive": routed([("bert", {"labels": "exclusive"})]),
    "thompson": routed(["thompson"]),
    "thompson, heuristic": routed(["thompson", "heuristic"]),
}
LINEAR = {"thompson on bert's vectors": routed([("thompson", {"encoder": "bert"})])}
CELLS = {"Beta cells": routed([("thompson", {"contextual": False})])}
PEERS: dict[str, Contestant] = {
    "LinUCB alpha=.25": peer(linucb(0.25)),
    "LinUCB alpha=1": peer(linucb(1.0)),
    "VW squarecb": peer(vw("--squarecb")),
    "VW squarecb, optimistic": peer(vw("--squarecb", 1.0)),
}
WITHOUT_MODEL = {name: ALONE[name] for name in ("thompson, heuristic", "thompson")}
TEXT_PEERS = {
    f"VW {options}{', optimistic' if cost else ''}, {features.__name__.replace('_', ' ')}": peer(
        vw(options, cost), features
    )
    for options, cost, features in VW_ON_TEXT
}
BOUNDS: dict[str, Contestant] = {"best single agent": best_single, "random": any_agent, "oracle": oracle}
MEMBERS = ("bert", "thompson")
"""Of the chain as shipped, beside the heuristic, which knows nothing without examples."""
OURS = (SHIPPED, *ALONE, *LINEAR, *CELLS)
EVERYBODY = {SHIPPED: routed(), **ALONE, **LINEAR, **CELLS, **PEERS, **BOUNDS}
