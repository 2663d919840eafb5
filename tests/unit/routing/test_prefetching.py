"""What a strategy begins before anybody proposes: a thread stands still for it, a coroutine gives way."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from router_sdk import Outcome
from router_sdk.plugin import Prefetched, Proposal, Strategy


class Asks(Strategy):
    """Knows an answer once it was given."""

    name = "asks"
    timeout_s = 30.0

    def __init__(self, config, services):
        super().__init__(config, services)
        self.begun: list[Future[None]] = []
        self.came = threading.Event()

    def prefetch(self, task, agents):
        if task.text == "known":
            return None
        if task.text == "fails":
            raise ValueError("no")
        self.begun.append(Future())
        self.came.set()
        return Prefetched(self.begun[-1], self.timeout_s)

    def propose(self, task, agents, context):
        if not self.begun or not self.begun[-1].done():
            return None
        return Proposal({name: float(name == agents.names[-1]) for name in agents.names})


@pytest.fixture
def router(make_router):
    return make_router([Asks], epsilon=0.0)


def answered_later(strategy):
    def answer():
        strategy.came.wait(30)
        for one in strategy.begun:
            one.set_result(None)

    threading.Thread(target=answer).start()


def test_a_request_waits_for_it(router):
    answered_later(router.strategy("asks"))
    decision = router.route("text")
    assert decision.strategy == "asks"
    router.record(decision, Outcome(success=True))


def test_a_coroutine_gives_way(router):
    strategy = router.strategy("asks")

    async def ask():
        task = asyncio.create_task(router.aroute("text"))
        while not strategy.begun:
            await asyncio.sleep(0)
        assert not task.done()
        strategy.begun[-1].set_result(None)
        return await task

    assert asyncio.run(ask()).strategy == "asks"


def test_its_time_ends_and_the_chain_goes_on(make_router):
    late = type("Late", (Asks,), {"timeout_s": 0.01})
    router = make_router([late], epsilon=0.0)
    assert router.route("text").strategy == "uniform"
    assert asyncio.run(router.aroute("text")).strategy == "uniform"
    assert [one.strategy for one in router.route_batch(["a", "b"])] == ["uniform"] * 2
    assert len(router.strategy("asks").begun) == 4


def test_nothing_is_waited_for_where_nothing_is_begun_or_it_fails(router):
    strategy = router.strategy("asks")
    assert router.route("known").strategy == "uniform"
    assert router.route("fails").strategy == "uniform"
    assert router._parts.chain.stages[0].failures == 1
    assert router.rank("text") is not None  # nothing is begun for a ranking
    assert strategy.begun == []
