import threading
from collections import Counter

import pytest

from router_sdk import Agent, Outcome, Proposal, Task
from router_sdk.errors import (
    InvalidIdError,
    InvalidInputError,
    NoEligibleAgentError,
    RouterClosedError,
    UnknownDecisionError,
)
from router_sdk.plugin import Restriction

from ..doubles import Counting, Fixed


def test_a_decision_says_everything(make_router):
    router = make_router([Fixed(None, "first"), Fixed({"billing": 0.75, "coder": 0.25})], epsilon=0.1)
    decision = router.route(Task("money back", session_id="s"))
    explained = decision.explain()
    assert explained["agent"] == decision.agent == decision.explain()["agent"]
    assert decision.propensity == decision.probabilities[decision.agent]
    assert decision.probabilities == pytest.approx(
        {"analyst": 0.1 / 3, "billing": 0.1 / 3 + 0.675, "coder": 0.1 / 3 + 0.225}
    )
    assert decision.explored is (decision.agent != "billing")
    assert (decision.confidence, decision.strategy, decision.source, decision.logged) == (0.75, "fixed", "routed", True)
    assert decision.ranking[0] == "billing"
    assert explained["skipped"] == [{"strategy": "first", "reason": "abstained"}]
    found = router.decision(decision.decision_id).to_dict()
    assert found.pop("probabilities") == pytest.approx(dict(decision.probabilities), rel=1e-6)
    assert found == {key: value for key, value in decision.to_dict().items() if key != "probabilities"}


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_choices_follow_the_logged_propensities(make_router, epsilon):
    router = make_router([Fixed({"billing": 0.7, "coder": 0.3})], epsilon=epsilon, learning=False)
    decisions = [router.route("x") for _ in range(3_000)]
    expected = decisions[0].probabilities
    shares = Counter(decision.agent for decision in decisions)
    for name, probability in expected.items():
        assert shares[name] / 3_000 == pytest.approx(
            probability, abs=4 * (probability * (1 - probability) / 3_000) ** 0.5
        )
    assert all(decision.propensity == expected[decision.agent] > 0 for decision in decisions)
    assert all(decision.explored is (decision.agent != "billing") for decision in decisions)
    assert expected["analyst"] == pytest.approx(epsilon / 3)


def test_the_same_seed_gives_the_same_choices(make_router, tmp_path):
    def choices(name, seed):
        router = make_router([Counting], store=tmp_path / name, seed=seed)
        return [router.route("x").agent for _ in range(40)]

    assert choices("one.db", 3) == choices("two.db", 3) != choices("three.db", 4)


def test_one_eligible_agent_needs_no_floor(make_router):
    decision = make_router([Counting], epsilon=0.5).route("x", exclude={"billing", "coder"})
    assert (decision.agent, decision.propensity, decision.explored) == ("analyst", 1.0, False)
    assert decision.explain()["epsilon"] == 0.0


def test_a_hard_rule_is_in_the_decision_and_has_propensity_one(make_router):
    class Ruled(Counting):
        name = "ruled"

        def restrict(self, task, agents, context):
            return Restriction(["billing"], "refunds") if "refund" in task.text else None

    router = make_router([Ruled], epsilon=0.9)
    decision = router.route("refund me")
    assert (decision.agent, decision.propensity) == ("billing", 1.0)
    assert decision.explain()["skipped"] == [{"strategy": "ruled", "reason": "hard rule: refunds"}]
    assert len(router.route("hello").probabilities) == 3


def test_nobody_fits_is_a_decision_that_can_be_read_explained_and_rewarded(make_router):
    router = make_router([Fixed(lambda *_: Proposal({}, no_agent_fits=True))], learn_now=True)
    decision = router.route("poem")
    assert (decision.agent, decision.propensity, decision.probabilities) == (None, 1.0, {})
    assert decision.explain()["agent"] is None
    assert router.decision(decision.decision_id).to_dict()["agent"] is None
    assert router.rank("poem") == []
    router.record(decision, Outcome(no_agent_fits=True))
    assert router.examples[-1].reward == 1.0
    assert (router.statistics()["label_distribution"], router.statistics()["no_agent_fits"]) == ({}, 1)


def test_an_observed_decision_has_no_propensity_and_can_be_explained(make_router):
    router = make_router([Counting], learn_now=True)
    decision = router.observe("x", "billing", Outcome(success=True))
    assert (decision.source, decision.propensity, decision.probabilities) == ("observed", None, {})
    assert router.decision(decision.decision_id).explain()["agent"] == decision.explain()["agent"] == "billing"
    assert (router.examples[-1].source, router.examples[-1].propensity) == ("observed", None)


def test_ranking_logs_nothing_and_is_ordered(make_router):
    router = make_router([Fixed({"billing": 0.7, "coder": 0.3})], epsilon=0.3)
    ranked = router.rank("x", top_k=2)
    assert [(entry.rank, entry.agent) for entry in ranked] == [(1, "billing"), (2, "coder")]
    assert [entry.agent for entry in router.rank("x", exclude="coder") if entry.agent == "coder"] == []
    router.flush()
    assert router.status()["store"]["decisions"] == 0


def test_a_batch_is_routed_in_order_and_by_its_own_requirements(make_router):
    router = make_router([Counting])
    tasks = [Task("a"), Task("b", requires={"refund"}), {"text": "c", "requires": ["python"]}, "d"]
    decisions = router.route_batch(tasks)
    assert [decision.task.text for decision in decisions] == ["a", "b", "c", "d"]
    assert [decision.agent for decision in decisions[1:3]] == ["billing", "coder"]
    assert all(decision.propensity == decision.probabilities[decision.agent] for decision in decisions)
    assert router.route_batch([]) == []
    with pytest.raises(NoEligibleAgentError):
        router.route_batch(["x", Task("x", requires={"cobol"})])
    router.flush()
    assert router.status()["store"]["decisions"] == 4


def test_a_key_gives_one_decision_everywhere(make_router):
    one, other = make_router([Counting], seed=1), make_router([Counting], seed=2)
    first = one.route("x", idempotency_key="order-7")
    made = []

    def again(router):
        made.append(router.route("x", idempotency_key="order-7"))

    threads = [threading.Thread(target=again, args=(router,)) for router in (one, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(d.decision_id, d.agent, d.propensity, d.task.text) for d in made} == {
        (first.decision_id, first.agent, first.propensity, "x")
    }
    assert other.route(Task("x", tenant="t"), idempotency_key="order-7") != first
    other.record(made[0], Outcome(success=True))
    assert one.status()["store"]["decisions"] == 2


@pytest.mark.parametrize("key", ["", "k" * 201, 5, b"k", "\ud800"])
def test_a_malformed_key_is_a_named_error(make_router, key):
    with pytest.raises(InvalidIdError, match="idempotency_key"):
        make_router([Counting]).route("x", idempotency_key=key)


def test_the_sessions_agents_are_the_strategys_to_see(make_router):
    seen = []

    def answer(task, agents, context):
        seen.append(context.history)
        return {"billing": 1.0}

    router = make_router([Fixed(answer)], epsilon=0.0)
    for session in ("s", "s", "t", None):
        router.route(Task("x", session_id=session, history=("before",)))
    router.rank(Task("x", session_id="s"))
    assert seen == [("before",), ("before", "billing"), ("before",), ("before",), ("billing", "billing")]


def test_a_full_queue_is_answered_counted_and_made_good_with_the_outcome(make_router, caplog):
    router = make_router([Counting], queue_size=1)
    writer = router._parts.store.writer
    with writer._busy:
        decisions = [router.route("x") for _ in range(3)]
    assert [decision.logged for decision in decisions] == [True, False, False]
    assert router.status()["queue"]["unlogged"] == 2
    assert "queue is full" in caplog.text
    router.record(decisions[2], Outcome(success=True))
    router.flush()
    assert router.decision(decisions[2].decision_id).agent == decisions[2].agent
    with pytest.raises(UnknownDecisionError):
        router.decision(decisions[1].decision_id)


@pytest.mark.parametrize("store", ["file", ":memory:"])
def test_after_close_every_call_says_so(make_router, tmp_path, store):
    router = make_router([Counting], store=tmp_path / "r.db" if store == "file" else store)
    decision = router.observe(Task("x", session_id="s"), "billing", Outcome(success=True))
    router.close()
    router.close()
    calls = {
        "route": lambda: router.route("x"),
        "route with key": lambda: router.route("x", idempotency_key="k"),
        "route_batch": lambda: router.route_batch(["x"]),
        "rank": lambda: router.rank("x"),
        "record": lambda: router.record(decision, Outcome(success=True)),
        "record_session": lambda: router.record_session("s", Outcome(success=True)),
        "observe": lambda: router.observe("x", "billing"),
        "decision": lambda: router.decision(decision.decision_id),
        "examples": lambda: router.examples[-1:],
        "statistics": router.statistics,
        "status": router.status,
        "dead_letters": router.dead_letters,
        "add_agent": lambda: router.add_agent("new"),
        "remove_agent": lambda: router.remove_agent("billing"),
        "fit": lambda: router.fit(["x"], ["billing"]),
        "evaluate": lambda: router.evaluate(["x"], ["billing"]),
        "examples.export": lambda: router.examples.export(tmp_path / "out.jsonl"),
        "flush": router.flush,
        "snapshot": router.snapshot,
        "forget": lambda: router.forget("s"),
    }
    wrong = {}
    for name, call in calls.items():
        try:
            call()
        except RouterClosedError:
            pass
        except Exception as error:
            wrong[name] = repr(error)
        else:
            wrong[name] = "no error"
    assert wrong == {}


@pytest.mark.parametrize("agents", ["billing", 5, {"name": "a"}, [Agent("a"), Agent("a")]])
def test_agents_that_make_no_set_are_refused(make_router, agents):
    with pytest.raises(InvalidInputError):
        make_router([Counting], agents=agents)
