"""A request in the middle of a long text reaches its agent by words of its own."""

import numpy as np
from long_texts import THINGS, around, request, right_at_last

from router_sdk import Agent, Router


def opened(store=":memory:", **settings):
    agents = [Agent(name) for name in THINGS]
    return Router(agents, ["thompson"], store, seed=0, learn_now=True, retrain=False, epsilon=0.0, **settings)


def test_a_request_in_the_middle_of_a_long_text_reaches_its_agent():
    with opened() as router:
        assert right_at_last(router, np.random.default_rng(0), 120) >= 0.8


def test_what_was_learnt_of_requests_is_the_same_after_a_restart(store_path):
    rng = np.random.default_rng(1)
    long = around(request(rng, "billing"), rng)
    with opened(store_path) as router:
        right_at_last(router, rng, 60)
        before = router.rank(long)
    with opened(store_path) as router:
        assert router.rank(long) == before
