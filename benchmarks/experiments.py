"""How often live experiments err, and how soon they find what is better, with looks all along.

    python benchmarks/experiments.py [--quick] [--only aa] [--experiments 1000] [--first-seed 0]

Parts: ``aa`` (equal arms, sessions), ``ab`` (one is better or worse, sessions), ``power`` (.80 against .85, a unit is a
decision) beside the sequences of ``gbstats`` and ``confseq`` where they are installed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from experiment_streams import by_step, decisions, played, sessions
from measuring import Figure, show

from router_sdk.experiments.effects import pseudo_outcomes, sharpest_at
from router_sdk.loop_settings import ExperimentConfig

ALPHA = 0.05
LOOKS = 100
UPDATES = 20
"""Looks after which a rollout or a bandit may change the shares."""
WAYS = {
    "50/50": ExperimentConfig(challenger_share=0.5),
    "90/10": ExperimentConfig(challenger_share=0.1),
    "rollout .1, .25, .5": ExperimentConfig(rollout=(0.1, 0.25, 0.5)),
    "bandit, floor .1": ExperimentConfig(challenger_share=0.1, allocation="bandit"),
}


def equal_arms(experiments: int, first_seed: int, units: int) -> Iterator[Figure]:
    """Equal arms: how often anything is decided, whatever the improvement that is asked for."""
    for name, settings in WAYS.items():
        asked = settings.model_copy(update={"min_improvement": 0.0})
        found = _verdicts(asked, experiments, [1, first_seed], units, 0.0)
        share = 100.0 * (experiments - found["running"]) / experiments
        yield Figure(f"A/A, {name}: decided", [share], "%", 100.0 * ALPHA, detail=_counts(found))
    wrong = 0
    for number in range(experiments):
        stream = sessions(np.random.default_rng([1, first_seed + number]), units)
        arm = (stream.chance < 0.5).astype(np.int64)
        apart = by_step(stream.units(arm, np.full(units, 0.5), 0.0))
        ours, theirs = (pseudo_outcomes(apart.values["quality"], apart.arm == one, apart.probability) for one in (1, 0))
        sequence = (ours - theirs).sequence(ALPHA, sharpest_at((0.5, 0.5)))
        looks = sequence[np.linspace(0, sequence.shape[0] - 1, LOOKS + 1).astype(int)[10:]]
        wrong += bool(((looks[:, 0] > 0.0) | (looks[:, 1] < 0.0)).any())
    yield Figure("the same at 50/50, each decision taken for a unit", [100.0 * wrong / experiments], "%")


def unequal_arms(experiments: int, first_seed: int, units: int) -> Iterator[Figure]:
    """One is better or worse by .1: how often the wrong one wins, and how often the right one."""
    for name, settings in WAYS.items():
        for gain in (0.1, -0.1):
            found = _verdicts(settings, experiments, [2, first_seed], units, gain)
            wrong = 100.0 * found["champion" if gain > 0 else "challenger"] / experiments
            yield Figure(f"A/B, {gain:+.1f}, {name}: wrong winner", [wrong], "%", 1.0, detail=_counts(found))


def _verdicts(settings: ExperimentConfig, experiments: int, seeds: list[int], units: int, gain: float) -> Counter[str]:
    changes = bool(settings.rollout) or settings.allocation == "bandit"
    found: Counter[str] = Counter()
    for number in range(experiments):
        stream = sessions(np.random.default_rng([seeds[0], seeds[1] + number]), units, gain)
        found[played(stream, settings, UPDATES if changes else 1).decided(settings)[0]] += 1
    return found


def power(experiments: int, first_seed: int, units: int) -> Iterator[Figure]:
    """.80 against .85: units per arm, or in all, until each sequence excludes that they are equal."""
    for name, share in (("50/50", 0.5), ("90/10", 0.1)):
        settings = ExperimentConfig(challenger_share=share, weights={"quality": 1.0}, guardrails={})
        total, scale, unit = (4 * units, 0.5, "units per arm") if share == 0.5 else (8 * units, 1.0, "units in all")
        ours: list[float] = []
        alone: list[float] = []  # until the sequence excludes 0, as the peers' do, whatever improvement is asked for
        needed: dict[str, list[float]] = {peer: [] for peer in PEERS if _installed(peer)}
        for number in range(experiments):
            stream = decisions(np.random.default_rng([3, first_seed + number]), total, 0.8, 0.85)
            found = played(stream, settings)
            for asked, times in ((settings, ours), (settings.model_copy(update={"min_improvement": 0.0}), alone)):
                verdict, closed = found.decided(asked)
                times.append(scale * closed if verdict == "challenger" else np.inf)
            value = np.where(found.arm == 1, stream.told["quality"][1], stream.told["quality"][0])
            looks = found.analysis.comparisons[0].path.units
            for peer, times in needed.items():
                times.append(scale * _first(PEERS[peer], found.arm, value, looks, settings.min_units))
        missed = f"{sum(map(np.isinf, ours))} of {experiments} not within {total:,}"
        yield Figure(f".80 → .85 at {name}, 5 % asked for", ours, unit, 1_000 if share == 0.5 else None, detail=missed)
        yield Figure("the same, the sequence alone", alone, unit)
        for peer, times in needed.items():
            ratio = float(np.median(alone) / np.median(times))
            detail = f"there {np.median(times):,.0f} {unit}"
            yield Figure(
                f"the sequence's median ÷ that of {peer}", [ratio], goal=1.1 if share == 0.5 else None, detail=detail
            )


Excludes = Callable[[Any, Any], bool]
"""Whether a sequence excludes that two arms are equal, by the values of each."""


def _first(excludes: Excludes, arm: Any, value: Any, looks: Any, least: int) -> float:
    for upto in looks.tolist():
        ours, theirs = value[:upto][arm[:upto] == 1], value[:upto][arm[:upto] == 0]
        if min(ours.size, theirs.size) >= least and excludes(theirs, ours):
            return float(upto)
    return float("inf")


def _installed(peer: str) -> bool:
    return find_spec(peer.split(",")[0].split()[0]) is not None


def _gbstats(tuning: float) -> Excludes:
    def excludes(theirs: Any, ours: Any) -> bool:
        from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
        from gbstats.models.statistics import ProportionStatistic

        config = SequentialConfig(difference_type="absolute", sequential_tuning_parameter=tuning)
        arms = [ProportionStatistic(n=each.size, sum=int(each.sum())) for each in (theirs, ours)]
        low, high = SequentialTwoSidedTTest(*arms, config).confidence_interval
        return bool(low > 0.0 or high < 0.0)

    return excludes


def _confseq(theirs: Any, ours: Any) -> bool:
    from confseq.boundaries import normal_mixture_bound

    error2 = ours.var() / ours.size + theirs.var() / theirs.size
    count = theirs.size + ours.size
    bound = normal_mixture_bound(error2 * count**2, ALPHA / 2.0, 2_000 * error2 * count, ALPHA / 2.0, True)
    return bool(abs(ours.mean() - theirs.mean()) > float(np.squeeze(bound)) / count)


PEERS: dict[str, Excludes] = {
    "gbstats as it comes": _gbstats(5_000.0),
    "gbstats, sharpest at 2,000": _gbstats(2_000.0),
    "confseq, sharpest at 2,000": _confseq,
}
PARTS = {"aa": equal_arms, "ab": unequal_arms, "power": power}


def _counts(found: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.most_common())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given again")
    parser.add_argument("--experiments", type=int, default=1_000, help="how many of each kind (1,000)")
    parser.add_argument("--first-seed", type=int, default=0)
    told = parser.parse_args(argv)
    experiments, units = (3, 600) if told.quick else (told.experiments, 2_000)
    for part in told.only or PARTS:
        figures = list(PARTS[part](experiments, told.first_seed, units))
        show(part, figures, f"{experiments:,} experiments of each kind")


if __name__ == "__main__":
    main()
