"""What a decision over vectors or text costs, and an update, beside the libraries people use.

Strategies and libraries alone, at their default or best known settings, probabilities included, one BLAS thread.
Contestants take turns in blocks of calls, each warm, and are timed by the processor time of their thread: neighbours on
a shared machine would otherwise decide who is fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from statistics import median
from typing import Any
from zlib import crc32

import numpy as np
from bandit_peers import Mabwiser, MissingError, VowpalWabbit, installed
from bandit_policies import Thompson
from measuring import Figure, in_turn, ratios

from router_sdk.records import Example, Task
from router_sdk.testing import FixedContext
from router_sdk.testing.examples import make_example

CALLS = 200
TAUGHT = 300
BATCH = 64
SENTENCE = "how much will it cost me to transfer {:4} euros to my account"

Call = Callable[[], object]
Goals = tuple[float | None, float | None, float | None]
"""Times faster than a peer: a decision, an update, and one in batches."""


@dataclass(frozen=True)
class Contestant:
    """Calls of one library that has seen ``TAUGHT`` outcomes, or two per agent where that is more."""

    name: str
    decide: Call
    learn: Call
    learn_many: Call | None = None


def block(call: Call, calls: int = CALLS) -> Callable[[], float]:
    """Measures what one of many calls takes on average, in µs of this thread's processor time."""

    def measured() -> float:
        for _ in range(max(calls // 10, 1)):
            call()
        started = time.thread_time_ns()
        for _ in range(calls):
            call()
        return (time.thread_time_ns() - started) / 1e3 / calls

    return measured


def stream(width: int, seed: int = 0) -> tuple[Any, list[float]]:
    """Vectors, shape ``(512, width)``, and rewards that come to whoever is asked, half of the time."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(512, width)), (rng.random(512) < 0.5).astype(float).tolist()


def lessons(agents: Sequence[str], vectors: Any, rewards: list[float], tag: str, number: int) -> list[Example]:
    """So many examples with logged vectors."""
    return [
        make_example(
            agents[turn % len(agents)],
            rewards[turn % len(rewards)],
            number=turn + 1,
            task="a vector stands for the text",
            eligible=tuple(agents),
            vectors={tag: vectors[turn % len(vectors)]},
        )
        for turn in range(number)
    ]


def thompson(agents: int, width: int) -> Contestant:
    """The plugin's strategy at its default configuration: ``propose`` and ``learn`` with publication."""
    vectors, rewards = stream(width)
    policy = Thompson(agents, width, 0)
    strategy, names, encoder = policy.strategy, policy.agents, policy.encoder
    examples = lessons(names.names, vectors, rewards, encoder.tag, max(TAUGHT, 2 * agents) + 2_048)
    strategy.learn(examples[:-2_048])
    coming, requests = examples[-2_048:], []
    for vector in vectors:
        encoder.vector = vector
        requests.append(FixedContext(encoders=policy.encoders))
        requests[-1].encode("given")
    task, turns, learnt = Task("a vector stands for the text"), count(), count()

    def learn_many() -> None:
        start = BATCH * next(learnt) % len(coming)
        strategy.learn(coming[start : start + BATCH])

    return Contestant(
        "thompson",
        lambda: strategy.propose(task, names, requests[next(turns) % 512]),
        lambda: strategy.learn([coming[next(learnt) % len(coming)]]),
        learn_many,
    )


def mabwiser(agents: int, width: int) -> Contestant:
    """LinTS of mabwiser, handed finished rows."""
    policy = Mabwiser(agents, width, 0, "LinTS", 0.1)
    vectors, rewards = stream(width)
    rows = [policy.row(vector) for vector in vectors]
    for turn in range(TAUGHT):
        policy.bandit.partial_fit([turn % agents], [rewards[turn]], rows[turn])
    turns, learnt = count(), count()

    def learn() -> None:
        turn = next(learnt) % 512
        policy.bandit.partial_fit([turn % agents], [rewards[turn]], rows[turn])

    return Contestant("mabwiser LinTS", lambda: policy.bandit.predict(rows[next(turns) % 512]), learn)


def vowpal_wabbit(agents: int, width: int) -> Contestant:
    """Vowpal Wabbit's squarecb, its lines formatted for each call, as a caller has to."""
    policy = VowpalWabbit(agents, width, 0, "--squarecb")
    vectors, rewards = stream(width)
    turns, learnt = count(), count()

    def learn() -> None:
        turn = next(learnt) % 512
        policy.workspace.learn(policy.lines(vectors[turn], turn % agents, -rewards[turn], 0.2))

    for _ in range(TAUGHT):
        learn()
    return Contestant("VW squarecb", lambda: policy.workspace.predict(policy.lines(vectors[next(turns) % 512])), learn)


def present(agents: int, width: int) -> Iterator[Contestant]:
    """The plugin, and each peer that is installed."""
    for make in (thompson, mabwiser, vowpal_wabbit):
        try:
            yield make(agents, width)
        except MissingError:
            continue


def beside(repeats: int, calls: int, width: int, goals: dict[str, Goals]) -> list[Figure]:
    """Decision and update among five agents: how many times faster than each peer; goals by peer."""
    ours, *peers = present(5, width)
    deciding = in_turn([block(each.decide, calls) for each in (ours, *peers)], repeats)
    learning = in_turn([block(each.learn, calls) for each in (ours, *peers)], repeats)
    batch_calls = [block(ours.learn_many or ours.learn, max(calls // BATCH, 1))]
    many = in_turn([*batch_calls, *[block(each.learn, calls) for each in peers]], repeats)
    batches = [[us / BATCH for us in many[0]], *many[1:]]
    figures = []
    for place, peer in enumerate(peers, start=1):
        decision, update, batch = goals.get(peer.name, (None, None, None))
        rows = ("decision", deciding, decision), ("update", learning, update), (f"update in {BATCH}s", batches, batch)
        for what, times, goal in rows:
            figures.append(
                Figure(
                    f"d={width}, K=5: {what}, times faster than {peer.name}",
                    ratios(times[place], times[0]),
                    goal=goal,
                    better="at least",
                    detail=f"{median(times[0]):.1f} µs against {median(times[place]):.1f} µs",
                )
            )
    return figures


def posterior_alone(repeats: int, calls: int) -> list[Figure]:
    """What the posterior and the probabilities take of a decision and an update, without a strategy around them."""
    from router_sdk.numerics.normal_gamma import NormalGamma
    from router_sdk.numerics.shared_draw import shared_draw

    posterior, names = NormalGamma(65, 0.16, 1.0, 5.0, 0.6), tuple(f"agent-{place}" for place in range(5))
    points, rewards = stream(65)
    points /= np.sqrt((points * points).sum(axis=1, keepdims=True))
    for turn in range(TAUGHT):
        posterior.observe(posterior.row(names[turn % 5]), points[turn], rewards[turn], 1.0)
    reading, asked = posterior.new_snapshot(), np.pad(points, ((0, 0), (0, 1))).astype(np.float32)
    reading.catch_up(posterior, {row: [] for row in range(5)})
    turns, learnt = count(), count()

    def learn() -> None:
        turn = next(learnt) % 512
        posterior.observe(turn % 5, points[turn], rewards[turn], 1.0)

    peer = mabwiser(5, 64)
    contestants = (lambda: shared_draw(*reading.scores(names, asked[next(turns) % 512], 0.9)), peer.decide)
    deciding = in_turn([block(call, calls) for call in contestants], repeats)
    learning = in_turn([block(call, calls) for call in (learn, peer.learn)], repeats)
    return [
        Figure(
            f"  the posterior alone: {what}, times faster than {peer.name}",
            ratios(theirs, ours),
            detail=f"{median(ours):.1f} µs against {median(theirs):.1f} µs",
        )
        for what, (ours, theirs) in (("decision", deciding), ("update", learning))
    ]


def crowds(repeats: int, calls: int) -> list[Figure]:
    """A decision among fifty and among a thousand agents against one among ten, d=64."""
    few, many, crowd = in_turn([block(thompson(agents, 64).decide, calls) for agents in (10, 50, 1_000)], repeats)
    return [
        Figure(f"d=64: decision, K={agents:,} ÷ K=10", ratios(times, few), goal=goal, detail=f"{median(times):.0f} µs")
        for agents, times, goal in ((50, many, 5.0), (1_000, crowd, 15.0))
    ]


def text(repeats: int, calls: int) -> list[Figure]:
    """Encoding sixty characters, each text a new one, against hashing every feature by crc32 into a set."""
    from router_sdk_thompson.features.hashed_text import text_ids

    def hashed(words: str) -> set[int]:
        raw = words.lower().encode()
        padded, parts = b" %b " % raw, raw.split()
        found = {crc32(part) & 0xFFFF for part in parts}
        found |= {crc32(b"%b %b" % pair) & 0xFFFF for pair in pairwise(parts)}
        return found | {crc32(padded[place : place + 4]) & 0xFFFF for place in range(len(padded) - 3)}

    turns = count()
    calls_of = [lambda: text_ids(SENTENCE.format(next(turns))), lambda: hashed(SENTENCE.format(next(turns)))]
    ours, reference = in_turn([block(call, 5 * calls) for call in calls_of], repeats)
    detail = f"{median(ours):.1f} µs against {median(reference):.1f} µs"
    return [Figure("text of 60 characters, ÷ crc32 of each feature", ratios(ours, reference), goal=1.07, detail=detail)]


def vectors(repeats: int, quick: bool) -> list[Figure]:
    """All of it."""
    calls = 20 if quick else CALLS
    goals: dict[str, Goals] = {"mabwiser LinTS": (20.0, 40.0, 90.0), "VW squarecb": (6.0, 1.0, None)}
    narrow: dict[str, Goals] = {"mabwiser LinTS": (3.5, None, None), "VW squarecb": (1.3, None, None)}
    figures = beside(repeats, calls, 64, goals)
    if "mabwiser MISSING" not in installed():
        figures += posterior_alone(repeats, calls)
    figures += beside(repeats, calls, 32, narrow)
    figures += beside(repeats, max(calls // 4, 10), 384, {})
    figures += crowds(repeats, calls) + text(repeats, calls)
    return [*figures, Figure(f"({installed()})", [0.0], unit="")] if "MISSING" in installed() else figures
