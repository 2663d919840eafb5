"""Routing real texts with bandit feedback: CLINC150's ten domains as ten agents, and nine models with real outcomes.

Prequential: each text is routed before its reward is learnt, and only the chosen agent's reward is seen. Beside the
Thompson plugin stand the heuristic plugin, which knows examples or descriptions and learns nothing, a random choice,
the best single agent, the oracle, and logistic regression that is shown every agent's reward after every text (full
information, refitted now and then).
CLINC150: clinc/oos-eval, Larson et al., EMNLP 2019, CC BY 3.0. Nine models: ulab-uiuc/LLMRouter, MIT.

    python benchmarks/routing.py [--quick] [--first-seed 0] [--only clinc]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from router_sdk.records import Agent, AgentSet, Example, Signals, Task
from router_sdk.strategy import Encoder, StrategyServices
from router_sdk.testing import FixedContext
from router_sdk.testing.examples import FixedExampleContext

DATA = Path(os.environ.get("ROUTER_BENCH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
LAST, FIRST, ROUNDS, SHOWN = 3_000, 1_000, 15_000, 20
REFITS = (100, 200, 400, 800, 1_600, 3_000, 6_000, 9_000, 12_000)


@dataclass(frozen=True)
class Stream:
    """Texts with the reward of every agent.

    Attributes:
        texts: What is asked, ``n`` of them.
        rewards: Reward of every agent, shape ``(n, k)``.
        agents: Names, ``k`` of them.
        examples: Texts that each agent states as its own.
        descriptions: What each agent is said to be good at.
    """

    texts: list[str]
    rewards: Any
    agents: list[str]
    examples: dict[str, list[str]]
    descriptions: dict[str, str] = field(default_factory=dict)


def rows_of_set(name: str) -> list[dict[str, Any]]:
    """The rows of a data set, as its file has them."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def clinc(seed: int) -> Stream:
    """15,000 training texts in a seeded order; the agents' examples come from the validation texts."""
    rows = rows_of_set("clinc150")
    train = [row for row in rows if row["split"] == "train"]
    names = sorted({row["domain"] for row in train})
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train))[:ROUNDS]
    shown: dict[str, list[str]] = {name: [] for name in names}
    held = [row for row in rows if row["split"] == "val"]
    for place in rng.permutation(len(held)):
        if len(shown[held[place]["domain"]]) < SHOWN:
            shown[held[place]["domain"]].append(held[place]["text"])
    place_of = {name: place for place, name in enumerate(names)}
    right = [place_of[train[i]["domain"]] for i in order]
    return Stream([train[i]["text"] for i in order], np.eye(len(names))[right], names, shown)


def nine_models(seed: int) -> Stream:
    """4,408 questions in a seeded order with the score that each of nine models earned."""
    rows = rows_of_set("nine_models")
    names = sorted(rows[0]["scores"])
    order = np.random.default_rng(seed).permutation(len(rows))
    rewards = np.array([[min(max(rows[i]["scores"][name], 0.0), 1.0) for name in names] for i in order])
    told = json.loads((DATA / "nine_models.agents.json").read_text(encoding="utf-8"))
    descriptions = {name: told[name]["description"] for name in names if name in told}
    return Stream([rows[i]["text"] for i in order], rewards, names, {}, descriptions)


def thompson(
    stream: Stream, seed: int, *, epsilon: float = 0.0, batch: int = 1, examples: bool = False, flipped: float = 0.0
) -> Any:
    """Rewards that the plugin earned, shape ``(n,)``, at its default configuration, alone."""
    from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy

    agents = AgentSet(
        [Agent(name, examples=stream.examples.get(name, []) if examples else []) for name in stream.agents]
    )
    encoders: dict[str, Encoder] = {TextFeatures.name: TextFeatures(TextFeatures.Config())}
    # Alone, it has to answer from the first round on.
    config = ThompsonConfig(min_evidence=0.0, min_context_evidence=0.0)
    strategy = ThompsonStrategy(config, StrategyServices(Path("unused"), encoders, seed=seed))
    strategy.prepare(agents)
    rng = np.random.default_rng(1_000 + seed)
    count, earned = len(agents), np.zeros(len(stream.texts))
    waiting: list[Example] = []
    for turn, text in enumerate(stream.texts):
        request = FixedContext(text=text, encoders=encoders)
        task = Task(text)
        proposal = strategy.propose(task, agents, request)
        shares = np.full(count, 1.0 / count) if proposal is None else np.array(list(proposal.probabilities.values()))
        shares = (1.0 - epsilon) * shares + epsilon / count
        chosen = min(int(np.searchsorted(np.cumsum(shares), rng.random())), count - 1)
        earned[turn] = reward = float(stream.rewards[turn, chosen])
        seen = 1.0 - reward if rng.random() < flipped else reward
        vectors = {encoders[TextFeatures.name].tag: request.encode(TextFeatures.name)}
        at = 60.0 * turn
        waiting.append(
            Example(
                decision_id=str(turn),
                seq=2 * turn + 1,
                decision_seq=2 * turn,
                revision=0,
                agent=agents.names[chosen],
                task_type=task.task_type,
                reward=seen,
                previous_reward=None,
                signals=Signals(quality=seen),
                previous=None,
                propensity=float(shares[chosen]),
                at=at,
                first_at=at,
                decided_at=at,
                source="routed",
                context=FixedExampleContext(task, vectors, agents.names),
            )
        )
        if len(waiting) >= batch:
            strategy.learn(waiting)
            waiting = []
    return earned


def heuristic(stream: Stream, seed: int) -> Any:
    """Rewards of the heuristic plugin by the agents' examples and descriptions; it draws where it abstains."""
    from router_sdk_heuristic import HeuristicStrategy

    described, shown = stream.descriptions, stream.examples
    agents = AgentSet(
        [Agent(name, description=described.get(name, ""), examples=shown.get(name, [])) for name in stream.agents]
    )
    strategy = HeuristicStrategy(HeuristicStrategy.Config(), StrategyServices(Path("unused"), {}, seed=seed))
    strategy.prepare(agents)
    rng, count = np.random.default_rng(1_000 + seed), len(agents)
    earned = np.zeros(len(stream.texts))
    for turn, text in enumerate(stream.texts):
        proposal = strategy.propose(Task(text), agents, FixedContext(text=text))
        shares = np.full(count, 1.0 / count) if proposal is None else np.array(list(proposal.probabilities.values()))
        earned[turn] = stream.rewards[turn, min(int(np.searchsorted(np.cumsum(shares), rng.random())), count - 1)]
    return earned


def full_information(stream: Stream, seed: int, strength: float = 30.0) -> Any:
    """Rewards of logistic regressions, one per agent, on words and character grams, that see everybody's reward."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    union = make_union(
        HashingVectorizer(ngram_range=(1, 2), n_features=1 << 15),
        HashingVectorizer(analyzer="char_wb", ngram_range=(4, 4), n_features=1 << 15),
    )
    x, count, earned = union.transform(stream.texts), len(stream.texts), stream.rewards.mean(1)
    for start, stop in pairwise([*[min(refit, count) for refit in REFITS], count]):
        if start == stop:
            continue
        chances = []
        for seen in stream.rewards[:start].T:
            right = seen >= 0.5
            if right.all() or not right.any():
                chances.append(np.full(stop - start, seen.mean()))
                continue
            model = LogisticRegression(C=strength, max_iter=200, solver="liblinear").fit(x[:start], right)
            chances.append(model.predict_proba(x[start:stop])[:, 1])
        earned[start:stop] = stream.rewards[np.arange(start, stop), np.argmax(chances, axis=0)]
    return earned


def report(
    title: str, stream: Callable[[int], Stream], routes: dict[str, Callable[[Stream, int], Any]], seeds: range
) -> None:
    """Print one table."""
    print(f"\n{title}; seeds {seeds.start}..{seeds.stop - 1}")
    print(f"{'':44} {'first 1,000':>12} {'last 3,000':>12} {'all':>8} {'/ best single':>14} {'us/round':>9}")
    streams = {seed: stream(seed) for seed in seeds}
    single = float(np.mean([each.rewards.mean(0).max() for each in streams.values()]))
    for label, route in routes.items():
        started = time.perf_counter()
        earned = np.array([route(streams[seed], seed) for seed in seeds])
        spent = 1e6 * (time.perf_counter() - started) / earned.size
        first, last, overall = earned[:, :FIRST].mean(), earned[:, -LAST:].mean(), earned.mean()
        print(f"{label:44} {first:12.3f} {last:12.4f} {overall:8.4f} {overall / single:14.3f} {spent:9.0f}", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run both data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="clinc,nine")
    given = parser.parse_args(argv)
    if not DATA.is_dir():
        print("skipped: no data at $ROUTER_BENCH_DATA")
        return
    seeds = range(given.first_seed, given.first_seed + (1 if given.quick else 3))
    bounds: dict[str, Callable[[Stream, int], Any]] = {
        "random (expected)": lambda stream, seed: stream.rewards.mean(1),
        "best single agent": lambda stream, seed: stream.rewards[:, stream.rewards.mean(0).argmax()],
        "oracle": lambda stream, seed: stream.rewards.max(1),
    }
    routes: dict[str, Callable[[Stream, int], Any]] = {
        "thompson": thompson,
        "thompson, epsilon .02, batches of 10": lambda stream, seed: thompson(stream, seed, epsilon=0.02, batch=10),
    }
    more: dict[str, Callable[[Stream, int], Any]] = {
        "thompson, 20 examples per agent": lambda stream, seed: thompson(stream, seed, examples=True),
        "thompson, 20 % of the rewards flipped": lambda stream, seed: thompson(stream, seed, flipped=0.2),
        "heuristic, 20 examples per agent": heuristic,
        "logistic regression, full information": full_information,
    }
    others: dict[str, Callable[[Stream, int], Any]] = {
        "heuristic, by descriptions": heuristic,
        # Who answers a question right is far noisier than whose question it is.
        "logistic regression, full information": lambda stream, seed: full_information(stream, seed, 0.3),
    }
    if "clinc" in given.only:
        report("CLINC150 as ten agents, bandit feedback", clinc, {**routes, **more, **bounds}, seeds)
    if "nine" in given.only:
        report("nine models, bandit feedback", nine_models, {**routes, **others, **bounds}, seeds)


if __name__ == "__main__":
    main()
