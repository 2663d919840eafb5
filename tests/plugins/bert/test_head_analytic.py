"""The head that keeps sums alone."""

import numpy as np
import pytest
from head_cases import NAMES, accuracy, clusters, labelled, new_head, rewarded
from pydantic import ValidationError
from router_sdk_bert.config import HeadConfig
from router_sdk_bert.head.ridge import RidgeSums
from router_sdk_bert.head.rows import Row

KIND = {"head": "analytic", "analytic_features": 256}


def test_the_sums_give_what_ridge_regression_gives():
    rng = np.random.default_rng(0)
    features, right = rng.normal(size=(200, 12)).astype(np.float32), rng.integers(3, size=200)
    sums = RidgeSums.empty(12)
    sums.add(features, np.ones(200, dtype=np.float32))
    for row, code in zip(features, right, strict=True):
        sums.tell(int(code) + 1, row, 1.0, good=True)
    weights, intercepts, penalty = sums.solve([1, 2, 3])
    targets = np.eye(3)[right]
    centred = features - features.mean(0)
    gram = centred.T @ centred + penalty * np.eye(12)
    direct = np.linalg.solve(gram, centred.T @ (targets - targets.mean(0)))
    np.testing.assert_allclose(weights.T, direct, atol=1e-4)
    np.testing.assert_allclose(intercepts, targets.mean(0) - features.mean(0) @ direct, atol=1e-4)


@pytest.mark.parametrize(("noise", "least"), [(0.01, 0.3), (8.0, 3.0)])
def test_cross_validation_prefers_more_penalty_where_there_is_more_noise(noise, least):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 50)).astype(np.float32) / 7
    odds = features @ rng.normal(size=(50, 3)) + noise * rng.normal(size=(400, 3))
    sums = RidgeSums.empty(50)
    sums.add(features, np.ones(400, dtype=np.float32))
    for row, code in zip(features, odds.argmax(1), strict=True):
        sums.tell(int(code) + 1, row, 1.0, good=True)
    assert sums.solve([1, 2, 3])[2] == pytest.approx(least)


def test_it_learns_and_stores_no_vector(tmp_path):
    vectors, right = clusters(640)
    head = new_head(**KIND)
    head.add(labelled(vectors, right))
    assert accuracy(head, *clusters(200, seed=3)) > 0.93
    head.refit()
    assert not head.waiting
    head.save(tmp_path)
    content = (tmp_path / "head.safetensors").read_bytes()
    assert all(vector.tobytes() not in content for vector in vectors)


def test_rewards_of_whoever_acted_are_enough():
    vectors, right = clusters(1_500)
    acted = [NAMES[place] for place in np.random.default_rng(50).integers(len(NAMES), size=len(vectors))]
    head = new_head(**KIND)
    head.add(rewarded(vectors, acted, [a == r for a, r in zip(acted, right, strict=True)]))
    assert accuracy(head, *clusters(200, seed=3)) > 0.85


def test_a_revision_takes_back_what_was_said():
    vectors, right = clusters(320)
    wrong = [NAMES[(NAMES.index(label) + 1) % len(NAMES)] for label in right]
    head, direct = new_head(**KIND), new_head(**KIND)
    old = labelled(vectors, wrong)
    head.add(old)
    head.add(
        Row(row.decision_id, 9_000 + i, row.vector, label, True, at=row.at, before=row)
        for i, (row, label) in enumerate(zip(old, right, strict=True))
    )
    direct.add(labelled(vectors, right))
    for each in (head, direct):
        each.refit()
        each.add([])
    asked = clusters(50, seed=3)[0]
    one, other = head.snapshot, direct.snapshot
    for vector in asked:
        left, right_ = (
            one.estimate(vector, NAMES).odds / one.sharpness,
            other.estimate(vector, NAMES).odds / other.sharpness,
        )
        np.testing.assert_allclose(left, right_, atol=1e-4)


def test_its_chances_are_calibrated_as_they_come():
    vectors, right = clusters(3_000, spread=0.9)
    rng = np.random.default_rng(3)
    noisy = [str(rng.choice(NAMES)) if rng.random() < 0.3 else label for label in right]
    head = new_head(**KIND)
    head.add(labelled(vectors[:2_000], noisy[:2_000]))
    found = head.predict(vectors[2_000:], NAMES)
    good = np.array(NAMES)[found.probabilities.argmax(1)] == np.array(noisy[2_000:])
    assert abs(found.confidence.mean() - good.mean()) < 0.06


def test_it_needs_exclusive_labels():
    with pytest.raises(ValidationError, match="exclusive"):
        HeadConfig(head="analytic", labels="independent")
