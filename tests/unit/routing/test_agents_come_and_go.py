import threading
import time
from fractions import Fraction

import pytest

from router_sdk import Agent, Outcome
from router_sdk.errors import InvalidInputError, NoEligibleAgentError, UnknownAgentError

from ..doubles import Counting, Stubborn, build


def wait_until(holds, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_an_added_agent_is_routed_to_at_once_and_a_removed_one_never(make_router):
    router = make_router([Counting], epsilon=0.0)
    router.add_agent(Agent("newcomer"))
    assert "newcomer" in router.route("x").probabilities
    router.remove_agent("newcomer")
    assert "newcomer" not in router.route("x").probabilities
    with pytest.raises(UnknownAgentError, match="newcomer"):
        router.remove_agent("newcomer")


def test_a_changed_record_replaces_the_old_one(make_router):
    router = make_router([Counting])
    router.add_agent({"name": "billing", "enabled": False})
    assert "billing" not in router.route("x").probabilities
    assert len(router.agents) == 3


def test_re_adding_resumes_and_fresh_forgets(make_router):
    router = make_router([Counting])
    router.observe("x", "billing", Outcome(quality=1.0))
    router.observe("x", "coder", Outcome(quality=1.0))
    router.flush()
    router.remove_agent("billing")
    router.add_agent("billing")
    router.flush()
    strategy = router._parts.chain.stages[0].strategy
    assert strategy.state[("billing", "default")] == (1, 1_000)
    router.add_agent("billing", fresh=True)
    router.flush()
    assert strategy.state == {("coder", "default"): (1, 1_000)}
    assert {report.agent: report.executions for report in router.agent_performance()}["billing"] == 0


def test_a_decision_from_before_a_fresh_start_teaches_nothing_about_the_new_agent(make_router):
    router = make_router([Counting])
    before = router.observe("x", "billing", Outcome(latency_ms=5.0))
    router.add_agent("billing", fresh=True)
    router.record(before, Outcome(quality=0.0))
    router.observe("x", "billing", Outcome(quality=1.0))
    router.flush()
    assert router._parts.chain.stages[0].strategy.state == {("billing", "default"): (1, 1_000)}


def test_an_agent_comes_back_though_nobody_asks_and_the_clock_was_set_back(make_router, monkeypatch):
    router = make_router([Counting])
    everybody = router.available
    router.set_health("billing", healthy=False, for_s=0.05)
    assert "billing" not in router.available
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() - 86_400)
    wait_until(lambda: router.available == everybody)


def test_an_unhealthy_agent_pauses_and_comes_back_by_itself(make_router):
    router = make_router([Counting])
    router.set_health("billing", healthy=False, for_s=0.05)
    assert "billing" not in router.route("x").probabilities
    wait_until(lambda: "billing" in router.route("x").probabilities)
    router.set_health("billing", healthy=False, for_s=60.0)
    assert "billing" not in router.route("x").probabilities
    router.set_health("billing", healthy=True)
    assert "billing" in router.route("x").probabilities
    for name in ("nobody", ["billing"], None):
        with pytest.raises(UnknownAgentError):
            router.set_health(name, healthy=False)


def test_a_request_does_not_wait_for_learning_when_an_agent_recovers(make_router, tmp_path):
    strategy = build(Stubborn, tmp_path)
    router = make_router([strategy], batch_events=1)
    router.set_health("billing", healthy=False, for_s=0.05)
    router.record(router.route("x"), Outcome(success=True))
    assert strategy.learning.wait(10)
    answered = threading.Event()

    def ask():
        wait_until(lambda: "billing" in router.route("x").probabilities)
        answered.set()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert answered.wait(3), "route waits for a learning strategy"
    finally:
        strategy.let_go.set()
        asking.join(10)


@pytest.mark.slow
def test_who_follows_the_store_sees_others_agents_within_two_seconds(make_router):
    follower = make_router([Counting], agents=None)
    with pytest.raises(NoEligibleAgentError):
        follower.route("x")
    leader = make_router([Counting], agents=["first"])
    wait_until(lambda: [agent.name for agent in follower.agents] == ["first"], 2.5)
    leader.add_agent("second")
    wait_until(lambda: {agent.name for agent in follower.agents} == {"first", "second"}, 2.5)
    leader.remove_agent("first")
    wait_until(lambda: [agent.name for agent in follower.agents] == ["second"], 2.5)
    assert follower.route("x").agent == "second"


def test_the_constructors_agents_stay_this_processs_set(make_router):
    own = make_router([Counting], agents=["mine"])
    make_router([Counting], agents=["theirs"])
    own.observe("x", "theirs", Outcome(success=True))
    assert [agent.name for agent in own.agents] == ["mine"]


def test_a_strategy_that_cannot_prepare_is_passed_over(make_router):
    class Unprepared(Counting):
        name = "unprepared"

        def prepare(self, agents):
            raise RuntimeError("no model")

        def propose(self, task, agents, context):
            raise RuntimeError("not prepared")

    router = make_router([Unprepared, Counting])
    assert router.route("x").strategy == "counting"


@pytest.mark.parametrize("for_s", [float("nan"), -1.0, "3", True])
def test_a_time_of_bad_health_that_is_none_is_refused(make_router, for_s):
    router = make_router([Counting])
    with pytest.raises(InvalidInputError, match="for_s"):
        router.set_health("coder", healthy=False, for_s=for_s)


def test_names_to_exclude_that_are_none_are_refused(make_router):
    with pytest.raises(InvalidInputError, match="exclude"):
        make_router([Counting]).route("x", exclude=[Fraction(1, 3)])


def test_an_agent_that_is_added_again_keeps_its_place_here_and_after_a_restart(make_router):
    first = make_router(["thompson"], agents=["a", "b", "c"])
    first.add_agent(Agent("b", description="another one"))
    assert [agent.name for agent in first.agents] == ["a", "b", "c"]
    first.close()
    follower = make_router(["thompson"], agents=None)
    assert [agent.name for agent in follower.agents] == ["a", "b", "c"]
    follower.remove_agent("a")
    follower.add_agent("a")
    here = [agent.name for agent in follower.agents]
    follower.close()
    assert [agent.name for agent in make_router(["thompson"], agents=None).agents] == here
