"""Fine-tuning on a GPU: how much of what the device can do reaches the model.

The encoder is as large as bert-base and has random weights, made in code; batches are 64 texts of 128 tokens, in bf16,
and go through the plugin's own step: objective, backward pass, clipping, AdamW. The peak is what the same device does
in plain bf16 matrix products in the same run, not what its maker states. Counted are the products that training needs,
6 per weight and token with all weights moving, 4 with adapters, and attention's own; what is computed again is not.

Run it: ``python benchmarks/gpu.py [--quick]``. It needs ``router-sdk-bert[fit]``; where there is no CUDA it says so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Figure, conditions, options, scratch, show
from router_sdk_bert.config import FitSettings
from router_sdk_bert.encoding.torch_backend import EncoderModule
from router_sdk_bert.finetuning.devices import Room, choose_device
from router_sdk_bert.finetuning.model import AllWeights, LinearRows, LowRankWeights, RoutingModel
from router_sdk_bert.finetuning.samples import Sample, targets_of
from router_sdk_bert.finetuning.stopping import StopWatch
from router_sdk_bert.finetuning.training_loop import Objective, Step

PARTS = ("full", "lora")
AGENTS = tuple(f"agent {number}" for number in range(10))
TEXTS, TOKENS = 64, 128
GOAL = 40.0


def matmul_peak(size: int, rounds: int) -> float:
    """Best rate of square bf16 products, in TFLOP/s."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        left @ right
    return max(2 * size**3 / _seconds(lambda: left @ right, rounds) / 1e12 for _ in range(3))


def _seconds(work: Callable[[], Any], rounds: int) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(rounds):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / rounds


def bert_base(layers: int) -> EncoderModule:
    """An encoder of bert-base's shape, with random weights."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    return EncoderModule(BertModel(BertConfig(num_hidden_layers=layers)), "mean", 0)


def step_of(update: str, layers: int, device: str = "cuda") -> tuple[Callable[[], object], float]:
    """One training step of the plugin, and the work in it, in TFLOP."""
    settings = FitSettings(update=update, strategy="none", batch_size=TEXTS, mixed_precision="bf16")
    encoder = bert_base(layers)
    rng = np.random.default_rng(0)
    rows = LinearRows(
        AGENTS, rng.normal(0, 0.1, (len(AGENTS), 768)).astype(np.float32), np.zeros(len(AGENTS), np.float32)
    )
    model = RoutingModel(encoder, rows)
    weights = sum(value.numel() for name, value in encoder.model.named_parameters() if "encoder.layer" in name)
    AllWeights(model) if update == "full" else LowRankWeights(model, settings, 0)
    model.to(device)
    model.train()
    samples = [Sample(str(place), "", AGENTS[place % len(AGENTS)], True) for place in range(TEXTS)]
    tokens = rng.integers(1_000, 30_000, (TEXTS, TOKENS)).tolist()
    objective = Objective(tokens, targets_of(samples, {name: row for row, name in enumerate(AGENTS)}))
    step = Step(model, objective, settings, Room(device, TEXTS, model.to), StopWatch(lambda: False), steps=10_000)
    which, ones = np.arange(TEXTS), np.ones(TEXTS, dtype=np.float32)
    passes = 3 if update == "full" else 2
    attention = 4 * TOKENS * 768 * layers
    work = (2 * weights + attention) * passes * TEXTS * TOKENS + (attention * TEXTS * TOKENS if passes == 2 else 0)
    return lambda: step(which, ones), work / 1e12


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 0 also where there is nothing to measure on."""
    chosen = options(__doc__, argv, PARTS)
    if not torch.cuda.is_available():
        print(f"no CUDA device here (training would run on {choose_device('auto')}), so there is nothing to measure")
        return 0
    size, rounds, layers = (1_024, 3, 2) if chosen.quick else (8_192, 50, 12)
    figures = []
    for update in chosen.only or PARTS:
        step, work = step_of(update, layers)
        for _ in range(3):
            step()
        shares, rates = [], []
        for _ in range(chosen.repeats):
            peak, seconds = matmul_peak(size, rounds), _seconds(step, rounds)
            shares.append(100 * work / seconds / peak)
            rates.append(TEXTS / seconds)
        detail = f"{np.median(rates):,.0f} texts/s; peak {peak:,.0f} TFLOP/s on {torch.cuda.get_device_name()}"
        goal = GOAL if update == "full" else None
        figures.append(Figure(f"{update}: share of the measured peak", shares, "%", goal, "at least", detail))
    with scratch(chosen.folder) as folder:
        show("Fine-tuning, 64 texts of 128 tokens, bf16", figures, conditions(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
