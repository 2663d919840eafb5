"""All contestants over the very same tasks, and what else is played: one by one, or in processes beside each other."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

from threadpoolctl import threadpool_limits

from router_sdk.demo.acts import Act, DemoConfig, Streams, fitted_in
from router_sdk.demo.contestant import ROUTER, Contestant, Tell, Trace, play
from router_sdk.demo.serving import ServingReport, play_serving
from router_sdk.errors import FAULTS, RouterError
from router_sdk.lifetime import no_fork

FITTED_WEIGHT = 5.0
"""How much longer a contestant plays with a strategy that is fitted, which is a transformer, than without."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""So that processes which play beside each other do not fight for the processors."""
END_S = 10.0
"""How long a process that is told to end may take."""

Progress = Callable[[str, float], None]
"""Called with what is going on and the share that is done, in [0, 1]."""
Played = Trace | ServingReport
"""What came of one play."""


@dataclass(frozen=True, slots=True)
class Play:
    """One contestant on one stream.

    Attributes:
        act: Which act.
        seed: With which seed.
        contestant: Who plays.
        weight: How long it takes beside others, about.
    """

    act: Act
    seed: int
    contestant: Contestant
    weight: float


def play_all(
    plays: Sequence[Play],
    config: DemoConfig,
    chain: Sequence[str],
    progress: Progress = lambda words, share: None,
) -> list[Played]:
    """Play everything, in as many processes as ``config`` says.

    More than one are spawned: a program that wants them guards its main module, as ``multiprocessing`` asks for.

    Args:
        plays: What; those that take longest had better come first.
        config: How.
        chain: The strategies of the whole chain.
        progress: Told how far it is.

    Returns:
        What came of each, in their order.

    Raises:
        RouterError: if one of them fails.
    """
    contest = _Contest(plays, config, chain, progress)
    with tempfile.TemporaryDirectory(prefix="router-demo-", ignore_cleanup_errors=True) as folder:
        stores = [_store(one, config, Path(folder) / f"{number}.db") for number, one in enumerate(plays)]
        if config.processes > 1 and len(plays) > 1:
            contest.beside_each_other(stores)
        else:
            contest.one_by_one(stores)
    return contest.played


def _store(one: Play, config: DemoConfig, otherwise: Path) -> Path:
    """Where it logs: the one play that the caller may want to keep, where the caller said."""
    kept = one.act == config.acts[0] and one.seed == config.seed and one.contestant.name == ROUTER
    return config.store if kept and config.store is not None else otherwise


class _Contest:
    def __init__(self, plays: Sequence[Play], config: DemoConfig, chain: Sequence[str], progress: Progress) -> None:
        self._plays, self._config, self._chain, self._progress = plays, config, tuple(chain), progress
        self._shares = [0.0] * len(plays)
        self._played: dict[int, Played] = {}

    @property
    def played(self) -> list[Played]:
        """What came of all plays, in their order."""
        return [self._played[number] for number in range(len(self._plays))]

    def _tell(self, number: int, share: float, words: str) -> None:
        self._shares[number] = max(self._shares[number], share)
        weights = [one.weight for one in self._plays]
        done = sum(share * weight for share, weight in zip(self._shares, weights, strict=True)) / sum(weights)
        one = self._plays[number]
        self._progress(f"{one.act.replace('-', ' ')}, seed {one.seed}, {one.contestant.name}: {words}", done)

    def one_by_one(self, stores: Sequence[Path]) -> None:
        """Play in this process."""
        streams = Streams(self._config, self._chain)
        for number, (one, store) in enumerate(zip(self._plays, stores, strict=True)):
            self._played[number] = _perform(one, streams, self._config, store, partial(self._tell, number))
            self._tell(number, 1.0, "done")

    def beside_each_other(self, stores: Sequence[Path]) -> None:
        """Hand the plays to processes, each the next when it has done one."""
        context = multiprocessing.get_context("spawn")
        waiting = list(enumerate(zip(self._plays, stores, strict=True)))[::-1]
        with ExitStack() as ends:
            lines: list[Connection] = []
            for _ in range(min(self._config.processes, len(self._plays))):
                with no_fork():  # a fork in between would hold the other end open
                    here, there = context.Pipe()
                    process = context.Process(target=_serve, args=(there, self._config, self._chain), daemon=True)
                    process.start()
                    there.close()
                ends.callback(here.close)
                ends.callback(process.join, END_S)
                ends.callback(process.terminate)
                here.send(waiting.pop())
                lines.append(here)
            while lines:
                for line in wait(lines):
                    assert isinstance(line, Connection)
                    if self._hear(line) and waiting:
                        line.send(waiting.pop())
                    elif len(self._played) == len(self._plays):
                        return

    def _hear(self, line: Connection) -> bool:
        """Take what a process says; whether it has done its play."""
        try:
            number, said = line.recv()
        except (EOFError, OSError) as error:
            raise RouterError("a process that played a part of the demonstration ended without a word") from error
        match said:
            case Trace() | ServingReport():
                self._played[number] = said
                self._tell(number, 1.0, "done")
                return True
            case (float() as share, str() as words):
                self._tell(number, share, words)
            case _:
                one = self._plays[number]
                raise RouterError(f"{one.act}, seed {one.seed}, {one.contestant.name}: {said}")
        return False


def _perform(one: Play, streams: Streams, config: DemoConfig, store: Path, tell: Tell) -> Played:
    """Play one play."""
    if one.act == "serving":
        strategy = fitted_in(one.contestant.chain)[0]
        return play_serving(strategy, config.strategy.get(strategy, {}), store, seed=one.seed, tell=tell)
    return play(streams.of(one.act, one.seed), one.contestant, store, seed=one.seed, tell=tell)


def _send(line: Connection, number: int, share: float, words: str) -> None:
    line.send((number, (share, words)))


def _serve(line: Connection, config: DemoConfig, chain: tuple[str, ...]) -> None:
    """In a process of its own: play what is handed in, until nobody hands in any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; our parent ends us
    logging.getLogger().addHandler(logging.NullHandler())  # what is to be told of it, the report tells
    os.environ.update(ONE_THREAD)  # for what is loaded from here on, and threadpool_limits for what is there
    streams = Streams(config, chain)
    with threadpool_limits(1), suppress(EOFError, OSError):  # of a line that our parent has let go of
        while True:
            number, (one, store) = line.recv()
            try:
                said: object = _perform(one, streams, config, store, partial(_send, line, number))
            except FAULTS as error:
                said = f"{type(error).__name__}: {error}"
            line.send((number, said))
