import logging

import pytest

from router_sdk import Agent, Proposal, Task
from router_sdk.learning.strategy_selection import StrategySelection
from router_sdk.numerics.calibration import Calibrator
from router_sdk.records import AgentSet
from router_sdk.routing.chain import Chain, ChainBeside, Stage

from ..doubles import Fixed

AGENTS = AgentSet([Agent("a"), Agent("b")])
TASK = Task("x")
ALWAYS_B = {"a": 0.0, "b": 1.0}


def chain_of(*strategies, epsilon=0.0):
    return Chain([Stage(strategy) for strategy in strategies], epsilon)


def ask(chain, batch):
    if batch:
        return chain.choose_batch([TASK], AGENTS, [None])[0][:2]
    return chain.choose(TASK, AGENTS, None)[:2]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "abstained"),
        (RuntimeError("broken"), "failed: RuntimeError"),
        ({"a": float("nan"), "b": 1.0}, "failed: InvalidProposalError"),
        (Proposal({"a": 0.5, "b": 0.4, "stranger": 0.1}), "failed: InvalidProposalError"),
        (Proposal({"a": 0.5, "b": 0.5}, confidence=float("nan")), "failed: InvalidProposalError"),
        ("nonsense", "failed: AttributeError"),
    ],
)
def test_the_next_one_answers_and_the_decision_says_so(answer, reason, batch):
    drawn, skipped = ask(chain_of(Fixed(answer, "first"), Fixed(ALWAYS_B, "second")), batch)
    assert drawn.strategy == "second"
    assert [(step.strategy, step.reason[: len(reason)]) for step in skipped] == [("first", reason)]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("confidence", [None, 0.69])
@pytest.mark.parametrize("nobody", [False, True])
def test_below_its_threshold_a_strategy_abstains(confidence, nobody, batch):
    unsure = Fixed(
        lambda *_: Proposal({"a": 0.6, "b": 0.4}, confidence=confidence, no_agent_fits=nobody), "unsure", 0.7
    )
    drawn, skipped = ask(chain_of(unsure, Fixed(ALWAYS_B, "second")), batch)
    assert drawn.strategy == "second"
    assert skipped[0].reason.startswith("confidence 0.")
    assert skipped[0].reason.endswith("is below 0.7")


def test_at_its_threshold_it_answers():
    sure = Fixed(lambda *_: Proposal({"a": 0.7, "b": 0.3}), "sure", 0.7)
    assert ask(chain_of(sure), False)[0].strategy == "sure"


@pytest.mark.parametrize("batch", [False, True])
def test_where_all_fail_everybody_is_alike(batch):
    drawn, skipped = ask(chain_of(Fixed(None, "first"), Fixed(ValueError("x"), "second")), batch)
    assert (drawn.strategy, drawn.weights) == ("uniform", (0.5, 0.5))
    assert [step.strategy for step in skipped] == ["first", "second"]


def test_what_a_foreign_error_says_stays_out_of_the_decision():
    _, skipped = ask(chain_of(Fixed(ValueError("cannot read 'my card is 4111'"), "first")), False)
    assert skipped[0].reason == "failed: ValueError"


def test_the_first_fault_is_loud_and_all_are_counted(caplog):
    chain = chain_of(Fixed(ValueError("x"), "first"))
    with caplog.at_level(logging.DEBUG, logger="router_sdk"):
        for _ in range(3):
            ask(chain, False)
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]
    assert chain.stages[0].failures == 3
    assert chain.stages[0].answers == 0


def test_a_batch_of_the_wrong_length_is_a_fault():
    class Short(Fixed):
        def propose_batch(self, tasks, agents, contexts):
            return []

    chain = chain_of(Short(ALWAYS_B, "short"), Fixed(ALWAYS_B, "second"))
    answers = chain.choose_batch([TASK, TASK], AGENTS, [None, None])
    assert [drawn.strategy for drawn, *_ in answers] == ["second", "second"]


def test_a_batch_falls_through_task_by_task():
    def by_text(task, agents, context):
        return ALWAYS_B if task.text == "known" else None

    chain = chain_of(Fixed(by_text, "first"), Fixed(ALWAYS_B, "second"))
    tasks = [Task("known"), Task("unknown"), Task("known")]
    answers = chain.choose_batch(tasks, AGENTS, [None] * 3)
    assert [drawn.strategy for drawn, *_ in answers] == ["first", "second", "first"]
    assert chain.choose_batch([], AGENTS, []) == []


def test_published_proposals_are_finished_ahead():
    proposal = Proposal(ALWAYS_B)

    class Publishing(Fixed):
        def published(self):
            return [(proposal, AGENTS)]

    chain = chain_of(Publishing(proposal, "p"), epsilon=0.1)
    chain.finish_published()
    assert proposal.distribution.weights == pytest.approx((0.05, 0.95))
    assert ask(chain, False)[0] is proposal.distribution


def to(mean):
    """A calibrator that makes everything of one value."""
    return Calibrator(100, (0.0, 0.0, 1.0), 1.0, 0.0, (0.0, 1.0), (mean, mean))


class Known:
    """What is known of confidences."""

    def __init__(self, mean=None, by_tenant=None):
        self.mean, self.by_tenant, self.shared = mean, by_tenant or {}, by_tenant is None

    def of(self, strategy, model_version, tenant=None):
        mean = self.mean if self.shared else self.by_tenant.get(tenant)
        return None if mean is None else to(mean)


@pytest.mark.parametrize("batch", [False, True])
def test_a_threshold_is_compared_with_what_confidences_came_to(batch):
    chain = chain_of(Fixed({"a": 0.8, "b": 0.2}, "boasts", 0.7), Fixed(ALWAYS_B, "second"))
    assert ask(chain, batch)[0].strategy == "boasts"
    chain.calibrate(Known(0.4))
    drawn, skipped = ask(chain, batch)
    assert drawn.strategy == "second"
    assert skipped[0].reason == "confidence 0.400 is below 0.7"
    chain.calibrate(Known(0.75))
    drawn, _ = ask(chain, batch)
    assert (drawn.strategy, drawn.confidence, drawn.raw_confidence) == ("boasts", pytest.approx(0.75), 0.8)
    assert drawn.calibrated


def test_a_proposal_that_is_answered_again_follows_its_calibrator():
    proposal = Proposal({"a": 0.8, "b": 0.2})
    chain = chain_of(Fixed(proposal, "p"), epsilon=0.1)
    first = ask(chain, False)[0]
    assert (first.confidence, first.raw_confidence, first.calibrated) == (0.8, None, False)
    known = to(0.6)
    chain.stages[0].calibrator = known
    second = ask(chain, False)[0]
    assert (second.confidence, second.raw_confidence) == (pytest.approx(0.6), 0.8)
    assert second.weights is first.weights  # and nothing else is done again
    assert ask(chain, False)[0] is second
    assert (first.confidence, first.raw_confidence) == (0.8, None), "what was drawn from it before keeps what was said"
    chain.stages[0].calibrator = None
    assert ask(chain, False)[0].confidence == 0.8


def test_that_nobody_fits_is_not_what_outcomes_of_favourites_tell():
    chain = chain_of(Fixed(Proposal({}, confidence=0.9, no_agent_fits=True), "p"))
    chain.calibrate(Known(0.1))
    drawn = ask(chain, False)[0]
    assert (drawn.confidence, drawn.calibrated) == (0.9, False)


def test_where_tenants_keep_apart_each_has_its_own():
    chain = chain_of(Fixed({"a": 0.8, "b": 0.2}, "p"))
    chain.calibrate(Known(by_tenant={"one": 0.6, "other": 0.3}))
    tasks = [Task("x", tenant=tenant) for tenant in ("one", "other", "third")]
    said = [drawn.confidence for drawn, *_ in chain.choose_batch(tasks, AGENTS, [None] * 3)]
    assert said == [pytest.approx(0.6), pytest.approx(0.3), 0.8]
    assert [chain.choose(task, AGENTS, None)[0].confidence for task in tasks] == said


def test_a_stage_under_test_is_compared_under_a_name_of_its_own_and_by_shares_of_its_own():
    chain = chain_of(Fixed({"a": 1.0, "b": 0.0}, "first"), Fixed(ALWAYS_B, "second"))
    chain.compare(StrategySelection(("first", "second")))
    assert chain.choose(TASK, AGENTS, None).favourites == {"first": "a", "second": "b"}
    beside = ChainBeside(chain, Stage(Fixed(ALWAYS_B, "first")), "first@e.a")
    for answer in (beside.choose(TASK, AGENTS, None), *beside.choose_batch([TASK], AGENTS, [None])):
        assert (answer.drawn.favourite, answer.favourites) == (1, {})
    assert beside.weights is None
    beside.compare(StrategySelection(("first", "second")))
    for answer in (beside.choose(TASK, AGENTS, None), *beside.choose_batch([TASK], AGENTS, [None])):
        assert answer.favourites == {"first@e.a": "b", "second": "b"}
