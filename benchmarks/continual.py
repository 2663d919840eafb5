"""Learning without forgetting: intents that arrive in tasks, CLINC150 in ten and Banking77 in seven.

After each task a contestant is judged on it; after the last, on everything. It is never told which task a text belongs
to. Beside every strategy and update stand a head over a frozen encoder, a fit of everything at once, and with
``--peers`` DER++ and adaptive-classifier. Settings were chosen on validation parts alone.
CLINC150: clinc/oos-eval, Larson et al., EMNLP 2019, CC BY 3.0. Banking77: PolyAI, Casanueva et al. 2020, CC BY 4.0.

Run it: ``python benchmarks/continual.py [--quick] [--full] [--only frozen]``. It needs
``router-sdk-bert[fit,offline]``. One order of the classes takes about an hour on two cores, most of it in the ablation.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from class_incremental import DATA, Embedder, FineTuned, Score, Stored, Stream, Unrefitted, read_stream, run, run_beside
from measuring import scratch
from rich.console import Console
from rich.table import Table
from router_sdk_bert.config import EncoderSettings, FitSettings
from router_sdk_bert.encoding.weights import find_weights

PARTS = ("frozen", "encoder", "banking", "ablation")
PEERS = "peers"
TUNED: dict[str, Any] = {
    "update": "lora",
    "strategy": "replay",
    "learning_rate": 1e-3,
    "batch_size": 32,
    "epochs": 2,
    "mixed_precision": "bf16",
    "use_synthetic_data": False,
}
"""Chosen on CLINC150's validation part."""
REDUCED: dict[str, Any] = {**TUNED, "batch_size": 16, "ewc_samples": 64}
RATES = {"lora": 1e-3, "full": 5e-5}
ABLATION_TASKS, ABLATION_PER_CLASS, ABLATION_STORED = 5, 15, 10
"""The ablation compares strategies rather than reaching for a goal: half of the tasks, few texts of each class."""


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: Who learnt.
        scores: One for each order of the classes.
        goal: Accuracy to reach, in per cent, or None.
        joint: Accuracy of a fit of everything at once, in [0, 1], or None.
    """

    what: str
    scores: Sequence[Score]
    goal: float | None = None
    joint: float | None = None


class Bench:
    """The parts of the benchmark.

    Args:
        folder: For checkpoints.
        seeds: Orders of the classes.
        most: Only so many texts of each class, for a quick look.
        judged_by: Part of the data; ``"val"`` when choosing settings.
    """

    def __init__(self, folder: Path, seeds: Sequence[int], most: int | None, judged_by: str) -> None:
        self._folder, self._seeds, self._most, self._judged_by = folder, seeds, most, judged_by
        self._weights = find_weights(EncoderSettings())
        self._embedders: dict[str, Embedder] = {}

    def _streams(self, name: str, tasks: int, per_class: int | None = None) -> list[tuple[Stream, Embedder]]:
        """The data in every order, with an encoder that remembers what it embedded."""
        found = []
        for seed in self._seeds:
            stream = read_stream(name, tasks, seed, judged_by=self._judged_by, most=per_class or self._most)
            key = f"{name} {per_class}"
            found.append((stream, self._embedders.setdefault(key, Embedder(self._weights, stream.texts))))
        return found

    def _joint(self, streams: list[tuple[Stream, Embedder]]) -> float:
        """Everything at once, over the frozen encoder."""
        stream, embed = streams[0]
        all_at_once = replace(stream, tasks=(sum(stream.tasks, ()),))
        return run(Stored(all_at_once, embed, len(stream.train)), all_at_once).accuracy

    def frozen(self) -> Iterator[Line]:
        """The head alone, over a frozen encoder."""
        streams = self._streams("clinc150", 10)
        joint = self._joint(streams)
        for per_class, goal in ((20, 93.5), (100, 95.5)):
            scores = [run(Stored(stream, embed, 150 * per_class), stream) for stream, embed in streams]
            yield Line(f"CLINC150, frozen encoder, {per_class} stored per class", scores, goal, joint)

    def encoder(self) -> Iterator[Line]:
        """The encoder is fine-tuned at each task."""
        streams = self._streams("clinc150", 10)
        joint = self._joint(streams)
        yield Line(
            "CLINC150, encoder updates, 20 stored per class", [self._tuned(*one, 3_000) for one in streams], 95.0, joint
        )

    def banking(self) -> Iterator[Line]:
        """Fine-grained intents of one company."""
        streams = self._streams("banking77", 7)
        joint, size = self._joint(streams), len(streams[0][0].train)
        scores = [run(Stored(stream, embed, size), stream) for stream, embed in streams]
        yield Line("Banking77, frozen encoder, all stored", scores, 93.0, joint)
        yield Line("Banking77, encoder updates, all stored", [self._tuned(*one, size) for one in streams], 94.0, joint)

    def _tuned(self, stream: Stream, embed: Embedder, stored: int) -> Score:
        with scratch(self._folder) as folder:
            return run(FineTuned(stream, embed, stored, FitSettings(**TUNED), folder), stream)

    def ablation(self) -> Iterator[Line]:
        """Every strategy and update on few classes and texts: the head as it was trained, and refitted."""
        per_class = min(ABLATION_PER_CLASS, self._most or ABLATION_PER_CLASS)
        whole, embed = self._streams("clinc150", 10, per_class)[0]
        stream = replace(whole, tasks=whole.tasks[:ABLATION_TASKS])
        stored = ABLATION_STORED * sum(map(len, stream.tasks))
        joint = self._joint([(stream, embed)])
        yield Line("ablation: frozen encoder, head refitted", [run(Stored(stream, embed, stored), stream)], None, joint)
        for update, rate in RATES.items():
            for strategy in ("none", "replay", "distillation", "ewc", "hybrid"):
                chosen = {"update": update, "strategy": strategy, "learning_rate": rate}
                with scratch(self._folder) as folder:
                    contestant = FineTuned(stream, embed, stored, FitSettings(**{**REDUCED, **chosen}), folder)
                    refitted, plain = run_beside(contestant, Unrefitted(contestant), stream)
                yield Line(f"ablation: {update}, {strategy}, head as trained", [plain], None, joint)
                yield Line(f"ablation: {update}, {strategy}, head refitted", [refitted], None, joint)

    def peers(self) -> Iterator[Line]:
        """Others, on CLINC150."""
        from continual_peers import AdaptiveClassifierPeer, DarkExperience

        streams = self._streams("clinc150", 10)
        joint = self._joint(streams)
        for per_class in (10, 20):
            scores = [run(DarkExperience(stream, embed, 150 * per_class), stream) for stream, embed in streams]
            yield Line(f"DER++, frozen encoder, {per_class} stored per class", scores, None, joint)
        try:
            scores = [run(AdaptiveClassifierPeer(stream, embed, 20), stream) for stream, embed in streams]
            yield Line("adaptive-classifier, 20 stored per class", scores, None, joint)
        except ImportError:
            print("adaptive-classifier is not installed: pip install adaptive-classifier")


def show(lines: Sequence[Line]) -> None:
    """Print the table."""
    table = Table(title="Class-incremental learning", title_justify="left")
    for column in ("", "accuracy %", "forgetting", "gap to joint", "goal", "", "seconds"):
        table.add_column(column, justify="left" if not column else "right")
    for line in lines:
        accuracy = 100 * mean(score.accuracy for score in line.scores)
        verdict = "" if line.goal is None else "[green]met[/green]" if accuracy >= line.goal else "[red]missed[/red]"
        table.add_row(
            line.what,
            f"{accuracy:.1f}",
            f"{100 * mean(score.forgetting for score in line.scores):.1f}",
            "" if line.joint is None else f"{100 * line.joint - accuracy:.1f}",
            "" if line.goal is None else f"≥ {line.goal}",
            verdict,
            f"{mean(score.seconds for score in line.scores):,.0f}",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for; 0 if the data was there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few texts: shows that it runs, not how well")
    parser.add_argument("--full", action="store_true", help="three orders of the classes instead of one")
    parser.add_argument("--only", choices=(*PARTS, PEERS), action="append", help="one part; may be given again")
    parser.add_argument("--peers", action="store_true", help="DER++ and adaptive-classifier too")
    parser.add_argument("--judged-by", choices=("test", "val"), default="test", help="val: for choosing settings")
    parser.add_argument("--folder", type=Path, help="where checkpoints go (default: the temporary folder)")
    chosen = parser.parse_args(argv)
    if not (DATA / "clinc150.jsonl.gz").exists():
        print(f"no data in {DATA}; set ROUTER_BENCH_DATA")
        return 1
    lines: list[Line] = []
    with scratch(chosen.folder) as folder:
        bench = Bench(folder, (0, 1, 2) if chosen.full else (0,), 3 if chosen.quick else None, chosen.judged_by)
        parts: dict[str, Callable[[], Iterator[Line]]] = {name: getattr(bench, name) for name in (*PARTS, PEERS)}
        for name in [*(chosen.only or PARTS), *([PEERS] if chosen.peers else [])]:
            for line in parts[name]():
                lines.append(line)
                print(f"{line.what}: {100 * mean(score.accuracy for score in line.scores):.1f}", flush=True)
    show(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
