"""Real brokers: one of each for a session, on free ports."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

pytest.importorskip("router_sdk_streams", reason="plugins/streams")


def started(name, folder):
    from brokers import BROKERS

    kind = BROKERS[name]
    if (missing := kind.missing()) is not None:
        pytest.skip(f"{missing} is not here")
    broker = kind(folder)
    broker.start()
    return broker


@pytest.fixture(scope="session")
def shared_brokers():
    found = {}
    yield found
    for broker in found.values():
        broker.kill()


@pytest.fixture
def broker(request, shared_brokers, tmp_path_factory):
    """The broker that a test is parametrised with by name."""
    name = request.param
    if name not in shared_brokers:
        shared_brokers[name] = started(name, tmp_path_factory.mktemp(name))
    return shared_brokers[name]


@pytest.fixture
def own_broker(request, tmp_path):
    """One that the test may kill."""
    broker = started(request.param, tmp_path / "broker")
    yield broker
    broker.kill()
