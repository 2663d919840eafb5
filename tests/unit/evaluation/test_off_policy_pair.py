"""What the gate is told of a candidate's off-policy value: which held-out examples judge, and as which policy."""

import numpy as np
import pytest

from router_sdk.evaluation.candidate import off_policy_pair
from router_sdk.evaluation.held_out import held_out_evaluation
from router_sdk.plugin import Proposal, Strategy, StrategyConfig, StrategyServices
from router_sdk.records import Agent, AgentSet
from router_sdk.testing import make_example

AGENTS = AgentSet([Agent("a"), Agent("b")])


class Favours(Strategy):
    """Gives one agent nearly all; abstains or says that nobody fits where the text says so."""

    name = "favours"

    def propose(self, task, agents, context):
        if task.text == "abstain":
            return None
        if task.text == "nobody":
            return Proposal(dict.fromkeys(agents.names, 0.5), no_agent_fits=True, confidence=0.9)
        return Proposal({name: 0.95 if name == self.favourite else 0.05 for name in agents.names})


def favouring(agent, folder):
    made = Favours(StrategyConfig(), StrategyServices(folder))
    made.favourite = agent
    return made


def examples(count, *, text="task", eligible=("a", "b"), propensity=0.5, first=1):
    rng = np.random.default_rng(first)
    return [
        make_example(
            agent := eligible[rng.integers(len(eligible))],
            0.9 if agent == "b" else 0.4,
            number=first + number,
            task=text,
            eligible=eligible,
            propensity=propensity,
            probabilities=None if propensity is None else dict.fromkeys(eligible, 1.0 / len(eligible)),
        )
        for number in range(count)
    ]


@pytest.fixture
def pair(tmp_path):
    def judged(held_out, fresh_after=0):
        sides = tuple(held_out_evaluation(favouring(agent, tmp_path), held_out, AGENTS, {}) for agent in ("a", "b"))
        return off_policy_pair(held_out, sides, AGENTS, fresh_after)

    return judged


def test_both_sides_are_estimated_on_the_same_decisions(pair):
    found = pair(examples(400))
    assert found.before.mean == pytest.approx(0.95 * 0.4 + 0.05 * 0.9, abs=0.02)
    assert found.after.mean == pytest.approx(0.95 * 0.9 + 0.05 * 0.4, abs=0.02)
    assert found.before.low > 0.35
    assert found.before.high < found.after.low
    assert found.after.ess == pytest.approx(200, rel=0.2)


def test_what_this_router_did_not_draw_among_these_agents_judges_nobody(pair):
    assert pair(examples(50, propensity=None)) is None
    assert pair(examples(50, eligible=("a", "b", "c"))) is None
    mixed = examples(30) + examples(50, propensity=None, first=100)
    assert pair(mixed).after.decisions == 30


def test_who_abstains_is_taken_for_what_was_logged(pair):
    found = pair(examples(100, text="abstain"))
    assert found.before == found.after
    assert found.before.ess == pytest.approx(100)


def test_that_nobody_fits_is_a_choice_that_the_log_never_made(pair):
    found = pair(examples(100, text="nobody"))
    assert found.after.ess == 0.0
    assert (found.after.low, found.after.high) == (0.0, 1.0)


def test_the_newest_judge_and_all_that_are_fresh(pair):
    assert pair(examples(1_000), fresh_after=10_000).after.decisions == 300
    assert pair(examples(1_000), fresh_after=4_000).after.decisions == 601
