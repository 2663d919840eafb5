"""The kind of feedback is found out, and whoever earns most on it answers."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from head_cases import NAMES, clusters, hashed_bert
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_bert.config import HeadConfig
from router_sdk_bert.head.best_single import BestSingle, means_of
from router_sdk_bert.head.head import make_head
from router_sdk_bert.head.linear import LinearPosterior, Reward
from router_sdk_bert.head.policies import BEST_SINGLE, CLASSIFIER, ELIMINATION, LINEAR, POLICIES, Policies
from router_sdk_bert.head.rows import Row

from router_sdk.numerics import recency
from router_sdk.numerics.policy_comparison import PolicyComparison
from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError
from router_sdk.testing.examples import make_services

KINDS = {
    "one is right": (1.0, 0.0),
    "several succeed": (0.95, 0.6),
    "grades": (0.9, 0.7),
    "rare": (0.2, 0.02),
}


def test_what_agents_earn_is_kept_of_the_types_heard_of_last(monkeypatch):
    monkeypatch.setattr(recency, "MOST_KINDS", 8)
    kept = BestSingle()
    for number in range(100):
        kept.learn("often" if number % 5 == 0 else f"id {number}", [Reward("a", None, 1.0)])
    assert len(kept.sums) == 8
    assert (kept.sums[""]["a"][0], kept.sums["often"]["a"][0]) == (100.0, 20.0)


class Learner:
    """Head and policies together, as the strategy joins them, with a router's sampling."""

    def __init__(self, labels="auto"):
        self.head, self.policies = make_head(HeadConfig(labels=labels), 0), Policies(labels)
        self.head.set_agents(NAMES, {}, {})
        self.count = 0

    def learn(self, row):
        self.policies.learn(row, self.head.judge, self.head.memory.rewards)
        self.head.take(exclusive=self.policies.exclusive)
        self.policies.changed(self.head.learn(row), self.head.config.kept_after_change)

    def shares(self, vector):
        estimate = self.head.judge(vector, NAMES)
        if estimate is None:
            return np.full(len(NAMES), 1.0 / len(NAMES))
        return np.array(self.policies.publish().choose([estimate], [vector], NAMES, [""])[0].probabilities)

    def row(self, vector, agent, reward, propensity, **more):
        self.count += 1
        known = {"eligible": NAMES, "propensity": propensity, "at": float(self.count), **more}
        return Row(f"{self.count:032x}", self.count, vector, agent=agent, reward=reward, **known)

    def play(self, vectors, earn, *, seed=0, floor=0.05):
        """Which agent each task went to."""
        rng, went = np.random.default_rng(seed), []
        for place, vector in enumerate(vectors):
            shares = (1.0 - floor) * self.shares(vector) + floor / len(NAMES)
            chosen = int(rng.choice(len(NAMES), p=shares / shares.sum()))
            went.append(NAMES[chosen])
            self.learn(self.row(vector, NAMES[chosen], earn(place, NAMES[chosen], rng), float(shares[chosen])))
        return went


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_reward_the_right_agents_are_found(kind):
    best, other = KINDS[kind]
    exact = kind == "grades"
    vectors, right = clusters(900, seed=3)

    def earn(place, agent, rng):
        mean = best if agent == right[place] else other
        return mean if exact else float(rng.random() < mean)

    learner = Learner()
    went = learner.play(vectors, earn)
    hits = np.mean([agent == good for agent, good in zip(went[-300:], right[-300:], strict=True)])
    assert hits > (0.45 if kind == "rare" else 0.75)
    if kind != "rare":  # there it takes longer until that is sure
        assert learner.policies.exclusive is (kind == "one is right")


@pytest.mark.slow
def test_where_texts_say_nothing_the_best_single_agent_answers():
    vectors, _ = clusters(1_500, seed=4, spread=30.0)
    worth = dict(zip(NAMES, (0.3, 0.7, 0.3, 0.3), strict=True))
    learner = Learner()
    went = learner.play(vectors, lambda place, agent, rng: float(rng.random() < worth[agent]))
    assert np.mean([agent == NAMES[1] for agent in went[-500:]]) > 0.8


def test_scores_of_every_agent_at_one_task_compare_the_policies():
    vectors, _ = clusters(120, seed=5, spread=30.0)
    rng, learner, worth = np.random.default_rng(0), Learner(), dict(zip(NAMES, (0.5, 0.9, 0.5, 0.5), strict=True))
    for vector in vectors:
        for name in NAMES:
            learner.learn(learner.row(vector, name, float(rng.random() < worth[name]), None))
    weights = learner.policies.comparison.weights.of("")
    assert weights[BEST_SINGLE] > 0.5
    assert not learner.policies.exclusive


def test_labels_told_agent_by_agent_leave_the_answer_to_the_classifier():
    vectors, right = clusters(200, seed=6)
    learner = Learner()
    for vector, label in sorted(zip(vectors, right, strict=True), key=lambda pair: pair[1]):
        learner.learn(learner.row(vector, label, None, None, label=label, labelled=True))
    assert learner.policies.comparison.weights.of("")[CLASSIFIER] > 0.9


def test_examples_speak_for_the_classifier_descriptions_less_and_nothing_for_what_is_safe():
    policies, told = Policies("auto"), []
    for told_of in ({}, {"description": "pays"}, {"examples": ["x"]}):
        policies.prepare([Agent("a", **told_of), Agent("b")])
        told.append(policies.comparison.weights.of("")[CLASSIFIER])
    assert told[0] < told[1] < told[2]


def mixed(learner, count, seed):
    """Outcomes of every sort, with corrections."""
    (vectors, right), rng, rows = clusters(count, seed=seed), np.random.default_rng(seed), []
    for place, (vector, label) in enumerate(zip(vectors, right, strict=True)):
        agent = NAMES[int(rng.integers(len(NAMES)))]
        sort = place % 5
        row = learner.row(vector, agent, float(agent == label), None if sort == 1 else 0.25)
        if sort == 2:
            row = replace(row, label=label, labelled=True)
        rows.append(row)
        if sort == 3:
            rows.append(replace(row, reward=0.5, before=row))
        if sort == 4:
            rows += [replace(row, decision_id=f"{place}{name}", agent=name, propensity=None) for name in NAMES[:3]]
    return rows


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@given(cuts=st.lists(st.integers(0, 60), max_size=3), seed=st.integers(0, 3))
@settings(max_examples=4, deadline=None)
def test_saved_anywhere_it_goes_on_to_the_very_same_state(cuts, seed, tmp_path_factory):
    whole, parts = Learner(), Learner()
    rows = mixed(whole, 45, seed)
    for row in rows:
        whole.learn(row)
    for start, stop in itertools.pairwise([0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]):
        for row in rows[start:stop]:
            parts.learn(row)
        folder = tmp_path_factory.mktemp("state")
        parts.policies.save(folder)
        parts.policies = Policies("auto")
        parts.policies.load(folder)
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    whole.policies.save(one)
    parts.policies.save(other)
    assert files(one) == files(other)
    vector = rows[0].vector
    np.testing.assert_array_equal(whole.shares(vector), parts.shares(vector))


def test_of_a_state_that_compared_other_policies_all_else_is_taken_up(tmp_path):
    learner = Learner()
    for row in mixed(learner, 20, 1):
        learner.learn(row)
    learner.policies.comparison = PolicyComparison(POLICIES[:ELIMINATION], (0.3, 0.3, 0.4))
    learner.policies.save(tmp_path)
    loaded = Policies("auto")
    loaded.load(tmp_path)
    assert loaded.best_single.sums == learner.policies.best_single.sums
    assert set(loaded.comparison.report()[""]) == set(POLICIES)


def test_a_spoilt_state_is_refused(tmp_path):
    learner = Learner()
    for row in mixed(learner, 20, 1):
        learner.learn(row)
    learner.policies.save(tmp_path)
    (tmp_path / "policies.safetensors").write_bytes(b"x" * 64)
    with pytest.raises(CorruptArtifactError):
        Policies("auto").load(tmp_path)


def test_a_correction_leaves_what_the_last_word_alone_would_have():
    vector = clusters(1, seed=8)[0][0]
    corrected, direct = LinearPosterior(), LinearPosterior()
    corrected.learn([Reward("a", None, 1.0)], vector)
    corrected.learn([Reward("a", 1.0, 0.0), Reward("b", None, 1.0)], vector)
    corrected.learn([Reward("b", 1.0, None)], vector)
    direct.learn([Reward("a", None, 0.0)], vector)
    np.testing.assert_allclose(corrected.expected(["a", "b", "c"], vector), direct.expected(["a", "b", "c"], vector))
    single = BestSingle()
    single.learn("x", [Reward("a", None, 1.0)])
    single.learn("x", [Reward("a", 1.0, 0.25)])
    assert single.sums["x"]["a"] == single.sums[""]["a"] == (1.0, 0.25)


def test_of_a_changed_agent_no_more_is_kept_than_was_asked_for():
    single, posterior, vector = BestSingle(), LinearPosterior(), clusters(1, seed=8)[0][0]
    for _ in range(40):
        single.learn("", [Reward("a", None, 1.0), Reward("b", None, 1.0)])
        posterior.learn([Reward("a", None, 0.0), Reward("b", None, 0.0)], vector)
    before = posterior.expected(["a", "b"], vector)
    single.changed(["a"], 5.0)
    posterior.changed(["a"], 5.0)
    after = posterior.expected(["a", "b"], vector)
    assert single.sums[""] == {"a": (5.0, 5.0), "b": (40.0, 40.0)}
    assert before[0] < after[0]
    assert after[1] == before[1]


def test_requests_read_what_was_published_and_forgotten_agents_are_strangers():
    vectors, right = clusters(80, seed=9)
    posterior = LinearPosterior()
    for vector, agent in zip(vectors, right, strict=True):
        other = NAMES[0] if agent != NAMES[0] else NAMES[1]
        posterior.learn([Reward(agent, None, 1.0), Reward(other, None, 0.0)], vector)
    snapshot = posterior.publish()
    for vector in vectors[:5]:
        ((means, widths),) = snapshot.scores((*NAMES, "new"), [vector])
        np.testing.assert_allclose(means, posterior.expected((*NAMES, "new"), vector), atol=1e-4)
        assert 0.0 < max(widths[:-1]) < widths[-1]
    posterior.forget([NAMES[2]])
    assert posterior.expected([NAMES[2]], vectors[0]) == [1.0]


@pytest.mark.slow
def test_many_agents_get_fewer_coordinates_each():
    posterior, rng = LinearPosterior(), np.random.default_rng(0)
    vectors = rng.normal(size=(300, 384)).astype(np.float32)
    for place, vector in enumerate(vectors):
        posterior.learn([Reward(f"agent{place}", None, 1.0)], vector / np.linalg.norm(vector))
    assert posterior.posterior.width < 384
    assert posterior.posterior.sigma.nbytes < 200_000_000


def test_rare_rewards_are_not_drowned_by_what_is_believed_at_first():
    single = BestSingle()
    for place in range(2_000):
        agent = NAMES[place % 4]
        single.learn("", [Reward(agent, None, float(agent == "coder" and place % 40 == 1))])
    means, widths = means_of(single.sums, (*NAMES, "new"), "")
    assert max(range(5), key=means.__getitem__) == NAMES.index("coder")
    assert 0.0 < means[4] < 0.05
    assert widths[4] > widths[0]


def test_the_strategy_says_which_policy_answers(tmp_path):
    strategy = hashed_bert(make_services())
    strategy.prepare(AgentSet([Agent("billing", examples=["an invoice"]), Agent("coder", examples=["a program"])]))
    report = strategy.report()
    assert report["policies"][""] == {
        POLICIES[CLASSIFIER]: pytest.approx(0.96, abs=0.05),
        POLICIES[LINEAR]: pytest.approx(0.02, abs=0.02),
        POLICIES[ELIMINATION]: pytest.approx(0.02, abs=0.02),
    }
    assert report["feedback"] == "one agent is right"
