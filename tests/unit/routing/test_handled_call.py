import asyncio

import pytest

from router_sdk import Outcome
from router_sdk.errors import InvalidOutcomeError

from ..doubles import Counting


@pytest.fixture
def router(make_router):
    return make_router([Counting], learn_now=True)


def newest(router):
    return router.examples[-1]


def test_a_return_is_a_success_with_its_response_and_latency(router):
    with router.handle("x") as call:
        call.result = "done"
    assert newest(router).signals.success is True
    assert newest(router).signals.latency_ms >= 0
    assert [response for _, response in router.examples.with_responses()] == ["done"]
    assert call.agent == call.decision.agent == newest(router).agent


def test_an_exception_is_a_failure_and_goes_on(router):
    with pytest.raises(ZeroDivisionError), router.handle("x"):
        _ = 1 / 0
    assert newest(router).signals.success is False


@pytest.mark.parametrize("text", ["half \ud83d a pair", "x" * 1_000_010])
def test_whatever_an_agent_says_is_recorded(router, text):
    with router.handle("x") as call:
        call.result = text
    with pytest.raises(OSError, match=text[:9]), router.handle("x"):
        raise OSError(text)
    assert [example.signals.success for example in router.examples] == [True, False]


def test_an_interruption_records_nothing(router):
    with pytest.raises(KeyboardInterrupt), router.handle("x"):
        raise KeyboardInterrupt
    assert len(router.examples) == 0


def test_what_is_reported_comes_first_and_is_checked_at_once(router):
    with router.handle("x", exclude={"billing"}) as call:
        with pytest.raises(InvalidOutcomeError):
            call.report(quality=2.0)
        call.report(quality=0.5, cost_usd=0.1)
        call.report(quality=0.25, success=False)
    found = newest(router).signals
    assert (found.success, found.quality, found.cost_usd) == (False, 0.25, 0.1)


def test_a_result_that_is_no_text_is_not_recorded(router):
    with router.handle("x") as call:
        call.result = {"rows": 3}
    assert [response for _, response in router.examples.with_responses()] == [None]


async def test_coroutines_do_the_same_and_a_cancelled_one_records_nothing(router):
    async with router.handle("x") as call:
        call.result = "done"
    with pytest.raises(ValueError, match="bad"):
        async with router.handle("x"):
            raise ValueError("bad")

    async def forever():
        async with router.handle("x"):
            await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [example.signals.success for example in router.examples] == [True, False]


def test_an_outcome_may_still_be_corrected(router):
    with router.handle("x") as call:
        pass
    router.record(call.decision, Outcome(success=False))
    assert newest(router).reward == 0.0
