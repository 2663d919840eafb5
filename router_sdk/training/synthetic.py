"""Made-up cases around errors: what was routed wrongly, said a little differently, with the label that was right.

From each labelled task whose favourite was wrong come texts by templates, without any model: a word left out or two
swapped (Wei & Zou, "EDA: Easy Data Augmentation", EMNLP 2019), and its frame with the slots of a similar text of the
same label, where that is an agent's own example, of the same session, or of none. They are trained on and nothing
else: no log holds them, nothing is judged by them, and they are forgotten with the session of the error that they came
from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.exchange.curation import doubt_of
from router_sdk.exchange.existing import FileContext
from router_sdk.private_files import write_private
from router_sdk.records import DEFAULT_TASK_TYPE, Example, Outcome, Task

if TYPE_CHECKING:
    from router_sdk.records import AgentSet

SYNTHETIC = "synthetic"
"""``Example.source`` of what was made up."""

MOST_ERRORS = 200
"""Errors from which cases are made: those of which the router was least unsure come last."""
EACH = 6
"""Cases from one error, at most."""
SIMILAR = 5
"""Texts whose words are tried in its frame."""
LEAST_WORDS = 3
LEAST_SHARED = 0.5
"""Share of an error's words that a case keeps."""


class Case(NamedTuple):
    """One made-up case.

    Attributes:
        decision_id: Its own id, the same for the same text of the same error.
        error: The decision that it came from.
        text: What is asked.
        label: Who would be right.
    """

    decision_id: str
    error: str
    text: str
    label: str


def cases_around_errors(examples: Sequence[Example], agents: AgentSet) -> list[Case]:
    """Cases around what was routed wrongly, the worst error first; a function of the examples and agents alone.

    A text that is known already is none, nor one that is more like a text of another label than like any of its own.

    Args:
        examples: Labelled ones among them are looked at, oldest first.
        agents: Whose examples fill slots; labels that name nobody of these are left out.
    """
    known = [(one.task.text.split(), one.label) for one in examples if one.labelled and one.task.text]
    own = [(text.split(), agent.name) for agent in agents for text in agent.examples]
    words = [(frozenset(map(str.casefold, told)), label) for told, label in (*known, *own)]
    seen = {" ".join(told).casefold() for told, _ in known}
    found: list[Case] = []
    errors = sorted(filter(_is_error, examples), key=lambda one: (-doubt_of(one), one.decision_id))
    for error in islice((one for one in errors if one.label in agents.positions), MOST_ERRORS):
        label, session = str(error.label), error.task.session_id
        frame = error.task.text.split()
        fillers = [told for told, name in own if name == label]
        fillers += [
            one.task.text.split()
            for one in examples
            if one.label == label and one is not error and one.task.session_id in (None, session) and one.task.text
        ]
        made = 0
        for told in _variants(frame, _similar(frame, fillers)):
            text = " ".join(told)
            if made == EACH:
                break
            if text.casefold() in seen or not _is_like_its_own(told, label, words):
                continue
            seen.add(text.casefold())
            digest = blake2b(f"{error.decision_id} {text}".encode("utf-8", "replace"), digest_size=16)
            found.append(Case(digest.hexdigest(), error.decision_id, text, label))
            made += 1
    return found


def _is_error(example: Example) -> bool:
    """Whether somebody here was sure of another agent than the label names."""
    if example.label is None or len(example.task.text.split()) < LEAST_WORDS:
        return False
    chances: Mapping[str, float] = example.probabilities
    return bool(chances) and max(chances, key=lambda name: chances[name]) != example.label


def _similar(frame: Sequence[str], fillers: Sequence[list[str]]) -> list[list[str]]:
    """Those that share most words with a text, and are not the same."""
    mine = set(map(str.casefold, frame))

    def shared(told: list[str]) -> float:
        other = set(map(str.casefold, told))
        return len(mine & other) / len(mine | other)

    ranked = sorted(fillers, key=lambda told: (-shared(told), told))
    return [told for told in ranked[:SIMILAR] if 0.0 < shared(told) < 1.0]


def _variants(frame: Sequence[str], similar: Sequence[list[str]]) -> Iterator[list[str]]:
    """The text with others' slots, one after the other; then without a word, and with two swapped."""
    for other in similar:
        matcher = SequenceMatcher(None, [word.casefold() for word in frame], [word.casefold() for word in other], False)
        for kind, begin, end, start, stop in matcher.get_opcodes():
            filled = [*frame[:begin], *other[start:stop], *frame[end:]]
            if kind == "replace" and (len(frame) - (end - begin)) / len(frame) >= LEAST_SHARED:
                yield filled
    places = sorted(range(len(frame)), key=lambda place: (len(frame[place]), place))  # short words carry least
    for place in places[: len(frame) // 2]:
        yield [*frame[:place], *frame[place + 1 :]]
        if place + 1 < len(frame):
            yield [*frame[:place], frame[place + 1], frame[place], *frame[place + 2 :]]


def _is_like_its_own(told: Sequence[str], label: str, words: Sequence[tuple[frozenset[str], str | None]]) -> bool:
    """Whether no text of another label is as near as the nearest of its own."""
    mine = frozenset(map(str.casefold, told))
    nearest = {True: 0.0, False: 0.0}
    for other, name in words:
        near = len(mine & other) / (len(mine | other) or 1)
        nearest[name == label] = max(nearest[name == label], near)
    return nearest[True] > nearest[False]


# -- from the process that notes them to the one that fits


def write_cases(cases: Sequence[Case], path: Path) -> None:
    """Write them as JSON."""
    write_private(path, json.dumps(cases))


def read_cases(path: Path) -> list[Case]:
    """Read what ``write_cases`` wrote; nothing, where nothing was."""
    return [Case(*row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def examples_of(cases: Sequence[Case], agents: AgentSet) -> list[tuple[str, Example]]:
    """Cases as labelled examples, each with the decision that it came from."""
    context = FileContext(agents.names)
    found = []
    for case in cases:
        signals = Outcome(correct_agent=case.label).signals()
        told = (case.decision_id, 0, context.add(Task(case.text)), 0, None, DEFAULT_TASK_TYPE, None, None, signals)
        found.append((case.error, Example(*told, None, None, 0.0, 0.0, 0.0, SYNTHETIC, context)))
    return found
