"""Every name that a caller chooses is its tenant's: sessions, outcome ids, idempotency keys, and what is erased."""

import asyncio
from hashlib import blake2b

import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.errors import (
    IdempotencyConflictError,
    InvalidIdError,
    InvalidInputError,
    UnknownDecisionError,
    WrongTenantError,
)
from router_sdk.store import identity
from router_sdk.store.identity import new_id

from ..doubles import Counting

TENANTS = (None, "acme", "globex")
GREETING = [{"agent": "greeter", "unseen": ["greeter"]}, {"agent": "worker", "seen": ["greeter"]}]


@pytest.fixture
def router(make_router):
    return make_router([Counting], batch_events=1_000)


def learnt(router):
    """Ids of the decisions that something is known of, in order."""
    router.flush()
    return [one.decision_id for one in router.examples]


# -- sessions


def test_a_strategy_sees_the_history_of_its_tenants_session():
    with Router(["greeter", "worker"], [("heuristic", {"rules": GREETING})], ":memory:", epsilon=0.0) as router:
        chosen = [router.route(Task("hello", session_id="1", tenant=tenant)).agent for tenant in TENANTS * 2]
        together = router.route_batch([Task("hello", session_id="1", tenant=name) for name in ("new", "acme", "other")])
    assert chosen == ["greeter"] * 3 + ["worker"] * 3
    assert [decision.agent for decision in together] == ["greeter", "worker", "greeter"]


def test_a_sessions_outcome_is_recorded_for_its_tenants_decisions(router):
    decided = {tenant: router.route(Task("x", session_id="1", tenant=tenant)) for tenant in TENANTS}
    assert router.record_session("1", Outcome(success=True), tenant="acme") == 1
    assert learnt(router) == [decided["acme"].decision_id]
    assert router.record_session("1", Outcome(success=False)) == 1
    assert learnt(router) == [decided[None].decision_id, decided["acme"].decision_id]
    with pytest.raises(UnknownDecisionError, match="'1' of tenant 'initech' has no decisions"):
        router.record_session("1", Outcome(success=True), tenant="initech")


@pytest.mark.parametrize("privacy", ["full", "hmac"])
def test_a_tenant_forgets_its_own_session(make_router, store_path, privacy):
    router = make_router([Counting], privacy=privacy)
    decided = {tenant: router.route(Task(f"said by {tenant}", session_id="1", tenant=tenant)) for tenant in TENANTS}
    archived = {tenant: router.route(Task(f"old of {tenant}", session_id="1", tenant=tenant)) for tenant in TENANTS}
    router.flush()
    kept = {tenant: (decided[tenant].decision_id, archived[tenant].decision_id) for tenant in TENANTS}
    assert router.forget("1", tenant="acme") == 2
    sessions = {tenant: {router.decision(one).task.session_id for one in kept[tenant]} for tenant in TENANTS}
    assert sessions["acme"] == {None}
    assert None not in sessions["globex"] | sessions[None]
    shared = router._parts.decider.sessions
    assert [bool(shared.agents(Task("x", session_id="1", tenant=tenant))) for tenant in TENANTS] == [True, False, True]
    assert router.archive(older_than=None, before=decided[None].at + 60.0) == 6
    assert router.forget("1", tenant="initech") == 0
    assert router.forget("1") == 2  # those without a tenant, in the archive
    assert router.forget("1", tenant="globex") == 2
    assert router.forget("1", tenant="globex") == 0


# -- outcome ids


def test_tenants_may_use_the_same_outcome_id(router):
    decided = [router.route(Task("x", tenant=tenant)) for tenant in TENANTS]
    for decision in decided:
        router.record(decision, Outcome(quality=0.25), outcome_id="mail-1")
        router.record(decision.decision_id, Outcome(quality=0.75), outcome_id="mail-1")
    assert learnt(router) == [decision.decision_id for decision in decided]
    assert [one.reward for one in router.examples] == [0.25] * 3


def test_an_outcome_id_is_used_once_by_a_tenant(router):
    first, second = (router.route(Task("x", tenant="acme")) for _ in range(2))
    router.record(first, Outcome(success=True), outcome_id="mail-1")
    router.record(second, Outcome(success=True), outcome_id="mail-1")
    assert learnt(router) == [first.decision_id]


def test_outcomes_before_their_decisions_swallow_nobodys(router):
    """Nobody knows yet whose they are; a second delivery of the same one is known all the same."""
    keys = router._parts.store.keys
    ids = [keys.decision_id("order", tenant) for tenant in TENANTS]
    for decision_id in ids * 2:
        router.record(decision_id, Outcome(quality=0.5), outcome_id="mail-1")
    assert router.status()["store"]["outcomes"] == 3
    routed = [router.route(Task("x", tenant=tenant), idempotency_key="order").decision_id for tenant in TENANTS]
    assert routed == ids
    assert learnt(router) == ids


def test_a_false_claim_before_the_decision_swallows_nothing(router):
    decision_id = router._parts.store.keys.decision_id("order", "acme")
    router.record(decision_id, Outcome(success=True), tenant="globex", outcome_id="mail-1")
    router.record(decision_id, Outcome(success=True), outcome_id="mail-1")
    router.route(Task("x", tenant="acme"), idempotency_key="order")
    assert learnt(router) == [decision_id]
    assert [letter["reason"] for letter in router.dead_letters()] == ["its decision is another tenant's"]


def test_a_false_claim_that_comes_while_the_decision_is_written_is_no_outcome_and_overtakes_no_score(router):
    """Whoever asked whose the decision is was told "nobody's yet"; by the time of the commit it is there."""
    decision = router.route(Task("x", tenant="acme"))
    router.flush()
    store = router._parts.store

    def said(outcome, tenant):
        return store.entry(decision.decision_id, outcome, outcome.signals(), tenant=tenant)

    score = Outcome(quality=0.9, origin="signal", actor="scorer:brevity")
    store.append_all([said(Outcome(quality=0.1), "globex"), said(score, None)])
    router.flush()
    assert [part.outcome.quality for part in router.examples.parts(decision.decision_id)] == [0.9]
    assert [one.reward for one in router.examples] == [0.9]
    assert [letter["reason"] for letter in router.dead_letters()] == ["its decision is another tenant's"]


def test_a_false_claim_takes_nothing_out_of_an_import(router, make_router, tmp_path):
    decision = router.route(Task("x", tenant="acme"))
    router.record(decision, Outcome(success=True), outcome_id="mail-1")
    router.examples.export(tmp_path / "out.jsonl")
    other = make_router([Counting], store=tmp_path / "other.db")
    other.record(decision.decision_id, Outcome(success=False), tenant="globex", outcome_id="mail-1")
    assert other.examples.import_from(tmp_path / "out.jsonl").imported == 1
    assert learnt(other) == [decision.decision_id]
    assert [example.reward for example in other.examples] == [1.0]


# -- whose decision


def outcomes(router):
    return router.status()["store"]["outcomes"]


@pytest.mark.parametrize("restarted", [False, True])
def test_another_tenants_decision_is_refused(make_router, restarted):
    router = make_router([Counting])
    decision = router.route(Task("x", tenant="acme"))
    if restarted:
        router.close()
        router = make_router([Counting])
    for given in (decision, decision.decision_id):
        with pytest.raises(WrongTenantError, match="is not one of tenant 'globex'"):
            router.record(given, Outcome(success=True), tenant="globex")
        with pytest.raises(WrongTenantError):
            asyncio.run(router.arecord(given, Outcome(success=True), tenant="globex"))
    with pytest.raises(WrongTenantError):
        router.decision(decision.decision_id, tenant="globex")
    assert outcomes(router) == 0
    for given in (decision, decision.decision_id):
        router.record(given, Outcome(success=True), tenant="acme")
        asyncio.run(router.arecord(given, Outcome(success=True), tenant="acme"))
    router.record(decision.decision_id, Outcome(success=True))  # without a tenant nobody asks
    assert outcomes(router) == 5
    assert router.decision(decision.decision_id, tenant="acme") == decision


def test_a_decision_without_a_tenant_is_nobody_elses(router):
    decision = router.route("x")
    with pytest.raises(WrongTenantError):
        router.record(decision.decision_id, Outcome(success=True), tenant="acme")


def test_what_was_recorded_before_its_decision_is_looked_at_when_that_comes(router):
    decision_id = router._parts.store.keys.decision_id("order", "acme")
    told = Outcome(success=False, response="not mine")
    router.record(decision_id, told, tenant="globex", outcome_id="mail-1")
    for _ in range(2):
        router.record(decision_id, Outcome(success=True), tenant="acme", outcome_id="mail-1")
    router.route(Task("x", tenant="acme"), idempotency_key="order")
    router.flush()
    assert [one.reward for one in router.examples] == [1.0]
    assert outcomes(router) == 1
    (letter,) = router.dead_letters()
    assert (letter["decision_id"], letter["reason"]) == (decision_id, "its decision is another tenant's")
    assert (
        router._parts.store.reader.query(
            lambda c: c.execute("SELECT 1 FROM payloads WHERE response IS NOT NULL").fetchall()
        )
        == []
    )


@pytest.mark.parametrize("tenant", ["", " acme", "a/b", "x" * 201, 7])
def test_what_no_task_can_have_is_no_tenant(router, tenant):
    decision = router.route(Task("x", session_id="1"))
    for call in (
        lambda: router.record(decision, Outcome(success=True), tenant=tenant),
        lambda: router.record(new_id(), Outcome(success=True), tenant=tenant),
        lambda: router.record_session("1", Outcome(success=True), tenant=tenant),
        lambda: router.forget("1", tenant=tenant),
        lambda: router.decision(decision.decision_id, tenant=tenant),
    ):
        with pytest.raises(InvalidInputError, match="tenant: "):
            call()
    assert outcomes(router) == 0


# -- idempotency keys


def test_a_key_is_its_tenants_and_no_bare_hash(make_router, tmp_path):
    router, beside = make_router([Counting]), make_router([Counting])
    elsewhere = make_router([Counting], tmp_path / "other.db")
    decided = [router.route(Task("x", tenant=tenant), idempotency_key="k").decision_id for tenant in TENANTS]
    again = [beside.route(Task("x", tenant=tenant), idempotency_key="k").decision_id for tenant in TENANTS]
    other = [elsewhere.route(Task("x", tenant=tenant), idempotency_key="k").decision_id for tenant in TENANTS]
    assert decided == again
    bare = [blake2b(f"{tenant or ''}\x00k".encode(), digest_size=16).hexdigest() for tenant in TENANTS]
    assert len({*decided, *other, *bare}) == 9
    with pytest.raises(InvalidIdError, match="idempotency_key"):
        router.route("x", idempotency_key="")


WHOLE = {
    "text": "refund 555-123-4567",
    "task_type": "account",
    "features": {"seats": 3, "plan": "pro"},
    "session_id": "s",
    "requires": ("sql", "python"),
    "history": ("analyst",),
    "max_cost_usd": 1.0,
    "metadata": {"channel": "mail", "tags": ["a", {"b": None}]},
    "step": 1,
}
OTHER = {
    "text": "refund 555-765-4321",
    "task_type": "billing",
    "features": {"seats": 4, "plan": "pro"},
    "session_id": "t",
    "requires": ("sql",),
    "history": (),
    "max_cost_usd": 2.0,
    "metadata": {"channel": "chat"},
    "step": 2,
}


@pytest.mark.parametrize("privacy", ["full", "redacted", "hmac", "none"])
def test_the_same_key_with_another_task_is_refused(make_router, agents, privacy):
    router = make_router([Counting], privacy=privacy, agents=[agents[2]])
    first = router.route(Task(**WHOLE), idempotency_key="k")
    same = {**WHOLE, "features": dict(reversed(WHOLE["features"].items())), "requires": ("python", "sql")}
    assert router.route(Task(**same), idempotency_key="k") == first
    assert asyncio.run(router.aroute(Task(**same), idempotency_key="k")) == first
    router.close()
    with Router([agents[2]], [Counting], router.config.store, privacy=privacy) as router:
        assert router.route(Task(**same), idempotency_key="k") == first
        for name, value in OTHER.items():
            with pytest.raises(IdempotencyConflictError, match=f"idempotency_key: 'k' .* differs: {name}\\)"):
                router.route(Task(**{**WHOLE, name: value}), idempotency_key="k")
        assert router.status()["store"]["decisions"] == 1


def test_of_a_text_that_is_not_kept_the_newest_are_known(make_router, monkeypatch):
    monkeypatch.setattr(identity, "_REMEMBERED", 2)
    router = make_router([Counting], privacy="none")
    first = router.route("x", idempotency_key="0")
    for number in range(1, 3):
        router.route("x", idempotency_key=str(number))
    assert router.route("another", idempotency_key="0") == first
    with pytest.raises(IdempotencyConflictError, match="differs: text"):
        router.route("another", idempotency_key="2")


def test_a_key_does_not_stand_for_an_agent_that_is_excluded(router):
    first = router.route("x", idempotency_key="k")
    with pytest.raises(IdempotencyConflictError, match=f"'k' .*{first.agent!r}, which exclude leaves out"):
        router.route("x", idempotency_key="k", exclude={first.agent})
    assert router.route("x", idempotency_key="k") == first


def test_of_a_forgotten_task_nothing_is_compared(router):
    first = router.route(Task("x", session_id="s"), idempotency_key="k")
    router.forget("s")
    assert router.route("another", idempotency_key="k") == first


def test_a_task_of_which_no_payload_is_kept_is_compared_too(router):
    first = router.route(Task(task_type="bare"), idempotency_key="k")
    assert router.route(Task(task_type="bare"), idempotency_key="k") == first
    with pytest.raises(IdempotencyConflictError, match="text"):
        router.route(Task("x", task_type="bare"), idempotency_key="k")


def test_a_key_with_an_excluded_name_compares_whole_names(make_router):
    router = make_router(["heuristic"], agents=["bill", "billing"], epsilon=0.0)
    for _ in range(2):
        assert router.route("bill", exclude="billing", idempotency_key="k").agent == "bill"
