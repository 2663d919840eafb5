"""A strategy that raises or proposes nonsense: the next one answers, and the decision says so."""

import math

import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.plugin import Proposal, Strategy, StrategyConfig
from router_sdk.testing import make_services

AGENTS = ("billing", "fraud", "sales")


class Scripted(Strategy):
    """Answers and learns as the test tells it to."""

    name = "scripted"

    def __init__(self, answer, tmp_path, learn=None) -> None:
        super().__init__(StrategyConfig(), make_services(tmp_path))
        self.answer, self.taught = answer, learn

    def propose(self, task, agents, context):
        return self.answer(task, agents)

    def learn(self, examples) -> None:
        if self.taught is not None:
            self.taught(examples)


class Sound(Scripted):
    """The next one in the chain."""

    name = "sound"


def evenly(task, agents) -> Proposal:
    return Proposal({name: 1 / len(agents) for name in agents.names})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "router.db"


def broken(task, agents):
    raise RuntimeError("no model")


FAULTS = {
    "raises": broken,
    "NaN": lambda task, agents: Proposal(dict.fromkeys(agents.names, math.nan)),
    "infinite": lambda task, agents: Proposal(dict.fromkeys(agents.names, math.inf)),
    "negative": lambda task, agents: Proposal({"billing": 1.5, "fraud": -0.5, "sales": 0.0}),
    "sums to 2": lambda task, agents: Proposal({"billing": 1.0, "fraud": 0.5, "sales": 0.5}),
    "unknown agent": lambda task, agents: Proposal({**dict.fromkeys(agents.names, 0.2), "ghost": 0.4}),
    "unknown instead": lambda task, agents: Proposal({"billing": 0.5, "fraud": 0.3, "ghost": 0.2}),
    "nobody": lambda task, agents: Proposal({}),
    "no numbers": lambda task, agents: Proposal(dict.fromkeys(agents.names, "a third")),
    "no proposal": lambda task, agents: {"billing": 1.0},
    "NaN confidence": lambda task, agents: Proposal(dict.fromkeys(agents.names, 1 / 3), confidence=math.nan),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("batch", [False, True])
def test_a_faulty_strategy_is_passed_over_and_the_decision_says_so(tmp_path, path, fault, batch) -> None:
    chain = [Scripted(FAULTS[fault], tmp_path), Sound(evenly, tmp_path)]
    with Router(AGENTS, chain, path, seed=0) as router:
        (decision,) = router.route_batch(["a task"]) if batch else [router.route("a task")]
        assert decision.strategy == "sound"
        assert decision.agent in AGENTS
        assert [step.strategy for step in decision.skipped] == ["scripted"]
        assert decision.skipped[0].reason.startswith("failed: ")
        assert router.decision(decision.decision_id).skipped == decision.skipped
        assert [stage["failures"] for stage in router.status()["strategies"]] == [1, 0]


def test_where_every_strategy_fails_everybody_is_drawn_alike(tmp_path) -> None:
    with Router(AGENTS, [Scripted(broken, tmp_path)], ":memory:", seed=0) as router:
        decision = router.route(Task("a task"))
    assert decision.strategy == "uniform"
    assert decision.probabilities == pytest.approx(dict.fromkeys(AGENTS, 1 / 3))


def test_a_strategy_that_cannot_learn_keeps_nobody_else_from_learning(tmp_path, path) -> None:
    learnt: list[str] = []
    chain = [
        Scripted(evenly, tmp_path, learn=lambda examples: 1 / 0),
        Sound(evenly, tmp_path, learn=lambda examples: learnt.extend(example.decision_id for example in examples)),
    ]
    with Router(AGENTS, chain, path, batch_events=1) as router:
        decision = router.route("a task")
        router.record(decision, Outcome(success=True))
        router.flush()
        assert learnt == [decision.decision_id]
        statistics = router.statistics()
        assert (statistics["failed_updates"], statistics["total_examples"]) == (1, 1)
        assert router.status()["learner"]["broken"] == ["scripted"]
        assert router.route("another").logged
