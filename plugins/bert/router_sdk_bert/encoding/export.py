"""A checkpoint to a folder that serves: ONNX, quantised, and compared with torch before anybody relies on it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.encoding.checkpoint import Checkpoint, read_checkpoint
from router_sdk_bert.encoding.comparison import compare, compare_exactly, not_comparable, told_apart
from router_sdk_bert.encoding.description import DESCRIPTION, MODEL_FILES, BackendCheck, EncoderDescription
from router_sdk_bert.encoding.module import EncoderModule, load_module
from router_sdk_bert.encoding.onnx_backend import OnnxSession, runtime
from router_sdk_bert.encoding.probes import PROBES
from router_sdk_bert.encoding.reference import first_line, reference_vectors
from router_sdk_bert.encoding.sealed_folder import write_sealed
from router_sdk_bert.encoding.settings import Backend, EncoderSettings
from router_sdk_bert.encoding.tokenizer import TextTokens
from router_sdk_bert.encoding.tokenizer_file import settle_tokenizer
from router_sdk_bert.encoding.torch_backend import TorchBackend

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ORDER: tuple[Backend, ...] = ("onnx-int8", "onnx", "torch")
_OPSET = 17
_EVERY = 5
"""One probe in so many, short ones beside long ones, suffices to see whether a text's vector depends on others."""
_UNKNOWN_TO_QUANTISER = "MatMulScaleFusion"
"""It makes operators whose types the quantiser cannot infer; what loads the result fuses them all the same."""


def export_encoder(
    checkpoint: Path, folder: Path, settings: EncoderSettings, *, probes: Sequence[str] = PROBES
) -> None:
    """Make a self-contained folder that serves: the model in the wanted back-end's form, and what a fit needs.

    The back-end's vectors are compared with those of the folder's own pipeline. If they differ too much, or the model
    cannot be traced, the next one is tried, in the order int8, single precision, torch; ``encoder.json`` says what was
    found.

    Args:
        checkpoint: A folder with ``config.json``, a tokenizer and safetensors.
        folder: Where the result shall stand, missing or empty. It appears whole or not at all.
        settings: Which back-end is wanted, how tokens are pooled.
        probes: Texts to compare over.

    Raises:
        EncoderUnavailableError: if the checkpoint cannot be read, says what is not supported, gives different texts the
            same vector, or torch or onnx is not installed.
        CorruptArtifactError: if the checkpoint carries a manifest that a file does not match.
    """
    source = read_checkpoint(checkpoint)
    write_sealed(folder, lambda draft: _fill(draft, source, settings, probes))


def _fill(draft: Path, source: Checkpoint, settings: EncoderSettings, probes: Sequence[str]) -> None:
    pipeline = source.pipeline
    pooling = source.pooling if settings.pooling == "auto" else settings.pooling
    source.copy_to(draft)
    settle_tokenizer(source.folder, draft, probes, lower_case=pipeline.lower_case)
    module = load_module(source.folder, pooling, attention="eager")  # Other implementations do not trace.
    longest = min(settings.max_tokens, source.longest)
    tokens = TextTokens((draft / "tokenizer.json").read_bytes(), longest, settings.preparation, pipeline.prompt)
    ids = [tokens(text) for text in probes]
    reference, norm = reference_vectors(module, source.folder, ids)
    told_apart(source.folder, pooling, ids, reference)
    backend, checks = _first_that_agrees(module, settings.wanted_backend, draft, ids, reference)
    description = EncoderDescription(
        model=settings.model,
        weights=source.digest,
        pooling=pooling,
        dimension=reference.shape[1],
        longest=source.longest,
        pad_id=source.pad_id,
        prompt=pipeline.prompt,
        skipped=module.skipped,
        steps=pipeline.steps,
        kept=pipeline.dimension,
        pooled_norm=norm,
        backend=backend,
        checks=tuple(checks),
    )
    (draft / DESCRIPTION).write_text(description.model_dump_json(indent=1), encoding="utf-8")


def _first_that_agrees(
    module: EncoderModule,
    wanted: Backend,
    draft: Path,
    ids: Sequence[Sequence[int]],
    reference: NDArray[np.float32],
) -> tuple[Backend, list[BackendCheck]]:
    """What serves, and how each one compared that was tried; torch is noted only where it fails."""
    some = [*range(0, len(ids), _EVERY), len(ids) - 1]
    together = np.stack(TorchBackend(module, "cpu")([ids[place] for place in some]))
    torch_check = compare_exactly("torch", reference[some], together)
    checks = [] if torch_check.passed else [torch_check]
    plain = draft / MODEL_FILES["onnx"]
    problem = "" if wanted == "torch" else _trace(module, plain)
    for backend in _ORDER[_ORDER.index(wanted) : -1]:
        if problem:
            checks.append(not_comparable(backend, problem))
            continue
        path = draft / MODEL_FILES[backend]
        if backend == "onnx-int8":
            _quantise(plain, path)
        checks.append(_compared(backend, path, ids, reference))
        if checks[-1].passed:
            if path != plain:
                plain.unlink()
            return backend, checks
        if path != plain:
            path.unlink()
    plain.unlink(missing_ok=True)
    if not torch_check.passed:
        raise EncoderUnavailableError(
            f"a {type(module.model).__name__} {torch_check.problem}, and ONNX does not serve it"
        )
    return "torch", checks


def _compared(
    backend: Backend, path: Path, ids: Sequence[Sequence[int]], reference: NDArray[np.float32]
) -> BackendCheck:
    try:
        session = OnnxSession(path.read_bytes(), "int8" if backend == "onnx-int8" else "fp32")
        return compare(backend, reference, np.stack(session(ids)))
    except Exception as error:  # The library's own exceptions share no base but Exception.
        return not_comparable(backend, f"cannot be run: {first_line(error)}")


def _trace(module: EncoderModule, path: Path) -> str:
    """Write the model as ONNX: ids in, normalised vectors out, no padding.

    Returns:
        Why that cannot be, in words; empty if it was written.
    """
    import torch

    class Traced(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.layers = module.model, module.layers

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return module.embed(input_ids)

    example = torch.full((2, 9 + module.skipped), 1, dtype=torch.int64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What tracing might get wrong, the comparison with torch finds.
            torch.onnx.export(
                Traced().eval(),
                (example,),
                str(path),
                input_names=["input_ids"],
                output_names=["vector"],
                dynamic_axes={"input_ids": {0: "texts", 1: "tokens"}, "vector": {0: "texts"}},
                opset_version=_OPSET,
                dynamo=False,  # The other exporter takes twenty times as long.
            )
    except Exception as error:  # What cannot be traced raises whatever it comes to.
        path.unlink(missing_ok=True)
        return f"cannot be made of a {type(module.model).__name__}: {first_line(error)}"
    return ""


def _quantise(plain: Path, path: Path) -> None:
    """Dynamic int8, one scale per output channel: a sixth of the error of one scale per matrix."""
    onnxruntime = runtime()
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise EncoderUnavailableError("int8 needs onnx: pip install 'router-sdk-bert[fit]'") from error
    fused = path.with_suffix(".fused")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(fused)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        str(plain), options, providers=["CPUExecutionProvider"], disabled_optimizers=[_UNKNOWN_TO_QUANTISER]
    )
    model: Any = onnx.load(str(fused))
    fused.unlink()
    # The quantiser asks on the root logger for a preparation that has just been done, unless the model says so.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    quantize_dynamic(
        model,
        str(path),
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
