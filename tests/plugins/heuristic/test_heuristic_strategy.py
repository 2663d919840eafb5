import logging
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_heuristic import HeuristicConfig, HeuristicStrategy, Rule

from router_sdk.plugin import Agent, AgentSet, NotTrainableError, StrategyConfig, Task
from router_sdk.testing import FixedContext, check_strategy, make_services, sample_agents, sample_tasks

AGENTS = AgentSet(sample_agents())


def build(agents=AGENTS, **settings_):
    strategy = HeuristicStrategy(HeuristicConfig(**settings_), make_services())
    strategy.prepare(agents)
    return strategy


def ask(strategy, task, agents=AGENTS, history=()):
    task = Task.of(task)
    return strategy.propose(task, agents, FixedContext(text=task.text, history=history))


def favourite(proposal):
    return max(proposal.probabilities, key=proposal.probabilities.__getitem__)


def source(proposal, kind):
    (found,) = [source for source in proposal.evidence()["sources"] if source["kind"] == kind]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings_",
    [
        {},
        {"default_agent": "sales"},
        {"default_agent": "nobody of that name"},
        {
            "rules": [
                Rule(agents=("billing", "sales"), keywords="money"),
                Rule(agent="technical", regex="error", hard=True),
                Rule(agent="forecasting", when="mape > 15", weight=0.7),
                Rule(agent="sales", after="billing"),
                Rule(function=lambda task, agents, context: {"technical"} if task.session_id else None),
            ],
            "default_agent": "billing",
        },
    ],
    ids=["texts alone", "default agent", "unknown default agent", "rules"],
)
def test_contract(settings_):
    check_strategy(lambda services: HeuristicStrategy(HeuristicConfig(**settings_), services))


@pytest.mark.parametrize(
    ("text", "agent"),
    [
        ("please send the invoice again", "billing"),
        ("it crashes on start", "technical"),
        ("any discounts on the pro plan?", "sales"),
        ("forecast the demand of next month", "forecasting"),
    ],
)
def test_text_overlap_finds_the_agent(text, agent):
    proposal = ask(build(), text)
    assert favourite(proposal) == agent
    assert proposal.probabilities[agent] == 1.0
    assert proposal.evidence()["decided_by"] == "text"
    assert proposal.evidence()["nearest"]["similarity"] > 0.2


def test_a_rule_outweighs_the_text_and_says_so():
    strategy = build(rules=[Rule(name="money first", agent="sales", keywords="charged")])
    proposal = ask(strategy, "I was charged twice")
    assert favourite(proposal) == "sales"
    assert proposal.confidence == pytest.approx(0.9, abs=0.02)
    assert proposal.evidence()["decided_by"] == "rule"
    said = source(proposal, "rule")
    assert (said["name"], said["reason"], said["gave"]) == ("money first", "keyword 'charged'", {"sales": 0.9})


def test_a_weak_rule_does_not():
    strategy = build(rules=[Rule(agent="sales", keywords="charged", weight=0.2)])
    assert favourite(ask(strategy, "I was charged twice")) == "billing"


def test_earlier_rules_come_first_and_agreement_adds_up():
    first, second = Rule(agent="sales", regex="x"), Rule(agent="billing", regex="x")
    task = Task("x", features={"n": 1})
    assert favourite(ask(build(rules=[first, second]), task)) == "sales"
    assert favourite(ask(build(rules=[second, first]), task)) == "billing"
    alone = ask(build(rules=[first]), task).confidence
    twice = ask(build(rules=[first, Rule(agent="sales", when="n == 1")]), task).confidence
    assert alone < 0.95 < 0.98 < twice


def test_among_several_agents_of_a_rule_the_text_decides():
    strategy = build(rules=[Rule(agents=("billing", "technical"), regex="help")])
    assert favourite(ask(strategy, "help, it crashes")) == "technical"
    assert favourite(ask(strategy, "help, my invoice")) == "billing"


def test_agents_that_tie_share_the_probability():
    proposal = ask(build(rules=[Rule(agents=("billing", "technical"), regex="🙏")]), "🙏")
    assert dict(proposal.probabilities) == {"billing": 0.5, "technical": 0.5, "sales": 0.0, "forecasting": 0.0}
    assert proposal.confidence == pytest.approx(0.475)


def test_the_tasks_type_meets_a_capability():
    proposal = ask(build(), Task(features={"mape": 3.0}, task_type="forecasting"))
    assert favourite(proposal) == "forecasting"
    assert proposal.evidence()["decided_by"] == "capability"
    assert ask(build(capability_weight=0.0), Task(features={"mape": 3.0}, task_type="forecasting")) is None


def test_the_default_agent_gets_what_is_left_and_is_not_sure():
    proposal = ask(build(default_agent="sales"), "zzzz")
    assert favourite(proposal) == "sales"
    assert proposal.confidence == pytest.approx(0.5 + 0.5 / 4)
    assert proposal.evidence()["decided_by"] == "default agent"
    assert favourite(ask(build(default_agent="sales"), "the app crashes when I open it")) == "technical"


def test_it_abstains_where_it_has_nothing_to_go_on():
    assert ask(build(), "zzzz") is None
    assert ask(build(), Task(features={"mape": 20})) is None
    assert ask(build(default_agent="gone"), "zzzz") is None


def test_more_overlap_is_more_confidence():
    strategy = build()
    texts = ["I was charged twice", "I was charged for nothing", "charged with theft by the police of Rome"]
    confidences = [ask(strategy, text).confidence for text in texts]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] > 0.99
    assert confidences[-1] < 0.9


def test_hard_rules_narrow_and_agree():
    strategy = build(
        rules=[
            Rule(agents=("billing", "sales"), keywords="private", hard=True),
            Rule(name="money", agents=("billing", "technical"), keywords="money", hard=True),
            Rule(agent="technical", keywords="private"),
        ]
    )
    context = FixedContext()
    restrict = lambda text: strategy.restrict(Task(text), AGENTS, context)  # noqa: E731
    assert restrict("hello") is None
    assert restrict("private") == ({"billing", "sales"}, "rule 1 (keyword 'private')")
    both = restrict("private money")
    assert both == ({"billing"}, "rule 1 (keyword 'private'); money (keyword 'money')")


def test_a_hard_rule_never_falls_open():
    strategy = build(rules=[Rule(agent="legal", keywords="lawsuit", hard=True)])
    assert strategy.restrict(Task("a lawsuit"), AGENTS, FixedContext()).agents == {"legal"}


def test_names_that_no_agent_has_are_logged_once_and_have_no_effect(caplog):
    with caplog.at_level(logging.WARNING):
        strategy = build(rules=[Rule(agent="legal", keywords="invoice"), Rule(agents=("tax", "sales"), seen="tax")])
        strategy.prepare(AGENTS)
    assert [record.getMessage() for record in caplog.records] == ["heuristic: no agent is called legal, tax"]
    assert favourite(ask(strategy, "an invoice")) == "billing"
    grown = AgentSet([*AGENTS, Agent("legal")])
    strategy.prepare(grown)
    assert favourite(ask(strategy, "an invoice", grown)) == "legal"


def test_agents_it_was_not_prepared_for():
    strategy = build()
    others = AgentSet([Agent("new", description="invoices"), AGENTS[1], AGENTS[0]])
    assert favourite(ask(strategy, "send the invoice", others)) == "billing"
    strangers = AgentSet([Agent("x"), Agent("y")])
    assert ask(strategy, "send the invoice", strangers) is None
    strategy.prepare(others)
    assert ask(strategy, "send the invoices", others).scores["new"] > 0.1


def test_before_any_agents_were_prepared():
    strategy = HeuristicStrategy(HeuristicConfig(rules=[Rule(agent="sales", keywords="plan")]), make_services())
    assert favourite(ask(strategy, "a plan")) == "sales"
    assert ask(strategy, "something") is None
    strategy.prepare(AgentSet([]))
    assert ask(strategy, "something") is None


def test_only_the_beginning_of_a_long_text_is_compared():
    strategy = build(max_chars=20)
    assert ask(strategy, "z" * 30 + " invoice") is None
    assert favourite(ask(build(), "z" * 30 + " invoice")) == "billing"


def test_a_change_of_agents_between_proposal_and_explanation_changes_no_explanation():
    strategy = build()
    proposal = ask(strategy, "send the invoice")
    before = proposal.evidence()
    strategy.prepare(AgentSet([Agent("only")]))
    assert proposal.evidence() == before


def test_it_has_no_fit_and_wants_its_own_config():
    with pytest.raises(NotTrainableError):
        build().fit(None, None)
    with pytest.raises(ValueError, match="HeuristicConfig"):
        HeuristicStrategy(StrategyConfig(), make_services())


@given(st.permutations(range(4)), st.sampled_from(sample_tasks()), st.integers(1, 4))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_order_of_any_subset_gives_the_same(order, task, size):
    agents = AgentSet([AGENTS[i] for i in order[:size]])
    in_order = AgentSet([agent for agent in AGENTS if agent.name in agents.positions])
    strategy = build(default_agent="billing")
    one, other = ask(strategy, task, agents), ask(strategy, task, in_order)
    assert (one is None) == (other is None)
    if one is not None:
        assert dict(one.probabilities) == dict(other.probabilities)
        assert one.scores == pytest.approx(other.scores)
        assert np.isclose(sum(one.scores.values()), 1.0)


def test_importing_it_imports_no_scikit_learn():
    code = (
        "import sys, router_sdk_heuristic.hooks; sys.exit(any(m in sys.modules for m in ('sklearn', 'scipy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
