"""What was decided and what came of it, over time: the same however often it is looked at, and right when corrected."""

import random

import pytest

from router_sdk import Router
from router_sdk.learning.spans import POINTS, Curve, Span, posterior

GOOD = {"refund": "billing", "chart": "analyst", "bug": "coder"}


def played(router, count, seed=0, share=1.0):
    rng = random.Random(seed)
    for _ in range(count):
        kind = rng.choice(list(GOOD))
        decision = router.route({"text": kind, "task_type": kind})
        if rng.random() < share:
            right = decision.agent == GOOD[kind]
            router.record(decision, {"success": right, "cost_usd": 0.5, "latency_ms": 100.0})


def test_each_look_reads_on_and_tells_what_one_look_would(make_router):
    router = make_router(["thompson"])
    for seed in range(3):
        played(router, 20, seed, share=0.7)
        told = router.examples.timeline()
    with Router(store=router.config.store, agents=router.agents, strategies=["thompson"], read_only=True) as other:
        fresh = other.examples.timeline()
        assert {**fresh, "at": 0} == {**told, "at": 0}
    assert told["decisions"] == 60 == sum(point["decisions"] for point in told["points"])
    assert told["lately"]["rewarded"] == len(router.examples)
    assert sum(told["lately"]["agents"].values()) == 60
    assert {kind: one["outcomes"] for kind, one in told["by_task_type"].items()}.keys() == GOOD.keys()


def test_an_outcome_counts_where_its_decision_lies_and_a_correction_as_if_it_had_been_so(make_router):
    router = make_router(["thompson"])
    first = router.route({"text": "refund", "task_type": "refund"})
    played(router, 60)
    router.examples.timeline()
    router.record(first, {"success": True, "cost_usd": 2.0})
    router.record(first, {"success": False})
    point = router.examples.timeline()["points"][0]
    assert point["outcomes"] == point["rewarded"] == 16
    again = [one.reward for one in router.examples[:16]]
    assert point["reward"] == pytest.approx(sum(again) / 16)
    assert point["cost_usd"] == pytest.approx((2.0 + 15 * 0.5) / 16)


def test_who_really_ran_is_told_of_and_not_whom_the_decision_named(make_router):
    router = make_router(["thompson"])
    decision = router.route({"text": "refund", "task_type": "refund"})
    router.record(decision, {"success": True, "agent": decision.agent})
    other = next(agent.name for agent in router.agents if agent.name != decision.agent)
    router.record(decision, {"agent": other})
    told = router.examples.timeline()["by_agent"]
    assert told[other]["outcomes"] == 1
    assert told.get(decision.agent, {"outcomes": 0})["outcomes"] == 0
    assert router.examples.alone() == []  # nobody knows with which probability another would have run


def test_regret_is_what_is_missed_to_the_best_agent_of_the_type(make_router):
    router = make_router(["thompson"])
    for agent, success in (("billing", True), ("coder", False)) * 4:
        router.observe({"text": "refund", "task_type": "refund"}, agent, {"success": success})
    told = router.examples.timeline()
    best = posterior(4.0, 4).mean
    kind = told["by_task_type"]["refund"]
    assert (kind["best"], kind["best_mean"]) == ("billing", best)
    assert kind["regret"] == told["lately"]["regret"] == pytest.approx(best - 0.5)
    assert told["by_agent"]["coder"]["regret"] == pytest.approx(best)
    assert told["by_agent"]["billing"]["regret"] == pytest.approx(best - 1.0)


def test_what_each_agent_alone_would_have_earned_is_near_what_it_would(make_router):
    router = make_router(["heuristic"], epsilon=1.0, batch_events=512)
    played(router, 600)
    told = {one["agent"]: one for one in router.examples.alone()}
    for name in GOOD.values():
        one = told[name]
        assert one["insufficient"] is None
        assert one["low"] <= 1 / 3 <= one["high"]
        assert one["gain"]["low"] <= one["earned"] - one["mean"] <= one["gain"]["high"]


def test_a_curve_has_so_many_points_at_most_and_loses_nothing():
    grows, slides = Curve(2, grows=True), Curve(2, grows=False)
    for seq in range(1, 1_001):
        for curve in (grows, slides):
            span = curve.current(seq)
            span.decisions += 1
            assert curve.of(seq) is span
    assert len(grows.spans) <= POINTS == len(slides.spans)
    assert sum(span.decisions for span in grows.spans) == 1_000
    assert grows.of(1) is grows.spans[0]
    assert slides.of(1) is None


def test_a_decision_is_of_the_version_that_made_it():
    early, late = Span(1), Span(3)
    early.versions["bert", 1] += 2
    late.versions.update({("bert", 1): 1, ("bert", 2): 1})
    early.merge(late)
    assert early.to_dict()["versions"] == {"bert": {"1": 3, "2": 1}}


def test_nothing_is_told_of_an_empty_log(make_router):
    told = make_router(["thompson"]).examples.timeline()
    assert told["points"] == [] == make_router(["thompson"]).examples.alone()
    assert told["lately"]["reward"] is None


def test_a_preview_is_a_decision_that_nobody_hears_of(make_router):
    router = make_router(["thompson", "heuristic"])
    preview = router.preview("a refund", exclude={"coder"})
    assert preview.logged is False
    assert preview.excluded == {"coder": "excluded by the caller"} or "coder" in preview.excluded
    assert preview.explain()["evidence"] is not None
    assert router.examples.decisions() == []


def test_the_newest_decisions_are_listed_and_those_of_a_session(make_router):
    router = make_router(["thompson"])
    made = [
        router.route({"text": "x", "session_id": f"s{i % 2}", "tenant": "acme" if i > 3 else None}) for i in range(6)
    ]
    assert router.examples.decisions(2) == made[:-3:-1]
    assert router.examples.decisions(session_id="s0") == [made[2], made[0]]
    assert router.examples.decisions(session_id="s0", tenant="acme") == [made[4]]
    assert router.examples.decisions(tenant="acme") == [made[5], made[4]]
    with pytest.raises(ValueError, match="n: "):
        router.examples.decisions(0)
