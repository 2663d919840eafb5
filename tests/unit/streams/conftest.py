import json

import pytest
from stream_source import Broker, MemoryPlugin, MemorySource


@pytest.fixture
def broker(monkeypatch):
    """What ``memory:/outcomes`` reads."""
    found = Broker(partitions=2)
    monkeypatch.setattr(MemorySource, "brokers", {"outcomes": found, "dead": Broker()})
    return found


@pytest.fixture
def router(make_router, broker):
    return make_router(["thompson"], plugins=[MemoryPlugin()])


@pytest.fixture
def told():
    """An event of a decision, as JSON."""

    def make(decision, **outcome):
        return json.dumps({"decision_id": decision.decision_id, "outcome": outcome or {"success": True}})

    return make
