"""What a log tells of policies that did not make it: how far off estimates are, and whether they rank policies right.

`floor`: 5 agents, 4 types of task, 3,000 rounds; each agent succeeds with each type with a chance drawn uniformly from
.3 to .9, known to nobody. Thompson sampling chooses and learns: drawn independently with the floor at .05, and beside
it the plugin as shipped. The policy that is judged always chooses the second best agent of the type. Refusal is off,
and the share of logs that it would refuse is told.

`ranking`: 20,000 tasks drawn with replacement from the nine models' questions (ulab-uiuc/LLMRouter, MIT), with the
real score of every model. The Thompson plugin as shipped routes them by their texts and learns in batches of ten from
whom it chose; five policies are then judged by its log: itself with the floor of .02, three models for everything,
anybody. The truth is what each would have earned on these very tasks by the scores of all models. ``--router`` does the
same through a real router, its store, and ``router.experiments.off_policy_value``, which takes far longer.

    python benchmarks/off_policy.py [--only floor,ranking] [--seeds 400] [--ranking-seeds 20] [--first-seed 0]
                                    [--rounds 3000] [--tasks 20000] [--epsilon .05] [--router] [--quick]
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from routing import DATA, nine_models

from router_sdk import Agent, Outcome, Router
from router_sdk.evaluation.moments import Rounds
from router_sdk.evaluation.off_policy import (
    ESTIMATORS,
    LEAST_ESS,
    RoundsSoFar,
    policy_value,
    sequence,
)
from router_sdk.evaluation.off_policy_report import PolicyAnswer
from router_sdk.evaluation.reward_model import RewardModel
from router_sdk.experiments.contender import Contender
from router_sdk.plugin import Proposal, Strategy, StrategyServices
from router_sdk.records import AgentSet, Task
from router_sdk.strategy import Encoder
from router_sdk.testing import FixedContext, make_example

AGENTS, TYPES, ROUNDS = 5, 4, 3_000
LOWEST, HIGHEST = 0.3, 0.9
NAMES = tuple(f"agent-{place}" for place in range(AGENTS))
KINDS = tuple(f"type-{kind}" for kind in range(TYPES))
DRAWS, BATCH, EPSILON = 64, 10, 0.02
START = 1_800_000_000.0
"""Log time at which a ranking's log begins, in seconds since the epoch."""
WIDEST_MISS = 1.645
"""Standard errors below 95 % from which on a coverage is significantly below it, one-sided."""
ALWAYS = ("llama-3.1-nemotron-51b-instruct", "llama-3.1-8b-instruct", "qwen2.5-7b-instruct")


# -- floor


def independent(logs: int, seed: int, rounds: int, epsilon: float = 0.05) -> list[tuple[Rounds, float]]:
    """Logs of Beta posteriors with independent draws, each with the value of who always takes the second best.

    Args:
        logs: How many.
        seed: Of all of them.
        rounds: Of each.
        epsilon: The exploration floor.
    """
    rng = np.random.default_rng(seed)
    means = rng.uniform(LOWEST, HIGHEST, (logs, TYPES, AGENTS))
    second = np.argsort(-means, axis=2)[:, :, 1]
    wins, losses = np.ones_like(means), np.ones_like(means)
    models, rows = [RewardModel() for _ in range(logs)], np.empty((logs, rounds, 7))
    every = np.arange(logs)
    for turn in range(rounds):
        kind = rng.integers(TYPES, size=logs)
        drawn = rng.beta(wins[every, kind], losses[every, kind], (DRAWS, logs, AGENTS)).argmax(2)
        shares = np.array([(drawn == place).mean(0) for place in range(AGENTS)]).T
        shares = (1.0 - epsilon) * shares + epsilon / AGENTS
        acted = np.minimum((np.cumsum(shares, axis=1) < rng.random((logs, 1))).sum(1), AGENTS - 1)
        target = second[every, kind]
        reward = (rng.random(logs) < means[every, kind, acted]).astype(float)
        wins[every, kind, acted] += reward
        losses[every, kind, acted] += 1.0 - reward
        propensity, spread = shares[every, acted], 1.0 / shares[every, target]
        for log, model in enumerate(models):
            name = NAMES[acted[log]]
            expected, expected_acted = model.expect(KINDS[kind[log]], (NAMES[target[log]], name))
            model.learn(KINDS[kind[log]], name, reward[log])
            followed = float(target[log] == acted[log])
            told = (reward[log], propensity[log], followed, expected, expected_acted, spread[log], 0.0)
            rows[log, turn] = told
        if (turn + 1) % 500 == 0:
            print(f"  independent draws: {turn + 1:,} of {rounds:,} rounds", file=sys.stderr, flush=True)
    truths = np.take_along_axis(means, second[:, :, None], axis=2)[:, :, 0].mean(1)
    return [(Rounds(*rows[log].T), float(truths[log])) for log in range(logs)]


def shipped(logs: int, seed: int, rounds: int, epsilon: float = EPSILON) -> list[tuple[Rounds, float]]:
    """The same of the Thompson plugin at its defaults, which learns in batches of ten."""
    played = []
    for log in range(logs):
        played.append(_shipped(seed + log, rounds, epsilon))
        if (log + 1) % 50 == 0:
            print(f"  as shipped: {log + 1} of {logs} logs", file=sys.stderr, flush=True)
    return played


def _shipped(seed: int, rounds: int, epsilon: float) -> tuple[Rounds, float]:
    from router_sdk_thompson import ThompsonConfig, ThompsonStrategy

    rng = np.random.default_rng(seed)
    means = rng.uniform(LOWEST, HIGHEST, (TYPES, AGENTS))
    second = np.argsort(-means, axis=1)[:, 1]
    agents = AgentSet([Agent(name) for name in NAMES])
    strategy = ThompsonStrategy(ThompsonConfig(), StrategyServices(Path("unused"), {}, seed=seed))
    strategy.prepare(agents)
    tasks = [Task(task_type=kind) for kind in KINDS]
    so_far, waiting = RoundsSoFar(), []
    for number in range(rounds):
        kind, at = int(rng.integers(TYPES)), 60.0 * number
        proposal = strategy.propose(tasks[kind], agents, FixedContext(seed=number, now=at))
        shares = np.full(AGENTS, 1.0 / AGENTS) if proposal is None else np.array([*proposal.probabilities.values()])
        shares = (1.0 - epsilon) * shares + epsilon / AGENTS
        place = min(int(np.searchsorted(np.cumsum(shares), rng.random())), AGENTS - 1)
        reward = float(rng.random() < means[kind, place])
        drawn = dict(zip(NAMES, shares.tolist(), strict=True))
        example = make_example(
            NAMES[place],
            reward,
            number=number + 1,
            task=tasks[kind],
            propensity=drawn[NAMES[place]],
            eligible=NAMES,
            probabilities=drawn,
        )
        so_far.add(example, {NAMES[second[kind]]: 1.0})
        waiting.append(example)
        if len(waiting) == BATCH:
            strategy.learn(waiting)
            waiting = []
    return so_far.rounds, float(means[np.arange(TYPES), second].mean())


LOGS = {
    "independent draws, epsilon .05": independent,
    "as shipped: shared draw, epsilon .02": shipped,
}
"""Who makes the log."""


def floor(logs: int, seed: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Error and coverage of every estimator, by who made the log."""
    found: dict[str, dict[str, Any]] = {}
    for log, play in LOGS.items():
        told = found[log] = figures(play(logs, seed, rounds))
        print(f"\n{log}; {logs} logs of {rounds:,} rounds; always the second best agent of each type")
        print(f"effective sample size {told['ess']:.0f} on average; refused: {told['refused']:.0%} of the logs")
        print(f"{'':20} {'RMSE':>7} {'bias':>8} {'at the end':>11} {'at all times':>13} {'half width':>11}")
        for name in ESTIMATORS:
            one = told[name]
            below = "" if one["at_end_ok"] and one["always_ok"] else "  significantly below 95 %"
            print(
                f"{name:20} {one['rmse']:7.4f} {one['bias']:+8.4f} {one['at_end']:11.1%} {one['always']:13.1%} "
                f"{one['half']:11.3f}{below}",
                flush=True,
            )
    return found


def figures(played: Sequence[tuple[Rounds, float]]) -> dict[str, Any]:
    """What some logs, each with the truth, came to."""
    ess = np.array([rounds.ess for rounds, _ in played])
    told: dict[str, Any] = {"ess": float(ess.mean()), "refused": float((ess < LEAST_ESS).mean())}
    for name in ESTIMATORS:
        errors, ends, always, halves = [], [], [], []
        for rounds, truth in played:
            bounds = sequence(rounds, name)
            errors.append(policy_value(rounds, name, least_ess=0.0).mean - truth)
            holds = (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
            ends.append(bool(holds[-1]))
            always.append(bool(holds[1:].all()))
            halves.append((bounds[-1, 1] - bounds[-1, 0]) / 2.0)
        told[name] = {
            "rmse": math.sqrt(float(np.mean(np.square(errors)))),
            "bias": float(np.mean(errors)),
            "at_end": float(np.mean(ends)),
            "at_end_ok": holds_95(ends),
            "always": float(np.mean(always)),
            "always_ok": holds_95(always),
            "half": float(np.mean(halves)),
        }
    return told


def holds_95(holds: Sequence[bool]) -> bool:
    """Whether a coverage is not significantly below 95 %."""
    return float(np.mean(holds)) >= 0.95 - WIDEST_MISS * math.sqrt(0.95 * 0.05 / len(holds))


# -- ranking


def always(agent: str) -> type[Strategy]:
    """A strategy that chooses one agent for everything."""

    class Always(Strategy):
        """Chooses one agent."""

        name = "always"

        def propose(self, task: Task, agents: AgentSet, context: Any) -> Proposal | None:
            """That agent; nobody where it may not be chosen."""
            return Proposal({name: float(name == agent) for name in agents.names}) if agent in agents.names else None

    return Always


class Uniform(Strategy):
    """Chooses anybody."""

    name = "anybody"

    def propose(self, task: Task, agents: AgentSet, context: Any) -> Proposal | None:
        """All alike."""
        return Proposal(dict.fromkeys(agents.names, 1.0 / len(agents)))


POLICIES: dict[str, list[Any]] = {
    "thompson": ["thompson"],
    **{agent: [always(agent)] for agent in ALWAYS},
    "anybody": [Uniform],
}


def ranking(seeds: Sequence[int], tasks: int, epsilon: float, judge: Callable[..., Any]) -> float:
    """Kendall's tau of five policies by the log and in truth, over the seeds that were answered."""
    taus, refused = [], 0
    print(f"\nfive policies by one log of {tasks:,} decisions, epsilon {epsilon:g}: estimate (truth), worth")
    for seed in seeds:
        told = judge(seed, tasks, epsilon)
        estimates = [answer.value.mean for answer, _ in told.values()]
        truths = [truth for _, truth in told.values()]
        tau = kendall(estimates, truths)
        short = [name for name, (answer, _) in told.items() if answer.value.insufficient is not None]
        refused += bool(short)
        taus += [] if short else [tau]
        words = ", ".join(
            f"{name} {answer.value.mean:.3f} ({truth:.3f}), {answer.value.ess:.0f}"
            for name, (answer, truth) in told.items()
        )
        print(f"seed {seed}: tau {tau:.2f}{', refused' if short else ''}: {words}", flush=True)
    mean = float(np.mean(taus)) if taus else math.nan
    print(f"Kendall's tau {mean:.3f} over {len(taus)} seeds; refused {refused} of {len(seeds)}")
    return mean


class Clock:
    """Stands for ``time.time``."""

    now = START

    def __call__(self) -> float:
        """Log time, in seconds since the epoch."""
        return self.now


def rank(seed: int, tasks: int, epsilon: float) -> dict[str, tuple[Any, float]]:
    """Each policy's answer, and the truth."""
    from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy

    stream = nine_models(seed)
    rng = np.random.default_rng(10_000 + seed)
    names, count = tuple(stream.agents), len(stream.agents)
    agents = AgentSet([Agent(name) for name in names])
    encoders: dict[str, Encoder] = {TextFeatures.name: TextFeatures(TextFeatures.Config())}
    strategy = ThompsonStrategy(ThompsonConfig(), StrategyServices(Path("unused"), encoders, seed=seed))
    strategy.prepare(agents)
    fixed = {agent: {agent: 1.0} for agent in ALWAYS} | {"anybody": dict.fromkeys(names, 1.0 / count)}
    so_far = {name: RoundsSoFar() for name in POLICIES}
    earned: dict[str, float] = dict.fromkeys(POLICIES, 0.0)
    waiting = []
    for number, row in enumerate(rng.integers(len(stream.texts), size=tasks)):
        task, request = Task(stream.texts[row]), FixedContext(text=stream.texts[row], encoders=encoders)
        proposal = strategy.propose(task, agents, request)
        plain = np.full(count, 1.0 / count) if proposal is None else np.array([*proposal.probabilities.values()])
        shares = (1.0 - epsilon) * plain + epsilon / count
        place = min(int(np.searchsorted(np.cumsum(shares), rng.random())), count - 1)
        drawn = dict(zip(names, shares.tolist(), strict=True))
        example = make_example(
            names[place],
            float(stream.rewards[row, place]),
            number=number + 1,
            task=task,
            propensity=drawn[names[place]],
            eligible=names,
            probabilities=drawn,
            vectors={encoders[TextFeatures.name].tag: request.encode(TextFeatures.name)},
        )
        shipped_floor = ((1.0 - EPSILON) * plain + EPSILON / count).tolist()
        for name, policy in {"thompson": dict(zip(names, shipped_floor, strict=True)), **fixed}.items():
            so_far[name].add(example, policy)
            earned[name] += sum(share * stream.rewards[row, names.index(agent)] for agent, share in policy.items())
        waiting.append(example)
        if len(waiting) == BATCH:
            strategy.learn(waiting)
            waiting = []
        if (number + 1) % 10_000 == 0:
            print(f"  seed {seed}: {number + 1:,} routed", file=sys.stderr, flush=True)
    answers = {name: PolicyAnswer.of(one.rounds, "doubly_robust", LEAST_ESS) for name, one in so_far.items()}
    return {name: (answer, earned[name] / tasks) for name, answer in answers.items()}


def rank_by_router(seed: int, tasks: int, epsilon: float) -> dict[str, tuple[Any, float]]:
    """The same through a real router."""
    stream = nine_models(seed)
    drawn = np.random.default_rng(10_000 + seed).integers(len(stream.texts), size=tasks)
    rewards = {f"{number}": stream.rewards[row] for number, row in enumerate(drawn)}
    place_of = {name: place for place, name in enumerate(stream.agents)}
    clock = Clock()
    settings: dict[str, Any] = {"seed": seed, "retrain": False, "epsilon": epsilon, "learn_now": True}
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("time.time", clock),
        Router(stream.agents, ["thompson"], Path(folder) / "log.db", **settings) as router,
    ):
        for number, row in enumerate(drawn):
            clock.now += 60.0
            decision = router.route(Task(stream.texts[row], metadata={"row": f"{number}"}))
            router.record(decision, Outcome(quality=float(stream.rewards[row, place_of[str(decision.agent)]])))
            if (number + 1) % 5_000 == 0:
                print(f"  seed {seed}: {number + 1:,} routed", file=sys.stderr, flush=True)
        found: dict[str, tuple[Any, float]] = {}
        for name, chain in POLICIES.items():
            earned: list[float] = []
            with mock.patch.object(Contender, "choose", _overheard(earned, rewards, stream.agents)):
                report = router.experiments.off_policy_value(chain, since=None)
            found[name] = (report.overall, float(np.mean(earned)))
    return found


def _overheard(earned: list[float], rewards: dict[str, Any], names: Sequence[str]) -> Callable[..., Any]:
    """``Contender.choose``, and beside it what each choice would have earned in truth."""
    choose = Contender.choose

    def choosing(contender: Contender, example: Any, history: Sequence[str]) -> Any:
        choice = choose(contender, example, history)
        known = rewards[str(example.task.metadata["row"])]
        earned.append(sum(choice.probabilities.get(name, 0.0) * known[place] for place, name in enumerate(names)))
        return choice

    return choosing


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau: pairs in the same order less those in the other, as a share of all."""
    signs = [np.sign(one[a] - one[b]) * np.sign(other[a] - other[b]) for a, b in combinations(range(len(one)), 2)]
    return float(np.mean(signs))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="floor,ranking")
    parser.add_argument("--seeds", type=int, default=400, help="of floor (default 400)")
    parser.add_argument("--ranking-seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--epsilon", type=float, default=0.05, help="the floor of ranking's log (default .05)")
    parser.add_argument("--router", action="store_true", help="ranking through a real router and its store")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that it runs")
    given = parser.parse_args(argv)
    seeds, ranked = (8, 1) if given.quick else (given.seeds, given.ranking_seeds)
    rounds, tasks = (300, 300) if given.quick else (given.rounds, given.tasks)
    if "floor" in given.only:
        floor(seeds, given.first_seed, rounds)
    if "ranking" in given.only:
        if not DATA.is_dir():
            print("skipped: no data at $ROUTER_BENCH_DATA")
            return
        judge = rank_by_router if given.router else rank
        ranking(range(given.first_seed, given.first_seed + ranked), tasks, given.epsilon, judge)


if __name__ == "__main__":
    main()
