import numpy as np
import pytest
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.features import columns, memory_budget
from router_sdk_thompson.features.hashed_text import FEATURES
from router_sdk_thompson.features.memory_budget import Layout, fitting, halvings, widest
from router_sdk_thompson.labels import Change
from router_sdk_thompson.posteriors.diagonal_gaussian import DiagonalGaussian

from router_sdk.numerics.normal_gamma import NormalGamma, capacity
from router_sdk.plugin import Agent, AgentSet, Task
from router_sdk.testing import FixedContext, make_example, make_services, revise

MOST_MB = 450
"""What the README says of posteriors over features, requests' copies included."""
MOST_TEXT_MB = 540
"""What it says of those over texts."""


def agents_of(count):
    return AgentSet([Agent(f"a{number:04}") for number in range(count)])


def strategy(agents, **settings):
    made = ThompsonStrategy(ThompsonConfig(min_context_evidence=0, **settings), make_services())
    made.prepare(agents)
    return made


def bytes_of(made):
    models = made._contexts.dense.curved, made._contexts.dense.straight
    return sum(each._block.nbytes for model in models for each in (model.posterior, *model.buffer._buffers))


@pytest.mark.reliability
def test_two_thousand_agents_with_features_take_what_is_said_and_no_more():
    agents, rng = agents_of(2_000), np.random.default_rng(0)
    made = strategy(agents)
    for start in range(0, 2_000, 500):
        lessons = []
        for number in range(start, start + 500):
            features = {f"f{place}": float(value) for place, value in enumerate(rng.normal(size=4))}
            features |= {f"c{place}": f"v{number % 40}" for place in range(2)}
            task = Task(features=features)
            lessons.append(make_example(agents.names[number], 1.0, number=number + 1, task=task, eligible=agents.names))
        made.learn(lessons)
        assert bytes_of(made) < MOST_MB * 1e6
    design = made._contexts.dense.curved.design
    assert len(made._contexts.dense.curved.posterior.rows) == 2_000
    assert design.fourier is None
    assert made.propose(task, agents, FixedContext()) is not None


@pytest.mark.parametrize("agents", [1, 64, 100, 2_000, 50_000])
@pytest.mark.parametrize("layout", [Layout(192, 0, 32), Layout(0, 0, 512), Layout(0, 384, 0), Layout(192, 384, 512)])
def test_whatever_is_wanted_fits_and_what_fits_is_kept(layout, agents):
    kept = fitting(layout, agents)
    assert kept.width <= widest(agents)
    assert all(0 <= mine <= theirs for mine, theirs in zip(kept, layout, strict=True))
    assert kept == fitting(kept, agents) == fitting(layout, capacity(agents))
    assert (kept == layout) == (layout.width <= widest(agents))
    assert min(kept[1], kept[2]) > 0 or min(layout[1], layout[2]) == 0, "neither embedding nor columns are given up"


def test_what_is_known_of_the_other_features_stays():
    rng = np.random.default_rng(1)
    whole = NormalGamma(6, 0.16, 1.0, 5.0, 0.6)
    for number in range(40):
        whole.observe(whole.row("ab"[number % 2]), rng.normal(size=6), float(rng.random()), 1.0)
    kept, x = np.array([0, 1, 4]), np.zeros(6)
    x[kept] = [1.0, 0.5, -0.3]
    before, count = whole.scores(("a", "b"), x, 1.0), list(whole.count)
    whole.narrow(kept)
    after = whole.scores(("a", "b"), x[kept], 1.0)
    assert np.allclose(before, after)
    assert whole.count == count
    assert whole.observe(whole.row("c"), x[kept], 0.0, 1.0) < 0.0


def lessons(agents, count, first=1):
    """Who is right follows from the sign of a number and from a category; many more categories say nothing."""
    rng = np.random.default_rng(first)
    found = []
    for number in range(first, first + count):
        size, kind = float(rng.normal()), str(rng.choice(["x", "y"]))
        right = agents.names[2 * (size > 0) + (kind == "x")]
        agent = agents.names[int(rng.integers(len(agents)))]
        features = {"size": size, "kind": kind, "noise": f"n{rng.integers(12)}"}
        reward = float(agent == right)
        found.append(
            make_example(agent, reward, number=number, task=Task(features=features), eligible=agents.names[:4])
        )
    return found


@pytest.fixture
def little_room(monkeypatch):
    """Eight agents have room for 24 features, four for 48 …"""
    memory_budget.widest.cache_clear()
    monkeypatch.setattr(memory_budget, "MOST_BYTES", 8 * 8 * 24**2)
    yield
    memory_budget.widest.cache_clear()


def arrays_of(made):
    return made._contexts.dense.curved.posterior.arrays()


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
def test_agents_that_come_take_room_and_what_matters_is_still_known(little_room, likelihood):
    agents = agents_of(12)
    made = strategy(agents, likelihood=likelihood, fourier_features=24)
    first = AgentSet(agents[:4])
    made.learn(lessons(first, 300))
    dense = made._contexts.dense
    assert dense.curved.design.fourier is not None
    assert dense.straight.events > 0
    made.learn(lessons(agents, 500, first=301))
    assert dense.curved.posterior.width <= widest(12) < 24
    assert dense.curved.design.fourier is None
    assert dense.straight.design is None, "both would be one"
    for size in (-1.0, 1.0):
        for kind in ("x", "y"):
            task = Task(features={"size": size, "kind": kind})
            chances = made.propose(task, agents, FixedContext()).probabilities
            assert max(chances, key=chances.get) == agents.names[2 * (size > 0) + (kind == "x")]


def test_how_lessons_are_cut_and_a_restart_in_between_change_nothing(little_room, tmp_path):
    agents = agents_of(12)
    told = [*lessons(AgentSet(agents[:4]), 60), *lessons(agents, 120, first=61)]
    whole, cut, again = (strategy(agents, fourier_features=24) for _ in range(3))
    whole.learn(told)
    for start in range(0, 180, 7):
        cut.learn(told[start : start + 7])
    cut.save(tmp_path)
    again.load(tmp_path)
    more = lessons(agents, 40, first=181)
    for made in (whole, cut, again):
        made.learn(more)
    for name, array in arrays_of(whole).items():
        assert np.array_equal(array, arrays_of(cut)[name])
        assert np.array_equal(array, arrays_of(again)[name])


def test_an_early_decision_is_corrected_after_features_were_given_up(little_room):
    agents = agents_of(12)
    told = lessons(AgentSet(agents[:4]), 30)
    settings = {"fourier_features": 0, "change_detector": "off", "half_life_s": None, "rival_weight": 0.0}
    corrected, right = strategy(agents, **settings), strategy(agents, **settings)
    first = told[0]
    wrong = make_example(first.agent, 1.0 - first.reward, number=1, task=first.task, eligible=agents.names[:4])
    after = lessons(agents, 100, first=31)
    corrected.learn([wrong, *told[1:], *after])
    right.learn([*told, *after])
    corrected.learn([revise(wrong, first.reward, seq=after[-1].seq + 1)])
    assert corrected._contexts.dense.curved.posterior.width <= widest(12)
    assert np.allclose(arrays_of(corrected)["mean"], arrays_of(right)["mean"], atol=1e-6)


def test_an_embedding_is_cut_to_the_room_there_is(little_room):
    agents, rng = agents_of(12), np.random.default_rng(2)
    made = strategy(agents)
    dense = made._contexts.dense.curved
    for number in range(1, 60):
        agent = agents.names[number % 12]
        vector = rng.normal(size=64)
        example = make_example(agent, float(vector[0] > 0), number=number, task=Task("x"), eligible=agents.names)
        dense.learn(example, [Change(agent, None, example.reward)], {}, vector, None)
    assert dense.design.columns.first == widest(12) - 1 < 64
    assert dense.publish().belief(Task("x"), agents, rng.normal(size=64).astype(np.float32)) is not None


def test_columns_do_not_remember_every_category_there_ever_was(monkeypatch):
    monkeypatch.setattr(columns, "MOST_PLACES", 600)
    known = columns.Columns()
    for number in range(2_000):
        known.fit({"user": f"u{number}", "age": 30.0 + number})
    assert known.fit({"height": 1.8}) is False
    assert known.count == columns.MOST_COLUMNS
    assert len(known.state()["places"]) == 600
    again = columns.Columns()
    again.restore(known.state())
    for one in (known, known.frozen(), again):
        assert one.encode({"user": "u1"}).sum() == one.encode({"user": "u1999"}).sum() == 1.0
        assert not one.encode({"height": 1.8}).any()


# -- over texts

WORDS = ("invoice refund charge money", "python bug crash code", "flight hotel beach visa", "pasta oven salt recipe")


def text_bytes_of(made):
    text = made._contexts.text
    each = [text.evidence, *text.buffer._buffers, *([text._prior] if text._prior else [])]
    return sum(one.mean.nbytes + one.precision.nbytes for one in each)


def test_two_thousand_agents_with_texts_take_what_is_said_and_no_more():
    agents = agents_of(2_000)
    made = strategy(agents)
    lessons = [
        make_example(agents.names[number], 1.0, number=number + 1, task=f"number {number}", eligible=agents.names)
        for number in range(150)
    ]
    made.learn(lessons)
    assert text_bytes_of(made) < MOST_TEXT_MB * 1e6
    assert made._contexts.text.evidence.mean.shape[1] == FEATURES >> halvings(2_000, FEATURES)
    assert capacity(2_000) * (FEATURES >> halvings(2_000, FEATURES)) * 8 * 4 < MOST_TEXT_MB * 1e6
    assert halvings(250, FEATURES) == 0


def text_lessons(agents, count, first=1):
    rng = np.random.default_rng(first)
    found = []
    for number in range(first, first + count):
        topic, agent = int(rng.integers(4)), agents.names[int(rng.integers(len(agents)))]
        text = " ".join([*rng.permutation(WORDS[topic].split())[:3], *(f"w{rng.integers(500)}" for _ in range(3))])
        reward = float(agent == agents.names[topic])
        found.append(make_example(agent, reward, number=number, task=text, eligible=agents.names))
    return found


@pytest.fixture
def little_room_for_texts(monkeypatch):
    """Eight agents have room for 4,096 features, sixteen for 2,048."""
    memory_budget.halvings.cache_clear()
    monkeypatch.setattr(memory_budget, "MOST_TEXT_BYTES", 8 * 8 * 4_096)
    yield
    memory_budget.halvings.cache_clear()


def test_features_of_texts_are_halved_as_agents_come_and_words_still_decide(little_room_for_texts, tmp_path):
    agents = agents_of(12)
    first = AgentSet(agents[:8])
    whole, cut, again = (strategy(agents) for _ in range(3))
    told = [*text_lessons(first, 150), *text_lessons(agents, 250, first=151)]
    whole.learn(told[:150])
    assert whole._contexts.text.evidence.halved == 4
    whole.learn(told[150:])
    assert whole._contexts.text.evidence.mean.shape == (16, 2_048)
    for topic, words in enumerate(WORDS):
        task = Task(words)
        chances = whole.propose(task, agents, FixedContext(text=task.text)).probabilities
        assert max(chances, key=chances.get) == agents.names[topic]
    for start in range(0, 400, 9):
        cut.learn(told[start : start + 9])
    cut.save(tmp_path)
    again.load(tmp_path)
    more = text_lessons(agents, 40, first=401)
    for made in (whole, cut, again):
        made.learn(more)
    scores = [made.propose(Task(WORDS[0]), agents, FixedContext(text=WORDS[0])).scores for made in (whole, cut, again)]
    assert scores[0] == scores[1] == scores[2]


def test_halved_features_weigh_what_their_parts_weighed_together(little_room_for_texts):
    whole = DiagonalGaussian(3.0)
    row, ids = whole.row("a"), np.array([2, 3, 9])
    whole.mean[row, ids] = [1.0, 0.5, -0.25]
    whole.precision[row, ids] = [2.0, 0.0, 1.0]
    half = whole.halve(1)
    assert half.at(ids).tolist() == [1, 1, 4]
    assert half.precision[half.rows["a"], [1, 4, 0]].tolist() == [2.0, 1.0, 0.0]
    base = 1.0 / 3.0
    wanted = [(1.0 * (2.0 + base) + 0.5 * base) / (2.0 + base), -0.25]
    assert half.mean[half.rows["a"], [1, 4]] == pytest.approx(wanted, rel=1e-6)
