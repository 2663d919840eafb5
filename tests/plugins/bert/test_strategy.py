"""The strategy as a router sees it, on an encoder that needs no model."""

import gc
import logging
import threading
import weakref

import numpy as np
import pytest
from head_cases import HashedBert, hashed_bert
from router_sdk_bert.config import BertConfig
from router_sdk_bert.strategy import BertStrategy

from router_sdk import Agent, Outcome, Router
from router_sdk.errors import CorruptArtifactError, EncoderUnavailableError
from router_sdk.records import AgentSet, Signals, Task
from router_sdk.testing import FixedContext, check_strategy, make_services
from router_sdk.testing.examples import HashedWordsConfig, HashedWordsEncoder, make_example

AGENTS = AgentSet(
    [
        Agent("billing", description="invoices and refunds", examples=["I was charged twice", "send my invoice"]),
        Agent("coder", description="bugs and crashes", examples=["the app crashes", "error 500 on upload"]),
        Agent("sales", capabilities={"discount"}, latency_ms=900.0, cost_usd=0.02, success_rate=0.7),
    ]
)


def ask(strategy, text, agents=AGENTS):
    return strategy.propose(Task(text), agents, FixedContext(text=text))


def prepared(**settings):
    strategy = hashed_bert(make_services(), **settings)
    strategy.prepare(AGENTS)
    return strategy


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"labels": "independent", "memory_size": 15, "refit_interval": 3}, marks=pytest.mark.reliability),
        {"head": "analytic", "analytic_features": 64},
    ],
    ids=str,
)
def test_contract(settings):
    encoder = HashedWordsEncoder()
    check_strategy(lambda services: hashed_bert(services, **settings), encoders={encoder.name: encoder})


def test_it_routes_by_what_agents_say_before_any_outcome():
    strategy = prepared()
    assert max(ask(strategy, "I was charged twice for this").probabilities.items(), key=lambda x: x[1])[0] == "billing"
    assert max(ask(strategy, "a crash: error 500").probabilities.items(), key=lambda x: x[1])[0] == "coder"


def test_it_abstains_with_nothing_to_judge_by():
    strategy = hashed_bert(make_services())
    bare = AgentSet([Agent("one"), Agent("two")])
    strategy.prepare(bare)
    assert ask(strategy, "anything", bare) is None
    strategy.prepare(AGENTS)
    assert strategy.propose(Task(features={"size": 3.0}), AGENTS, FixedContext()) is None, "no text"
    assert ask(strategy, "anything") is not None


class Missing(BertStrategy):
    """No weights anywhere."""

    def open(self):
        raise EncoderUnavailableError("no weights; there are three ways to get some")


def test_without_an_encoder_it_abstains_says_so_once_and_learns_later(caplog, tmp_path):
    strategy = Missing(BertConfig(wait_for_encoder=True), make_services())
    with caplog.at_level(logging.ERROR):
        strategy.prepare(AGENTS)
        strategy.prepare(AGENTS)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert ask(strategy, "I was charged twice") is None
    assert "three ways" in strategy.report()["encoder"]["note"]
    strategy.learn([make_example("billing", 1.0, task="I was charged twice")])
    strategy.save(tmp_path)
    later = hashed_bert(make_services())
    later.prepare(AGENTS)
    with pytest.raises(CorruptArtifactError, match="encoder"):
        later.load(tmp_path)


class Slow(HashedBert):
    """Opens when it is told to."""

    gate = threading.Event()

    def open(self):
        assert self.gate.wait(10)
        return super().open()


def test_opening_keeps_nobody_waiting_but_the_learner():
    Slow.gate = threading.Event()
    strategy = Slow(BertConfig(), make_services())
    strategy.prepare(AGENTS)
    assert ask(strategy, "I was charged twice") is None
    learner = threading.Thread(target=strategy.learn, args=([make_example("billing", 1.0, task="I was charged")],))
    learner.start()
    assert strategy.report()["stored"] == 0
    Slow.gate.set()
    learner.join(10)
    assert strategy.report()["stored"] == 1
    assert ask(strategy, "I was charged twice") is not None


def test_agents_that_change_while_the_first_are_embedded_are_those_that_count():
    begun, go_on, again = threading.Event(), threading.Event(), threading.Event()

    class SlowWords(HashedWordsEncoder):
        def encode(self, texts):
            begun.set()
            assert go_on.wait(10)
            return super().encode(texts)

    class Embedding(HashedBert):
        def open(self):
            return SlowWords()

        def _adopt(self, encoder, *more):
            if (
                self.encoder is not None
            ):  # the encoder is there, and the agents that came meanwhile are not embedded yet
                assert again.wait(10)
            super()._adopt(encoder, *more)

    strategy = Embedding(BertConfig(), make_services())
    strategy.prepare(AGENTS)
    assert begun.wait(10)
    more = AgentSet([*AGENTS, Agent("cook", examples=["boil an egg"])])
    strategy.prepare(more)
    go_on.set()
    threading.Timer(0.05, again.set).start()
    assert strategy.warm_up() is None
    assert again.is_set(), "it is not ready before"
    scores = ask(strategy, "boil an egg", more).scores
    assert max(scores, key=scores.get) == "cook"


def test_an_encoder_that_comes_with_a_state_is_not_replaced_by_one_that_opens_later(tiny_encoder, tmp_path):
    version = prepared().successor(tiny_encoder)
    version.prepare(AGENTS)
    version.save(tmp_path)
    Slow.gate = threading.Event()
    strategy = Slow(BertConfig(), make_services())
    strategy.prepare(AGENTS)
    strategy.load(tmp_path)
    assert strategy.warm_up() is None, "it waits no longer than need be"
    Slow.gate.set()
    for thread in threading.enumerate():
        if thread.name == "router-bert-encoder":
            thread.join(10)
    assert strategy.encoder.tag == tiny_encoder.tag
    assert ask(strategy, "I was charged twice").scores == ask(version, "I was charged twice").scores


def test_a_state_of_another_encoder_is_refused(tmp_path):
    class Wider(HashedBert):
        def open(self):
            encoder = HashedWordsEncoder(HashedWordsConfig(dimensions=32))
            encoder.precision = "int8"
            return encoder

    strategy = prepared()
    strategy.learn([make_example("billing", 1.0, task="I was charged twice")])
    strategy.save(tmp_path)
    other = Wider(BertConfig(wait_for_encoder=True), make_services())
    other.prepare(AGENTS)
    with pytest.raises(CorruptArtifactError, match="int8"):
        other.load(tmp_path)


def test_a_state_of_vectors_of_another_width_is_refused(tmp_path):
    class Narrower(HashedBert):
        def open(self):
            return HashedWordsEncoder(HashedWordsConfig(dimensions=32))

    strategy = prepared()
    strategy.save(tmp_path)
    other = Narrower(BertConfig(wait_for_encoder=True), make_services())
    other.prepare(AGENTS)
    assert other.encoder.tag == strategy.encoder.tag, "the tag alone does not tell"
    with pytest.raises(CorruptArtifactError, match="64 dimensions"):
        other.load(tmp_path)


def test_two_hundred_wrong_answers_move_the_traffic():
    texts = [f"please refund order {number} of last {day}" for number in range(10) for day in ("may", "june", "july")]
    strategy = prepared()
    for start in range(0, 600, 20):
        strategy.learn(
            [make_example("billing", 1.0, number=n + 1, task=texts[n % 30]) for n in range(start, start + 20)]
        )
    before = ask(strategy, texts[0]).probabilities
    assert before["billing"] > 0.9
    for start in range(600, 800, 20):
        strategy.learn(
            [make_example("billing", 0.0, number=n + 1, task=texts[n % 30]) for n in range(start, start + 20)]
        )
    for text in texts:
        after = ask(strategy, text)
        assert after.probabilities["billing"] < max(after.probabilities.values())
        assert after.scores["billing"] < sorted(after.scores.values())[-2] + 1e-12


def test_labels_of_nobody_make_it_say_nobody():
    strategy = prepared()
    nobody = Signals(no_agent_fits=True)
    strategy.learn(
        [
            make_example(None, 0.0, number=n + 1, task=f"what is the weather in city {n}", signals=nobody)
            for n in range(40)
        ]
        + [make_example("billing", 1.0, number=n + 100, task=f"refund invoice {n}") for n in range(40)]
    )
    assert ask(strategy, "what is the weather in town").no_agent_fits
    assert not ask(strategy, "refund my invoice please").no_agent_fits


def test_novelty_makes_it_say_nobody_only_where_that_is_asked_for():
    strange = "qwertz uiop asdf ghjk yxcv"
    assert not ask(prepared(), strange).no_agent_fits
    strict = prepared(novelty_threshold=0.5)
    assert ask(strict, strange).no_agent_fits
    assert not ask(strict, "I was charged twice").no_agent_fits


def test_a_decision_that_is_kept_keeps_no_snapshot_alive():
    strategy = prepared()
    kept = ask(strategy, "I was charged twice")
    amounts = weakref.ref(strategy.head.snapshot.stored.blocks[-1].facts.weight)
    strategy.learn([make_example("billing", 1.0, task="send my invoice again")])
    gc.collect()
    assert amounts() is None
    assert kept.evidence()["nearest"]


def test_an_explanation_names_the_nearest_examples_and_what_to_expect():
    strategy = prepared()
    strategy.learn(
        [
            make_example(
                "coder",
                1.0,
                number=n + 1,
                task=f"the build is broken {n}",
                signals=Signals(latency_ms=1_000.0, cost_usd=0.5),
            )
            for n in range(30)
        ]
    )
    evidence = ask(strategy, "the build is broken 7").evidence()
    assert evidence["nearest"][0]["decision_id"] == make_example("coder", 1.0, number=8).decision_id
    assert evidence["nearest"][0]["agent"] == "coder"
    assert evidence["expected"]["coder"]["latency_ms"] == pytest.approx(1_000.0, rel=0.01)
    assert evidence["expected"]["coder"]["cost_usd"] == pytest.approx(0.5, rel=0.01)
    assert evidence["expected"]["coder"]["quality"] > 0.9
    assert evidence["expected"]["sales"] == pytest.approx({"quality": 0.7, "latency_ms": 900.0, "cost_usd": 0.02})
    assert strategy.expected()["coder"]["quality"] == pytest.approx(1.0)
    texts = [one.get("text") for one in ask(strategy, "I was charged twice").evidence()["nearest"]]
    assert texts[0] == "I was charged twice"


def test_words_are_attributed_by_leaving_them_out():
    told = prepared().attribute("the invoice thing please", AGENTS.names, "billing")
    assert [word for word, _ in told] == ["the", "invoice", "thing", "please"]
    assert max(told, key=lambda one: one[1])[0] == "invoice"
    with pytest.raises(ValueError, match="one of"):
        prepared().attribute("the invoice", AGENTS.names, "nobody")


def test_a_vector_from_the_log_is_used_where_the_text_is_gone():
    strategy, encoder = prepared(), HashedWordsEncoder()
    gone = [
        make_example(
            "sales",
            1.0,
            number=n + 1,
            task=Task(features={"redacted": True}),
            vectors={encoder.tag: encoder.encode([f"lower price for {n} seats"])[0]},
        )
        for n in range(40)
    ]
    lost = [make_example("coder", 1.0, number=99, task=Task(features={"redacted": True}))]
    strategy.learn([*gone, *lost])
    assert strategy.report()["stored"] == 40
    assert max(ask(strategy, "lower price for 12 seats").scores.items(), key=lambda x: x[1])[0] == "sales"


def test_a_successor_has_the_encoder_and_an_empty_head():
    strategy = prepared()
    strategy.learn([make_example("coder", 1.0, number=1, task="the build is broken")])
    new = strategy.successor()
    assert new.encoder is strategy.encoder
    new.prepare(AGENTS)
    assert (new.report()["stored"], strategy.report()["stored"]) == (0, 1)
    assert new.settings == strategy.settings


def test_it_learns_through_a_router(tmp_path, monkeypatch):
    monkeypatch.setattr(BertStrategy, "open", lambda self: HashedWordsEncoder())
    settings = {"bert": {"wait_for_encoder": True}}
    with Router(AGENTS, strategies=["bert", "heuristic"], store=tmp_path / "r.db", seed=0, strategy=settings) as router:
        for number in range(60):
            decision = router.route(f"translate page {number} into french")
            router.record(decision, Outcome(success=decision.agent == "sales"))
            if number % 10 == 9:
                router.flush()  # On a fast machine the learner would else hear of nothing before the last.
        decision = router.route("translate page 12 into french")
        assert decision.strategy == "bert"
        assert max(decision.probabilities.items(), key=lambda x: x[1])[0] == "sales"
        assert decision.vectors, "the embedding is logged with the decision"
        assert decision.explain()["evidence"]["nearest"]


class CountingEncoder(HashedWordsEncoder):
    """Notes how many texts it was given at once."""

    def __init__(self):
        super().__init__()
        self.given = []

    def encode(self, texts):
        self.given.append(len(texts))
        return super().encode(texts)


def test_the_texts_of_a_batch_are_encoded_together_and_once(tmp_path, monkeypatch):
    encoder = CountingEncoder()
    monkeypatch.setattr(BertStrategy, "open", lambda self: encoder)
    settings = {"bert": {"wait_for_encoder": True}}
    with Router(AGENTS, strategies=["bert", "heuristic"], store=tmp_path / "r.db", seed=0, strategy=settings) as router:
        encoder.given.clear()
        texts = ["the build is broken", Task(task_type="sums"), "translate this page", "an invoice"]
        decisions = router.route_batch(texts)
        assert encoder.given == [3]
        assert [one.strategy == "bert" for one in decisions] == [True, False, True, True]
        assert [bool(one.vectors) for one in decisions] == [True, False, True, True]
        alone = [router.route(text) for text in texts]
        assert [one.probabilities for one in decisions] == [one.probabilities for one in alone]


def test_prior_vectors_of_other_shapes_are_ignored():
    strategy, encoder = prepared(), HashedWordsEncoder()
    broken = make_example("coder", 1.0, task=Task(features={"a": 1.0}), vectors={encoder.tag: np.full(64, np.nan)})
    strategy.learn([broken])
    assert strategy.report()["stored"] == 0


def test_a_fine_tuned_encoder_is_saved_with_what_was_learnt_on_it(tiny_encoder, tmp_path):
    strategy = prepared().successor(tiny_encoder)
    strategy.prepare(AGENTS)
    strategy.learn([make_example("coder", 1.0, number=n + 1, task=f"the build is broken {n}") for n in range(30)])
    strategy.save(tmp_path / "version")
    assert (tmp_path / "version" / "encoder").is_dir()
    again = hashed_bert(make_services())
    again.load(tmp_path / "version")
    again.prepare(AGENTS)
    assert again.encoder.tag == tiny_encoder.tag
    text = "the build is broken again"
    assert ask(again, text).scores == ask(strategy, text).scores
    assert again.report()["fine_tuned"]
    later = again.successor()
    later.prepare(AGENTS)
    later.save(tmp_path / "later")
    assert (tmp_path / "later" / "encoder").is_dir(), "a later version of it brings the encoder along, too"
