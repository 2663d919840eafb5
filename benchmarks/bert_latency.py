"""What routing by a transformer costs: against tokenizer and session alone, against torch, and during a fit.

Run it: ``python benchmarks/bert_latency.py [--quick]``. It needs ``router-sdk-bert[fit,offline]``; with
``adaptive-classifier`` installed that takes part too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bert_texts import AGENTS, make_texts, of_length
from measuring import Figure, conditions, in_turn, options, percentile, ratios, scratch, show
from router_sdk_bert.config import EncoderSettings
from router_sdk_bert.encoding.encoder import BertEncoder, open_encoder
from router_sdk_bert.encoding.torch_backend import load_module

from router_sdk import Agent, Outcome, Router, Task

PARTS = ("encoder", "route", "batch", "fit", "start")
HERE = Path(__file__).parent
FIT_ROUNDS = 4
"""A p99 needs more calls than a median."""

BATCH = 64
SIZES = (1, 4, 16, 64)
"""Texts of one run of the session alone, among which its best is looked for."""

Answer = Callable[[str], object]


@dataclass(frozen=True)
class Sizes:
    """How much is measured: calls per round, texts to choose from, and examples that the router knows."""

    calls: int
    stored: int
    starts: int


def timed(answer: Answer, texts: Sequence[str], calls: int, pause_s: float = 0.0) -> list[float]:
    """Time of each call by itself, in ms, after a few that are not counted."""
    clock, took = time.perf_counter, []
    for number in range(calls + 5):
        if pause_s:
            time.sleep(pause_s)
        text = texts[number % len(texts)]
        started = clock()
        answer(text)
        took.append((clock() - started) * 1e3)
    return took[5:]


def bare(encoder: BertEncoder) -> Answer:
    """The least that an embedding can cost: the tokenizer and one run of the very same model."""
    together = bare_batch(encoder)
    return lambda text: together([text])


def bare_batch(encoder: BertEncoder) -> Callable[[Sequence[str]], object]:
    """The same of several texts of one length, in one run."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    setup = onnxruntime.SessionOptions()
    setup.intra_op_num_threads = setup.inter_op_num_threads = 1
    path = encoder.folder / "model.int8.onnx"
    session: Any = onnxruntime.InferenceSession(str(path), setup, providers=["CPUExecutionProvider"])
    return lambda texts: session.run(
        None, {"input_ids": np.array([tokenizer.encode(text).ids for text in texts], dtype=np.int64)}
    )


def eager(encoder: BertEncoder) -> Answer:
    """The same model in torch, eager, in single precision on one thread."""
    import torch

    torch.set_num_threads(1)
    module = load_module(encoder.folder)

    def answer(text: str) -> object:
        with torch.inference_mode():
            return module.embed(torch.tensor(encoder.tokenize([text])))

    return answer


def embedding(encoder: BertEncoder, repeats: int, calls: int) -> list[Figure]:
    """The encoder by itself, for a short and a long text."""
    figures = []
    contestants: dict[str, Answer] = {
        "ours": lambda text: encoder.encode([text]),
        "bare": bare(encoder),
        "torch": eager(encoder),
    }
    for tokens in (20, 128):
        texts = of_length(encoder.tokenize, tokens)
        rounds = _rounds(contestants, texts, repeats, calls)
        what = f"encode, {tokens} tokens"
        figures += [
            Figure(
                f"{what} ÷ tokenizer and session",
                ratios(rounds["ours"], rounds["bare"]),
                detail=_against(rounds, "bare"),
            ),
            Figure(
                f"  torch eager ÷ {what}",
                ratios(rounds["torch"], rounds["ours"]),
                goal=4.0 if tokens == 20 else None,
                better="at least",
                detail=_against(rounds, "torch"),
            ),
        ]
    return figures


def _rounds(contestants: dict[str, Answer], texts: Sequence[str], repeats: int, calls: int) -> dict[str, list[float]]:
    """Median ms of each contestant in each round."""
    runs = [lambda one=one: percentile(timed(one, texts, calls), 0.5) for one in contestants.values()]
    return dict(zip(contestants, in_turn(runs, repeats), strict=True))


def _against(rounds: dict[str, list[float]], other: str) -> str:
    return f"{median(rounds['ours']):.2f} ms against {median(rounds[other]):.2f} ms"


def opened(folder: Path, encoder: BertEncoder, **more: Any) -> Router:
    """A router over the store in this folder, with the transformer alone."""
    agents = [Agent(name, description=what) for name, what in AGENTS.items()]
    settings = {"model": str(encoder.folder), "wait_for_encoder": True, **more}
    return Router(agents, [("bert", settings)], folder / "route.db", privacy="full", seed=0, epsilon=0.0)


@contextmanager
def taught(folder: Path, encoder: BertEncoder, stored: int) -> Iterator[Router]:
    """A router whose transformer knows many examples of five agents."""
    with opened(folder, encoder) as router:
        examples = make_texts(stored)
        for start in range(0, stored, 500):
            group = examples[start : start + 500]
            router.observe_batch(
                [(Task(text), agent, Outcome(success=True, correct_agent=agent)) for text, agent in group]
            )
        router.flush()
        if (who := router.route("sort a list").strategy) != "bert":
            raise RuntimeError(f"expected bert to answer, got {who}")
        yield router


def adaptive(encoder: BertEncoder, stored: int) -> Answer | None:
    """adaptive-classifier with the same weights, if it is installed; it gets 100 examples at most, for time's sake."""
    try:
        peers: Any = importlib.import_module("adaptive_classifier")
    except ImportError:
        return None
    peer = peers.AdaptiveClassifier(str(encoder.folder))
    texts, agents = zip(*make_texts(min(stored, 100)), strict=True)
    peer.add_examples(list(texts), list(agents))
    answer: Answer = peer.predict
    return answer


def routing(router: Router, encoder: BertEncoder, repeats: int, sizes: Sizes) -> list[Figure]:
    """A whole decision against its floor, torch and the peer."""
    contestants: dict[str, Answer] = {"ours": router.route, "bare": bare(encoder), "torch": eager(encoder)}
    peer = adaptive(encoder, sizes.stored)
    if peer is not None:
        contestants["peer"] = peer
    rounds = _rounds(contestants, of_length(encoder.tokenize, 20), repeats, sizes.calls)
    what = f"route, 20 tokens, {sizes.stored:,} stored"
    figures = [
        Figure(
            f"{what} ÷ tokenizer and session",
            ratios(rounds["ours"], rounds["bare"]),
            goal=1.2,
            detail=_against(rounds, "bare"),
        )
    ]
    for other, name in (("torch", "torch eager, embedding alone"), ("peer", "adaptive-classifier 0.3")):
        if other in rounds:
            figures.append(
                Figure(
                    f"  {name} ÷ route",
                    ratios(rounds[other], rounds["ours"]),
                    goal=4.0,
                    better="at least",
                    detail=_against(rounds, other),
                )
            )
    return figures


def batches(router: Router, encoder: BertEncoder, repeats: int, *, together: bool) -> list[Figure]:
    """Texts per second of ``route_batch``, as a share of the bare session's: one by one, and at its best batch size."""
    texts = of_length(encoder.tokenize, 20, BATCH)
    run = bare_batch(encoder)

    def by(size: int) -> float:
        started = time.perf_counter()
        for start in range(0, BATCH, size):
            run(texts[start : start + size])
        return time.perf_counter() - started

    def ours() -> float:
        started = time.perf_counter()
        router.route_batch(texts)
        return time.perf_counter() - started

    runs = [lambda size=size: by(size) for size in SIZES]  # type: ignore[misc]
    took, *alone = in_turn([ours, *runs], 3 * repeats)
    best = [min(round_) for round_ in zip(*alone, strict=True)]
    what = f"route_batch, {BATCH} texts of 20 tokens" + (", int8_batches" if together else "")
    detail = (
        f"{BATCH / median(took):.0f} texts/s against {BATCH / median(best):.0f}, {BATCH / median(alone[0]):.0f} singly"
    )
    return [
        Figure(
            f"{what}: share of the bare session's texts/s",
            ratios(best, took),
            goal=0.9,
            better="at least",
            detail=detail,
        ),
        Figure("  of those that it takes one by one", ratios(alone[0], took), goal=0.9, better="at least"),
    ]


@contextmanager
def fine_tuning(checkpoint: Path) -> Iterator[None]:
    """A process at nice 19 that fine-tunes the whole model for as long as the block runs, on one thread."""
    command = [sys.executable, str(HERE / "bert_background.py"), "fine-tune", str(checkpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            if child.stdout is None or child.stdout.readline().strip() != "training":
                raise RuntimeError("the background fit did not start")
            yield
        finally:
            child.kill()


def during_a_fit(router: Router, encoder: BertEncoder, repeats: int, calls: int) -> list[Figure]:
    """The tail of ``route`` while a process fine-tunes, against the tail while none does, round by round."""
    texts = of_length(encoder.tokenize, 20)
    idle, busy = [], []
    for _ in range(repeats):
        idle.append(timed(router.route, texts, calls, pause_s=0.005))
        with fine_tuning(encoder.folder):
            busy.append(timed(router.route, texts, calls, pause_s=0.005))
    (idle_p99, busy_p99), (idle_worst, busy_worst) = (
        [[percentile(took, share) for took in rounds] for rounds in (idle, busy)] for share in (0.99, 1.0)
    )
    return [
        Figure(
            "route during a fine-tune: p99 ÷ idle p99",
            ratios(busy_p99, idle_p99),
            goal=1.5,
            detail=f"{median(busy_p99):.2f} ms against {median(idle_p99):.2f} ms; p50 "
            f"{median(map(median, busy)):.2f} against {median(map(median, idle)):.2f}",
        ),
        Figure(
            "  slowest call ÷ idle's slowest",
            ratios(busy_worst, idle_worst),
            goal=3.0,
            detail=f"{median(busy_worst):.1f} ms against {median(idle_worst):.1f} ms",
        ),
    ]


def starting(folder: Path, encoder: BertEncoder, starts: int) -> list[Figure]:
    """A fresh process to its first decision by the transformer, its model on disk, and the memory it then holds."""
    command = [sys.executable, str(HERE / "bert_background.py"), "start", str(encoder.folder), str(folder / "start.db")]
    seconds, peaks = [], []
    for number in range(starts + 1):
        began = [*command, str(time.time())]
        done = subprocess.run(began, check=True, stdout=subprocess.PIPE, text=True)
        if number:  # The first makes the database and the byte code.
            said = json.loads(done.stdout.splitlines()[-1])
            seconds.append(said["seconds"])
            peaks.append(said["peak_mb"])
    return [
        Figure("process start to first routed decision", seconds, "s", goal=1.0),
        Figure("  memory at its peak", peaks, "MB", goal=300.0),
    ]


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the table."""
    chosen = options(__doc__, argv, PARTS)
    parts, repeats = chosen.only or PARTS, chosen.repeats
    sizes = Sizes(10, 60, 1) if chosen.quick else Sizes(200, 10_000, 5)
    figures: list[Figure] = []
    with scratch(chosen.folder) as folder:
        encoder = open_encoder(EncoderSettings(), folder / "cache" if chosen.quick else None)
        if "encoder" in parts:
            figures += embedding(encoder, repeats, sizes.calls)
        if {"route", "batch", "fit"} & {*parts}:
            with taught(folder, encoder, sizes.stored) as router:
                if "route" in parts:
                    figures += routing(router, encoder, repeats, sizes)
                if "batch" in parts:
                    figures += batches(router, encoder, repeats, together=False)
                if "fit" in parts:
                    figures += during_a_fit(router, encoder, repeats, FIT_ROUNDS * sizes.calls)
        if "batch" in parts:
            with opened(folder, encoder, int8_batches=True) as router:
                figures += batches(router, encoder, repeats, together=True)
        if "start" in parts:
            figures += starting(folder, encoder, sizes.starts)
        show("Routing by a transformer (all-MiniLM-L6-v2, int8, one thread)", figures, conditions(folder))


if __name__ == "__main__":
    main()
