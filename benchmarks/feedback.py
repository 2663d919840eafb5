"""What the router learns from every kind of feedback, as shipped, beside its strategies alone and its peers.

Every contestant of a part sees the same texts in the same order, rewards that were drawn before anybody chose, each
outcome before the next text, and the same exploration floor; peers see the vectors of the default encoder, in int8 as
it serves. A figure is the mean over the seeds; in brackets stands its distance to the best of the column, seed by seed,
with the 95 % interval. Progress is told on standard error.
CLINC150: clinc/oos-eval, Larson et al., EMNLP 2019, CC BY 3.0. Nine models: ulab-uiuc/LLMRouter, MIT. Two models:
lm-sys/RouteLLM, Apache-2.0.

    python benchmarks/feedback.py --only kinds --seeds 8 [--first-seed 0] [--rows 1/0,.10/.01] [--who shipped,VW]
                                  [--rounds 3000] [--out figures.json]
    python benchmarks/feedback.py --only kinds --show figures.json more.json

Parts: kinds (seven kinds of reward), silent (texts say nothing), models (nine models, bandit feedback), full (nine
models, all scores), apgr (two models), text (no transformer, beside Vowpal Wabbit), language (one that the encoder does
not know), long (requests within long texts), examples (first outcomes after examples), strangers (texts for nobody),
skills (sixty agents that share six); and slow ones: intents (150 agents), rare (one agent has 95 % of the traffic).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bandit_peers import installed
from embedded import encoded_before
from feedback_figures import Column, Results, Run, of_long, recalls, rewards, right_choices
from feedback_labelled import apgr, examples, full, strangers
from feedback_players import BOUNDS, CELLS, EVERYBODY, LINEAR, MEMBERS, OURS, PEERS, SHIPPED, TEXT_PEERS, WITHOUT_MODEL
from feedback_streams import (
    KINDS,
    LONG,
    NOTHING_SAID,
    in_made_up_words,
    intents,
    models,
    nothing_said,
    of_kind,
    shared_skills,
    skewed,
    ten_agents,
    vectors_of,
    within_long,
)
from routing import DATA


def show(run: Run, part: str, title: str, columns: Sequence[Column], rows: Iterable[str]) -> None:
    """What everybody came to; the chain beside its members; and how far off their confidences are."""
    run.show(part, title, columns, bounds=BOUNDS)
    run.show(part, "The chain and its members alone: the same", columns, only=(SHIPPED, *MEMBERS))
    errors = [Column(row, row, "ece", compared=False) for row in run.those(rows)]
    run.show(part, "Calibration error of the favourite's reward, ten bins of equal mass", errors, only=OURS)
    print(run.results.answers(part, run.those(rows), SHIPPED), flush=True)


def kinds(run: Run) -> None:
    """Seven kinds of reward: a text belongs to one of six agents, and success says so more or less clearly."""
    streams = {name: lambda seed, kind=kind: of_kind(kind, seed) for name, kind in KINDS.items()}
    with encoded_before(vectors_of("clinc150")):
        run.play("kinds", streams, EVERYBODY, right_choices)
    title = "Share of right choices in the last 1,000 rounds, by the mean reward of the right agent and of any other"
    show(run, "kinds", title, [Column(name, name, "last") for name in run.those(KINDS)], KINDS)


def silent(run: Run) -> None:
    """Five agents, one of them the better whatever the text says, and rewards are rare."""
    streams = {name: lambda seed, kind=kind: nothing_said(kind, seed) for name, kind in NOTHING_SAID.items()}
    with encoded_before(vectors_of("clinc150")):
        run.play("silent", streams, EVERYBODY, right_choices)
    title = "Texts that say nothing: share of the better of five agents in the last 2,000 of 10,000 rounds"
    show(run, "silent", title, [Column(name, name, "last 2,000") for name in run.those(NOTHING_SAID)], NOTHING_SAID)


def nine_models(run: Run) -> None:
    """Nine models with real scores, cold."""
    with encoded_before(vectors_of("nine_models")):
        run.play("models", {"bandit": models}, EVERYBODY, rewards)
    columns = [
        Column(measure, "bandit", measure) for measure in ("first 300", "first 1,000", "first 2,000", "all", "last")
    ]
    title = "Nine models, bandit feedback: mean reward"
    (cells,) = CELLS
    show(run, "models", f"{title}, against the best", columns, ["bandit"])
    run.show("models", f"{title}, against the Beta cells", columns, against=cells)


def text(run: Run) -> None:
    """Ten agents, and nobody has a model: the words alone."""
    contestants = {**WITHOUT_MODEL, **TEXT_PEERS}
    run.play("text", {"ten agents": ten_agents}, contestants, right_choices)
    columns = [Column(measure, "ten agents", measure) for measure in ("all", "last 3,000")]
    title = "CLINC150, ten agents, text without a model: share of right choices"
    run.show("text", title, columns, spread=True)


def language(run: Run) -> None:
    """Texts in a language that the encoder does not know."""
    contestants = {name: EVERYBODY[name] for name in (SHIPPED, "bert", "thompson")}
    run.play("language", {"made-up words": in_made_up_words}, contestants, right_choices)
    columns = [Column(measure, "made-up words", measure) for measure in ("all", "last")]
    title = "CLINC150 in a language that the encoder does not know, six agents: share of right choices"
    show(run, "language", title, columns, ["made-up words"])


def long(run: Run) -> None:
    """A request in the middle of some 2,000 words: 30 % of the texts."""
    contestants = {name: EVERYBODY[name] for name in (SHIPPED, "bert", "thompson")}
    streams = {name: lambda seed, kind=kind: within_long(kind, seed) for name, kind in LONG.items()}
    with encoded_before(vectors_of("clinc150")):
        run.play("long", streams, contestants, of_long)
    for measure in ("long", "short"):
        columns = [Column(name, name, measure) for name in run.those(LONG)]
        run.show("long", f"Right choices of the {measure} texts among the last 500 of 1,000", columns)


def many(run: Run) -> None:
    """CLINC150's 150 intents, an agent for each."""
    contestants = {name: EVERYBODY[name] for name in (SHIPPED, "bert", "bert, independent", "thompson", *LINEAR)}
    contestants |= {name: PEERS[name] for name in ("LinUCB alpha=.25", "VW squarecb")}
    with encoded_before(vectors_of("clinc150")):
        run.play("intents", {"150": intents}, contestants, right_choices)
    columns = [Column(measure, "150", measure) for measure in ("all", "last 3,000")]
    show(run, "intents", "CLINC150's 150 intents as agents, 20,000 rounds: share of right choices", columns, ["150"])


def skills(run: Run) -> None:
    """Sixty agents that share six skills."""
    contestants = {name: EVERYBODY[name] for name in (SHIPPED, *MEMBERS, "bert, independent", *LINEAR, *PEERS, *BOUNDS)}
    with encoded_before(vectors_of("clinc150")):
        run.play("skills", {"60": shared_skills}, contestants, rewards)
    columns = [Column(measure, "60", measure) for measure in ("first 1,000", "first 2,000", "all", "last")]
    show(run, "skills", "Sixty agents that share six skills, 3,000 rounds: mean reward", columns, ["60"])


def rare(run: Run) -> None:
    """Ten agents, one of which has 95 % of the traffic."""
    with encoded_before(vectors_of("clinc150")):
        run.play("rare", {"95 %": skewed}, {**EVERYBODY, **TEXT_PEERS}, recalls)
    columns = [Column(measure, "95 %", measure) for measure in ("mean recall", "least recall", "all")]
    title = "Ten agents, one with 95 % of the traffic: recall of the other nine over their tasks after the 100th"
    show(run, "rare", title, columns, ["95 %"])


PARTS: dict[str, Callable[[Run], None]] = {
    "kinds": kinds,
    "silent": silent,
    "models": nine_models,
    "full": full,
    "apgr": apgr,
    "text": text,
    "language": language,
    "long": long,
    "intents": many,
    "skills": skills,
    "examples": examples,
    "rare": rare,
    "strangers": strangers,
}
SLOW = ("intents", "rare")


def main(argv: Sequence[str] | None = None) -> None:
    """Play the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    quick = ",".join(name for name in PARTS if name not in SLOW)
    parser.add_argument("--only", default=quick, help="comma-separated parts (default: all but the slow ones)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", default="", help="comma-separated rows of the parts")
    parser.add_argument("--who", default="", help="comma-separated parts of contestants' names")
    parser.add_argument("--rounds", type=int, default=0, help="most rounds of a stream")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures, by seed")
    parser.add_argument(
        "--show", type=Path, nargs="+", help="play nothing: the tables of what such files hold together"
    )
    given = parser.parse_args(argv)
    if not DATA.is_dir():
        print("skipped: no data at $ROUTER_BENCH_DATA")
        return
    seeds = range(given.first_seed, given.first_seed + (0 if given.show else given.seeds))
    conditions = {"peers": installed(), "seeds": list(seeds), "cores": os.cpu_count()}
    rows, who = (tuple(filter(None, told.split(","))) for told in (given.rows, given.who))
    run = Run(Results(given.out, conditions), seeds, rows, who, given.rounds)
    for file in given.show or ():
        run.results.read(file)
    if not given.show:
        print(f"seeds {seeds.start} to {seeds.stop - 1}; {installed()}", flush=True)
    for name in given.only.split(","):
        PARTS[name](run)


if __name__ == "__main__":
    main()
