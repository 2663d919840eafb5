import numpy as np
import pytest
from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.features.hashed_text import HALF, TEXT_ENCODER, text_ids

from router_sdk import Outcome, Router
from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError, InvalidConfigError, Signals, Task
from router_sdk.testing import FixedContext, make_example, make_services, revise

TOPICS = {
    "billing": ["refund my invoice", "charged twice on my card", "send the invoice again", "refund the payment"],
    "travel": ["book a flight to rome", "change my hotel booking", "cancel the flight", "hotel near the airport"],
    "weather": ["will it rain tomorrow", "how cold is it outside", "weather for the weekend", "is it going to snow"],
}
ENCODERS = {TextFeatures.name: TextFeatures(TextFeatures.Config())}
AGENTS = AgentSet([Agent(name) for name in TOPICS])


def strategy(agents=AGENTS, **fields):
    made = ThompsonStrategy(ThompsonConfig(min_context_evidence=0, **fields), make_services(encoders=ENCODERS))
    made.prepare(agents)
    return made


def ask(made, text, agents=AGENTS, encoders=ENCODERS, **fields):
    return made.propose(Task(text, **fields), agents, FixedContext(text=text, encoders=encoders))


def lesson(text, agent, reward, number, **more):
    vectors = {TEXT_ENCODER.tag: text_ids(text)}
    return make_example(agent, reward, number=number, task=text, eligible=AGENTS.names, vectors=vectors, **more)


def taught(rounds=240, **fields):
    made, rng = strategy(**fields), np.random.default_rng(3)
    for number in range(1, rounds + 1):
        topic = list(TOPICS)[rng.integers(3)]
        text = TOPICS[topic][rng.integers(4)]
        found = ask(made, text)
        agent = AGENTS.names[int(rng.choice(3, p=list(found.probabilities.values())))]
        made.learn([lesson(text, agent, float(agent == topic), number)])
    return made


def test_ids_are_distinct_ascending_and_split_into_words_and_grams():
    ids = text_ids("Cancel my flight, cancel it")
    assert ids.dtype == np.uint16
    assert (np.diff(ids.astype(int)) > 0).all()
    assert (ids < HALF).sum() == 4 + 4
    assert text_ids("CANCEL my flight, cancel it").tolist() == ids.tolist()
    assert text_ids("").tolist() == []


def test_it_learns_who_does_what_from_bandit_feedback():
    made = taught()
    for topic, texts in TOPICS.items():
        for text in texts:
            found = ask(made, text)
            assert max(found.probabilities, key=found.probabilities.get) == topic
    told = found.evidence()
    assert told["mode"] == "text"
    assert set(told["agents"]) == set(TOPICS)


def test_logged_ids_serve_as_well_as_the_text():
    logged, hashed = strategy(), strategy()
    first = [lesson(text, topic, 1.0, n) for n, (topic, texts) in enumerate(TOPICS.items(), 1) for text in texts[:1]]
    logged.learn(first)
    hashed.learn(
        [make_example(e.agent, 1.0, number=n, task=e.task, eligible=AGENTS.names) for n, e in enumerate(first, 1)]
    )
    text = "refund my hotel"
    assert ask(logged, text).probabilities == ask(hashed, text).probabilities
    assert ask(logged, text, encoders={}).probabilities == ask(logged, text).probabilities


def test_examples_of_the_agents_are_a_prior_that_evidence_moves():
    agents = AgentSet([Agent(name, examples=texts) for name, texts in TOPICS.items()])
    made = strategy(agents)
    text = "is my flight booked"
    assert max((found := ask(made, text, agents)).scores, key=found.scores.get) == "travel"
    made.learn([lesson(text, "travel", 0.0, n) for n in range(1, 40)])
    made.learn([lesson(text, "billing", 1.0, n) for n in range(40, 80)])
    assert max((found := ask(made, text, agents)).scores, key=found.scores.get) == "billing"
    # Of nothing else was anything learnt, so that the record would send everything to billing; the words do not.
    believed = made._contexts.text.publish().belief(agents, text_ids("hotel near rome"), "default", {}).means
    assert agents.names[believed.index(max(believed))] == "travel"


def test_what_is_saved_comes_back_bit_by_bit(tmp_path):
    made = taught(120)
    made.save(tmp_path)
    again = strategy()
    again.load(tmp_path)
    for text in ("refund", "rain in rome"):
        assert ask(again, text).scores == ask(made, text).scores
    more = [lesson("rain in rome", "weather", 1.0, 500)]
    made.learn(more)
    again.learn(more)
    assert ask(again, "rain").scores == ask(made, "rain").scores
    broken = np.load(tmp_path / "text_mean.npy")
    broken[0] = np.nan
    np.save(tmp_path / "text_mean.npy", broken)
    with pytest.raises(CorruptArtifactError):
        strategy().load(tmp_path)


def test_a_correction_moves_the_score_the_other_way():
    made = strategy()
    wrong = lesson("refund please", "travel", 1.0, 1)
    made.learn([wrong])
    before = ask(made, "refund please").scores["travel"]
    made.learn([revise(wrong, 0.0, signals=Signals(success=False, quality=0.0))])
    assert ask(made, "refund please").scores["travel"] < before


def test_a_type_below_the_minimum_falls_back_to_its_cells():
    made = ThompsonStrategy(ThompsonConfig(min_context_evidence=1_000), make_services(encoders=ENCODERS))
    made.prepare(AGENTS)
    task = Task("refund", task_type="mail")
    made.learn([make_example("billing", 1.0, number=n, task=task, eligible=AGENTS.names) for n in range(1, 20)])
    assert ask(made, "anything", task_type="mail").evidence()["mode"] == "task_type"
    assert ask(made, "anything") is None


def test_an_encoder_that_is_not_registered_is_refused():
    with pytest.raises(InvalidConfigError, match="nobody"):
        ThompsonStrategy(ThompsonConfig(encoder="nobody"), make_services())


def test_grams_that_differ_in_one_letter_hash_apart_and_spread():
    words = [f"{a}{b}{c}{d}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx" for d in "abcdefgh"]
    grams = {int(place) for word in words for place in text_ids(word) if place >= HALF}
    # 4,096 words and two grams with a space on either side of each: of 32,768 places, so many are met by chance.
    distinct = 4_096 + 2 * 512
    by_chance = HALF * (1.0 - (1.0 - 1.0 / HALF) ** distinct)
    assert len(grams) > 0.95 * by_chance


def test_texts_shorter_than_a_gram_have_their_words_alone():
    assert len(text_ids("a")) == 1
    assert len(text_ids("ab")) == 2


def test_rare_words_of_the_examples_count_more_than_those_that_all_share():
    shown = {"billing": ["please help with my invoice"] * 3, "travel": ["please help with my flight"] * 3}
    agents = AgentSet([Agent(name, examples=texts) for name, texts in shown.items()])
    made = strategy(agents)
    invoice, shared = ask(made, "invoice", agents).scores, ask(made, "please help", agents).scores
    assert invoice["billing"] - invoice["travel"] > 3.0 * abs(shared["billing"] - shared["travel"])


def test_a_request_reads_the_last_publication_while_nothing_is_learnt():
    made = taught(40)
    first = made._contexts.text.publish()
    assert made._contexts.text.publish() is first
    made.learn([lesson("refund", "billing", 1.0, 500)])
    assert made._contexts.text.publish() is not first


@pytest.mark.parametrize("privacy", ["hmac", "none"])
def test_texts_are_learnt_where_the_log_keeps_none_of_them(privacy):
    rng, right = np.random.default_rng(1), []
    settings = {"privacy": privacy, "learn_now": True, "seed": 1}
    with Router(["billing", "coder"], ["thompson"], store=":memory:", **settings) as router:
        for _ in range(120):
            kind = int(rng.integers(2))
            words = ("my invoice payment refund", "the page crashes with an error")[kind]
            decision = router.route(f"{words} {rng.integers(50)}")
            right.append(decision.agent == ("billing", "coder")[kind])
            router.record(decision, Outcome(success=right[-1]))
    assert np.mean(right[-40:]) > 0.9
