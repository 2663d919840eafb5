"""What was spent, off a real log: in Python, in the figures, on the command line."""

import json

import pytest
from fitted_strategy import Words
from typer.testing import CliRunner

from router_sdk import Agent, Outcome
from router_sdk.cli.app import app
from router_sdk.errors import InvalidInputError

COSTS = {"billing": 0.5, "fraud": 0.25, "sales": 0.125}


@pytest.fixture
def router(make_router):
    return make_router(
        [Words, "heuristic"],
        agents=[Agent(name) for name in COSTS],
        fit_executor="thread",
        learn_now=True,
        retrain=False,
    )


def work(router, times):
    """Route so often, and say what each cost."""
    spent = 0.0
    for number in range(times):
        decision = router.route({"text": f"refund {number}", "task_type": "code"})
        spent += COSTS[decision.agent]
        router.record(decision, Outcome(success=decision.agent == "billing", cost_usd=COSTS[decision.agent]))
    router.flush()
    return spent


def test_what_was_spent_is_told_against_agents(router):
    spent = work(router, 60)
    found = router.savings()
    assert (found.agent, found.compared, found.unknown) == ("billing", 60, 0)
    assert found.spent_usd == pytest.approx(spent)
    assert found.saved_usd == pytest.approx(60 * 0.5 - spent)
    assert (found.baseline_reward, router.savings("dearest").agent) == (1.0, "billing")
    assert router.savings("sales").baseline_usd == pytest.approx(60 * 0.125)
    assert router.statistics()["savings"]["best_single"] == found.to_dict()
    late = router.route("refund")
    router.record(late, Outcome(success=True))
    router.flush()
    assert router.savings().unknown == 1
    router.record(late, Outcome(cost_usd=COSTS[late.agent]))
    router.flush()
    assert router.savings().unknown == 0
    with pytest.raises(InvalidInputError, match="previous_champion"):
        router.savings("nobody")


def test_against_the_version_before(router):
    assert "took over" in router.savings("previous_champion").words
    before = work(router, 40)
    for number in range(12):  # nobody was asked to do these
        for word, agent in {"refund": "sales", "stolen": "fraud"}.items():
            router.observe(f"{word} {number}", agent=agent, outcome=Outcome(correct_agent=agent, cost_usd=9.0))
    router.flush()
    fit = router.models.retrain("words", wait=True)
    if fit.state != "promoted":
        router.models.promote("words", fit.version, force=True)
    after = work(router, 30)
    found = router.savings("previous_champion")
    assert (found.agent, found.compared) == (None, 30)
    assert found.spent_usd == pytest.approx(after)
    assert found.baseline_usd == pytest.approx(30 * before / 40)


def test_the_command_line_tells_it(router, store_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work(router, 60)
    router.close()
    store = ["--store", str(store_path)]
    told = json.loads(CliRunner().invoke(app, ["savings", "--baseline", "dearest", "--json", *store]).stdout)
    assert (told["agent"], told["compared"]) == ("billing", 60)
    shown = CliRunner().invoke(app, ["savings", *store]).stdout
    assert "best_single, which is billing" in shown
    assert "60 executions" in shown
    assert "billing would have spent" in " ".join(CliRunner().invoke(app, ["status", *store]).stdout.split())
    done = CliRunner().invoke(app, ["savings", "--baseline", "previous_champion", *store])
    assert "Nothing can be said" in done.stdout
