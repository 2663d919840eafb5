"""Weights that were pickled, made safetensors of: read as tensors and nothing else, in a process of its own.

``python -m router_sdk_bert.encoding.pickled`` is that process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from router_sdk.plugin import EncoderUnavailableError
from router_sdk.private_files import private_folder, read_object
from router_sdk_bert.encoding.checkpoint import Checkpoint, pickled_files
from router_sdk_bert.encoding.opening import in_child

_MODULE = "router_sdk_bert.encoding.pickled"
_CPU_S = 900
_NESTED = ("state_dict", "model_state_dict", "model")
"""Under what trainers put the weights beside other things."""


def without_pickles(folder: Path, target: Path, stopped: Callable[[], bool] = lambda: False) -> Path:
    """A copy of a checkpoint folder whose weights are safetensors.

    PyTorch's unpickler for weights alone reads them (``weights_only=True``), which builds tensors and runs nothing that
    the file names; and it does so in a process of its own, beside which nothing is lost should a file break it.

    Args:
        folder: With ``config.json``, a tokenizer, and ``pytorch_model*.bin`` or one ``.pt`` or ``.pth``.
        target: Where the copy goes.
        stopped: Asked often; once True it is given up.

    Raises:
        EncoderUnavailableError: if there are no such weights, several that do not belong together, they hold anything
            but tensors, or it was given up.
    """
    files = pickled_files(folder)
    parts = [path for path in files if path.suffix == ".bin"]
    if not (parts or len(files) == 1):
        told = ", ".join(path.name for path in files) or "nothing"
        raise EncoderUnavailableError(f"{folder} holds {told}: expected pytorch_model*.bin, or one .pt or .pth")
    Checkpoint(folder, read_object(folder / "config.json"), ()).copy_to(private_folder(target))
    request = {"files": [str(path) for path in parts or files], "target": str(target / "model.safetensors")}
    code, last = in_child(_MODULE, request, stopped)
    if code:
        raise EncoderUnavailableError(f"the weights in {folder} cannot be read as tensors alone: {last or code}")
    return target


def main() -> int:
    """Convert as asked on stdin; on failure the last line on stderr says why."""
    _be_modest()
    request = json.load(sys.stdin)
    try:
        _convert([Path(name) for name in request["files"]], Path(request["target"]))
    except Exception as error:
        sys.stderr.write(f"\n{' '.join(str(error).split())[:300] or type(error).__name__}\n")
        return 1
    return 0


def _be_modest() -> None:
    if hasattr(os, "nice"):
        os.nice(10)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))


def _convert(files: list[Path], target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    found: dict[str, Any] = {}
    for path in files:
        read = torch.load(path, map_location="cpu", weights_only=True)
        for key in _NESTED:
            if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
                read = read[key]
        if not isinstance(read, Mapping):
            raise TypeError(f"{path.name} holds a {type(read).__name__}, not tensors by name")
        odd = [name for name, value in read.items() if not isinstance(value, torch.Tensor)]
        if odd:
            raise TypeError(f"{path.name} holds more than tensors: {str(odd[0])[:60]!r}")
        found |= {str(name): value.detach().clone().contiguous() for name, value in read.items()}
    save_file(found, str(target), metadata={"format": "pt"})


if __name__ == "__main__":
    sys.exit(main())
