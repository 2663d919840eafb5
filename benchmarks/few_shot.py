"""The transformer's head on real texts: few examples, wrong labels, swapped roles, strangers, classes that come later.

The encoder is the plugin's default and stays as it is; only the head learns. CLINC150's ten domains stand for ten
agents (or its 150 intents for as many), Banking77's intents for 77. Everything was tuned on validation texts; what is
printed comes from the test texts, beside the goals.
CLINC150: clinc/oos-eval, Larson et al., EMNLP 2019, CC BY 3.0. Banking77: PolyAI, Casanueva et al. 2020, CC BY 4.0.

    python benchmarks/few_shot.py [--quick] [--only few_shot,noise,swap,strangers,classes,analytic,banking,bandit,time]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from embedded import Texts, load
from measuring import separation
from router_sdk_bert.config import BertConfig
from router_sdk_bert.head.estimates import choice_probabilities
from router_sdk_bert.head.head import make_head
from router_sdk_bert.head.neighbours import nearest
from router_sdk_bert.head.prototypes import Prototype
from router_sdk_bert.head.rows import Row
from routing import DATA

BINS = 15


def rows_of(texts: Texts, places: Any, labels: Any, first: int = 0) -> list[Row]:
    """Outcomes with a label, one a minute."""
    return [
        Row(f"{first + turn:032x}", first + turn + 1, texts.vectors[place], str(label), True, at=60.0 * (first + turn))
        for turn, (place, label) in enumerate(zip(places, labels, strict=True))
    ]


def head_of(names: Sequence[str], skills: dict[str, list[Any]] | None = None, **settings: Any) -> Any:
    """A head that knows the agents, and the vectors that they state as theirs."""
    config = BertConfig(**settings)
    head = make_head(config, 0)
    told = {
        name: [Prototype(f"{name} {i}", config.example_weight) for i, _ in enumerate(own)]
        for name, own in (skills or {}).items()
    }
    vectors = {f"{name} {i}": vector for name, own in (skills or {}).items() for i, vector in enumerate(own)}
    head.set_agents(names, told, vectors)
    return head


def judge(head: Any, texts: Texts, places: Any, right: Any, names: Sequence[str]) -> tuple[float, float, Any]:
    """Accuracy in percent, expected calibration error, and novelty of each."""
    found = head.predict(texts.vectors[places], names)
    good = np.array(names)[found.probabilities.argmax(1)] == right
    box = np.minimum((found.confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(found.confidence[box == i].mean() - good[box == i].mean()) * (box == i).mean() for i in set(box)]
    return 100.0 * float(good.mean()), float(sum(gaps)), found.novelty


def one_skill_each(texts: Texts, rng: Any) -> dict[str, list[Any]]:
    """For each agent (domain) one training text of every intent of its own."""
    chosen: dict[str, list[Any]] = {}
    train = texts.part("train")
    for intent in np.unique(texts.intent[train]):
        place = rng.choice(train[texts.intent[train] == intent])
        chosen.setdefault(str(texts.domain[place]), []).append(place)
    return chosen


class Report:
    """The table that is printed."""

    def __init__(self) -> None:
        print(f"{'':66} {'goal':>8} {'reached':>9}")

    def line(self, what: str, goal: str, *values: float, digits: int = 1) -> None:
        """One figure: the mean of some runs, with their range."""
        spread = f"   {min(values):.{digits}f} to {max(values):.{digits}f}" if len(values) > 1 else ""
        print(f"{what:66} {goal:>8} {np.mean(values):9.{digits}f}{spread}", flush=True)


def few_shot(report: Report, seeds: range) -> None:
    """Ten agents with fifteen skills each, and some labelled outcomes."""
    texts = load("clinc150")
    names, train, test = sorted(set(texts.domain) - {"oos"}), texts.part("train"), texts.part("test")
    goals = {0: ">= 86", 1: "", 5: "", 10: ">= 88", 50: ">= 93", 200: ">= 96"}
    for count, goal in goals.items():
        reached = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            skills = one_skill_each(texts, rng)
            pool = np.setdiff1d(train, np.concatenate(list(skills.values())))
            shown = [rng.permutation(pool[texts.domain[pool] == name])[:count] for name in names]
            places = rng.permutation(np.concatenate(shown))
            head = head_of(names, {name: list(texts.vectors[own]) for name, own in skills.items()})
            head.add(rows_of(texts, places, texts.domain[places]))
            reached.append(judge(head, texts, test, texts.domain[test], names)[0])
        report.line(f"ten domains, skills and {count} examples per agent, accuracy %", goal, *reached)


def noise(report: Report, seeds: range) -> None:
    """Four labels in ten are wrong."""
    texts = load("clinc150")
    names, test = sorted(set(texts.domain) - {"oos"}), texts.part("test")
    reached = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        places = rng.permutation(texts.part("train"))
        told = np.searchsorted(names, texts.domain[places])
        wrong = rng.random(len(places)) < 0.4
        told[wrong] = (told[wrong] + rng.integers(1, len(names), wrong.sum())) % len(names)
        head = head_of(names)
        head.add(rows_of(texts, places, np.array(names)[told]))
        reached.append(judge(head, texts, test, texts.domain[test], names)[0])
    report.line("40 % wrong labels, accuracy %", ">= 93.5", *reached)


def swap(report: Report, seeds: range) -> None:
    """After 7,500 outcomes two agents swap roles."""
    texts = load("clinc150")
    names, before = sorted(set(texts.domain) - {"oos"}), 7_500
    reached: dict[int, list[float]] = {500: [], 2_000: [], 4_000: []}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        one, other = rng.choice(names, 2, replace=False)
        turned = np.where(texts.domain == one, other, np.where(texts.domain == other, one, texts.domain))
        places = rng.permutation(texts.part("train"))
        test = texts.part("test")
        test = test[np.isin(texts.domain[test], (one, other))]
        head = head_of(names)
        head.add(rows_of(texts, places[:before], texts.domain[places[:before]]))
        done = 0
        for count, found in reached.items():
            more = places[before + done : before + count]
            head.add(rows_of(texts, more, turned[more], before + done))
            found.append(judge(head, texts, test, turned[test], names)[0])
            done = count
    for count, found in reached.items():
        goal = {500: ">= 60", 2_000: ">= 93"}.get(count, "")
        report.line(f"two agents swap roles: those two after {count} more, accuracy %", goal, *found)


def strangers(report: Report, seeds: range) -> None:
    """Everything shown; then texts that no agent is for, and how well chances are calibrated."""
    texts = load("clinc150")
    test, strange = texts.part("test"), texts.part("oos_test")
    for label, goal, what in ((texts.domain, ">= .970", "ten domains"), (texts.intent, ">= .975", "150 intents")):
        names, found = sorted(set(label) - {"oos"}), []
        for seed in seeds:
            places = np.random.default_rng(seed).permutation(texts.part("train"))
            head = head_of(names, memory_size=10_000 if len(names) == 10 else 15_000)
            head.add(rows_of(texts, places, label[places]))
            score, error, known = judge(head, texts, test, label[test], names)
            found.append((score, error, separation(known, head.predict(texts.vectors[strange], names).novelty)))
        score, error, area = zip(*found, strict=True)
        report.line(f"{what}, all examples, accuracy %", "", *score)
        report.line(f"{what}: expected calibration error, 15 bins", "<= .015", *error, digits=4)
        report.line(f"{what}: AUROC of texts that nobody is for", goal, *area, digits=4)


def incremental(name: str, tasks: int, seed: int, **settings: Any) -> float:
    """Accuracy in percent after classes came a task at a time, each text seen once."""
    texts = load(name)
    rng, train, test = np.random.default_rng(seed), texts.part("train"), texts.part("test")
    names = sorted(set(texts.intent[train]))
    head, first = head_of(names, **settings), 0
    for group in np.array_split(rng.permutation(names), tasks):
        places = rng.permutation(train[np.isin(texts.intent[train], group)])
        head.add(rows_of(texts, places, texts.intent[places], first))
        first += len(places)
    head.refit()
    return judge(head, texts, test, texts.intent[test], names)[0]


def classes(report: Report, seeds: range) -> None:
    """CLINC150 class-incrementally, with few texts per class kept."""
    for count, goal in ((20, ">= 93.5"), (100, ">= 95.5")):
        reached = [incremental("clinc150", 10, seed, memory_size=150 * count) for seed in seeds]
        report.line(f"CLINC150, 10 tasks x 15, {count} per class stored, accuracy %", goal, *reached, digits=2)


def analytic(report: Report, seeds: range) -> None:
    """The same with nothing stored but sums."""
    reached = [incremental("clinc150", 10, seed, head="analytic") for seed in seeds]
    report.line("CLINC150, 10 tasks x 15, sums only, accuracy %", ">= 95.0", *reached, digits=2)


def banking(report: Report, seeds: range) -> None:
    """Banking77 class-incrementally, everything stored."""
    reached = [incremental("banking77", 7, seed, memory_size=20_000) for seed in seeds]
    report.line("Banking77, 7 tasks x 11, all stored, accuracy %", ">= 93.0", *reached, digits=2)


def bandit(report: Report, seeds: range) -> None:
    """Ten agents, no skills stated, and only the chosen agent's reward is seen; learnt in batches of ten."""
    texts = load("clinc150")
    names = tuple(sorted(set(texts.domain) - {"oos"}))
    for epsilon in (0.0, 0.02):
        reached = []
        for seed in seeds:
            rng, head = np.random.default_rng(seed), head_of(names)
            earned, waiting = [], []
            for turn, place in enumerate(rng.permutation(texts.part("train"))):
                estimate = head.snapshot.estimate(texts.vectors[place], names)
                policy = np.full(10, 0.1) if estimate is None else choice_probabilities(estimate.odds, estimate.doubt)
                policy = (1.0 - epsilon) * policy + epsilon / len(names)
                agent = names[min(int(np.searchsorted(np.cumsum(policy), rng.random())), len(names) - 1)]
                earned.append(float(agent == texts.domain[place]))
                vector = texts.vectors[place]
                waiting.append(Row(f"{turn:032x}", turn + 1, vector, agent=agent, reward=earned[-1], at=60.0 * turn))
                if len(waiting) == 10:
                    head.add(waiting)
                    waiting = []
            reached.append(100.0 * float(np.mean(earned[-3_000:])))
        report.line(f"rewards only, 15,000 rounds, last 3,000, epsilon {epsilon:g}, accuracy %", ">= 95", *reached)


def timing(report: Report, seeds: range) -> None:
    """A refit and a search on 10,000 stored examples of ten agents."""
    texts = load("clinc150")
    names, places = (
        sorted(set(texts.domain) - {"oos"}),
        np.random.default_rng(0).permutation(texts.part("train"))[:10_000],
    )
    head = head_of(names, refit_interval=10_001)
    head.add(rows_of(texts, places, texts.domain[places]))
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        head.refit()
        spent.append(time.perf_counter() - started)
    report.line("refit on 10,000 stored examples, ten agents, s (median)", "<= .5", float(np.median(spent)), digits=3)
    snapshot, found, whole = head.snapshot, [], []
    for place in texts.part("test")[:1_000]:
        started = time.perf_counter()
        _, coarse = snapshot.model.seen(texts.vectors[place])
        nearest(snapshot.stored, texts.vectors[place], snapshot.stored.scan(coarse), head.config.neighbours)
        middle = time.perf_counter()
        snapshot.estimate(texts.vectors[place], tuple(names))
        found.append(1e3 * (middle - started))
        whole.append(1e3 * (time.perf_counter() - middle))
    report.line("nearest neighbours among 10,000, ms (median)", "<= .2", float(np.median(found)), digits=3)
    report.line("whole estimate, without the encoder, ms (median)", "", float(np.median(whole)), digits=3)


PARTS: dict[str, Callable[[Report, range], None]] = {
    "few_shot": few_shot,
    "noise": noise,
    "swap": swap,
    "strangers": strangers,
    "classes": classes,
    "analytic": analytic,
    "banking": banking,
    "bandit": bandit,
    "time": timing,
}


def main(argv: list[str] | None = None) -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts")
    given = parser.parse_args(argv)
    if not DATA.is_dir():
        print("skipped: no data at $ROUTER_BENCH_DATA")
        return
    report = Report()
    for name in given.only.split(","):
        PARTS[name](report, range(1 if given.quick else 3))


if __name__ == "__main__":
    main()
