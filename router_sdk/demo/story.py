"""The demonstration from beginning to end: the acts, the contestants in each, and the report of what came of them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from router_sdk.demo.acts import DemoConfig, Streams, fitted_in
from router_sdk.demo.contest import FITTED_WEIGHT, Play, Progress, play_all
from router_sdk.demo.contestant import LEARNING_OFF, Trace, contestants
from router_sdk.demo.report import ActReport, DemoReport
from router_sdk.demo.serving import MOST_TASKS, TITLE, ServingReport
from router_sdk.demo.summary import summarise
from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.intervals import METHOD
from router_sdk.plugins import FIRST_PARTY, PluginRegistry
from router_sdk.router import Router

INSTALL = {name: f"pip install router-sdk-{name}" for name in FIRST_PARTY}


def run_demo(config: DemoConfig, progress: Progress = lambda words, share: None) -> DemoReport:
    """Play the demonstration.

    Args:
        config: What to play.
        progress: Told how far it is.

    Raises:
        InvalidInputError: if the data file cannot serve, or ``config.store`` exists already.
        UnknownStrategyError: if a strategy of the chain is not installed.
        RouterError: if a process that plays a part of it ends before its time.
    """
    started = time.perf_counter()
    if config.store is not None and config.store.exists():
        raise InvalidInputError(f"{config.store}: exists already; the demonstration needs a store of its own")
    progress("opening the strategies", 0.0)
    chain, notes = ready_chain(config)
    progress("preparing the streams", 0.0)
    streams = Streams(config, chain)
    contests = {act: {seed: streams.of(act, seed) for seed in config.seeds_of(act)} for act in config.contests}
    weights = {one: FITTED_WEIGHT if fitted_in(one.chain) else 1.0 for one in contestants(chain)}
    plays = [
        Play(act, seed, one, len(stream.items) * weight)
        for act, of_seed in contests.items()
        for seed, stream in of_seed.items()
        for one, weight in weights.items()
    ]
    if "serving" in config.acts:
        if fitted_in(chain):
            plays.append(Play("serving", config.seed, contestants(chain)[0], MOST_TASKS * FITTED_WEIGHT))
        elif contests:
            notes.append(f"“{TITLE}” is left out: of {', '.join(chain)} none has a fit, {INSTALL['bert']} has")
        else:
            raise InvalidInputError(f"nothing can be played: of {', '.join(chain)} none has a fit; {INSTALL['bert']}")
    plays.sort(key=lambda one: (one.act != "marketing-mix", -one.weight))  # the longest first
    played = dict(zip(plays, play_all(plays, config, chain, progress), strict=True))
    progress("summing up", 1.0)
    acts = []
    for act, of_seed in contests.items():
        by_name: dict[str, list[Trace]] = {one.name: [] for one in weights}
        for play, trace in played.items():
            if play.act == act and isinstance(trace, Trace):
                by_name[play.contestant.name].append(trace)
        acts.append(summarise(act, of_seed, by_name))
    serving = next((one for one in played.values() if isinstance(one, ServingReport)), None)
    notes += _remarks(acts, config.processes)
    return DemoReport(tuple(acts), chain, time.perf_counter() - started, config.processes, tuple(notes), serving)


def ready_chain(config: DemoConfig) -> tuple[tuple[str, ...], list[str]]:
    """The strategies that can serve on this machine, and what to say of those that cannot.

    Raises:
        UnknownStrategyError: if one was asked for that is not installed.
        InvalidInputError: if none can serve.
    """
    known = PluginRegistry.load().strategies
    asked = config.strategies or tuple(name for name in FIRST_PARTY if name in known)
    settings = [(name, dict(config.strategy.get(name, {}))) for name in asked]
    with Router(agents=["one", "another"], strategies=settings, store=":memory:", learning=False) as router:
        unready = router.warm_up()
    notes = [
        f"{name} could not be opened, and the demonstration goes on without: {why}" for name, why in unready.items()
    ]
    if config.strategies is None:
        notes += [f"{name} is not installed: {INSTALL[name]}" for name in FIRST_PARTY if name not in known]
    chain = tuple(name for name in asked if name not in unready)
    if not chain:
        raise InvalidInputError(f"no strategy can serve here: {'; '.join(notes)}")
    return chain, notes


def _remarks(acts: Sequence[ActReport], processes: int) -> list[str]:
    remarks = [
        METHOD,
        f"“{LEARNING_OFF}” is the same chain, which serves what it starts with and does not explore; everybody else "
        "explores as shipped. The best single agent is chosen in hindsight, and the oracle knows the chances.",
    ]
    if any(act.fits for act in acts):
        remarks.append(
            "Fits here refit the head alone, which learns from every outcome meanwhile, too: they seldom change much. "
            "Adapters in the encoder, as by default where there are enough labels, take minutes on a CPU."
        )
    if processes > 1:
        remarks.append(f"Times of decisions were taken while {processes} processes played beside each other.")
    return remarks
