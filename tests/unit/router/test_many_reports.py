"""``arecord_batch``: outcomes that stand or fall each by itself."""

import pytest

from router_sdk.errors import InvalidIdError, TooManyOutcomesError, UnknownAgentError, WrongTenantError


@pytest.fixture
def router(make_router):
    return make_router(["thompson"])


async def test_each_has_its_own_answer_and_the_sound_ones_are_on_disk(router):
    first, second = router.route("a"), router.route("b")
    found = await router.arecord_batch(
        [
            (first, {"success": True}, None),
            ("nonsense", {"success": True}, None),
            (second.decision_id, {"correct_agent": "nobody"}, None),
            (second.decision_id, {"quality": 0.5}, "d-1"),
            (second.decision_id, {"quality": 0.5}, "d-1"),
        ]
    )
    assert [type(one) for one in found] == [type(None), InvalidIdError, UnknownAgentError, type(None), type(None)]
    assert router.status()["store"]["outcomes"] == 2


async def test_a_decision_that_is_full_spoils_no_other(router):
    full, free = router.route("a").decision_id, router.route("b").decision_id
    reports = [(full, {"quality": 0.5}, "again")] + [(full, {"quality": 0.5}, None)] * 1_100
    found = await router.arecord_batch([*reports, (free, {"success": True}, None), (full, {"quality": 0.5}, "again")])
    assert sum(one is None for one in found) == 1_002  # a delivery that was there already is harmless
    assert {type(one) for one in found} == {type(None), TooManyOutcomesError}
    assert found[-2:] == [None, None]
    assert router.status()["store"]["outcomes"] == 1_001


async def test_a_tenant_reports_on_its_own(router):
    mine, theirs = (router.route({"text": "x", "tenant": name}).decision_id for name in ("a", "b"))
    found = await router.arecord_batch([(mine, {"success": True}, None), (theirs, {"success": True}, None)], tenant="a")
    assert [type(one) for one in found] == [type(None), WrongTenantError]


async def test_none_is_no_fault(router):
    assert await router.arecord_batch([]) == []
