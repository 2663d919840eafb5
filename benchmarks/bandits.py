"""Experiments E1 to E5: what a bandit earns, beside the libraries people use, all in one run.

E1 digits, E2 pendigits and E3 mushroom are contextual and stationary; E4 is routing by task type with delayed
feedback and two changes; E5 is what linear policies are made for. Every policy sees the same rounds in the same order
and the reward of its choice alone.
Pendigits and mushroom: UCI Machine Learning Repository, CC BY 4.0; digits come with scikit-learn.

    python benchmarks/bandits.py [--quick] [--seeds 12] [--alone] [--first-seed 0] [--only E1,E4]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bandit_peers import MissingError, Policy, installed
from bandit_policies import CONTEXTUAL, ROUTING

DATA = Path(os.environ.get("ROUTER_BENCH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TYPE_SHARES = np.array([0.35, 0.25, 0.15, 0.10, 0.08, 0.05, 0.02])


@dataclass(frozen=True)
class Problem:
    """Rounds of one experiment.

    Attributes:
        contexts: One row per round, shape ``(n, d)``; for E4 the task type.
        rewards: Drawn reward of every arm in every round, shape ``(n, k)``, in [0, 1].
        expected: Expected reward in its own unit, shape ``(n, k)``, for the regret.
        delays: Rounds until a reward arrives, shape ``(n,)``.
    """

    contexts: Any
    rewards: Any
    expected: Any
    delays: Any


def digits(seed: int) -> Problem:
    """E1: 64 features, ten arms, 1,797 rounds."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return _classes(x / 16.0, y, seed, len(x))


def pendigits(seed: int) -> Problem:
    """E2: 16 standardised features, ten arms, 5,000 rounds."""
    with gzip.open(DATA / "pendigits.csv.gz", "rt") as file:
        rows = [row for row in csv.reader(file) if row]
    table = np.array(rows[0 if rows[0][0].strip().lstrip("-").isdigit() else 1 :], dtype=float)
    x = table[:, :-1]
    return _classes((x - x.mean(0)) / x.std(0) / 4.0, table[:, -1].astype(int), seed, 5_000)


def _classes(x: Any, y: Any, seed: int, rounds: int) -> Problem:
    order = np.random.default_rng(100 + seed).permutation(len(x))[:rounds]
    rewards = np.eye(10)[y[order]]
    return Problem(x[order], rewards, rewards, np.zeros(rounds, int))


def mushroom(seed: int) -> Problem:
    """E3: eat or leave, 3,000 rounds; eating a poisonous one costs 35 every other time."""
    with gzip.open(DATA / "mushroom.csv.gz", "rt") as file:
        rows = list(csv.reader(file))[1:]
    columns = []
    for column in range(1, len(rows[0])):
        values = sorted({row[column] for row in rows})
        columns.append(np.array([[row[column] == value for value in values] for row in rows], dtype=float))
    rng = np.random.default_rng(100 + seed)
    order = rng.permutation(len(rows))[:3_000]
    x = np.hstack(columns)[order] / np.sqrt(22.0)
    poisonous = np.array([row[0][0] == "p" for row in rows])[order]
    eaten = np.where(poisonous & (rng.random(len(order)) < 0.5), -35.0, 5.0)
    drawn = np.column_stack([np.zeros(len(order)), eaten])
    expected = np.column_stack([np.zeros(len(order)), np.where(poisonous, -15.0, 5.0)])
    return Problem(x, (drawn + 35.0) / 40.0, expected, np.zeros(len(order), int))


def routing(seed: int) -> Problem:
    """E4: five agents, seven task types, feedback delayed by 30 rounds on average, two changes, 6,000 rounds."""
    rng, rounds = np.random.default_rng(seed), 6_000
    logits = rng.normal(0.8, 0.7, 5)[:, None] + rng.normal(0.0, 0.6, (5, 7)) + rng.normal(0.0, 0.5, 7)
    before = 1.0 / (1.0 + np.exp(-logits))
    best = int((before @ TYPE_SHARES).argmax())
    fallen = before.copy()
    fallen[best] *= 0.45
    other = int(rng.choice([arm for arm in range(5) if arm != best]))
    risen = fallen.copy()
    risen[other] = 1.0 - 0.4 * (1.0 - risen[other])
    types = rng.choice(7, rounds, p=TYPE_SHARES)
    expected = np.where(
        (np.arange(rounds) < 2_500)[:, None],
        before[:, types].T,
        np.where((np.arange(rounds) < 4_500)[:, None], fallen[:, types].T, risen[:, types].T),
    )
    rewards = (rng.random(rounds)[:, None] < expected).astype(float)
    return Problem(types, rewards, expected, rng.geometric(1.0 / 30.0, rounds))


def linear(seed: int) -> Problem:
    """E5: 20 features, ten arms of which several often succeed, 3,000 rounds; the logit of a success is linear."""
    rng, rounds = np.random.default_rng(900 + seed), 3_000
    x = rng.normal(size=(rounds, 20)) / np.sqrt(20.0)
    logits = x @ rng.normal(0.0, 2.0, (20, 10)) + rng.normal(0.0, 0.5, 10)
    expected = 1.0 / (1.0 + np.exp(-logits))
    rewards = (rng.random(expected.shape) < expected).astype(float)
    return Problem(x, rewards, expected, np.zeros(rounds, int))


def play(problem: Problem, policy: Policy, seed: int) -> Iterator[int]:
    """The policy's choices, round by round; it learns when rewards arrive."""
    rng = np.random.default_rng(seed)
    due: dict[int, list[int]] = {}
    chosen: list[int] = []
    for now, context in enumerate(problem.contexts):
        arm = policy.choose(context, rng)
        chosen.append(arm)
        due.setdefault(now + int(problem.delays[now]), []).append(now)
        for then in due.pop(now, ()):
            policy.update(problem.contexts[then], chosen[then], float(problem.rewards[then, chosen[then]]), then, now)
        yield arm


def average_reward(problem: Problem, arms: list[int]) -> float:
    """Mean of what was earned."""
    return float(problem.rewards[np.arange(len(arms)), arms].mean())


def share_of_uniform(problem: Problem, arms: list[int]) -> float:
    """Regret in percent of that of choosing uniformly."""
    best = problem.expected.max(1)
    regret = (best - problem.expected[np.arange(len(arms)), arms]).sum()
    return float(100.0 * regret / (best - problem.expected.mean(1)).sum())


def regret(problem: Problem, arms: list[int]) -> float:
    """What the best arm would have earned more, in expectation."""
    return float((problem.expected.max(1) - problem.expected[np.arange(len(arms)), arms]).sum())


@dataclass(frozen=True)
class Experiment:
    """One row of the report."""

    title: str
    make: Callable[[int], Problem]
    seeds: int
    gauge: Callable[[Problem, list[int]], float]
    higher: bool
    goal: str


EXPERIMENTS = {
    "E1": Experiment("digits, average reward", digits, 5, average_reward, True, ">= .87"),
    "E2": Experiment("pendigits, average reward", pendigits, 3, average_reward, True, ">= .94"),
    "E3": Experiment("mushroom, regret in % of uniform's", mushroom, 12, share_of_uniform, False, "<= 6, each <= 9"),
    "E4": Experiment("routing under drift, regret", routing, 12, regret, False, "<= 240"),
    "E5": Experiment("linear, regret in % of uniform's", linear, 4, share_of_uniform, False, "none"),
}


def run(name: str, seeds: range, alone: bool) -> None:
    """Play one experiment with every policy that is installed and print the table."""
    experiment = EXPERIMENTS[name]
    print(f"\n{name}  {experiment.title}; goal {experiment.goal}; seeds {seeds.start}..{seeds.stop - 1}")
    print(f"{'':34} {'mean':>9} {'worst':>9} {'ratio':>7} {'us/round':>9}")
    reference = None
    for label, make in (ROUTING if name == "E4" else CONTEXTUAL).items():
        if alone and not label.startswith("thompson"):
            continue
        found, started, rounds = [], time.perf_counter(), 0
        try:
            for seed in seeds:
                problem = experiment.make(seed)
                arms = problem.rewards.shape[1]
                width = 7 if problem.contexts.ndim == 1 else problem.contexts.shape[1]
                chosen = list(play(problem, make(arms, width, seed), 1_000 + seed))
                found.append(experiment.gauge(problem, chosen))
                rounds += len(chosen)
        except MissingError as missing:
            print(f"{label:34} skipped: {missing}")
            continue
        spent = 1e6 * (time.perf_counter() - started) / rounds
        mean, worst = float(np.mean(found)), (min if experiment.higher else max)(found)
        reference = mean if reference is None else reference
        print(f"{label:34} {mean:9.3f} {worst:9.3f} {mean / reference:7.2f} {spent:9.0f}", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed each")
    parser.add_argument("--seeds", type=int, default=12, help="at most so many seeds each")
    parser.add_argument("--alone", action="store_true", help="leave the peers out")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="E1,E2,E3,E4,E5")
    given = parser.parse_args(argv)
    if not given.alone:
        print(f"peers: {installed()}; the rule of LiteLLM is written out")
    for name in given.only.split(","):
        if name in {"E2", "E3"} and not DATA.is_dir():
            print(f"{name} skipped: no data at $ROUTER_BENCH_DATA")
            continue
        count = 1 if given.quick else min(given.seeds, EXPERIMENTS[name].seeds)
        run(name, range(given.first_seed, given.first_seed + count), given.alone)


if __name__ == "__main__":
    main()
