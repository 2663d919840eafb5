"""What sentence-transformers noted beside a model: pooling, what comes behind it, the prompt, and the longest input.

Its folders name their modules in ``modules.json``, each with a configuration of its own. What stands there and is not
understood is refused by name: a module that is left out gives other vectors than its makers', and nobody would notice.
The keys are those of sentence-transformers 2 to 6; 6 writes ``pooling_mode`` where earlier ones wrote booleans.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from router_sdk.plugin import EncoderUnavailableError
from router_sdk.private_files import read_json
from router_sdk_bert.config import Pooling, PoolingMode
from router_sdk_bert.encoding.sealed_folder import sha256

MODULES = "modules.json"
GENERAL = "config_sentence_transformers.json"
POOLING = "1_Pooling/config.json"
WEIGHTS = "model.safetensors"

Activation = Literal["Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid"]

_BOOLEANS: dict[str, PoolingMode] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""What earlier releases wrote, in the order in which all of them put several poolings beside each other."""
_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_OF_MODEL = {"attn_implementation", "dtype", "torch_dtype", "device_map", "trust_remote_code", "use_safetensors"}
_OF_CONFIG = {"attn_implementation", "trust_remote_code", "use_cache"}
_OF_TOKENIZER = {"model_max_length", "padding_side", "trust_remote_code", "use_fast"}
_ARGUMENTS = {
    "model_args": _OF_MODEL,
    "config_args": _OF_CONFIG,
    "tokenizer_args": _OF_TOKENIZER,
    "model_kwargs": _OF_MODEL,
    "config_kwargs": _OF_CONFIG,
    "processor_kwargs": _OF_TOKENIZER,
    "processing_kwargs": set[str](),
}
"""Arguments that change no vector: texts run without padding, in single precision, and no code of theirs is run."""
_PLAIN = re.compile(r"[\w-][\w.-]*")


class Dense(BaseModel):
    """A linear layer behind the pooling.

    Attributes:
        folder: Where its weights lie, within the checkpoint.
        digest: SHA-256 of them.
        activation: Applied to what it gives, by torch's name.
        residual: Whether its input is added.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    digest: str
    activation: Activation
    residual: bool = False


Step = Dense | Literal["normalize"]


class Pipeline(BaseModel):
    """What is done around a transformer, in the order of the attributes but for ``prompt`` and ``longest``.

    Attributes:
        pooling: How token vectors become one; empty if nothing is said of it.
        steps: What comes behind the pooling, up to the last layer.
        dimension: How many of the numbers are kept; None keeps all.
        prompt: What stands before every text.
        include_prompt: Whether the prompt's own tokens are pooled, too.
        longest: How many tokens it takes at most; None if nothing is said of it.
        lower_case: Whether texts are put into lower case first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pooling: Pooling | Literal[""] = ""
    steps: tuple[Step, ...] = ()
    dimension: int | None = Field(default=None, gt=0)
    prompt: str = ""
    include_prompt: bool = True
    longest: int | None = Field(default=None, gt=0)
    lower_case: bool = False


def read_pipeline(folder: Path) -> Pipeline:
    """Read what a checkpoint folder says; an empty pipeline if it is not sentence-transformers'.

    Raises:
        EncoderUnavailableError: if it says what is not supported; the file and the key are named.
    """
    modules = _modules(folder)
    pooling: dict[str, Any] = {}
    if modules is None:  # Only what lay beside the weights was copied: earlier exports did so.
        return Pipeline(**_pooling(folder, POOLING)) if (folder / POOLING).is_file() else Pipeline()
    steps: list[Step] = []
    for place, (kind, path) in enumerate(modules):
        if kind == "Pooling" and place == 1:
            pooling = _pooling(folder, f"{path}/config.json")
        elif kind == "Dense" and pooling:
            steps.append(_dense(folder, path))
        elif kind == "Normalize" and pooling:
            steps.append(_normalize(folder, path))
        elif kind != "Dropout" and place:  # Dropout does nothing outside of training.
            raise _refused(folder, MODULES, "type", kind, "Transformer, Pooling, and then Dense and Normalize")
    if not pooling:
        raise EncoderUnavailableError(f"{folder}: {MODULES} names no Pooling behind the Transformer")
    while steps and steps[-1] == "normalize":  # Whatever comes last, a vector is scaled to length 1 in the end.
        steps.pop()
    return Pipeline(**pooling, steps=tuple(steps), **_transformer(folder), **_general(folder))


def side_files(folder: Path) -> list[str]:
    """Files below the folder itself that its pipeline is made of."""
    named = _modules(folder) or [("Pooling", Path(POOLING).parent.as_posix())]
    found = [f"{path}/{name}" for _, path in named if path for name in ("config.json", WEIGHTS)]
    return [name for name in found if (folder / name).is_file()]


def _modules(folder: Path) -> list[tuple[str, str]] | None:
    """Kinds of the modules and their folders, in order; None where nothing names them."""
    if not (folder / MODULES).is_file():
        return None
    stated = _read(folder, MODULES, list)
    found = []
    for place, module in enumerate(stated):
        name, path = (module.get("type"), module.get("path", "")) if isinstance(module, dict) else (module, "")
        if not isinstance(name, str) or not name.startswith("sentence_transformers."):
            raise _refused(folder, MODULES, "type", name, "modules of sentence-transformers itself")
        kind = name.rpartition(".")[2]
        if not place and (kind != "Transformer" or path != ""):
            raise _refused(folder, MODULES, "type", f"{kind} in {path!r}", "first a Transformer in the folder itself")
        if place and not (isinstance(path, str) and _PLAIN.fullmatch(path)):
            raise _refused(folder, MODULES, "path", path, "a folder beside the file")
        found.append((kind, path))
    if not found:
        raise EncoderUnavailableError(f"{folder}: {MODULES} names no modules")
    return found


def _pooling(folder: Path, name: str) -> dict[str, Any]:
    stated = _read(folder, name, dict)
    known = get_args(PoolingMode)
    if "pooling_mode" in stated:
        modes = stated["pooling_mode"]
        modes = [modes] if isinstance(modes, str) else modes
        if not isinstance(modes, list) or not modes or any(mode not in known for mode in modes):
            raise _refused(folder, name, "pooling_mode", stated["pooling_mode"], ", ".join(known))
    else:
        for key, value in stated.items():
            if key.startswith("pooling_mode") and (not isinstance(value, bool) or (value and key not in _BOOLEANS)):
                raise _refused(folder, name, key, value, ", ".join(_BOOLEANS))
        modes = [mode for key, mode in _BOOLEANS.items() if stated.get(key)] or ["mean"]
    return {"pooling": "+".join(modes), "include_prompt": _flag(folder, name, stated, "include_prompt", default=True)}


def _dense(folder: Path, path: str) -> Dense:
    name = f"{path}/config.json"
    stated = _read(folder, name, dict)
    if stated.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise _refused(folder, name, "module_input_name", stated["module_input_name"], "sentence_embedding")
    if stated.get("module_output_name") not in (None, "sentence_embedding"):
        raise _refused(folder, name, "module_output_name", stated["module_output_name"], "sentence_embedding")
    activation = stated.get("activation_function", "torch.nn.modules.activation.Tanh")
    own, _, kind = activation.rpartition(".") if isinstance(activation, str) else ("", "", None)
    if not own.startswith("torch.nn") or kind not in get_args(Activation):
        raise _refused(folder, name, "activation_function", activation, ", ".join(get_args(Activation)))
    if not (folder / path / WEIGHTS).is_file():
        raise EncoderUnavailableError(
            f"{folder}: {path} has no {WEIGHTS}; other formats can run code when they are read"
        )
    return Dense(
        folder=path,
        digest=sha256(folder / path / WEIGHTS),
        activation=cast("Activation", kind),
        residual=_flag(folder, name, stated, "use_residual", default=False),
    )


def _normalize(folder: Path, path: str) -> Step:
    """Up to release 5 it has no configuration; some uploads lost the empty folder."""
    name = f"{path}/config.json"
    stated = _read(folder, name, dict) if (folder / name).is_file() else {}
    for key in ("module_input_name", "module_output_name"):
        if stated.get(key) not in (None, "sentence_embedding"):
            raise _refused(folder, name, key, stated[key], "sentence_embedding")
    return "normalize"


def _transformer(folder: Path) -> dict[str, Any]:
    name = next((name for name in _TRANSFORMER_FILES if (folder / name).is_file()), None)
    if name is None:
        return {}
    stated = _read(folder, name, dict)
    longest = stated.get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or isinstance(longest, bool) or longest < 1):
        raise _refused(folder, name, "max_seq_length", longest, "a number of tokens")
    if stated.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise _refused(folder, name, "transformer_task", stated["transformer_task"], "feature-extraction")
    if stated.get("module_output_name", "token_embeddings") != "token_embeddings":
        raise _refused(folder, name, "module_output_name", stated["module_output_name"], "token_embeddings")
    if "modality_config" in stated:
        ways = stated["modality_config"]
        way = ways.get("text") if isinstance(ways, dict) else None
        if way != {"method": "forward", "method_output_name": "last_hidden_state"}:
            raise _refused(folder, name, "modality_config", ways, "text by forward and last_hidden_state")
    if stated.get("tokenizer_name_or_path") is not None:
        raise _refused(folder, name, "tokenizer_name_or_path", stated["tokenizer_name_or_path"], "its own tokenizer")
    for key, harmless in _ARGUMENTS.items():
        arguments = stated.get(key) or {}
        if not isinstance(arguments, dict) or not harmless.issuperset(arguments):
            raise _refused(folder, name, key, arguments, ", ".join(sorted(harmless)) or "nothing")
    return {"longest": longest, "lower_case": _flag(folder, name, stated, "do_lower_case", default=False)}


def _general(folder: Path) -> dict[str, Any]:
    if not (folder / GENERAL).is_file():
        return {}
    stated = _read(folder, GENERAL, dict)
    if stated.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        raise _refused(folder, GENERAL, "model_type", stated["model_type"], "SentenceTransformer")
    dimension = stated.get("truncate_dim")
    if dimension is not None and (not isinstance(dimension, int) or isinstance(dimension, bool) or dimension < 1):
        raise _refused(folder, GENERAL, "truncate_dim", dimension, "a number of dimensions")
    name, prompts = stated.get("default_prompt_name"), stated.get("prompts") or {}
    if name is None:
        return {"dimension": dimension}
    prompt = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    if not isinstance(prompt, str):
        known = ", ".join(prompts) if isinstance(prompts, dict) else "none"
        raise _refused(folder, GENERAL, "default_prompt_name", name, f"one of its prompts: {known}")
    return {"dimension": dimension, "prompt": prompt}


def _flag(folder: Path, name: str, stated: dict[str, Any], key: str, *, default: bool) -> bool:
    value = stated.get(key, default)
    if not isinstance(value, bool):
        raise _refused(folder, name, key, value, "true or false")
    return value


def _read(folder: Path, name: str, kind: type) -> Any:
    try:
        found = read_json(folder / name)
    except (OSError, ValueError) as error:
        raise EncoderUnavailableError(f"{folder}: {name} cannot be read: {error}") from error
    if not isinstance(found, kind):
        raise EncoderUnavailableError(f"{folder}: {name} holds a {type(found).__name__}, not a {kind.__name__}")
    return found


def _refused(folder: Path, name: str, key: str, value: object, known: str) -> EncoderUnavailableError:
    said = repr(value)
    said = said if len(said) <= 200 else f"{said[:200]}…"
    return EncoderUnavailableError(f"{folder}: {name} says {key} = {said}; supported: {known}")
