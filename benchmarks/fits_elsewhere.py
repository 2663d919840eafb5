"""A fit on Ray against the same in a child process, on one machine: time, and whether the same weights come of it.

Both begin from a copy of one store, with CLINC150's ten domains as agents and their texts labelled. The strategy is
made for this: a logistic regression over hashed words by gradient descent in numpy, as long as ``--epochs`` says; or
``--strategy bert`` as shipped. They take turns; Ray runs before the clock starts, its worker does not.

    ROUTER_BENCH_DATA=FOLDER python benchmarks/fits_elsewhere.py [--texts 600] [--epochs 600] [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from decision_server import rows
from routing import DATA

from router_sdk import Outcome, Router

GOAL = 1.2
STRATEGY = """
from zlib import crc32

import numpy as np

from router_sdk.plugin import Proposal, Strategy, StrategyConfig, hookimpl

WIDTH = 4_096


class Settings(StrategyConfig):
    epochs: int = 600


def hashed(text):
    row = np.zeros(WIDTH)
    for word in text.split():
        row[crc32(word.encode()) % WIDTH] = 1.0
    return row


class Descent(Strategy):
    name, Config = "descent", Settings

    def __init__(self, config, services):
        super().__init__(config, services)
        self.names, self.weights = [], np.zeros((WIDTH, 0))

    def propose(self, task, agents, context):
        if not self.names:
            return None
        favourite = self.names[int((hashed(task.text) @ self.weights).argmax())]
        return Proposal({name: float(name == favourite) for name in agents.names})

    def fit(self, data, context):
        other = Descent(self.config, self.services)
        other.names = list(data.agents.names)
        rows = np.array([hashed(one.task.text) for one in data.examples])
        right = np.eye(len(other.names))[[other.names.index(one.label) for one in data.examples]]
        weights = 0.01 * np.random.default_rng(context.seed).standard_normal((WIDTH, len(other.names)))
        for epoch in range(self.config.epochs):
            odds = np.exp(rows @ weights)
            weights += 0.01 * rows.T @ (right - odds / odds.sum(1, keepdims=True))
            if epoch % 20 == 0:
                context.progress(epoch / self.config.epochs, "descending")
        other.weights = weights
        return other

    def save(self, folder):
        np.save(folder / "weights.npy", self.weights)
        (folder / "names.txt").write_text("\\n".join(self.names))

    def load(self, folder):
        self.weights = np.load(folder / "weights.npy")
        self.names = (folder / "names.txt").read_text().split("\\n") if self.weights.size else []


@hookimpl
def register_strategies():
    return [Descent]
"""
"""What is fitted, as a distribution that is installed for the length of the benchmark."""


def installed(folder: Path) -> None:
    """Write it where this process and those that fit find it."""
    info = folder / "descent-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "descent_plugin.py").write_text(STRATEGY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: descent\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[router_sdk]\ndescent = descent_plugin\n")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def opened(folder: Path, executor: str, told: argparse.Namespace) -> Router:
    """A router on a store that is there or not."""
    settings: dict[str, Any] = {"retrain": False, "seed": 1, "fit_executor": executor, "drift": {"enabled": False}}
    settings["executor"] = {"ray": {"runtime_env": {"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}}}
    if told.strategy == "descent":
        settings["strategy"] = {"descent": {"epochs": told.epochs}}
    names = sorted({domain for _, domain in rows()})
    return Router(names, [told.strategy], folder / "r.db", **settings)


def taught(folder: Path, texts: int, told: argparse.Namespace) -> None:
    """Write the store that both begin from."""
    found = rows()
    order = np.random.default_rng(1).permutation(len(found))[:texts]
    with opened(folder, "process", told) as router:
        for text, domain in (found[i] for i in order):
            router.observe(text, agent=domain, outcome=Outcome(correct_agent=domain))
        router.flush()


def fitted(source: Path, folder: Path, executor: str, told: argparse.Namespace) -> tuple[float, str]:
    """Seconds of a fit, and a digest of what came of it."""
    shutil.copytree(source, folder)
    with opened(folder, executor, told) as router:
        router.warm_up()
        began = time.perf_counter()
        fit = router.models.retrain(wait=True)
        took = time.perf_counter() - began
        if fit.version is None:
            raise SystemExit(f"{executor}: {fit.state}, {fit.words}")
    digest = hashlib.sha256()
    for path in sorted((folder / "r.db.artifacts" / "versions").rglob("*")):
        if path.is_file() and path.suffix in (".npy", ".npz", ".safetensors"):
            digest.update(path.name.encode() + path.read_bytes())
    return took, digest.hexdigest()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--strategy", default="descent")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    told = parser.parse_args()
    try:
        import ray
    except ImportError:
        print("skipped: Ray is not installed")
        return
    if not DATA.is_dir():
        print("skipped: no data at $ROUTER_BENCH_DATA")
        return
    texts, repeats = (150, 1) if told.quick else (told.texts, told.repeats)
    ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
    installation = tempfile.TemporaryDirectory()
    installed(Path(installation.name) / "site")
    found: dict[str, list[tuple[float, str]]] = {"process": [], "ray": []}
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        source.mkdir()
        taught(source, texts, told)
        for number in range(repeats):
            for executor in ("process", "ray") if number % 2 == 0 else ("ray", "process"):
                found[executor].append(fitted(source, Path(place) / f"{executor}-{number}", executor, told))
    ray.shutdown()
    installation.cleanup()
    ratios = sorted(r[0] / p[0] for r, p in zip(found["ray"], found["process"], strict=True))
    same = len({digest for results in found.values() for _, digest in results}) == 1
    print("| fit | seconds (spread) |")
    print("|---|---:|")
    for executor, results in found.items():
        times = sorted(took for took, _ in results)
        print(f"| {executor} | {median(times):.1f} ({times[0]:.1f} to {times[-1]:.1f}) |")
    met = "met" if median(ratios) <= GOAL and same else "missed"
    print(f"ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), same weights: {same}; goal {GOAL}: {met}")


if __name__ == "__main__":
    main()
