"""A request in the middle of a long text reaches its agent: the encoder is shown the request alone."""

import numpy as np
import pytest
from head_cases import hashed_bert
from long_texts import THINGS, around, request, right_at_last

from router_sdk import Agent, Router
from router_sdk.records import AgentSet, Task
from router_sdk.testing import FixedContext, make_example, make_services

AGENTS = AgentSet([Agent(name) for name in THINGS])


def opened(folder, **settings):
    chain = [("bert", {"model": str(folder), "wait_for_encoder": True})]
    return Router(list(AGENTS), chain, seed=0, learn_now=True, retrain=False, epsilon=0.0, **settings)


def test_of_a_long_text_the_request_alone_is_encoded(tiny_encoder_folder, tiny_encoder):
    rng = np.random.default_rng(0)
    with opened(tiny_encoder_folder, store=":memory:") as router:
        right_at_last(router, rng, 60)
        asked = [request(rng) for _ in range(10)]
        logged = [router.route(around(one, rng, place=30)).vectors[tiny_encoder.tag] for one in asked]
    wanted = tiny_encoder.encode([f"{one}." for one in asked])
    assert np.mean([np.array_equal(*pair) for pair in zip(logged, wanted, strict=True)]) >= 0.9


@pytest.mark.parametrize("privacy", ["hmac", "none"])
def test_where_no_text_is_kept_long_ones_are_read_at_both_ends(privacy, tiny_encoder_folder, tiny_encoder, store_path):
    rng = np.random.default_rng(2)
    with opened(tiny_encoder_folder, store=store_path, privacy=privacy) as router:
        right_at_last(router, rng, 20)
        long = around(request(rng), rng)
        np.testing.assert_array_equal(router.route(long).vectors[tiny_encoder.tag], *tiny_encoder.encode([long]))


def lessons(rng, count=60):
    """Examples without vectors, as imports and observations come: half of the texts are long."""
    found = []
    for number in range(1, count + 1):
        agent = AGENTS.names[rng.integers(3)]
        asked = request(rng, agent)
        text = around(asked, rng) if number % 2 else asked
        found.append(make_example(agent, 1.0, number=number, task=text, eligible=AGENTS.names))
    return found


def answer(strategy, text):
    found = strategy.propose(Task(text), AGENTS, FixedContext(text=text))
    return dict(found.probabilities), found.confidence


def taught(examples, batch):
    strategy = hashed_bert(make_services())
    strategy.prepare(AGENTS)
    for start in range(0, len(examples), batch):
        strategy.learn(examples[start : start + batch])
    return strategy


@pytest.mark.parametrize("batch", [7, 60])
def test_however_the_log_is_cut_and_after_a_restart_the_same_is_known(batch, tmp_path):
    rng = np.random.default_rng(1)
    examples, long = lessons(rng), around(request(rng, "billing"), rng)
    whole = taught(examples, 1)
    assert answer(taught(examples, batch), long) == answer(whole, long)
    whole.save(tmp_path)
    again = hashed_bert(make_services())
    again.prepare(AGENTS)
    again.load(tmp_path)
    assert answer(again, long) == answer(whole, long)
