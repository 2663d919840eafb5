"""The contract kit finds no fault where there is none, however busy the machine is."""

import multiprocessing
from contextlib import contextmanager

import pytest
from contract.sound_strategy import SoundStrategy

from router_sdk.plugins import PluginRegistry
from router_sdk.testing import check_strategy

BURNERS = 10


def burn(ready):
    ready.release()
    while True:
        pass


@contextmanager
def load(burners):
    """Others that want the processor."""
    context = multiprocessing.get_context("spawn")
    ready = context.Semaphore(0)
    running = [context.Process(target=burn, args=(ready,), daemon=True) for _ in range(burners)]
    for one in running:
        one.start()
    for _ in running:
        ready.acquire()
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.join()


def strategies():
    known = PluginRegistry.load().strategies
    return [SoundStrategy, *(known[name] for name in ("heuristic", "thompson") if name in known)]


def test_once_beside_ten_others():
    with load(BURNERS):
        check_strategy(SoundStrategy)


@pytest.mark.reliability
def test_fifty_times_beside_ten_others():
    with load(BURNERS):
        for _ in range(50):
            for strategy in strategies():
                check_strategy(strategy)
