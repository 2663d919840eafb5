import asyncio

import pytest

from router_sdk import Outcome, Task
from router_sdk.errors import (
    InvalidIdError,
    InvalidInputError,
    InvalidOutcomeError,
    InvalidRewardError,
    InvalidTaskError,
    RouterError,
    UnknownAgentError,
    UnknownDecisionError,
)
from router_sdk.store.identity import new_id

from ..doubles import Counting, Fixed


def learnt(router):
    router.flush()
    return router._parts.chain.stages[0].strategy


def only(router):
    ((count, total),) = learnt(router).state.values()
    return count, total


@pytest.fixture
def router(make_router):
    """With its asynchronous learner; ``flush`` waits for it."""
    return make_router([Counting], batch_events=3)


def test_the_same_ten_times_over_counts_once(router):
    decision = router.route("x")
    for _ in range(10):
        router.record(decision, Outcome(quality=0.5))
    assert only(router) == (1, 500)
    assert len(learnt(router).lessons) == 1
    assert router.statistics()["total_examples"] == 1


def test_a_delivery_with_an_id_is_stored_once(router):
    decision = router.route("x")
    router.record(decision, Outcome(quality=0.5), outcome_id="mail-1")
    router.record(decision, Outcome(quality=0.9), outcome_id="mail-1")
    assert only(router) == (1, 500)
    assert router.status()["store"]["outcomes"] == 1


def test_parts_and_corrections_are_one_outcome(router):
    decision = router.route("x")
    router.record(decision, Outcome(latency_ms=850))
    assert learnt(router).state == {}
    router.record(decision.decision_id, Outcome(quality=0.25))
    assert only(router) == (1, 250)
    router.record(decision, {"quality": 1.0, "cost_usd": 0.1})
    assert only(router) == (1, 1_000)
    found = router.examples[-1]
    assert (found.signals.latency_ms, found.signals.quality, found.signals.cost_usd) == (850, 1.0, 0.1)
    assert learnt(router).lessons[-1][1:] == (2, 1.0, 0.25)


def test_feedback_before_its_decision_is_joined_when_that_arrives(make_router):
    one, other = make_router([Counting], agents=["a"]), make_router([Counting], agents=["a"])
    with one._parts.store.writer._busy:
        decision = one.route("x")
        for _ in range(10):
            other.record(decision.decision_id, Outcome(quality=0.5))
        assert learnt(other).state == {}
        assert other.status()["store"]["pending"] == 10
    one.flush()
    other.record(decision.decision_id, Outcome(quality=1.0))
    assert only(other) == only(one) == (1, 1_000)
    assert other.status()["store"]["pending"] == 0


def test_an_outcome_after_a_restart_finds_its_decision(make_router):
    first = make_router([Counting])
    decision = first.route("x")
    first.record(decision, Outcome(quality=0.25))
    first.close()
    second = make_router([Counting])
    assert only(second) == (1, 250)
    second.record(decision.decision_id, Outcome(quality=1.0))
    assert only(second) == (1, 1_000)


def test_a_session_is_rewarded_as_a_whole(router):
    for _ in range(70):
        router.route(Task("x", session_id="thread-7"))
    router.route(Task("x", session_id="other"))
    assert router.record_session("thread-7", Outcome(success=True)) == 70
    assert sum(count for count, _ in learnt(router).state.values()) == 70
    with pytest.raises(UnknownDecisionError, match="nobody"):
        router.record_session("nobody", Outcome(success=True))


def test_learning_follows_outcomes_not_choices(make_router):
    router = make_router([Counting], agents=["right", "wrong"], epsilon=0.1, learn_now=True)
    for _ in range(200):
        decision = router.route("x")
        router.record(decision, Outcome(success=decision.agent == "right"))
    assert router.rank("x")[0].agent == "right"
    assert router.route("x").probabilities["right"] > 0.85


def test_what_others_did_is_learnt_at_full_weight(router):
    router.observe("x", "coder", Outcome(quality=0.5))
    router.observe("x", None, Outcome(no_agent_fits=True))
    assert learnt(router).state == {("coder", "default"): (1, 500), (None, "default"): (1, 1_000)}


async def test_coroutines_record_together(router):
    decisions = [router.route("x") for _ in range(100)]
    await asyncio.gather(*[router.arecord(decision, Outcome(quality=0.5)) for decision in decisions])
    assert sum(count for count, _ in learnt(router).state.values()) == 100
    assert (await router.aroute("x")).agent
    assert await router.aroute("x", idempotency_key="k") == await router.aroute("x", idempotency_key="k")


BAD = {
    "nan": (InvalidOutcomeError, lambda r, d: r.record(d, {"quality": float("nan")})),
    "infinite": (InvalidOutcomeError, lambda r, d: r.record(d, {"latency_ms": float("inf")})),
    "out of range": (InvalidOutcomeError, lambda r, d: r.record(d, {"quality": 1.5})),
    "wrong type": (InvalidOutcomeError, lambda r, d: r.record(d, {"success": "yes"})),
    "unknown field": (InvalidOutcomeError, lambda r, d: r.record(d, {"reward": 1.0})),
    "nothing": (InvalidOutcomeError, lambda r, d: r.record(d, {})),
    "no outcome": (InvalidOutcomeError, lambda r, d: r.record(d, None)),
    "unknown label": (UnknownAgentError, lambda r, d: r.record(d, Outcome(correct_agent="nobody"))),
    "malformed id": (InvalidIdError, lambda r, d: r.record("7", Outcome(success=True))),
    "no id": (InvalidIdError, lambda r, d: r.record(None, Outcome(success=True))),
    "outcome id too long": (InvalidIdError, lambda r, d: r.record(d, Outcome(success=True), outcome_id="x" * 201)),
    "outcome id half a pair": (InvalidInputError, lambda r, d: r.record(d, Outcome(success=True), outcome_id="\ud800")),
    "session half a pair": (RouterError, lambda r, d: r.record_session("\ud800", Outcome(success=True))),
    "session no text": (RouterError, lambda r, d: r.record_session(7, Outcome(success=True))),
    "forget half a pair": (RouterError, lambda r, d: r.forget("\ud800")),
    "huge response": (InvalidOutcomeError, lambda r, d: r.record(d, {"response": "x" * 10_000_000})),
    "huge text": (InvalidTaskError, lambda r, d: r.route("x" * 10_000_000)),
    "empty text": (InvalidTaskError, lambda r, d: r.route("  ")),
    "no task": (InvalidTaskError, lambda r, d: r.route(None)),
    "surrogate in metadata": (InvalidTaskError, lambda r, d: r.route(Task("x", metadata={"x": "\ud800"}))),
    "unknown observed agent": (UnknownAgentError, lambda r, d: r.observe("x", "nobody")),
    "observed agent no name": (UnknownAgentError, lambda r, d: r.observe("x", ["billing"])),
    "path as agent": (InvalidInputError, lambda r, d: r.add_agent("../agent")),
    "agent no record": (InvalidInputError, lambda r, d: r.add_agent(7)),
    "unknown agent removed": (UnknownAgentError, lambda r, d: r.remove_agent("nobody")),
    "unknown decision": (UnknownDecisionError, lambda r, d: r.decision(new_id())),
}


@pytest.mark.parametrize(("error", "call"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_named_error_and_the_router_still_serves(router, error, call):
    decision = router.route("before")
    with pytest.raises(error):
        call(router, decision)
    router.record(decision, Outcome(quality=0.5))
    router.record(router.route("after"), Outcome(quality=0.5))
    assert sum(count for count, _ in learnt(router).state.values()) == 2
    assert router.status()["store"]["outcomes"] == 2


@pytest.mark.parametrize("value", [float("nan"), 2.0, "good"])
def test_a_reward_that_is_no_number_is_refused_at_the_door(make_router, value):
    router = make_router([Counting], reward=lambda signals, agent: value if signals.success else 0.5)
    decision = router.route("x")
    with pytest.raises(InvalidRewardError):
        router.record(decision, Outcome(success=True))
    router.record(decision, Outcome(success=False))
    assert only(router) == (1, 500)


@pytest.mark.parametrize("mode", ["hmac", "none"])
def test_a_strategy_that_needs_texts_is_refused_where_none_is_kept(make_router, mode):
    class Needy(Counting):
        needs_text = True

    with pytest.raises(InvalidInputError, match=f"privacy='{mode}'"):
        make_router([Needy], privacy=mode)


@pytest.mark.parametrize("mode", ["hmac", "none"])
def test_a_mode_that_keeps_no_text_keeps_none_of_faults_and_dead_letters(make_router, tmp_path, store_path, mode):
    secret = "corvid-nebula-71"

    def broken(task, agents, context):
        raise ValueError(f"cannot handle {task.text}")

    router = make_router([Fixed(broken)], privacy=mode)
    router.route(f"about {secret}")
    path = tmp_path / "in.jsonl"
    path.write_text(f'{{"text": "{secret}", "agent": "billing", "quality": "{secret}"}}\n{secret}\n')
    assert router.examples.import_from(path).rejected == 2
    router.flush()
    files = [store_path, store_path.with_name(store_path.name + "-wal")]
    assert all(secret.encode() not in file.read_bytes() for file in files if file.exists())


def test_forgetting_a_session_leaves_no_byte_and_keeps_what_was_learnt(make_router, store_path):
    secret = "corvid-nebula-71"

    class Memory(Counting):
        """Remembers texts, as a nearest-neighbour strategy would."""

        def __init__(self, config, services):
            super().__init__(config, services)
            self.texts = {}

        def learn(self, examples):
            super().learn(examples)
            self.texts |= {example.decision_id: example.task.text for example in examples}

        def forget_examples(self, decision_ids):
            self.texts = {key: text for key, text in self.texts.items() if key not in decision_ids}

        def save(self, folder):
            super().save(folder)
            (folder / "texts.txt").write_text(repr(self.texts))

    router = make_router([Memory], agents=["a"])
    decision = router.route(Task(f"about {secret}", session_id="s", metadata={"note": secret}))
    router.record(decision, Outcome(quality=0.5, response=secret, feedback_text=secret))
    router.record(router.route("kept"), Outcome(quality=1.0))
    router.snapshot()
    assert router.forget("s") == 1
    assert router.forget("s") == 0
    for file in store_path.parent.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    assert only(router) == (2, 1_500)
    assert list(learnt(router).texts.values()) == ["kept"]
    assert router.decision(decision.decision_id).task.text == ""
    router.close()
    assert only(make_router([Memory], agents=["a"])) == (2, 1_500)
