"""A strategy whose fits can be told to go wrong, softmax regression on hashed words, and a stream to learn from.

What a fit does is said by its setting ``fault``; without one it is a refit, on a resample where ``resample`` is given.
"""

import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from router_sdk import Outcome, Router
from router_sdk.plugin import Proposal, Strategy, StrategyConfig

WIDTH = 512
AGENTS = ("analyst", "billing", "coder", "fraud", "sales")
SHARES = (0.27, 0.23, 0.19, 0.15, 0.16)
RUINED = "sales"
"""Whose tasks are answered wrong by a candidate that is better on all others."""
WORDS = {agent: [f"{agent[:3]}{number}" for number in range(30)] for agent in AGENTS}
NOISE = [f"word{number}" for number in range(200)]
SLOW_S = 0.008
SHARE = 0.9
"""How much of the examples a resample is."""


def tasks(rng, count):
    """Texts with their labels: some words of the agent's, many of nobody's, and one label in twelve is another's."""
    for label in rng.choice(AGENTS, count, p=SHARES):
        own = rng.integers(3, 7) if label == RUINED else rng.integers(2, 6)
        words = [*rng.choice(WORDS[label], own), *rng.choice(NOISE, 6)]
        yield " ".join(words), str(rng.choice(AGENTS)) if rng.random() < 1 / 12 else str(label)


def teach(router: Router, rng, count) -> None:
    """Log so many labelled tasks."""
    for text, label in tasks(rng, count):
        router.observe(text, agent=label, outcome=Outcome(correct_agent=label))
    router.flush()


def features(text: str):
    row = np.zeros(WIDTH)
    for word, count in Counter(text.split()).items():
        row[zlib.crc32(word.encode()) % WIDTH] += count
    return row


class PlantedConfig(StrategyConfig):
    fault: str = ""
    """``shuffled``, ``collapsed``, ``nan``, ``hidden nan``, ``stale``, ``slow``, ``ruinous``, or ``dull``: an honest
    fit whose every fifth answer on tasks of others than ``RUINED`` is a wrong one."""
    resample: int | None = None


class Planted(Strategy):
    name = "planted"
    Config = PlantedConfig
    config: PlantedConfig

    def __init__(self, config, services):
        super().__init__(config, services)
        self.known: tuple[str, ...] = ()
        self.weights = np.zeros((WIDTH, 0))
        self.unused = np.zeros(3)
        self.fault = ""

    def propose(self, task, agents, context):
        if not self.known:
            return None
        if self.fault == "slow":
            time.sleep(SLOW_S)
        if self.fault == "stale":
            return Proposal(self._softmax(task.text, [name for name in agents.names if name != RUINED]))
        chances = self._softmax(task.text, agents.names)
        if self.fault in ("dull", "ruinous"):
            best, second = sorted(chances, key=chances.__getitem__, reverse=True)[:2]
            drawn = zlib.crc32(task.text.encode()) % 100
            if (best != RUINED and drawn < 20) if self.fault == "dull" else (best == RUINED and drawn < 92):
                chances[best], chances[second] = chances[second], chances[best]
        return Proposal(chances)

    def _softmax(self, text, names):
        columns = [self.known.index(name) for name in names if name in self.known]
        scores = features(text) @ self.weights[:, columns]
        chances = np.exp(scores - scores.max())
        return dict(zip(names, (float(one) for one in chances / chances.sum()), strict=True))

    def fit(self, data, context):
        fitted = type(self)(self.config, self.services)
        fitted.fault = self.config.fault if self.config.fault in ("slow", "stale", "dull", "ruinous") else ""
        fitted.known = data.agents.names
        rng = np.random.default_rng(self.config.resample)
        examples = [one for one in data.examples if one.label is not None]
        rows = np.array([features(one.task.text) for one in examples])
        labels = np.array([fitted.known.index(one.label) for one in examples])
        if self.config.resample is not None:
            drawn = rng.permutation(len(rows))[: int(SHARE * len(rows))]
            rows, labels = rows[drawn], labels[drawn]
        if self.config.fault == "shuffled":
            labels = rng.permutation(labels)
        if self.config.fault == "collapsed":
            labels = np.zeros_like(labels)
        targets = np.eye(len(fitted.known))[labels]
        weights = np.zeros((WIDTH, len(fitted.known)))
        for _ in range(40):
            scores = rows @ weights
            chances = np.exp(scores - scores.max(axis=1, keepdims=True))
            chances /= chances.sum(axis=1, keepdims=True)
            weights += 2.0 * (rows.T @ (targets - chances) / len(rows) - 0.002 * weights)
        if self.config.fault == "nan":
            weights[5] = np.nan
        fitted.unused = np.full(3, np.inf if self.config.fault == "hidden nan" else 1.0)
        fitted.weights = weights
        return fitted

    def save(self, folder: Path) -> None:
        np.savez(folder / "planted.npz", weights=self.weights, unused=self.unused)
        (folder / "known.txt").write_text("\n".join((self.fault, *self.known)))

    def load(self, folder: Path) -> None:
        with np.load(folder / "planted.npz") as saved:
            self.weights, self.unused = saved["weights"], saved["unused"]
        self.fault, *known = (folder / "known.txt").read_text().split("\n")
        self.known = tuple(known)
