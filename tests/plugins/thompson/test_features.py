import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.features.columns import Columns

from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError, Task
from router_sdk.testing import FixedContext, make_example, make_services, revise

AGENTS = AgentSet([Agent("small"), Agent("large")])


def strategy(**fields):
    made = ThompsonStrategy(ThompsonConfig(min_context_evidence=0, **fields), make_services(seed=4))
    made.prepare(AGENTS)
    return made


def ask(made, features):
    return made.propose(Task(features=features), AGENTS, FixedContext())


def stream(count, seed=0):
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(1, count + 1):
        features = {
            "length": float(rng.normal(500, 200)),
            "lang": str(rng.choice(["de", "en"])),
            "code": bool(number % 2),
        }
        agent = AGENTS.names[number % 2]
        # The small one fails at long texts, the large one at German.
        good = features["length"] < 500 if agent == "small" else features["lang"] == "en"
        task = Task(features=features)
        examples.append(make_example(agent, float(good), number=number, task=task, eligible=AGENTS.names))
    return examples


@pytest.mark.parametrize("fourier", [0, 192])
def test_numbers_and_categories_tell_the_agents_apart(fourier):
    made = strategy(fourier_features=fourier)
    made.learn(stream(800))
    assert max((p := ask(made, {"length": 200.0, "lang": "de"})).scores, key=p.scores.get) == "small"
    assert max((p := ask(made, {"length": 800.0, "lang": "en"})).scores, key=p.scores.get) == "large"
    assert p.evidence()["mode"] == "features"
    unseen = ask(made, {"length": 800.0, "lang": "fr", "never": 3})
    assert sum(unseen.probabilities.values()) == pytest.approx(1.0)


def test_batches_and_disk_do_not_matter(tmp_path):
    lessons = stream(120)
    whole, parts = strategy(), strategy()
    whole.learn(lessons)
    for lesson in lessons:
        parts.learn([lesson])
    question = {"length": 650.0, "lang": "de", "code": True}
    assert ask(whole, question).scores == ask(parts, question).scores
    whole.save(tmp_path)
    again = strategy()
    again.load(tmp_path)
    assert ask(again, question).scores == ask(whole, question).scores
    fix = [revise(lessons[100], 0.5)]
    whole.learn(fix)
    again.learn(fix)
    assert ask(again, question).scores == ask(whole, question).scores
    sigma = np.load(tmp_path / "dense_sigma.npy")
    sigma[0] -= 10.0 * np.eye(len(sigma[0]))
    np.save(tmp_path / "dense_sigma.npy", sigma)
    with pytest.raises(CorruptArtifactError):
        strategy().load(tmp_path)


def test_a_request_that_two_publications_passed_asks_again():
    made, lessons = strategy(fourier_features=0), stream(124)
    made.learn(lessons[:120])
    contexts, asked = made._published.contexts, []

    class Slow:
        def voices(self, *request):
            asked.append(request)
            found = contexts.voices(*request)
            for lesson in lessons[120:]:
                made.learn([lesson])
            return found

    made._published = made._published._replace(contexts=Slow())
    slow = ask(made, {"length": 650.0, "lang": "de"})
    assert len(asked) == 1
    assert slow.scores == ask(made, {"length": 650.0, "lang": "de"}).scores


@pytest.mark.parametrize("fourier", [0, 16])
def test_a_correction_equals_never_having_erred(fourier):
    lessons = stream(100)
    erred, right = (strategy(change_threshold=None, fourier_features=fourier) for _ in range(2))
    wrong = [revise(lesson, 1.0 - lesson.reward) for lesson in lessons]
    erred.learn(lessons)
    erred.learn(wrong)
    for lesson, corrected in zip(lessons, wrong, strict=True):
        right.learn([lesson, corrected])
    question = {"length": 650.0, "lang": "de"}
    # Which of the posteriors answers was settled before the correction, when their favourites differed.
    task = Task(features=question)
    for kind in ("curved", "straight") if fourier else ("curved",):
        one, other = (getattr(made._contexts.dense.publish(), kind) for made in (erred, right))
        here, there = one.belief(task, AGENTS, None), other.belief(task, AGENTS, None)
        assert here.means == pytest.approx(there.means, abs=1e-6)
        assert here.widths == pytest.approx(there.widths, abs=1e-6)


def test_columns_keep_their_places_and_scales():
    columns = Columns()
    for number in range(200):
        columns.fit({"x": float(number % 10), "kind": "ab"[number % 2]})
    before = columns.encode({"x": 4.5, "kind": "a"})
    columns.fit({"x": 1e9, "kind": "c", "new": True})
    assert columns.encode({"x": 4.5, "kind": "a"})[: len(before)] == pytest.approx(before)
    assert columns.encode({"kind": "unseen"}).any() == np.False_
    assert columns.encode({"x": 1e12})[0] == 3.0
    again = Columns()
    again.restore(columns.state())
    assert (again.encode({"x": 2.0, "kind": "b"}) == columns.encode({"x": 2.0, "kind": "b"})).all()


def one_owner_each(rivals, seed=1, rounds=600):
    """Bandit feedback on tasks that belong to one of eight agents each; the average reward of the last half."""
    agents = AgentSet([Agent(f"agent-{place}") for place in range(8)])
    made = ThompsonStrategy(
        ThompsonConfig(min_context_evidence=0, fourier_features=0, rival_weight=rivals), make_services(seed=4)
    )
    made.prepare(agents)
    rng, centres, earned = np.random.default_rng(seed), np.random.default_rng(9).normal(size=(8, 12)), []
    for number in range(1, rounds + 1):
        owner = int(rng.integers(8))
        features = {f"x{place}": float(x) for place, x in enumerate(centres[owner] + 0.7 * rng.normal(size=12))}
        found = made.propose(Task(features=features), agents, FixedContext())
        shares = [1.0 / 8.0] * 8 if found is None else list(found.probabilities.values())
        chosen = int(rng.choice(8, p=shares))
        earned.append(float(chosen == owner))
        made.learn(
            [
                make_example(
                    agents.names[chosen],
                    earned[-1],
                    number=number,
                    task=Task(features=features),
                    eligible=agents.names,
                    propensity=shares[chosen],
                )
            ]
        )
    return float(np.mean(earned[rounds // 2 :]))


@pytest.mark.parametrize("others", [0, 1])
def test_how_large_a_number_is_tells_and_not_only_on_which_side_of_the_mean(others):
    made, rng = strategy(), np.random.default_rng(3)

    def drawn():
        return {f"amount {place}": float(rng.uniform(0, 1_000)) for place in range(1 + others)}

    for number in range(1, 801):
        features, agent = drawn(), AGENTS.names[number % 2]
        good = (features["amount 0"] > 800.0) == (agent == "large")
        task = Task(features=features)
        made.learn([make_example(agent, float(good), number=number, task=task, eligible=AGENTS.names, propensity=0.5)])
    asked = [drawn() for _ in range(200)]
    found = [(p := ask(made, each).scores)["large"] > p["small"] for each in asked]
    right = np.array([each["amount 0"] > 800.0 for each in asked]) == np.array(found)
    assert right.mean() > 0.93


@pytest.mark.slow
def test_where_tasks_belong_to_one_agent_each_a_success_teaches_the_others():
    with_rivals = np.mean([one_owner_each(0.3, seed) for seed in (1, 2, 3)])
    without = np.mean([one_owner_each(0.0, seed) for seed in (1, 2, 3)])
    assert with_rivals > without


def test_what_a_success_says_of_the_others_is_saved_too(tmp_path):
    made = strategy()
    made.learn(stream(120))
    made._contexts.comparison.feedback.note(5, 0.1, 1.0)
    made.save(tmp_path)
    again = strategy()
    again.load(tmp_path)
    assert again._contexts.comparison.feedback.state() == made._contexts.comparison.feedback.state()
    assert made._contexts.comparison.feedback.whims[0] > 0.0
    state = json.loads((tmp_path / "comparison.json").read_text())
    state["feedback"][2] = -1.0
    (tmp_path / "comparison.json").write_text(json.dumps(state))
    with pytest.raises(CorruptArtifactError):
        strategy().load(tmp_path)


NUMBERS = st.floats(-1e30, 1e30) | st.floats(-3, 3)


@given(
    st.lists(st.dictionaries(st.sampled_from("abcdef"), NUMBERS, min_size=1), min_size=1, max_size=90),
    st.dictionaries(st.sampled_from("abcdefg"), NUMBERS, min_size=1),
)
def test_numbers_are_encoded_together_as_one_by_one(seen, asked):
    columns, one_by_one = Columns(), Columns()
    for features in seen:
        alone = {name: np.float64(value) for name, value in features.items()}  # no ``float``, so by itself
        assert columns.fit(features) == one_by_one.fit(alone)
        assert columns.encode(features).tolist() == one_by_one.encode(alone).tolist()
    assert columns.state() == one_by_one.state()
    slow = one_by_one.encode({name: np.float64(value) for name, value in asked.items()})
    assert columns.frozen().encode(asked).tolist() == slow.tolist()
