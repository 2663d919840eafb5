"""Checkpoint folders as sentence-transformers writes them, of any model type, tiny and with random weights."""

import json
import shutil

import numpy as np
import torch
import transformers
from router_sdk_bert.encoding.tiny import tiny_checkpoint
from safetensors.numpy import save_file

_TYPE = "sentence_transformers.models."
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
DECODER = {**GROUPED, "use_cache": False}
KINDS = {
    "Albert": {**SMALL, "embedding_size": 16},
    "Bert": SMALL,
    "DebertaV2": SMALL,
    "DistilBert": {"dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 32, "initializer_range": 0.2},
    "Electra": {**SMALL, "embedding_size": 16},
    "EuroBert": GROUPED,
    "FNet": SMALL,
    "GPT2": {"n_embd": 32, "n_layer": 1, "n_head": 4, "initializer_range": 0.2, "n_positions": 160, "use_cache": False},
    "Gemma3Text": {**DECODER, "use_bidirectional_attention": True, "query_pre_attn_scalar": 8, "sliding_window": 16},
    "Llama": DECODER,
    "MPNet": {**SMALL, "max_position_embeddings": 160},
    "Mistral": {**DECODER, "sliding_window": 16},
    "ModernBert": {**SMALL, "global_attn_every_n_layers": 1, "cls_token_id": None, "sep_token_id": None},
    "Qwen2": {name: value for name, value in DECODER.items() if name != "head_dim"},
    "Qwen3": DECODER,
    "Roberta": {**SMALL, "max_position_embeddings": 160},
    "T5": {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4, "initializer_factor": 2.0},
    "XLMRoberta": {**SMALL, "max_position_embeddings": 160},
}


def write(folder, name, said):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(said))


def modules(folder, *kinds, prefix=_TYPE):
    """Write ``modules.json``: a Transformer, and these behind it."""
    paths = ["", *(f"{place}_{kind}" for place, kind in enumerate(kinds, 1))]
    named = [
        {"idx": place, "name": str(place), "path": path, "type": prefix + kind}
        for place, (kind, path) in enumerate(zip(("Transformer", *kinds), paths, strict=True))
    ]
    write(folder, "modules.json", named)


def pooled(folder, *modes, **more):
    """Say how it is pooled, as release 6 does."""
    write(folder, "1_Pooling/config.json", {"embedding_dimension": 32, "pooling_mode": list(modes), **more})


def dense(folder, path, wide, narrow, activation="Tanh", **more):
    """Add a layer with random weights."""
    rng = np.random.default_rng(3)
    said = {"in_features": wide, "out_features": narrow, "bias": True, **more}
    write(folder, f"{path}/config.json", {**said, "activation_function": f"torch.nn.modules.activation.{activation}"})
    arrays = {"linear.weight": rng.normal(size=(narrow, wide)), "linear.bias": rng.normal(size=narrow)}
    if more.get("use_residual") and wide != narrow:
        arrays["residual.weight"] = rng.normal(size=(narrow, wide))
    save_file({name: array.astype(np.float32) for name, array in arrays.items()}, folder / path / "model.safetensors")


def of_kind(kind, folder, *modes, **more):
    """A model of some type, pooled by these modes."""
    tokenizer = tiny_checkpoint(folder.with_name(f"{folder.name}-tokenizer"), layers=1)
    words = len(json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"])
    made = getattr(transformers, f"{kind}Config")(vocab_size=words, **KINDS[kind], **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}EncoderModel" if kind == "T5" else f"{kind}Model")(made)
    model.eval().save_pretrained(folder)
    for name in _TOKENIZER:
        shutil.copy(tokenizer / name, folder / name)
    modules(folder, "Pooling", "Normalize")
    pooled(folder, *modes)
    return folder


def unframed(folder):
    """Let its tokenizer put no tokens around a text, as those of decoders do."""
    said = json.loads((folder / "tokenizer.json").read_text())
    write(folder, "tokenizer.json", {**said, "post_processor": None})
    return folder
