"""The contract kit finds no fault where there is none, however busy the machine is."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed

import pytest
from contract.sound_strategy import SoundStrategy

from router_sdk.plugins import PluginRegistry
from router_sdk.testing import check_strategy

AT_ONCE = 11
"""Processes that run the kit together: to each of them the other ten are load."""


def strategies():
    known = PluginRegistry.load().strategies
    return [SoundStrategy, *(known[name] for name in ("heuristic", "thompson") if name in known)]


def check_together(checked):
    """Run the kit on each of these strategies, eleven at a time."""
    with ProcessPoolExecutor(AT_ONCE, mp_context=multiprocessing.get_context("spawn")) as pool:
        for one in as_completed([pool.submit(check_strategy, strategy) for strategy in checked]):
            one.result()


@pytest.mark.slow
def test_once_beside_ten_others():
    check_together([SoundStrategy] * AT_ONCE)


@pytest.mark.reliability
def test_fifty_times_beside_ten_others():
    check_together(strategies() * 50)
