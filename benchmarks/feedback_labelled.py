"""Parts of `feedback.py` in which somebody says what would have been right: scores of every agent, examples, labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from embedded import encoded_before
from feedback_figures import Column, Run
from feedback_players import BOUNDS, Chain, Played, opened, routed
from feedback_streams import FeedbackStream, clinc_rows, examples_first, models, two_models, vectors_of
from measuring import separation

from router_sdk import Router

TRAIN = 0.7
FOLDS, RESAMPLES = 5, 1_000
WINDOW, WINDOWS = 100, 5
NEIGHBOURS, RIDGE = 50, 1.0
ALONE = ", examples alone"
REFUSED = 0.03
"""Share of the texts in scope that a threshold may refuse."""

CHAINS: dict[str, Chain] = {
    "as shipped": None,
    "bert": ["bert"],
    "bert, independent": [("bert", {"labels": "independent"})],
    "bert, exclusive": [("bert", {"labels": "exclusive"})],
    "thompson": ["thompson"],
    "thompson on bert's vectors": [("thompson", {"encoder": "bert"})],
}
Scorer = Callable[[FeedbackStream, Any, Any], Any]
"""Scores of every agent on the texts at some places, shape ``(m, k)``, learnt from all rewards at other places."""


def by_neighbours(stream: FeedbackStream, train: Any, test: Any) -> Any:
    """Mean reward over the nearest texts, by cosine."""
    scores = []
    for place in test:
        nearest = np.argpartition(-(stream.vectors[train] @ stream.vectors[place]), NEIGHBOURS)[:NEIGHBOURS]
        scores.append(stream.rewards[train[nearest]].mean(0))
    return np.array(scores)


def by_ridge(stream: FeedbackStream, train: Any, test: Any) -> Any:
    """Ridge regression on the vectors."""
    x, mean = stream.vectors[train].astype(float), stream.rewards[train].mean(0)
    centre = x.mean(0)
    x -= centre
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (stream.rewards[train] - mean))
    return (stream.vectors[test] - centre) @ weights + mean


def by_words(stream: FeedbackStream, train: Any, test: Any) -> Any:
    """TF-IDF of words and their pairs, and a logistic regression for each agent's success."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    x = tfidf.fit_transform([stream.texts[place] for place in train])
    y = tfidf.transform([stream.texts[place] for place in test])
    passed = stream.rewards[train] >= 0.5
    return np.column_stack(
        [LogisticRegression(max_iter=1_000).fit(x, each).predict_proba(y)[:, 1] for each in passed.T]
    )


def by_router(chain: Chain, seed: int) -> Scorer:
    """A router that is fitted with every agent's score."""

    def scores(stream: FeedbackStream, train: Any, test: Any) -> Any:
        with opened(stream.agents, chain, seed) as (router, _):
            fitted(router, stream, train)
            return np.array([ranked(router, stream, place) for place in test])

    return scores


def fitted(router: Router, stream: FeedbackStream, train: Sequence[int]) -> None:
    """Tell it every agent's score on some texts."""
    told = [dict(zip(stream.agents, stream.rewards[place].tolist(), strict=True)) for place in train]
    router.fit([stream.texts[place] for place in train], told)


def ranked(router: Router, stream: FeedbackStream, place: int) -> list[float]:
    """The scores by which it ranks the agents on a text, the first in its ranking being the highest."""
    found = {one.agent: one.score for one in router.rank(stream.texts[place])}
    return [found.get(name, 0.0) for name in stream.agents]


def full(run: Run) -> None:
    """Nine models: all scores of 70 % of the texts are told, the rest is routed."""
    peers: dict[str, Scorer] = {"kNN-50": by_neighbours, "ridge": by_ridge}
    with encoded_before(vectors_of("nine_models")):
        for seed in run.seeds:
            stream = models(seed)
            if run.rounds:
                stream = stream.cut(run.rounds)
            count = len(stream.texts)
            train, test = np.split(np.arange(count), [int(TRAIN * count)])
            rest = stream.rewards[test]
            for name, chain in run.wanted(CHAINS).items():
                started = time.perf_counter()
                with opened(stream.agents, chain, seed) as (router, _):
                    fitted(router, stream, train)
                    spent = time.perf_counter() - started
                    run.results.add("full", "scores", name, seed, **asked(router, stream, test), fit_s=spent)
            for name, scorer in run.wanted(peers).items():
                chosen = scorer(stream, train, test).argmax(1)
                run.results.add("full", "scores", name, seed, rank=rest[np.arange(len(test)), chosen].mean())
            single = rest[:, stream.rewards[train].mean(0).argmax()].mean()
            bounds = {"best single agent": single, "random": rest.mean(), "oracle": rest.max(1).mean()}
            for name, value in bounds.items():
                run.results.add("full", "scores", name, seed, rank=value)
    columns = [Column(f"`{name}`", "scores", name) for name in ("rank", "evaluate", "route")]
    title = "Nine models, every agent's score told on 70 %: mean score on the rest of the first in `rank()`"
    run.show(
        "full", title, [*columns, Column("most to one agent", "scores", "most to one", compared=False)], bounds=BOUNDS
    )


def asked(router: Router, stream: FeedbackStream, test: Sequence[int]) -> dict[str, float]:
    """Mean score of the first in ``rank``, of what ``route`` gives, and what ``evaluate`` says."""
    place_of = {name: place for place, name in enumerate(stream.agents)}
    first = [place_of[router.rank(stream.texts[place])[0].agent] for place in test]
    given = [router.route(stream.texts[place]).agent for place in test]
    routed_to = [place_of[agent] for agent in given if agent is not None]
    scores = [dict(zip(stream.agents, stream.rewards[place].tolist(), strict=True)) for place in test]
    said = router.evaluate([stream.texts[place] for place in test], scores)
    return {
        "rank": stream.rewards[test, first].mean(),
        "evaluate": said.mean_score,
        "route": stream.rewards[test, routed_to].mean() if len(routed_to) == len(test) else float("nan"),
        "most to one": np.bincount(first).max() / len(first),
    }


def apgr(run: Run) -> None:
    """A weak and a strong model: how much of what lies between them is won, over all shares of strong calls."""
    peers: dict[str, Scorer] = {
        "TF-IDF, two logistic regressions": by_words,
        "kNN-50": by_neighbours,
        "ridge": by_ridge,
    }
    sets = ("gsm8k", "mmlu")
    for name in run.those(sets):
        with encoded_before(vectors_of(f"{name}_two_models")):
            for seed in run.seeds:
                stream = two_models(name, seed)
                if run.rounds:
                    stream = stream.cut(run.rounds)
                ours = {who: by_router(chain, seed) for who, chain in CHAINS.items()}
                for who, scorer in run.wanted({**ours, **peers}).items():
                    _five_folds(run, name, who, seed, stream, scorer)
    columns = [
        Column(f"{name}: {measure}", name, measure, compared=measure == "APGR")
        for name in run.those(sets)
        for measure in ("APGR", "low", "high")
    ]
    run.show("apgr", "Two models, five folds: APGR, and its 95 % interval by the bootstrap over texts", columns)


def _five_folds(run: Run, name: str, who: str, seed: int, stream: FeedbackStream, scorer: Scorer) -> None:
    """One contestant's APGR: each fold is judged by what was learnt from the other four."""
    started, count = time.perf_counter(), len(stream.texts)
    leads, gains = [], []
    for test in np.array_split(np.arange(count), FOLDS):
        found = scorer(stream, np.setdiff1d(np.arange(count), test), test)
        leads.append(found[:, 1] - found[:, 0])
        gains.append(stream.rewards[test, 1] - stream.rewards[test, 0])
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(RESAMPLES):
        drawn = [rng.integers(len(each), size=len(each)) for each in leads]
        some = ([each[those] for each, those in zip(part, drawn, strict=True)] for part in (leads, gains))
        resampled.append(recovered(*some))
    low, high = np.quantile(resampled, [0.025, 0.975])
    spent = time.perf_counter() - started
    run.results.add("apgr", name, who, seed, APGR=recovered(leads, gains), low=low, high=high, fit_s=spent)


def recovered(leads: Sequence[Any], gains: Sequence[Any]) -> float:
    """Average performance gap recovered (Ong et al., "RouteLLM", ICLR 2025); .5 of a random order.

    The texts with the greatest lead go to the strong model first. What share of the gap between both models that wins
    is averaged over all shares of strong calls, exactly; ties count as if in a random order.

    Args:
        leads: For each fold, by how much the strong model is believed to be better on its texts, shape ``(n,)``.
        gains: For each fold, by how much it is better, shape ``(n,)``; its sum over all folds must not be 0.
    """
    areas = []
    for lead, gain in zip(leads, gains, strict=True):
        _, group, sizes = np.unique(-lead, return_inverse=True, return_counts=True)
        even = np.repeat(np.bincount(group, weights=gain) / sizes, sizes)
        won = np.concatenate([[0.0], np.cumsum(even)])
        areas.append((won[1:] + won[:-1]).mean() / 2.0)
    return float(sum(areas) / sum(gain.sum() for gain in gains))


def examples(run: Run) -> None:
    """Agents with twenty examples each, and then outcomes: nothing may get worse by them."""
    chains: dict[str, Chain] = {"as shipped": None, "bert": ["bert"], "thompson, heuristic": ["thompson", "heuristic"]}
    measures = [f"{start + 1} to {start + WINDOW}" for start in range(0, WINDOWS * WINDOW, WINDOW)]

    def windows(stream: FeedbackStream, played: Played) -> dict[str, float]:
        right = (played.chosen == stream.right)[: WINDOW * WINDOWS]
        return dict(zip(measures, right.reshape(WINDOWS, -1).mean(1), strict=True))

    rows = {"stated": "in the agents' own words", "fitted": "told by `fit`"}
    with encoded_before(vectors_of("clinc150")):
        for row in run.those(rows):
            contestants = {}
            for name, chain in chains.items():
                contestants[name] = routed(chain, fitted=row == "fitted")
                contestants[name + ALONE] = routed(chain, fitted=row == "fitted", outcomes=False)
            run.play("examples", {row: lambda seed: examples_first(seed, WINDOW * WINDOWS)}, contestants, windows)
    for row in run.those(rows):
        for name in run.wanted(chains):
            title = f"Ten agents with 20 examples each, {rows[row]}, then bandit feedback: right choices, by window"
            columns = [Column(measure, row, measure) for measure in measures]
            run.show("examples", title, columns, against=name + ALONE, only=(name, name + ALONE))


def strangers(run: Run) -> None:
    """CLINC150's ten domains are shown with their labels, and no text for nobody; then some come.

    A threshold that refuses 3 % of what is in scope is taken from validation texts in scope. What a strategy says of a
    text's novelty is taken from its explanation; its confidence may serve, too.
    """
    parts = {name: clinc_rows(name) for name in ("train", "val", "test", "oos_test")}
    with encoded_before(vectors_of("clinc150")):
        for seed in run.seeds:
            order = np.random.default_rng(seed).permutation(len(parts["train"]))[: run.rounds or None]
            train = [parts["train"][place] for place in order]
            for name, chain in run.wanted(CHAINS).items():
                with opened(sorted({row["domain"] for row in train}), chain, seed) as (router, _):
                    router.fit([row["text"] for row in train], [row["domain"] for row in train])
                    said = {part: _said(router, parts[part]) for part in ("val", "test", "oos_test")}
                known, strange = said["test"], said["oos_test"]
                figures = {
                    "refused": strange["refused"].mean(),
                    "in scope": known["refused"].mean(),
                    "sure": (strange["confidence"] >= 0.5).mean(),
                    **_by_threshold("novelty", said, lambda told: told["novelty"]),
                    **_by_threshold("confidence", said, lambda told: 1.0 - told["confidence"]),
                }
                run.results.add("strangers", "ten domains", name, seed, **figures)
    columns = [
        ("refused at defaults", "refused"),
        ("in scope", "in scope"),
        ("confidence ≥ .5", "sure"),
        ("novelty: AUROC", "novelty AUROC"),
        ("refused at 3 %", "novelty refused"),
        ("in scope", "novelty in scope"),
        ("confidence: AUROC", "confidence AUROC"),
        ("refused at 3 %", "confidence refused"),
        ("in scope", "confidence in scope"),
    ]
    title = "Texts for nobody, of which none was shown"
    run.show(
        "strangers", title, [Column(heading, "ten domains", measure, compared=False) for heading, measure in columns]
    )


def _said(router: Router, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is said of texts: whether nobody gets them, the confidence, and the novelty (0 where none is told)."""
    refused, confidence, novelty = [], [], []
    for row in rows:
        decision = router.route(row["text"])
        told = decision.distribution.explain().get("novelty")
        refused.append(decision.agent is None)
        confidence.append(decision.confidence or 0.0)
        novelty.append(told if isinstance(told, float) else 0.0)
    return {"refused": np.array(refused), "confidence": np.array(confidence), "novelty": np.array(novelty)}


def _by_threshold(
    name: str, said: Mapping[str, Mapping[str, Any]], score: Callable[[Mapping[str, Any]], Any]
) -> dict[str, float]:
    """How well a score tells strangers, and what it refuses at the threshold."""
    least = np.quantile(score(said["val"]), 1.0 - REFUSED)
    known, strange = score(said["test"]), score(said["oos_test"])
    return {
        f"{name} AUROC": separation(known, strange),
        f"{name} refused": float((strange > least).mean()),
        f"{name} in scope": float((known > least).mean()),
    }
