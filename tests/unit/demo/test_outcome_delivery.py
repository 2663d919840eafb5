from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.demo.stream import MEAN_DELAY, SHARES, FeedbackLoop
from router_sdk.records import Agent, AgentSet, Decision, Distribution, Outcome, Signals, Task

AGENTS = AgentSet([Agent("a"), Agent("b")])
DISTRIBUTION = Distribution(AGENTS, (0.5, 0.5), 0, 0.5, None, None, "heuristic", None, 0.0)

outcomes = st.one_of(
    st.builds(Outcome, success=st.booleans()),
    st.builds(Outcome, quality=st.floats(0.0, 1.0)),
    st.builds(
        Outcome,
        success=st.booleans(),
        quality=st.floats(0.0, 1.0),
        latency_ms=st.floats(0.0, 1e4),
        cost_usd=st.floats(0.0, 1.0),
    ),
)


def decision(number: int) -> Decision:
    return Decision(f"{number:032x}", "a", Task("text"), 0.0, 0.5, False, DISTRIBUTION)


@given(st.lists(outcomes, min_size=1, max_size=60), st.integers(0, 2**32))
def test_the_last_word_on_each_decision_is_its_outcome(sent: list[Outcome], seed: int) -> None:
    loop = FeedbackLoop(np.random.default_rng(seed))
    joined: dict[str, Signals] = defaultdict(Signals)
    for now, outcome in enumerate(sent):
        loop.send(decision(now), outcome, now)
        for delivery in loop.due(now):
            joined[delivery.decision.decision_id] = joined[delivery.decision.decision_id].updated(
                delivery.outcome.signals()
            )
    for delivery in loop.due():
        joined[delivery.decision.decision_id] = joined[delivery.decision.decision_id].updated(
            delivery.outcome.signals()
        )
    assert len(joined) == len(sent) - loop.kinds["missing"]
    for now, outcome in enumerate(sent):
        if (found := joined.get(f"{now:032x}")) is not None:
            assert found == outcome.signals()
    assert not list(loop.due())


def test_outcomes_come_back_in_every_way_and_late_ones_after_thirty_tasks() -> None:
    loop = FeedbackLoop(np.random.default_rng(0))
    waits = []
    for now in range(4000):
        loop.send(decision(now), Outcome(success=True), now)
        waits += [delivery.due - int(delivery.decision.decision_id, 16) for delivery in loop.due(now) if delivery.late]
    assert {kind: count / 4000 for kind, count in loop.kinds.items()} == pytest.approx(SHARES, abs=0.02)
    assert np.mean(waits) == pytest.approx(MEAN_DELAY, rel=0.1)


def test_nothing_arrives_before_it_is_due() -> None:
    loop = FeedbackLoop(np.random.default_rng(1))
    for now in range(500):
        loop.send(decision(now), Outcome(quality=0.5), now)
        assert all(delivery.due <= now for delivery in loop.due(now))


def test_what_is_judged_and_corrected_differs_at_first() -> None:
    loop = FeedbackLoop(np.random.default_rng(2))
    said: dict[str, list[bool | None]] = defaultdict(list)
    for now in range(1000):
        loop.send(decision(now), Outcome(success=True, quality=0.9), now)
    for delivery in loop.due():
        said[delivery.decision.decision_id].append(delivery.outcome.success)
    assert sum(words == [False, True] for words in said.values()) == loop.kinds["corrected"]
