"""From when on, and from how far, a task is for nobody, where no label ever said so."""

import numpy as np
import pytest
from head_cases import NAMES, clusters, labelled, new_head, rewarded
from router_sdk_bert.head.out_of_scope import LEAST_KNOWN, novelty_limit, too_novel
from router_sdk_bert.head.rows import Facts


def strangers(count, seed=1_000):
    found = np.random.default_rng(seed).normal(size=(count, 32)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def refused(head, vectors):
    estimates = [head.snapshot.estimate(vector, NAMES) for vector in vectors]
    return float(np.mean([too_novel(one.novelty, None, one.limit) for one in estimates]))


def test_labels_alone_tell_how_far_is_too_far():
    head = new_head()
    head.add(labelled(*clusters(1_500)))
    assert refused(head, clusters(600, seed=1_001)[0]) < 0.06
    assert refused(head, strangers(300)) > 0.8


def test_nothing_is_refused_while_little_is_known():
    head = new_head(told={name: strangers(3, seed) for seed, name in enumerate(NAMES)})
    rows = labelled(*clusters(1_500))
    for start in range(0, 400, 100):
        head.add(rows[start : start + 100])
        assert head.model.limit is None
        assert refused(head, strangers(50)) == 0.0


def test_nothing_is_refused_while_an_agent_is_hardly_known():
    head = new_head()
    head.add(labelled(*clusters(1_500)))
    assert head.model.limit is not None
    head.set_agents((*NAMES, "new"), {}, {})
    assert head.model.limit is None
    head.add(labelled(strangers(60), ["new"] * 60, first=5_000))
    head.refit()
    assert head.model.limit is not None


def played(count, strange, seed=1_000):
    """Rewards of whoever was chosen: mostly right in scope, and never right out of it."""
    rng = np.random.default_rng(seed)
    vectors, right = clusters(count, seed=seed)
    came = (rng.random(count) < 0.9).astype(float)
    out = rng.random(count) < strange
    vectors[out], came[out] = strangers(int(out.sum())), 0.0
    return rewarded(vectors, right, came)


@pytest.mark.slow
def test_where_tasks_beyond_succeed_as_well_none_is_refused():
    head = new_head()
    head.add(played(2_500, 0.0))
    head.refit()
    assert head.model.limit is None


@pytest.mark.slow
def test_where_they_fail_they_are_refused():
    head = new_head()
    head.add(played(2_500, 0.1))
    head.refit()
    assert refused(head, strangers(300, seed=1_001)) > 0.6
    assert refused(head, clusters(600, seed=1_002)[0]) < 0.06


def test_a_state_keeps_it(tmp_path):
    head = new_head()
    head.add(labelled(*clusters(1_500)))
    head.save(tmp_path)
    other = new_head()
    other.load(tmp_path)
    assert other.model.limit == head.model.limit
    assert other.report()["novelty_threshold"] == head.model.limit


def facts(right, credit, wrong):
    count = len(right)
    numbers = np.ones(count, dtype=np.float32)
    return Facts(
        np.array(right, dtype=np.int32),
        np.array(credit, dtype=np.float32),
        np.array(wrong, dtype=np.int32),
        1.0 - np.array(credit, dtype=np.float32),
        numbers,
        numbers,
    )


def test_it_is_the_conformal_quantile():
    novel = np.random.default_rng(1_000).permutation(200) / 200
    every = facts([1] * 200, [1.0] * 200, [-1] * 200)
    assert novelty_limit(novel, every, 0.03) == pytest.approx(194 / 200)
    assert novelty_limit(novel, every, 0.1) == pytest.approx(180 / 200)
    assert novelty_limit(novel[: LEAST_KNOWN - 1], facts([1] * 99, [1.0] * 99, [-1] * 99), 0.1) is None
    assert novelty_limit(novel, every, 0.001) is None, "so small a share takes more rows"
    nobody = facts([0] * 200, [1.0] * 200, [-1] * 200)
    assert novelty_limit(novel, nobody, 0.03) is None


def test_what_a_person_set_always_holds():
    assert too_novel(0.6, 0.5, None)
    assert not too_novel(0.6, 2.0, 0.1)
    assert not too_novel(0.6, None, None)
    assert not too_novel(0.6, None, 0.7)


def test_one_in_twenty_beyond_a_derived_limit_is_tried():
    novel = np.random.default_rng(1_000).uniform(0.5, 0.9, 10_000).tolist()
    assert np.mean([too_novel(one, None, 0.4) for one in novel]) == pytest.approx(0.95, abs=0.01)
    assert [too_novel(one, None, 0.4) for one in novel[:50]] == [too_novel(one, None, 0.4) for one in novel[:50]]
    assert all(too_novel(one, 0.4, None) for one in novel)
