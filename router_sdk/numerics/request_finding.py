"""Which passage of a long text is the request: the words of texts that stand alone against those that surround it.

What a long text brings along (a mail's thread, a document, logs) is like what others bring along; the request in it is
like texts that are nothing but a request, and like what agents say of themselves. So each word has a log ratio of how
often it stands in either: naive Bayes, smoothed by a Dirichlet prior (Zhai and Lafferty, "A study of smoothing methods
for language models applied to information retrieval", 2004). What that gets wrong is learnt, by a logistic regression
over words and pairs of words (steps as in Duchi et al., "Adaptive subgradients", 2011). It takes texts that stand
alone for requests, and the passages of a long text that look most like one, all but the best, for none. The request is
the run of words with the largest sum (Bentley, "Programming pearls", 1984), so that no sentence marks are needed; where
there are some, it likes to begin and to end there.

Only counts and weights of hashed words are kept. They follow from the texts and their order alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

from router_sdk.numerics.state_file import array_of, load_state, write_state
from router_sdk.spelling import normal, word_spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

SHORT, LONG = 1_000, 4_000
"""Characters up to which a text is taken for a request, and beyond which it is taken for one with something around it.
What lies between is read as it is, as short ones are, and says neither."""
LONGEST = 100_000
"""Characters of a long text that are looked at: its first half and its last."""
WORDS, PAIRS = 1 << 15, 1 << 16
"""Hashed words, and pairs of words that stand side by side."""
LEAST = 20
"""Words of requests that must be known before one is looked for."""
PRIOR, PSEUDO = 500.0, 0.5
"""Words that the smoothing of requests is worth, and how often each word of surroundings is seen beforehand."""
COUNTED = 0.3
"""Weight of the counts: words of one passage do not come independently of each other."""
MARK = 0.5
"""What a passage gains where it begins, and where it ends, at a sentence's mark."""
RATE = 0.5
"""First step of the regression."""
RIVALS = 7
"""Passages of a long text, beside the best, that are learnt as none."""
BIAS_RATE = 0.05
"""Length of its steps for what all passages have in common."""
ALL_LEARNT, EVERY = 2_000, 8
"""Texts each of which is learnt from; later on one in so many."""
STEM = "requests"
_SAVED = ("requests", "surroundings", "words", "pairs", "word_steps", "pair_steps")

_MARKS = re.compile(r"""[.!?;:\u2026](?=[\s"'\u2019\u201d\xbb)\]]|$)|[\n\u3002\uff01\uff1f\uff1b\uff1a\u0964\u061f]""")
"""Ends of sentences and lines, those of Chinese, Japanese, Hindi and Arabic among them."""
_SIGNS = re.compile(r"[^\w\s]*")


class _Words(NamedTuple):
    """A text's words.

    Attributes:
        text: In Unicode's form NFC, cut where it is longer than ``LONGEST``.
        spans: Where each begins and ends.
        words: Hashed, shape ``(n,)``.
        pairs: Each with the one before it, hashed, shape ``(n - 1,)``; empty where there is no word.
    """

    text: str
    spans: list[tuple[int, int]]
    words: NDArray[np.intp]
    pairs: NDArray[np.intp]

    def marks(self) -> NDArray[np.bool_]:
        """Whether a mark stands before each word, and behind the last, shape ``(n + 1,)``."""
        found = np.zeros(len(self.spans) + 1, dtype=bool)
        starts = np.array([start for start, _ in self.spans])
        found[np.searchsorted(starts, [match.start() for match in _MARKS.finditer(self.text)])] = True
        found[0] = found[-1] = True
        return found


def _words(text: str) -> _Words:
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
    text = normal(text)
    spans = word_spans(text)
    words = np.array([crc32(text[start:end].lower().encode()) >> 17 for start, end in spans], dtype=np.intp)
    return _Words(text, spans, words, (words[:-1] * 40_503 + words[1:] * 9_973) & (PAIRS - 1))


class Passage(NamedTuple):
    """A run of a text's words, from ``start`` up to, not including, ``end``."""

    score: float
    start: int
    end: int


@dataclass(slots=True)
class Evidence:
    """What is known of words.

    Attributes:
        requests: How often each stood in a text that stands alone, shape ``(WORDS,)``.
        surroundings: How often in a long one, likewise.
        words: What the regression adds for each.
        pairs: What it adds for each pair, shape ``(PAIRS,)``.
        bias: What it adds for every passage.
        asked: Sum of ``requests``.
        seen: Sum of ``surroundings``.
    """

    requests: NDArray[np.float32]
    surroundings: NDArray[np.float32]
    words: NDArray[np.float32]
    pairs: NDArray[np.float32]
    bias: float = 0.0
    asked: float = 0.0
    seen: float = 0.0

    def copy(self) -> Evidence:
        """One that stays as it is."""
        arrays = (self.requests.copy(), self.surroundings.copy(), self.words.copy(), self.pairs.copy())
        return Evidence(*arrays, self.bias, self.asked, self.seen)

    def scores(self, words: NDArray[np.intp], pairs: NDArray[np.intp], *, new: bool) -> NDArray[np.float64]:
        """How much each of some words speaks for a request.

        Args:
            words: Shape ``(n,)``.
            pairs: Each with the one before, shape ``(n - 1,)``.
            new: Whether they are of surroundings that were not counted yet.
        """
        seen, total = self.surroundings[words].astype(float), self.seen
        if new:
            seen += np.bincount(words, minlength=WORDS)[words]
            total += len(words)
        usual = (seen + PSEUDO) / (total + PSEUDO * WORDS)
        asked = (self.requests[words] + PRIOR * usual) / (self.asked + PRIOR)
        found = COUNTED * np.log(asked / usual) + self.words[words]
        found[1:] += self.pairs[pairs]
        return found

    def passage(self, text: str) -> str:
        """The request in a long text; the text itself where it is not long, and as long as too little is known."""
        if len(text) <= LONG or not self.seen or self.asked < LEAST:
            return text
        told = _words(text)
        if not told.spans:
            return text
        best = self.best(told, 1, new=True)[0]
        start, end = told.spans[best.start][0], told.spans[best.end - 1][1]
        closing = _SIGNS.match(told.text, end)
        return told.text[start : end if closing is None else closing.end()]

    def best(self, told: _Words, count: int, *, new: bool) -> list[Passage]:
        """The passages that look most like a request, none overlapping another, the best first."""
        gains = np.concatenate([[0.0], np.cumsum(self.scores(told.words, told.pairs, new=new))])
        marks = MARK * told.marks()
        begins, ends = gains - marks, gains + marks
        parts = [_best_within(begins, ends, 0, len(told.spans))]
        found: list[Passage] = []
        while parts and len(found) < count:
            at = max(range(len(parts)), key=lambda place: parts[place][0].score)
            passage, start, end = parts.pop(at)
            found.append(passage)
            parts += [
                _best_within(begins, ends, *rest)
                for rest in ((start, passage.start), (passage.end, end))
                if rest[0] < rest[1]
            ]
        return found


def _best_within(
    begins: NDArray[np.float64], ends: NDArray[np.float64], start: int, end: int
) -> tuple[Passage, int, int]:
    """The run of words with the largest sum between two places, and these."""
    gain = ends[start + 1 : end + 1] - np.minimum.accumulate(begins[start:end])
    last = start + int(gain.argmax())
    first = start + int(begins[start : last + 1].argmin())
    return Passage(float(gain[last - start]), first, last + 1), start, end


def _nothing() -> Evidence:
    requests, surroundings, words = np.zeros((3, WORDS), dtype=np.float32)
    return Evidence(requests, surroundings, words, np.zeros(PAIRS, dtype=np.float32))


NOTHING = _nothing()
"""What is known at first; nobody writes into it."""


class RequestFinder:
    """Learns what requests look like, and what stands around them.

    Attributes:
        evidence: What requests read: a copy of what is learnt, as of the last long text.
    """

    def __init__(self) -> None:
        self._live = _nothing()
        self._steps = (np.zeros(WORDS, dtype=np.float32), np.zeros(PAIRS, dtype=np.float32))
        self._told: dict[str, NDArray[np.intp]] = {}
        self._seen = 0
        self._evidence, self._changed = NOTHING, False

    @property
    def evidence(self) -> Evidence:
        """What requests read: all that is known by now, with what agents say of themselves; it stays as it is."""
        if self._changed and self._live.seen:
            found = self._live.copy()
            for words in self._told.values():
                np.add.at(found.requests, words, 1.0)
                found.asked += len(words)
            self._evidence = found
        self._changed = False
        return self._evidence

    def asks(self, decision_id: str) -> bool:
        """Whether this decision's text is one to learn from; asked of each once."""
        self._seen += 1
        return self._seen <= ALL_LEARNT or crc32(decision_id.encode()) % EVERY == 0

    def prepare(self, texts: Iterable[str]) -> None:
        """Take what agents say of themselves for requests, in place of what they said before."""
        before, told = self._told, dict.fromkeys(texts)
        if told.keys() == before.keys():
            return
        self._told = {text: before[text] if text in before else _words(text).words for text in told}
        self._changed = True

    def learn(self, text: str) -> None:
        """Learn from one text, short or long."""
        if SHORT < len(text) <= LONG:
            return
        told, live = _words(text), self._live
        if not told.spans:
            return
        self._changed = True
        if len(text) <= SHORT:
            np.add.at(live.requests, told.words, 1.0)
            live.asked += len(told.words)
            if live.seen:
                self._step(told.words, told.pairs, asked=True)
            return
        np.add.at(live.surroundings, told.words, 1.0)
        live.seen += len(told.words)
        if live.asked >= LEAST:
            for _, start, end in live.best(told, 1 + RIVALS, new=False)[1:]:
                self._step(told.words[start:end], told.pairs[start : end - 1], asked=False)

    def _step(self, words: NDArray[np.intp], pairs: NDArray[np.intp], *, asked: bool) -> None:
        """One step of the regression towards whether a passage is a request."""
        live = self._live
        score = live.bias + float(live.scores(words, pairs, new=False).sum())
        error = asked - 1.0 / (1.0 + exp(-min(max(score, -30.0), 30.0)))
        for weights, steps, places in zip((live.words, live.pairs), self._steps, (words, pairs), strict=True):
            once = np.unique(places)
            steps[once] += error * error
            weights[once] += RATE * error / np.sqrt(1.0 + steps[once])
        live.bias += BIAS_RATE * error

    def save(self, folder: Path) -> None:
        """Write what was learnt, without what agents say of themselves."""
        live = self._live
        if not self._seen and not live.seen and not live.asked:
            return
        arrays: dict[str, NDArray[Any]] = {}
        for name, array in zip(
            _SAVED, (live.requests, live.surroundings, live.words, live.pairs, *self._steps), strict=True
        ):
            places = np.flatnonzero(array)
            arrays |= {f"{name}.places": places.astype(np.int32), name: array[places]}
        write_state(folder, STEM, arrays, {"bias": live.bias, "seen": self._seen, "counted": [live.asked, live.seen]})

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote into one that knows nothing; what agents say of themselves is to be told again.

        Raises:
            CorruptArtifactError: if it is not what was written; all is then as it was.
        """
        if (folder / f"{STEM}.json").exists():
            load_state(folder, STEM, self._restore)

    def _restore(self, stored: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        arrays = []
        for name in _SAVED:
            array = np.zeros(PAIRS if "pair" in name else WORDS, dtype=np.float32)
            places = array_of(stored, f"{name}.places", np.int32, (None,), (0, len(array) - 1))
            array[places] = array_of(stored, name, np.float32, (len(places),))
            arrays.append(array)
        requests, surroundings, words, pairs, *steps = arrays
        asked, seen = map(float, facts["counted"])
        live = Evidence(requests, surroundings, words, pairs, float(facts["bias"]), asked, seen)
        self._live, self._seen, self._steps, self._told = live, int(facts["seen"]), (steps[0], steps[1]), {}
        self._changed = True
