"""An off-policy report over an exported log of ten million decisions: time and memory. Needs ``router-sdk[parquet]``.

The log is made up: a fixed sampler over five agents and seven types of task, sessions of four, thirty days, in the
columns that ``router export --format parquet`` writes. Each report is made by a process of its own, whose largest
resident size is what the system says of it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from router_sdk.exchange.parquet import schema
from router_sdk.experiments.exported_log import ExportedLog

AGENTS = ["billing", "fraud", "sales", "technical", "orders"]
TYPES = [f"type-{number}" for number in range(7)]
PIECE = 250_000
DAYS = 30
GOAL_S, GOAL_MB = 60.0, 1_000.0


def make(folder: Path, decisions: int, seed: int = 1) -> float:
    """Write the log, and return what the best agent of each type earns, which is the value of that policy."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    means = rng.uniform(0.3, 0.9, (len(TYPES), len(AGENTS)))
    best = np.zeros(decisions)
    columns = schema()
    a_day = -(-decisions // DAYS)
    for day in range(DAYS):
        where = folder / f"day=2026-09-{day + 1:02}"
        where.mkdir(parents=True)
        with pq.ParquetWriter(where / "part-0.parquet", columns) as writer:
            for start in range(day * a_day, min((day + 1) * a_day, decisions), PIECE):
                place = np.arange(start, min(start + PIECE, (day + 1) * a_day, decisions))
                count = len(place)
                kind = rng.integers(0, len(TYPES), count)
                shares = 0.8 * rng.dirichlet(np.ones(len(AGENTS)), count) + 0.2 / len(AGENTS)
                acted = (rng.random((count, 1)) > shares.cumsum(1)).sum(1).clip(0, len(AGENTS) - 1)
                reward = (rng.random(count) < means[kind, acted]).astype(float)
                best[place] = means[kind].max(1)
                names = pa.array(AGENTS)
                told = {
                    "decision_id": pa.array([f"{number:032x}" for number in place.tolist()]),
                    "position": place * 2 + 1,
                    "known": place * 2 + 2,
                    "at": 1.788e9 + place * (DAYS * 86_400 / decisions),
                    "text": pa.array(["a text of about sixty characters, as people write to a help desk"] * count),
                    "task_type": pa.DictionaryArray.from_arrays(pa.array(kind), pa.array(TYPES)).cast(pa.string()),
                    "session_id": pa.array([f"session-{number}" for number in (place // 4).tolist()]),
                    "agent": pa.DictionaryArray.from_arrays(pa.array(acted), names).cast(pa.string()),
                    "propensity": shares[np.arange(count), acted],
                    "source": pa.array(["routed"] * count),
                    "reward": reward,
                    "success": pa.array(reward > 0.5),
                    "latency_ms": rng.lognormal(6.0, 0.5, count),
                    "cost_usd": rng.gamma(2.0, 0.001, count),
                    "eligible": pa.ListArray.from_arrays(
                        np.arange(0, (count + 1) * len(AGENTS), len(AGENTS), dtype=np.int32),
                        pa.DictionaryArray.from_arrays(pa.array(np.tile(np.arange(len(AGENTS)), count)), names).cast(
                            pa.string()
                        ),
                    ),
                    "probabilities": pa.ListArray.from_arrays(
                        np.arange(0, (count + 1) * len(AGENTS), len(AGENTS), dtype=np.int32),
                        pa.array(shares.ravel().astype(np.float32)),
                    ),
                }
                rows = [
                    pa.array(told[field.name]).cast(field.type) if field.name in told else pa.nulls(count, field.type)
                    for field in columns
                ]
                writer.write_table(pa.Table.from_arrays(rows, schema=columns))
    return float(best.mean())


def report(folder: Path, policy: str) -> dict[str, float]:
    """Make one report, in this process."""
    began, busy = time.perf_counter(), time.process_time()
    with ExportedLog(folder) as log:
        agents = log.agents()
        found = log.judge(policy)
    took = time.perf_counter() - began
    value = found.overall.value
    return {
        "seconds": took,
        "cpu": time.process_time() - busy,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
        "decisions": value.decisions,
        "agents": len(agents),
        "mean": value.mean,
        "low": value.low,
        "high": value.high,
    }


def main() -> None:
    """Make the log, report on it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        print(json.dumps(report(Path(told.child[0]), told.child[1])))
        return
    decisions, repeats = (20_000, 1) if told.quick else (told.decisions, told.repeats)
    with tempfile.TemporaryDirectory(dir=told.folder) as place:
        folder = Path(place) / "log"
        truth = make(folder, decisions)
        size = sum(path.stat().st_size for path in folder.rglob("*.parquet")) / 1e6
        print(f"{decisions:,} decisions in {DAYS} files, {size:,.0f} MB; the best of each type earns {truth:.4f}")
        print("| policy | seconds (spread) | of a processor | MB | value | 95 % sequence | 60 s, 1 GB |")
        print("|---|---:|---:|---:|---:|---|---|")
        for policy in ("agent=billing", "uniform", "greedy"):
            found = []
            for _ in range(repeats):
                command = [sys.executable, __file__, "--child", str(folder), policy]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found.append(json.loads(done.stdout))
            times = sorted(one["seconds"] for one in found)
            most = max(one["mb"] for one in found)
            met = "met" if median(times) <= GOAL_S and most <= GOAL_MB else "missed"
            one = found[0]
            busy = median(one["cpu"] for one in found)
            spread = f"{median(times):.1f} ({times[0]:.1f} to {times[-1]:.1f})"
            value = f"{one['mean']:.4f} | {one['low']:.4f} to {one['high']:.4f}"
            print(f"| {policy} | {spread} | {busy:.1f} | {most:,.0f} | {value} | {met} |")


if __name__ == "__main__":
    main()
