"""The streams of `feedback.py`: texts, what every agent earns on each, and the vectors that its peers see."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np
from embedded import embedded, vector_of_text
from routing import Stream, clinc, nine_models, rows_of_set

SIX = ("auto_and_commute", "banking", "credit_cards", "home", "kitchen_and_dining", "meta")
"""The domains that are left where CLINC150 is reduced to six agents: the first six by name."""
IN_SCOPE = ("train", "val", "test")
ROUNDS, RARE_ROUNDS, MANY_ROUNDS, SKEWED_ROUNDS = 3_000, 10_000, 20_000, 30_000
SHARE_OF_ONE = 0.95
LONG_ROUNDS, LONG_WORDS, LONG_CHARACTERS = 1_000, 2_000, 1_000
TWINS = 10
"""Agents that can do the same, where agents share skills."""


@dataclass(frozen=True)
class FeedbackStream(Stream):
    """A stream with the vectors of its texts.

    Attributes:
        vectors: What the default encoder makes of each text, shape ``(n, d)``, in single precision.
        right: Place of the agent that should get each text, shape ``(n,)``; None where several may.
        graded: Whether rewards are told as qualities; else as successes and failures.
    """

    vectors: Any = None
    right: Any = None
    graded: bool = False

    def cut(self, rounds: int) -> FeedbackStream:
        """Its first rounds."""
        right = None if self.right is None else self.right[:rounds]
        return replace(
            self, texts=self.texts[:rounds], rewards=self.rewards[:rounds], vectors=self.vectors[:rounds], right=right
        )

    @property
    def long(self) -> Any:
        """Whether each text is long, shape ``(n,)``."""
        return np.array([len(text) > LONG_CHARACTERS for text in self.texts])


@cache
def vectors_of(name: str) -> Mapping[str, Any]:
    """Vectors of a data set's texts, by text."""
    return vector_of_text(name)


def stacked(name: str, texts: list[str]) -> Any:
    """The vectors of some texts of a data set, shape ``(n, d)``."""
    known = vectors_of(name)
    return np.array([known[text] for text in texts])


@dataclass(frozen=True)
class Kind:
    """A kind of reward.

    Attributes:
        right: Mean reward of the agent that a text belongs to.
        other: That of all others.
        noise: Standard deviation of a quality around its mean; None draws successes instead.
        rounds: How many.
    """

    right: float
    other: float
    noise: float | None = None
    rounds: int = ROUNDS

    def draw(self, right: Any, agents: int, rng: np.random.Generator) -> Any:
        """Reward of every agent in every round, shape ``(n, agents)``, drawn before anybody chooses."""
        means = np.full((len(right), agents), self.other)
        means[np.arange(len(right)), right] = self.right
        if self.noise is None:
            return (rng.random(means.shape) < means).astype(float)
        return np.clip(means + self.noise * rng.standard_normal(means.shape), 0.0, 1.0)


KINDS = {
    "1/0": Kind(1.0, 0.0),
    ".7/.3": Kind(0.7, 0.3),
    ".95/.6": Kind(0.95, 0.6),
    ".8/.5 noisy": Kind(0.8, 0.5, noise=0.2),
    ".9/.7 exact": Kind(0.9, 0.7, noise=0.0),
    ".6/.5 exact": Kind(0.6, 0.5, noise=0.0),
    ".10/.01": Kind(0.10, 0.01, rounds=RARE_ROUNDS),
}
"""By the mean reward of the right agent and of any other: successes, qualities with noise, exact qualities."""
NOTHING_SAID = {
    ".10/.01": Kind(0.10, 0.01, rounds=RARE_ROUNDS),
    ".02/.005": Kind(0.02, 0.005, rounds=RARE_ROUNDS),
}


def clinc_rows(*splits: str) -> list[dict[str, Any]]:
    """CLINC150's rows of these parts."""
    return [row for row in rows_of_set("clinc150") if row["split"] in splits]


def of_kind(kind: Kind, seed: int, domains: tuple[str, ...] = SIX) -> FeedbackStream:
    """Texts of some domains, each an agent, in a seeded order without repetition, under a kind of reward."""
    rng = np.random.default_rng(seed)
    rows = [row for row in clinc_rows(*IN_SCOPE) if row["domain"] in domains]
    chosen = [rows[place] for place in rng.permutation(len(rows))[: kind.rounds]]
    right = np.array([domains.index(row["domain"]) for row in chosen])
    texts, rewards = [row["text"] for row in chosen], kind.draw(right, len(domains), rng)
    graded, vectors = kind.noise is not None, stacked("clinc150", texts)
    return FeedbackStream(texts, rewards, list(domains), {}, vectors=vectors, right=right, graded=graded)


SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


def made_up(text: str, seed: int) -> str:
    """A text in a language that no encoder knows: each word stands for one of syllables that its hash chooses."""

    def word(found: re.Match[str]) -> str:
        number = crc32(f"{seed} {found[0].lower()}".encode())
        count = len(SYLLABLES)
        return "".join(SYLLABLES[number // count**place % count] for place in range(1 + min(len(found[0]), 9) // 3))

    return re.sub(r"[A-Za-z']+", word, text)


def in_made_up_words(seed: int) -> FeedbackStream:
    """The first kind of reward, of texts in a language that the encoder does not know."""
    plain = of_kind(KINDS["1/0"], seed)
    texts = [made_up(text, seed) for text in plain.texts]
    return replace(plain, texts=texts, vectors=embedded(texts))


@dataclass(frozen=True)
class LongTexts:
    """Requests within long texts.

    Attributes:
        filler: Data set of the problems and questions around them.
        place: Where a request stands, as a share of what is around it.
        share: Of the texts that are long.
        marks: Whether there are sentence marks and capitals.
    """

    filler: str = "gsm8k_two_models"
    place: float = 0.5
    share: float = 0.3
    marks: bool = True

    def around(self, request: str, texts: list[str], rng: np.random.Generator) -> str:
        """A request with some 2,000 words of other texts around it."""
        parts: list[str] = []
        while sum(len(part.split()) for part in parts) < LONG_WORDS:
            parts.append(texts[rng.integers(len(texts))])
        parts.insert(round(self.place * len(parts)), request)
        whole = " ".join(parts)
        return whole if self.marks else " ".join(re.findall(r"\w+", whole.lower()))


LONG = {
    "arithmetic": LongTexts(),
    "first": LongTexts(place=0.0),
    "last": LongTexts(place=1.0),
    "no marks": LongTexts(marks=False),
    "mmlu": LongTexts("mmlu_two_models"),
    "queries": LongTexts("nine_models"),
    "all long": LongTexts(share=1.0),
}


def within_long(kind: LongTexts, seed: int) -> FeedbackStream:
    """The first kind of reward; a share of the texts is long, and the agent's request stands somewhere in it."""
    plain = of_kind(KINDS["1/0"], seed).cut(LONG_ROUNDS)
    rng, around = np.random.default_rng([seed, 1]), [row["text"] for row in rows_of_set(kind.filler)]
    texts = [kind.around(text, around, rng) if rng.random() < kind.share else text for text in plain.texts]
    return replace(plain, texts=texts)


def nothing_said(kind: Kind, seed: int) -> FeedbackStream:
    """Any of CLINC150's texts, and five agents of which one is the better for all of them."""
    rng = np.random.default_rng(seed)
    rows = clinc_rows(*IN_SCOPE)
    texts = [rows[place]["text"] for place in rng.permutation(len(rows))[: kind.rounds]]
    right = np.full(len(texts), rng.integers(5))
    names = [f"agent-{place}" for place in range(5)]
    return FeedbackStream(
        texts, kind.draw(right, 5, rng), names, {}, vectors=stacked("clinc150", texts), right=right, graded=False
    )


def ten_agents(seed: int) -> FeedbackStream:
    """CLINC150's ten domains, each an agent, in a seeded order, see ``routing.clinc``; nobody sees vectors."""
    plain = clinc(seed)
    none = np.zeros((len(plain.texts), 0))
    return FeedbackStream(plain.texts, plain.rewards, plain.agents, {}, vectors=none, right=plain.rewards.argmax(1))


def examples_first(seed: int, rounds: int = 15_000) -> FeedbackStream:
    """The same with vectors, and each agent states twenty examples."""
    plain = clinc(seed)
    right, vectors = plain.rewards.argmax(1), stacked("clinc150", plain.texts)
    whole = FeedbackStream(plain.texts, plain.rewards, plain.agents, plain.examples, vectors=vectors, right=right)
    return whole.cut(rounds)


def intents(seed: int) -> FeedbackStream:
    """CLINC150's 150 intents, each an agent, in a seeded order without repetition."""
    rows = clinc_rows(*IN_SCOPE)
    order = np.random.default_rng(seed).permutation(len(rows))[:MANY_ROUNDS]
    return _labelled([rows[place] for place in order], "intent")


def shared_skills(seed: int) -> FeedbackStream:
    """Texts of six domains, and sixty agents of which ten at a time can do the same: they succeed nine times in ten.

    Others do once in ten. Nothing about an agent says what it can do.
    """
    plain = of_kind(KINDS["1/0"], seed)
    rng = np.random.default_rng([seed, TWINS])
    skilled = rng.permutation(np.repeat(np.arange(len(SIX)), TWINS))
    chances = np.where(skilled == plain.right[:, None], 0.9, 0.1)
    rewards = (rng.random(chances.shape) < chances).astype(float)
    return replace(plain, agents=[f"agent-{place}" for place in range(len(skilled))], rewards=rewards, right=None)


def skewed(seed: int) -> FeedbackStream:
    """CLINC150's ten domains drawn with replacement: a seeded one has 95 % of the tasks, the others share the rest."""
    rng = np.random.default_rng(seed)
    rows = clinc_rows(*IN_SCOPE)
    names = sorted({row["domain"] for row in rows})
    texts_of = {name: [row for row in rows if row["domain"] == name] for name in names}
    shares = np.full(len(names), (1.0 - SHARE_OF_ONE) / (len(names) - 1))
    shares[rng.integers(len(names))] = SHARE_OF_ONE
    drawn = [texts_of[names[place]] for place in rng.choice(len(names), SKEWED_ROUNDS, p=shares)]
    return _labelled([of_one[rng.integers(len(of_one))] for of_one in drawn], "domain")


def _labelled(rows: list[dict[str, Any]], label: str) -> FeedbackStream:
    """CLINC150's rows, with an agent for each label that occurs and a reward of 1 for the right one."""
    names = sorted({row[label] for row in clinc_rows(*IN_SCOPE)})
    place_of = {name: place for place, name in enumerate(names)}
    right, texts = np.array([place_of[row[label]] for row in rows]), [row["text"] for row in rows]
    return FeedbackStream(texts, np.eye(len(names))[right], names, {}, vectors=stacked("clinc150", texts), right=right)


def models(seed: int) -> FeedbackStream:
    """The nine models, see ``routing.nine_models``, with what the agents are said to be left out."""
    plain = nine_models(seed)
    return FeedbackStream(
        plain.texts, plain.rewards, plain.agents, {}, vectors=stacked("nine_models", plain.texts), graded=True
    )


def two_models(name: str, seed: int) -> FeedbackStream:
    """Whether a weak and a strong model solved each task of ``"gsm8k"`` or ``"mmlu"``, in a seeded order."""
    rows = rows_of_set(f"{name}_two_models")
    order = np.random.default_rng(seed).permutation(len(rows))
    agents = ["weak", "strong"]
    rewards = np.array([[float(rows[place][agent]) for agent in agents] for place in order])
    texts = [rows[place]["text"] for place in order]
    return FeedbackStream(texts, rewards, agents, {}, vectors=stacked(f"{name}_two_models", texts), graded=False)


StreamOf = Callable[[int], FeedbackStream]
