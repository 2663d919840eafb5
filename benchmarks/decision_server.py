"""A decision-model server in front of the chain: how far it is trusted when it is good, mediocre, deliberately wrong.

CLINC150's ten domains are ten agents, each described by its domain's name and, with ``--examples N``, so many texts.
Tasks are drawn from its training texts; success of the chosen agent alone is told. A local server answers
``POST /v1/systemone`` over HTTP: the good one is right 95 times in 100, the mediocre one 60, both with that probability
for their favourite; the wrong one always favours another agent than the right one, and is sure of it. The chain without
it is Thompson sampling, then the heuristic.

    ROUTER_BENCH_DATA=FOLDER python benchmarks/decision_server.py [--rounds 3000] [--seeds 5] [--examples 0] [--quick]

CLINC150: clinc/oos-eval, Larson et al., EMNLP 2019, CC BY 3.0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from routing import DATA

from router_sdk import Agent, Outcome, Router

FIRST, AFTER = 200, 1_000
SERVERS: Mapping[str, float] = {"good": 0.95, "mediocre": 0.6, "wrong": 0.0}


def rows() -> list[tuple[str, str]]:
    """Texts with their domains."""
    with gzip.open(DATA / "clinc150.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [row for row in map(json.loads, lines) if row["intent"] != "oos" and row["split"] == "train"]
    return [(row["text"], row["domain"]) for row in found]


@contextmanager
def serving(right: Mapping[str, str], agents: Sequence[str], skill: float, seed: int) -> Iterator[str]:
    """A server on this machine; yields its address."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = asked["state"]
            rng = np.random.default_rng([seed, *text.encode()])
            favourite = right[text]
            if rng.random() >= skill:
                favourite = str(rng.choice([name for name in agents if name != favourite]))
            sure = skill or 0.95
            shares = {name: (1.0 - sure) / (len(agents) - 1) for name in agents} | {favourite: sure}
            answer = {"type": "choice", "choice": favourite, "probabilities": shares, "confidence": sure}
            body = json.dumps({"model": "local", "answers": {"agent": answer}}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *told: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def played(stream: Sequence[tuple[str, str]], agents: Sequence[Agent], url: str | None, seed: int) -> np.ndarray:
    """What each round earned."""
    chain = ["thompson", "heuristic"]
    settings: dict[str, Any] = {"retrain": False, "seed": seed, "learn_now": True, "drift": {"enabled": False}}
    if url is not None:
        chain.insert(0, "systemone")
        settings["strategy"] = {"systemone": {"url": url, "timeout_ms": 10_000, "per_minute": 1_000_000}}
    earned = np.zeros(len(stream))
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        Router(agents, chain, Path(folder) / "r.db", **settings) as router,
    ):
        for number, (text, right) in enumerate(stream):
            decision = router.route(text)
            earned[number] = decision.agent == right
            router.record(decision, Outcome(success=decision.agent == right))
    return earned


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    told = parser.parse_args()
    if not DATA.is_dir():
        print("skipped: no data at $ROUTER_BENCH_DATA")
        return
    rounds, seeds = (300, 1) if told.quick else (told.rounds, told.seeds)
    texts = rows()
    names = sorted({domain for _, domain in texts})
    right = dict(texts)
    gains: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SERVERS}
    alone = []
    for seed in range(told.first_seed, told.first_seed + seeds):
        rng = np.random.default_rng(seed)
        order = [texts[i] for i in rng.permutation(len(texts))]
        known = {name: [text for text, domain in order[-3_000:] if domain == name][: told.examples] for name in names}
        agents = [Agent(name, description=name.replace("_", " "), examples=known[name]) for name in names]
        stream = order[:rounds]
        without = played(stream, agents, None, seed)
        alone.append((without[:FIRST].mean(), without[AFTER:].mean() if rounds > AFTER else np.nan))
        for name, skill in SERVERS.items():
            with serving(right, names, skill, seed) as url:
                gained = played(stream, agents, url, seed) - without
            late = gained[AFTER:].mean() if rounds > AFTER else np.nan
            gains[name].append((100 * gained[:FIRST].mean(), 100 * late, 100 * gained.mean()))
    early, late = (100 * float(np.mean([one[place] for one in alone])) for place in (0, 1))
    print(f"the chain alone: {early:.1f} % right over the first {FIRST}, {late:.1f} % after {AFTER:,} ({seeds} seeds)")
    print(f"| server | first {FIRST}, points | after {AFTER:,}, points | all, points | goal |")
    print("|---|---:|---:|---:|---|")
    for name, found in gains.items():
        first, late, whole = (
            f"{np.mean(column):+.1f} ({min(column):+.1f} to {max(column):+.1f})" for column in zip(*found, strict=True)
        )
        met = float(np.mean([one[1] for one in found])) >= -1.0
        if name == "good":
            met = met and float(np.mean([one[0] for one in found])) >= 5.0
        goal = "first ≥ +5, after ≥ -1" if name == "good" else "after ≥ -1"
        print(f"| {name} | {first} | {late} | {whole} | {goal}: {'met' if met else 'missed'} |")


if __name__ == "__main__":
    main()
