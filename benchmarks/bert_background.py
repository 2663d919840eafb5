"""What ``bert_latency.py`` runs in processes of their own: a fine-tune in the background, and a fresh start."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def fine_tune(checkpoint: Path) -> None:
    """Train all weights on random tokens until killed: nice 19, one thread, batches of 8 texts of 32 tokens."""
    if hasattr(os, "nice"):
        os.nice(19)
    import torch
    from router_sdk_bert.encoding.torch_backend import load_module

    torch.set_num_threads(1)
    module = load_module(checkpoint)
    module.model.train()
    optimizer = torch.optim.AdamW(module.model.parameters(), lr=1e-5)
    for step in range(1_000_000):
        loss: Any = module.embed(torch.randint(1_000, 20_000, (8, 32))).square()[:, :8].sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step == 1:
            print("training", flush=True)


def start(model: str, store: str, began: str) -> None:
    """Route one task, and say how long it took since the process was asked for, and how much memory it needed."""
    from router_sdk import Agent, Router

    agents = [Agent("billing", examples=["I was charged twice"]), Agent("coder", examples=["sort a list"])]
    with Router(agents, [("bert", {"model": model, "wait_for_encoder": True})], store, seed=0) as router:
        who = router.route("I want my money back").strategy
        seconds = time.time() - float(began)
        if who != "bert":
            raise RuntimeError(f"expected bert to answer, got {who}")
    if "torch" in sys.modules:
        raise RuntimeError("torch was imported")
    print(json.dumps({"seconds": seconds, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    """Most memory that this process held; what Linux reports of its resources includes that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    if sys.argv[1] == "fine-tune":
        fine_tune(Path(sys.argv[2]))
    else:
        start(*sys.argv[2:5])
