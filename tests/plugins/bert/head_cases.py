"""Vectors, rows and strategies that the head's tests share."""

import numpy as np
from router_sdk_bert.config import BertConfig, HeadConfig
from router_sdk_bert.head.head import make_head
from router_sdk_bert.head.prototypes import Prototype
from router_sdk_bert.head.rows import Row
from router_sdk_bert.strategy import BertStrategy

from router_sdk.testing.examples import HashedWordsEncoder

NAMES = ("billing", "coder", "analyst", "writer")


class HashedBert(BertStrategy):
    """The strategy on an encoder that needs no model."""

    def open(self):
        return HashedWordsEncoder()


def hashed_bert(services, **settings):
    """One that waits for its encoder."""
    return HashedBert(BertConfig(wait_for_encoder=True, **settings), services)


def clusters(count, *, dimension=32, spread=0.6, seed=0, names=NAMES, per_name=2):
    """Unit vectors around a few centres per agent, and whose each is, in random order."""
    centres = np.random.default_rng(99).normal(size=(len(names) * per_name, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    which = rng.integers(len(centres), size=count)
    vectors = centres[which] + spread * rng.normal(size=(count, dimension)) / np.sqrt(dimension)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [names[place % len(names)] for place in which]


def neighbours(count, names, *, seed, apart=0.3, dimension=32, spread=0.6):
    """Unit vectors of agents that come in pairs, each close to its fellow, and whose each is, in random order."""
    rng = np.random.default_rng(99)
    centres = np.repeat(rng.normal(size=(len(NAMES) // 2, dimension)), 2, axis=0)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    aside = rng.normal(size=centres.shape)
    centres += apart * aside / np.linalg.norm(aside, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    right = [names[place] for place in rng.integers(len(names), size=count)]
    vectors = centres[[NAMES.index(name) for name in right]] + spread * rng.normal(size=(count, dimension)) / np.sqrt(
        dimension
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), right


def labelled(vectors, labels, *, first=0, synthetic=False):
    """Rows that say who was right."""
    return [
        Row(f"{first + i:032x}", first + i + 1, vector, label, True, at=float(first + i), synthetic=synthetic)
        for i, (vector, label) in enumerate(zip(vectors, labels, strict=True))
    ]


def rewarded(vectors, agents, rewards, *, first=0):
    """Rows that say how well the agent did that acted."""
    return [
        Row(f"{first + i:032x}", first + i + 1, vector, agent=agent, reward=float(reward), at=float(first + i))
        for i, (vector, agent, reward) in enumerate(zip(vectors, agents, rewards, strict=True))
    ]


def new_head(names=NAMES, told=None, **settings):
    """A head that knows the agents; ``told`` holds the vectors that each states as its own."""
    head = make_head(HeadConfig(**settings), 0)
    told = told or {}
    prototypes = {name: [Prototype(f"{name} {i}", 1.0) for i, _ in enumerate(own)] for name, own in told.items()}
    vectors = {f"{name} {i}": vector for name, own in told.items() for i, vector in enumerate(own)}
    head.set_agents(names, prototypes, vectors)
    return head


def accuracy(head, vectors, right, names=NAMES):
    """Share of the tasks whose likeliest agent is the right one."""
    found = head.predict(vectors, names).probabilities.argmax(1)
    return float(np.mean([names[place] == label for place, label in zip(found, right, strict=True)]))


def files(folder):
    """What a folder holds, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
