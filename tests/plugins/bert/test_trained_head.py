"""A sequence-classification checkpoint routes by its own head from the first task, and outcomes move it."""

import numpy as np
import pytest
from router_sdk_bert.config import BertConfig, EncoderSettings
from router_sdk_bert.encoding.comparison import PROBES
from router_sdk_bert.encoding.encoder import load_encoder
from router_sdk_bert.encoding.export import export_encoder
from router_sdk_bert.encoding.weights import read_classifier
from router_sdk_bert.strategy import BertStrategy

from router_sdk.records import Agent, AgentSet, Signals, Task
from router_sdk.testing import FixedContext, make_services
from router_sdk.testing.examples import make_example

NAMES = ("analyst", "billing", "coder")
AGENTS = AgentSet([Agent(name) for name in NAMES])


@pytest.fixture(scope="module")
def exported(tiny_classifier_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "encoder"
    export_encoder(tiny_classifier_folder, folder, EncoderSettings(model=str(tiny_classifier_folder)))
    return folder


@pytest.fixture
def fresh(exported):
    def make(agents=AGENTS):
        strategy = BertStrategy(BertConfig(model=str(exported), wait_for_encoder=True), make_services())
        strategy.prepare(agents)
        return strategy

    return make


def ask(strategy, text, agents=AGENTS):
    return strategy.propose(Task(text), agents, FixedContext(text=text))


def scores(strategy, texts, agents=AGENTS):
    return np.array([list(ask(strategy, text, agents).scores.values()) for text in texts])


def test_it_routes_by_the_trained_head_before_anything_is_known(fresh, exported):
    logits = read_classifier(exported).logits(np.stack(load_encoder(exported, EncoderSettings()).encode(PROBES)))
    found = scores(fresh(), PROBES)
    chances = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(found, chances / chances.sum(1, keepdims=True), rtol=1e-4)


def test_an_agent_that_it_was_not_trained_for_stands_at_the_average(fresh):
    agents = AgentSet([*AGENTS, Agent("newcomer")])
    found = np.log(scores(fresh(agents), PROBES[:20], agents))
    names = [agent.name for agent in agents]
    known = [place for place, name in enumerate(names) if name != "newcomer"]
    np.testing.assert_allclose(found[:, names.index("newcomer")], found[:, known].mean(1), atol=1e-4)


def test_one_outcome_counts_at_once(fresh):
    strategy = fresh()
    text = PROBES[0]
    favourite = max(ask(strategy, text).scores.items(), key=lambda pair: pair[1])[0]
    better = next(name for name in NAMES if name != favourite)
    before = ask(strategy, text).scores[better]
    strategy.learn([make_example(better, 1.0, number=1, task=text, signals=Signals(correct_agent=better))])
    assert ask(strategy, text).scores[better] > before + 0.1


def test_outcomes_outweigh_what_it_was_trained_on(fresh):
    strategy = fresh()
    favourite = max(ask(strategy, PROBES[0]).scores.items(), key=lambda pair: pair[1])[0]
    better = next(name for name in NAMES if name != favourite)
    strategy.learn(
        [
            make_example(favourite, 0.0, number=n + 1, task=text, signals=Signals(success=False, correct_agent=better))
            for n, text in enumerate(PROBES[:60])
        ]
    )
    after = scores(strategy, PROBES[60:])
    assert (after.argmax(1) == AGENTS.names.index(better)).mean() > 0.9


def test_what_was_learnt_on_top_comes_back_from_disk(fresh, tmp_path):
    strategy = fresh()
    strategy.learn(
        [
            make_example(NAMES[n % 3], 1.0, number=n + 1, task=text, signals=Signals(correct_agent=NAMES[n % 3]))
            for n, text in enumerate(PROBES[:45])
        ]
    )
    strategy.save(tmp_path)
    again = fresh()
    again.load(tmp_path)
    np.testing.assert_array_equal(scores(again, PROBES[45:60]), scores(strategy, PROBES[45:60]))
    more = [make_example("coder", 1.0, number=n + 100, task=text) for n, text in enumerate(PROBES[60:90])]
    strategy.learn(more)
    again.learn(more)
    np.testing.assert_array_equal(scores(again, PROBES[45:60]), scores(strategy, PROBES[45:60]))
