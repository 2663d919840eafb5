"""A tiny encoder and three agents whose tasks are told apart by their words."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from router_sdk_bert.config import FitSettings, TextPreparation
from router_sdk_bert.encoding.tiny import tiny_checkpoint
from router_sdk_bert.encoding.tokenizer import TextTokens
from router_sdk_bert.encoding.torch_backend import load_module
from router_sdk_bert.finetuning.fine_tune import FineTune
from router_sdk_bert.finetuning.model import LinearRows, RoutingModel
from router_sdk_bert.finetuning.samples import Sample, SourceEncoder, TrainingSet

from router_sdk.plugin import FitContext

WORDS = {
    "billing": ["bill", "charge", "money", "pay", "price", "refund"],
    "code": ["crash", "error", "code", "deploy", "server", "log"],
    "travel": ["flight", "hotel", "trip", "book", "ticket", "time"],
}
NAMES = tuple(WORDS)
LATER = {
    "billing": ["sql", "table", "query", "test", "update", "program"],
    "code": ["account", "list", "price", "plan", "type", "user"],
}
"""What the first two agents' tasks are about in a second world."""
DIMENSION = 32


@cache
def checkpoint():
    return tiny_checkpoint(Path(mkdtemp(prefix="tiny-bert-")))


@cache
def tokenize():
    return TextTokens((checkpoint() / "tokenizer.json").read_bytes(), 32, TextPreparation())


def rows(names=NAMES, seed=0):
    weight = np.random.default_rng(seed).normal(0, 0.1, (len(names), DIMENSION)).astype(np.float32)
    return LinearRows(tuple(names), weight, np.zeros(len(names), np.float32))


def model(folder=None, start=None):
    return RoutingModel(load_module(folder or checkpoint()), start or rows())


def encode(texts, folder=None):
    made = model(folder)
    with torch.no_grad():
        return made.embed([tokenize()(text) for text in texts]).numpy()


def some(count, names, *, fresh=True, seed=0, first=0, folder=None, words=WORDS, **more):
    """Labelled samples of these agents, in turn."""
    rng = np.random.default_rng([seed, first])
    labels = [names[place % len(names)] for place in range(count)]
    texts = [" ".join(["the", *rng.choice(words[label], 3), "and"]) for label in labels]
    vectors = encode(texts, folder) if count else []
    return [
        Sample(f"{first + place:04d}", text, label, True, fresh=fresh, vector=vector, **more)
        for place, (text, label, vector) in enumerate(zip(texts, labels, vectors, strict=True))
    ]


def source():
    return SourceEncoder(checkpoint(), "tiny", tokenize())


def settings(**more):
    return FitSettings(**{"update": "lora", "strategy": "none", "learning_rate": 1e-3, **more})


def training_set(samples=None, held_out=(), names=NAMES, **more):
    samples = some(24, NAMES) if samples is None else samples
    return TrainingSet(samples, held_out, tuple(names), **more)


def fine_tune(folder, what=None, how=None, carried=None, **context):
    """Run one fine-tune; the folder it wrote, the state it left and how it went."""
    target = folder / "tuned"
    shared = FitContext(folder, "cpu", **context)
    task = FineTune(source(), what or training_set(), how or settings(), shared, carried)
    return target, *task.run(target)


def accuracy(folder, state, samples):
    scores = state.rows.logits(encode([sample.text for sample in samples], folder))
    chosen = [state.rows.names[place] for place in scores.argmax(axis=1)]
    return float(np.mean([name == sample.label for name, sample in zip(chosen, samples, strict=True)]))


def changed_world():
    """Two agents whose tasks change: old samples, fresh ones about other things, and a test set of the old kind."""
    old = some(32, NAMES[:2], fresh=False)
    return old, some(48, NAMES[:2], first=100, words=LATER), some(60, NAMES[:2], first=500)
