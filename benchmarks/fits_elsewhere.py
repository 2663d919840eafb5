"""A fit on Ray against the same in a child process, on one machine: time, and whether the same weights come of it.

Both begin from a copy of one store, with CLINC150's ten domains as agents and their texts labelled; the strategy is
``bert`` as shipped. They take turns; Ray runs before the clock starts, its worker does not. Needs ``router-sdk-bert``
with weights, and ``router-sdk-ray``.

    ROUTER_BENCH_DATA=FOLDER python benchmarks/fits_elsewhere.py [--texts 600] [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
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


def opened(folder: Path, executor: str) -> Router:
    """A router on a store that is there or not."""
    settings: dict[str, Any] = {"retrain": False, "seed": 1, "fit_executor": executor, "drift": {"enabled": False}}
    names = sorted({domain for _, domain in rows()})
    return Router(names, ["bert"], folder / "r.db", **settings)


def taught(folder: Path, texts: int) -> None:
    """Write the store that both begin from."""
    found = rows()
    order = np.random.default_rng(1).permutation(len(found))[:texts]
    with opened(folder, "process") as router:
        for text, domain in (found[i] for i in order):
            router.observe(text, agent=domain, outcome=Outcome(correct_agent=domain))
        router.flush()


def fitted(source: Path, folder: Path, executor: str) -> tuple[float, str]:
    """Seconds of a fit, and a digest of what came of it."""
    shutil.copytree(source, folder)
    with opened(folder, executor) as router:
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
    found: dict[str, list[tuple[float, str]]] = {"process": [], "ray": []}
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        source.mkdir()
        taught(source, texts)
        for number in range(repeats):
            for executor in ("process", "ray") if number % 2 == 0 else ("ray", "process"):
                found[executor].append(fitted(source, Path(place) / f"{executor}-{number}", executor))
    ray.shutdown()
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
