"""Why a task was given to whom: the stored examples nearest to it, and the words that matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk_bert.head.rows import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.head.analytic import AnalyticSnapshot
    from router_sdk_bert.head.estimates import Choice, Estimate
    from router_sdk_bert.head.snapshot import Snapshot


class StoredNames(NamedTuple):
    """What stored rows are called; all that an explanation keeps of a snapshot, since a caller may keep decisions.

    Attributes:
        ids: Decision of each stored outcome.
        texts: What each prototype says.
        codes: Code by name.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    codes: Mapping[str | None, int]


def explain(
    stored: StoredNames,
    estimate: Estimate,
    choice: Choice,
    expected: Callable[[str], dict[str, float]],
    names: tuple[str, ...],
    count: int,
) -> dict[str, Any]:
    """Why: chances, what to expect of each agent, and the nearest stored examples.

    Args:
        stored: Names of what the estimate was made from.
        estimate: Of one task.
        choice: What the policies came to together.
        expected: What to expect of an agent on this task.
        names: The agents in question.
        count: How many examples to name.
    """
    return {
        "policy": choice.policy,
        "policies": choice.weights,
        "chances": dict(zip(names, estimate.chances.tolist(), strict=True)),
        "no_agent_fits": estimate.nobody,
        "novelty": estimate.novelty,
        "novelty_limit": estimate.limit,
        "doubt": dict(zip(names, estimate.doubt.tolist(), strict=True)),
        "expected": {name: expected(name) for name in names},
        "nearest": nearest_examples(stored, estimate, count),
    }


def lead_of(
    snapshot: Snapshot | AnalyticSnapshot, names: tuple[str, ...], agent: str
) -> Callable[[NDArray[np.float32]], float]:
    """The log odds of an agent above the best other one, as a function of a task's embedding.

    Raises:
        ValueError: if the agent is not one of several, or, when called, there is nothing to judge by.
    """
    if agent not in names or len(names) < 2:
        raise ValueError(f"{agent!r} must be one of at least two agents, got {names}")
    place = names.index(agent)

    def lead(vector: NDArray[np.float32]) -> float:
        estimate = snapshot.estimate(vector, names)
        if estimate is None:
            raise ValueError("there is nothing to judge by yet")
        return float(estimate.odds[place] - np.delete(estimate.odds, place).max())

    return lead


def nearest_examples(stored: StoredNames, estimate: Estimate, count: int) -> list[dict[str, Any]]:
    """The stored outcomes and stated examples nearest to a task, nearest first.

    A stored one is named by its decision, whose text the log holds; a stated one by its text.
    """
    found = estimate.neighbours
    if found is None:
        return []
    name_of = {code: name for name, code in stored.codes.items()}
    told = []
    for rank in range(min(count, len(found.cosines))):
        place = int(found.places[rank]) - len(stored.texts)
        right, wrong = int(found.facts.right[rank]), int(found.facts.wrong[rank])
        said: dict[str, Any] = {"similarity": round(float(found.cosines[rank]), 4)}
        said |= {"text": stored.texts[place]} if place < 0 else {"decision_id": stored.ids[place]}
        said["agent"] = name_of.get(right if right >= NOBODY else wrong)
        said["success"] = round(float(found.facts.credit[rank]), 4)
        told.append(said)
    return told


def attribute_words(
    text: str, encode: Callable[[Sequence[str]], Sequence[NDArray[Any]]], score: Callable[[NDArray[np.float32]], float]
) -> list[tuple[str, float]]:
    """How much each word of a text speaks for a score: what the score loses when the word is left out.

    Occlusion (Zeiler and Fergus, 2014): one embedding per word, so not for the hot path.

    Args:
        text: What was routed.
        encode: The encoder.
        score: From an embedding to a number, such as the log odds of the chosen agent.
    """
    words = text.split()
    if not words:
        return []
    without = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
    vectors = [np.asarray(vector, dtype=np.float32) for vector in encode([text, *without])]
    whole = score(vectors[0])
    return [(word, whole - score(vector)) for word, vector in zip(words, vectors[1:], strict=True)]
