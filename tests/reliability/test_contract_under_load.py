"""The contract kit finds no fault where there is none, however busy the machine is."""

import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
from contract.sound_strategy import SoundStrategy

from router_sdk.plugins import PluginRegistry
from router_sdk.testing import check_strategy

BURNERS = 10


@contextmanager
def load(burners):
    """Others that want the processor."""
    command = [sys.executable, "-S", "-c", "print('ready', flush=True)\nwhile True: pass"]
    with ExitStack() as running:
        for _ in range(burners):
            other = running.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            running.callback(other.kill)
            assert other.stdout.readline() == b"ready\n"
        yield


def strategies():
    known = PluginRegistry.load().strategies
    return [SoundStrategy, *(known[name] for name in ("heuristic", "thompson") if name in known)]


@pytest.mark.slow
def test_once_beside_ten_others():
    with load(BURNERS):
        check_strategy(SoundStrategy)


@pytest.mark.reliability
def test_fifty_times_beside_ten_others():
    with load(BURNERS):
        for _ in range(50):
            for strategy in strategies():
                check_strategy(strategy)
