import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.classification import expected_calibration_error, reliability


def test_a_hand_counted_example():
    found = reliability([0.1, 0.15, 0.95, 1.0, 0.0], [0, 1, 1, 1, 0], bins=10)
    assert [tuple(part) for part in found] == [(2, 0.05, 0.0), (1, 0.15, 1.0), (2, pytest.approx(0.975), 1.0)]
    assert expected_calibration_error([0.1, 0.15, 0.95, 1.0, 0.0], [0, 1, 1, 1, 0], bins=10) == pytest.approx(
        (2 * 0.05 + 0.85 + 2 * 0.025) / 5
    )


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_calibrated_answer_has_almost_no_error_and_an_overconfident_one_has(adaptive):
    rng = np.random.default_rng(0)
    confidences = rng.random(20_000)
    correct = (rng.random(20_000) < confidences).astype(float)
    assert expected_calibration_error(confidences, correct, adaptive=adaptive) < 0.02
    overconfident = np.sqrt(confidences)
    assert expected_calibration_error(overconfident, correct, adaptive=adaptive) == pytest.approx(1 / 6, abs=0.01)


def test_adaptive_bins_hold_as_many_each():
    rng = np.random.default_rng(0)
    confidences = 0.95 + 0.05 * rng.random(300)
    assert len(reliability(confidences, np.ones(300))) == 1
    assert {part.answers for part in reliability(confidences, np.ones(300), adaptive=True)} == {20}


def test_equal_confidences_are_in_one_bin_whatever_came_of_each():
    said, was = [0.2] * 6 + [0.7] * 4, [0, 0, 0, 1, 1, 1, 1, 1, 1, 0]
    found = reliability(said, was, bins=5, adaptive=True)
    assert [(part.answers, part.confidence) for part in found] == [(6, pytest.approx(0.2)), (4, pytest.approx(0.7))]
    assert expected_calibration_error(said, was, bins=5, adaptive=True) == pytest.approx((6 * 0.3 + 4 * 0.05) / 10)
    assert len(reliability([0.5] * 7, [1.0] * 7, adaptive=True)) == 1


def test_nothing_has_no_error():
    assert expected_calibration_error([], []) is None


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40), st.integers(1, 20), st.booleans()
)
def test_every_answer_is_in_one_bin(rows, bins, adaptive):
    said, was = zip(*rows, strict=True)
    found = reliability(said, was, bins=bins, adaptive=adaptive)
    assert sum(part.answers for part in found) == len(rows)
    assert sum(part.answers * part.accuracy for part in found) == pytest.approx(sum(was))
    error = expected_calibration_error(said, was, bins=bins, adaptive=adaptive)
    assert abs(np.mean(said) - np.mean(was)) - 1e-9 <= error <= 1.0


@pytest.mark.parametrize(
    ("confidences", "correct", "bins"), [([0.5], [], 3), ([1.5], [1], 3), ([float("nan")], [1], 3), ([0.5], [1], 0)]
)
def test_what_is_no_confidence_is_refused(confidences, correct, bins):
    with pytest.raises(InvalidInputError):
        expected_calibration_error(confidences, correct, bins=bins)
