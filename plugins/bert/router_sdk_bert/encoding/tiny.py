"""A tiny BERT with random weights, made in code: for tests and for trying things out without a download."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = """
a about account add agent an and answer api are as at bank bill book bug build by call cancel card change
charge chart check cloud code cost crash data day delay deploy do draw email error explain file find fix flight for
form from get go has have help hotel how i in invoice is it key know late learn letter list log look lost make me
money month my need new no not of on open or order page pay phone plan please price print program query question
read refund report run sales send server session set show slow sql start stop sum table test text that the this
ticket time to trip twice type update use user want was what when where which why with word write wrong you
"""


def tiny_checkpoint(
    folder: Path, seed: int = 0, *, labels: Sequence[str] = (), dimension: int = 32, layers: int = 2
) -> Path:
    """Write a checkpoint folder as ``transformers`` would; mean pooling, or a classifier's head if labels are given.

    Args:
        folder: Where it goes; made if need be.
        seed: Seed of the weights; the caller's generators are left alone.
        labels: Names of the classes: then it is a sequence-classification checkpoint.
        dimension: Width of the model, a multiple of 4.
        layers: Depth of the model.

    Returns:
        The folder.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder)
    named: dict[str, Any] = {"id2label": dict(enumerate(labels)), "num_labels": len(labels)} if labels else {}
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=dimension,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * dimension,
        max_position_embeddings=160,
        initializer_range=0.2,  # Wide enough for different texts to get different vectors.
        **named,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = BertForSequenceClassification(config) if labels else BertModel(config)
    model.eval().save_pretrained(folder)
    if not labels:
        pooling = {"word_embedding_dimension": dimension, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    return folder


def _write_tokenizer(folder: Path) -> int:
    """A lower-casing WordPiece over some common words and all letters; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece

    letters = string.ascii_lowercase + string.digits
    words = dict.fromkeys(
        [*_SPECIAL, *letters, *("##" + letter for letter in letters), *string.punctuation, *_WORDS.split()]
    )
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer: Any = Tokenizer(WordPiece(vocabulary, unk_token=_SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {f"{name[1:-1].lower()}_token": name for name in _SPECIAL}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 160, **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return len(vocabulary)
