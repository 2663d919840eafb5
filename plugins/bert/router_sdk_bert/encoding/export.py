"""A checkpoint to a folder that serves: ONNX, quantised, and compared with torch before anybody relies on it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.state_file import read_tensor
from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.config import Backend, EncoderSettings
from router_sdk_bert.encoding.checkpoint import (
    DESCRIPTION,
    MODEL_FILES,
    BackendCheck,
    Checkpoint,
    EncoderDescription,
    read_checkpoint,
    read_description,
)
from router_sdk_bert.encoding.comparison import PROBES, compare, compare_exactly, not_comparable, told_apart
from router_sdk_bert.encoding.onnx_backend import OnnxSession, runtime
from router_sdk_bert.encoding.opening import note_of, warn_of
from router_sdk_bert.encoding.pipeline import WEIGHTS, Activation, Dense, Step
from router_sdk_bert.encoding.sealed_folder import write_sealed
from router_sdk_bert.encoding.tokenizer import TextTokens
from router_sdk_bert.encoding.torch_backend import EncoderModule, TorchBackend, load_module, quietly

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.config import PoolingMode

_ORDER: tuple[Backend, ...] = ("onnx-int8", "onnx", "torch")
_OPSET = 17
_EVERY = 5
"""One probe in so many, short ones beside long ones, suffices to see whether a text's vector depends on others."""
_UNKNOWN_TO_QUANTISER = "MatMulScaleFusion"
"""It makes operators whose types the quantiser cannot infer; what loads the result fuses them all the same."""
_TOKENIZER_FILE = "tokenizer.json"
_POOLINGS: dict[PoolingMode, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "cls": lambda states, _: states[0],
    "lasttoken": lambda states, _: states[-1],
    "max": lambda states, _: states.max(axis=0),
    "mean": lambda states, _: states.mean(axis=0),
    "mean_sqrt_len_tokens": lambda states, _: states.sum(axis=0) / math.sqrt(len(states)),
    "weightedmean": lambda states, places: np.average(states, axis=0, weights=places),
}
_MEASURED = 64
"""Texts whose vectors' lengths are averaged."""


def export_encoder(checkpoint: Path, folder: Path, settings: EncoderSettings, *, probes: Sequence[str] = PROBES) -> str:
    """Make a self-contained folder that serves: the model in the wanted back-end's form, and what a fit needs.

    The back-end's vectors are compared with those of the folder's own pipeline. If they differ too much, or the model
    cannot be traced, the next one is tried, in the order int8, single precision, torch; ``encoder.json`` says what was
    found.

    Args:
        checkpoint: A folder with ``config.json``, a tokenizer and safetensors.
        folder: Where the result shall stand, missing or empty. It appears whole or not at all.
        settings: Which back-end is wanted, how tokens are pooled.
        probes: Texts to compare over.

    Returns:
        That another back-end serves than was wanted, and why, which is logged as a warning, too; empty if not.

    Raises:
        EncoderUnavailableError: if the checkpoint cannot be read, says what is not supported, gives different texts the
            same vector, or torch or onnx is not installed.
        CorruptArtifactError: if the checkpoint carries a manifest that a file does not match.
    """
    source = read_checkpoint(checkpoint)
    write_sealed(folder, lambda draft: _fill(draft, source, settings, probes))
    description = read_description((folder / DESCRIPTION).read_bytes())
    note = note_of(settings.wanted_backend, description.backend, description)
    warn_of(note, description)
    return note


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


def settle_tokenizer(folder: Path, draft: Path, texts: Sequence[str], *, lower_case: bool) -> None:
    """See that the draft's ``tokenizer.json`` gives the ids that the checkpoint's tokenizer does.

    ``tokenizer_config.json`` may say more than ``tokenizer.json``, such as a token at the end. Where the ids differ,
    and where there is no such file, it is written as ``transformers`` has it.

    Args:
        folder: The checkpoint.
        draft: Holds a copy of its files.
        texts: Over which they are compared.
        lower_case: Whether sentence-transformers puts texts into lower case first.

    Raises:
        EncoderUnavailableError: if no such file can be made.
    """
    from transformers import AutoTokenizer

    path = draft / _TOKENIZER_FILE
    try:
        with quietly():
            own: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            backend, wanted = own.backend_tokenizer, own(list(texts))["input_ids"]
    except Exception as error:  # What the library raises depends on what is missing.
        if not path.is_file():
            raise EncoderUnavailableError(
                f"{folder} has no {_TOKENIZER_FILE}, and none can be made: {error}"
            ) from error
        backend = wanted = None
    try:
        if wanted is not None and not (path.is_file() and _ids(path, texts) == wanted):
            backend.save(str(path))
            if _ids(path, texts) != wanted:
                raise EncoderUnavailableError(f"{folder}: its tokenizer does more than a {_TOKENIZER_FILE} can say")
        if lower_case:
            _lower(path)
    except EncoderUnavailableError:
        raise
    except Exception as error:  # The tokenizers library raises bare Exceptions.
        raise EncoderUnavailableError(f"{folder}: its tokenizer cannot be read: {error}") from error


def _ids(path: Path, texts: Sequence[str]) -> list[list[int]]:
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def _lower(path: Path) -> None:
    """Put texts into lower case before whatever else is done to them, unless that is done already."""
    from tokenizers import Tokenizer, normalizers

    tokenizer: Any = Tokenizer.from_file(str(path))
    if tokenizer.normalizer is not None and tokenizer.normalizer.normalize_str("A") == "a":
        return
    steps = [normalizers.Lowercase()] + ([] if tokenizer.normalizer is None else [tokenizer.normalizer])
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.save(str(path))


_erf = np.vectorize(math.erf)
_ACTIVATIONS: dict[Activation, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0.0),
    "GELU": lambda x: x * 0.5 * (1.0 + _erf(x / math.sqrt(2.0))),
    "SiLU": lambda x: x / (1.0 + np.exp(-x)),
    "Sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
}


def reference_vectors(
    module: EncoderModule, folder: Path, tokens: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float32], float]:
    """Normalised vectors, shape ``(n, d)``, and the mean length that they had before.

    Args:
        module: Whose transformer to run; on the CPU.
        folder: Checkpoint that it was read from.
        tokens: Ids of each text.

    Raises:
        EncoderUnavailableError: if the model makes none, or none that are finite.
    """
    import torch

    layers = [_Layer(folder, step) for step in module.pipeline.steps]
    vectors = []
    for ids in tokens:
        try:
            vectors.append(_vector(module, layers, torch.tensor([ids])))
        except Exception as error:  # What a model raises depends on what it is.
            kind = type(module.model).__name__
            raise EncoderUnavailableError(f"{folder}: a {kind} makes nothing of a text: {first_line(error)}") from error
    made = np.stack(vectors)
    if not np.isfinite(made).all():
        raise EncoderUnavailableError(f"{folder}: the model's vectors are not finite")
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    return (made / np.maximum(lengths, 1e-12)).astype(np.float32), float(lengths[:_MEASURED].mean())


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _vector(module: EncoderModule, layers: Sequence[_Layer], ids: torch.Tensor) -> NDArray[np.float64]:
    import torch

    with torch.inference_mode():
        if module.pooling == "classifier":
            seen: NDArray[np.float64] = module.pool(ids)[0].double().numpy()
            return seen
        states: NDArray[np.float64] = module.model(input_ids=ids).last_hidden_state[0].double().numpy()
    places = np.arange(1.0, len(states) + 1.0)
    kept, places = states[module.skipped :], places[module.skipped :]
    vector = np.concatenate([_POOLINGS[mode](kept, places) for mode in module.modes])
    for layer in layers:
        vector = layer(vector)
    return vector[: module.pipeline.dimension]


class _Layer:
    def __init__(self, folder: Path, step: Step) -> None:
        self._step = step
        if not isinstance(step, Dense):
            return
        path = folder / step.folder / WEIGHTS
        weight = read_tensor(path, "linear.weight")
        if weight is None:
            raise EncoderUnavailableError(f"{folder}: {step.folder}/{WEIGHTS} holds no linear.weight")
        self._weight, self._bias = weight.astype(np.float64), read_tensor(path, "linear.bias")
        self._residual = read_tensor(path, "residual.weight")

    def __call__(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        step = self._step
        if not isinstance(step, Dense):
            return vector / max(float(np.linalg.norm(vector)), 1e-12)
        bias = 0.0 if self._bias is None else self._bias
        found = _ACTIVATIONS[step.activation](self._weight @ vector + bias)
        if step.residual:
            found = found + (vector if self._residual is None else self._residual @ vector)
        return found
