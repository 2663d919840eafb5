"""A store with experiments: strategies that always choose alike, one that counts, and a clock that can be put on."""

import json
import time

import pytest
from fitted_strategy import Words
from unit.doubles import Counting

from router_sdk.plugin import Proposal, Strategy, hookimpl

HOUR_S = 3_600.0


class First(Strategy):
    """Always the first agent."""

    name = "first"

    def propose(self, task, agents, context):
        return Proposal({name: float(place == 0) for place, name in enumerate(agents.names)})


class Last(Strategy):
    """Always the last one."""

    name = "last"

    def propose(self, task, agents, context):
        return Proposal({name: float(place == len(agents) - 1) for place, name in enumerate(agents.names)})


class Installed:
    """What a plugin would bring."""

    @hookimpl
    def register_strategies(self):
        return [First, Last, Counting, Words]


class Clock:
    """Seconds since the epoch, and so many more."""

    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return time.time() + self.ahead_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(make_router, clock):
    """Routers that have these strategies installed, explore nothing, and know no time but the clock's."""

    def made(strategies=("first",), **settings):
        settings = {"epsilon": 0.0, "retrain": False, "fit_executor": "thread", **settings}
        router = make_router(list(strategies), plugins=[Installed()], **settings)
        router._parts.lifecycle._wall = clock
        return router

    return made


@pytest.fixture
def router(make):
    return make()


def look(router):
    """Have a router follow the log and look at its experiments, now."""

    def work():
        router._parts.promoter.follow()
        router._parts.serving.follow()
        router._parts.lifecycle.look_now()

    router.flush()
    router._parts.learner.submit(work).result()


def taught(router, name):
    """What one of a router's folds has learnt, as a state of its own."""
    return router._parts.learner.folding[name].state


def as_json(value):
    return json.loads(json.dumps(value))
