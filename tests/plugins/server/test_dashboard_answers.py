"""The three answers at the head of the page, from figures by hand."""

import pytest
from router_sdk_server.dashboard.answers import answers, does_it_help


def alone(low, high, **more):
    gain = {"mean": (low + high) / 2, "low": low, "high": high}
    told = {"agent": "billing", "mean": 0.6, "low": 0.5, "high": 0.7, "decisions": 900, "insufficient": None}
    return {"alone": [{**told, "earned": 0.8, "gain": gain, **more}]}


def rewards(*means, rewarded=100):
    points = [{"posterior": mean, "rewarded": rewarded} for mean in means]
    return {"points": points, "lately": {"rewarded": rewarded * len(means), "decisions": 900}}


@pytest.mark.parametrize(
    ("activity", "evidence", "verdict", "words"),
    [
        (rewards(0.5, 0.8), alone(0.1, 0.3), "yes", "Yes: +0.20 reward per task"),
        (rewards(0.5, 0.8), alone(-0.3, -0.1), "no", "No: billing alone would do better"),
        (rewards(0.5, 0.8), alone(-0.1, 0.3), "open", "Not certain yet, probably: +0.10"),
        (rewards(0.5, 0.8), alone(-0.3, 0.1), "open", "not shown"),
        (
            rewards(0.5, 0.8),
            alone(0.1, 0.3, insufficient="too few"),
            "rising",
            "Not known yet, but it is learning: +0.30",
        ),
        (rewards(0.8, 0.5), {"alone": []}, "falling", "No: it is getting worse, \N{MINUS SIGN}0.30"),
        (rewards(0.5, 0.51), {"alone": []}, "unknown", "Not known yet"),
        (rewards(0.5, rewarded=9), {"alone": []}, "unknown", "Too early to say"),
    ],
)
def test_whether_it_helps_is_said_as_far_as_the_log_tells(activity, evidence, verdict, words):
    told = does_it_help(activity, {}, evidence)
    assert told["verdict"] == verdict
    assert words in told["headline"]


def test_what_was_saved_is_said_where_it_is_known():
    saved = {"saved_usd": 1.5, "words": "$3.00 were spent where fraud would have spent $4.50"}
    for savings, said in ((saved, True), ({"saved_usd": None, "words": "nothing was recorded yet"}, False)):
        state = {"statistics": {"savings": {"best_single": savings}}}
        told = does_it_help(rewards(0.5, 0.8), state, {"alone": []})
        assert ("would have spent" in told["text"]) is said


@pytest.mark.parametrize(
    ("interval", "share", "agent", "words"),
    [
        ((-1.2, -0.8), -0.41, "billing", "+0.20 reward per task, for 41% more money"),
        ((0.8, 1.2), 0.2, "billing", "+0.20 reward per task, for 20% less money"),
        ((-0.2, 1.2), 0.2, "billing", "+0.20 reward per task"),
        ((0.8, 1.2), 0.2, "fraud", "+0.20 reward per task"),
    ],
)
def test_what_a_better_reward_costs_stands_in_the_same_verdict(interval, share, agent, words):
    saved = {"saved_usd": sum(interval) / 2, "saved_usd_interval": interval, "saved_share": share, "agent": agent}
    state = {"statistics": {"savings": {"best_single": {**saved, "words": "in words"}}}}
    assert does_it_help(rewards(0.5, 0.8), state, alone(0.1, 0.3))["headline"] == f"Yes: {words}"


def test_that_no_single_agent_can_be_compared_is_said_with_why():
    insufficient = "insufficient: the log is worth 3 decisions of this policy, and it takes 100"
    told = does_it_help(rewards(0.5, 0.8), {}, alone(0.1, 0.3, insufficient=insufficient))
    assert (
        "Whether billing alone would do better cannot be told yet: the log is worth 3 decisions of that" in told["text"]
    )


def test_a_strategy_in_several_arms_is_named_once():
    lately = {
        "decisions": 10,
        "agents": {"a": 10},
        "strategies": {"bert": 5, "bert@one.frozen": 3, "bert@two.frozen": 2},
    }
    told = answers({"lately": lately}, {}, {})["serves"]
    assert told["text"].endswith("Chosen by bert (50%) and bert in the arm frozen (50%).")


def test_a_decision_is_counted_for_the_version_that_made_it():
    lately = {"decisions": 10, "agents": {"a": 10}, "strategies": {"bert": 9, "uniform": 1}}
    state = {"strategies": [{"name": "bert", "model_version": 2}]}
    told = answers({"lately": {**lately, "versions": {"bert": {"1": 5, "2": 1}}}}, state, {})["serves"]
    assert told["headline"] == "a, chosen by bert"
    assert told["text"].endswith(
        "Chosen by bert version 1 (50%), bert unfitted (30%), bert version 2 (10%) and chance (10%)."
    )
    told = answers({"lately": {**lately, "versions": {"bert": {"1": 9}}}}, state, {})["serves"]
    assert told["headline"] == "a, chosen by bert version 1"


def why_of(first="bert", serving=None, **state):
    activity = {
        "lately": {
            "decisions": 10,
            "strategies": {first: 9, "uniform": 1},
            "versions": {"bert": {"3": 9}},
            "agents": {"a": 8, "": 2},
        },
        "by_task_type": {"x": {"best": "a", "best_mean": 0.9}, "y": {"best": "b", "best_mean": 0.8}},
    }
    chain = [{"name": "bert", "model_version": 3}, {"name": "thompson", "model_version": None}]
    models = [] if serving is None else [{"strategy": first, "serving": serving}]
    return answers(activity, {"strategies": chain, "models": models, **state}, {})


def test_why_says_what_let_a_version_serve():
    served = {"version": 3, "pinned": False, "why": "it did better on 200 held-out tasks"}
    told = why_of(serving=served)
    assert told["serves"]["headline"] == "a and nobody, chosen by bert version 3"
    assert told["why"]["headline"] == "The checks passed version 3 of bert"
    assert "It serves because: it did better on 200 held-out tasks." in told["why"]["text"]
    assert why_of(serving={**served, "pinned": True})["why"]["headline"].startswith("A person chose")
    assert why_of(serving={**served, "version": None})["why"]["headline"] == "bert was rolled back"


def test_why_says_who_stood_aside_and_who_is_best_at_what():
    passed = [{"strategy": "bert", "reason": "abstained", "decisions": 90}]
    told = why_of("thompson", passed=passed, statistics={"samples_processed": 1234})["why"]
    assert told["headline"] == "thompson knows from outcomes who does what well"
    assert "1,234 outcomes" in told["text"]
    assert "a earns 0.90 on x and b earns 0.80 on y" in told["text"]
    assert "Asked before it, bert stood aside 90 times (abstained)." in told["text"]


def test_a_strategy_that_has_learnt_nothing_is_not_said_to_know_from_outcomes():
    told = why_of("thompson")["why"]
    assert told["headline"] == "thompson goes by what it was told of the agents"
    assert "no outcome yet" in told["text"]


@pytest.mark.parametrize(("first", "words"), [("uniform", "Nobody in the chain"), ("observed", "decided elsewhere")])
def test_why_says_where_no_strategy_chose(first, words):
    assert words in why_of(first)["why"]["headline"]


def test_one_of_something_is_no_plural():
    lately = {"decisions": 1, "agents": {"a": 1}, "strategies": {"thompson": 1}}
    passed = [{"strategy": "bert", "reason": "abstained", "decisions": 1}]
    state = {"strategies": [{"name": "bert"}, {"name": "thompson"}], "passed": passed}
    told = answers({"lately": lately}, state, {})
    assert "Of the newest 1 task, 100% went to a." in told["serves"]["text"]
    assert "bert stood aside 1 time (abstained)" in told["why"]["text"]
