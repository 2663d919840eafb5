"""A head for each tenant on one open encoder, through the router and over a restart."""

import pytest

from router_sdk import Agent, Outcome, Router, Task

AGENTS = [Agent("billing"), Agent("coder")]
WORDS = ["send the invoice", "the program crashes", "refund my order", "write a test"]


@pytest.mark.parametrize("tenancy", ["separate", "prior"])
def test_tenants_have_heads_of_their_own_on_one_encoder(tiny_encoder_folder, store_path, tenancy):
    settings = {"model": str(tiny_encoder_folder), "wait_for_encoder": True}

    def opened():
        chain = [("bert", settings), "heuristic"]
        return Router(AGENTS, chain, store_path, tenancy=tenancy, epsilon=0.0, retrain=False, seed=0)

    def favourites(router):
        tasks = [Task("send the invoice", tenant=tenant) for tenant in ("acme", "globex")]
        decisions = router.route_batch(tasks)
        assert [one.strategy for one in decisions] == ["bert", "bert"]
        assert [router.route(task).ranking for task in tasks] == [one.ranking for one in decisions]
        return [one.ranking[0] for one in decisions]

    with opened() as router:
        observed = [
            (Task(f"{text} {number}", tenant=tenant), agent, Outcome(correct_agent=agent))
            for number in range(20)
            for text in WORDS
            for tenant, agent in (("acme", "billing"), ("globex", "coder"))
        ]
        router.observe_batch(observed)
        router.flush()
        assert favourites(router) == ["billing", "coder"]
        states = router._parts.chain.stage("bert").tenants.states
        assert len({id(one.encoder) for one in (states.root, *states.strategies())}) == 1
    with opened() as router:
        states = router._parts.chain.stage("bert").tenants.states
        assert states.of("acme").outcomes == 80
        assert favourites(router) == ["billing", "coder"]
        assert len({id(one.encoder) for one in (states.root, *states.strategies())}) == 1
