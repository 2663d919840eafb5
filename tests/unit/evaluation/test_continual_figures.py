import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.continual import (
    accuracy_by_task,
    average_incremental_accuracy,
    backward_transfer,
    continual_figures,
    forgetting,
    forward_transfer,
)

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"
NAN = float("nan")
R = [[0.9, 0.2, 0.1], [0.95, 0.8, 0.3], [0.6, 0.85, 0.7]]


def test_a_hand_counted_matrix():
    found = continual_figures(R, joint=0.9, untrained=[0.1, 0.1, 0.1])
    assert found.average_accuracy == pytest.approx((0.6 + 0.85 + 0.7) / 3)
    assert found.average_incremental_accuracy == pytest.approx((0.9 + 0.875 + 2.15 / 3) / 3)
    assert found.forgetting == pytest.approx(((0.95 - 0.6) + (0.8 - 0.85)) / 2)
    assert found.backward_transfer == pytest.approx(((0.6 - 0.9) + (0.85 - 0.8)) / 2)
    assert found.forward_transfer == pytest.approx(((0.2 - 0.1) + (0.3 - 0.1)) / 2)
    assert found.gap_to_joint == pytest.approx(0.9 - 2.15 / 3)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_what_is_still_to_come_need_not_be_measured():
    lower = np.where(np.tri(3) > 0, R, NAN)
    found = continual_figures(lower)
    assert (found.forward_transfer, found.gap_to_joint) == (None, None)
    assert found.forgetting == forgetting(R)
    with pytest.raises(InvalidInputError):
        forward_transfer(lower, [0.1] * 3)


def test_one_task_forgets_nothing():
    found = continual_figures([[0.5]], untrained=[0.1])
    assert (found.forgetting, found.backward_transfer, found.forward_transfer) == (0.0, 0.0, 0.0)
    assert found.average_accuracy == found.average_incremental_accuracy == 0.5


@given(st.integers(2, 6), st.integers(0, 1_000))
def test_forgetting_is_at_least_what_is_lost_since_a_task_was_learnt(tasks, seed):
    matrix = np.random.default_rng(seed).random((tasks, tasks))
    assert forgetting(matrix) >= -backward_transfer(matrix) - 1e-12
    steady = np.tile(matrix[0], (tasks, 1))
    assert forgetting(steady) == backward_transfer(steady) == 0.0
    assert 0.0 <= average_incremental_accuracy(matrix) <= 1.0


@pytest.mark.parametrize("matrix", [[], [[0.5, 0.5]], [0.5], [[1.5]], [[0.5, 0.5], [NAN, 0.5]]])
def test_a_matrix_with_holes_is_refused(matrix):
    with pytest.raises(InvalidInputError):
        continual_figures(matrix)


@pytest.mark.parametrize(("joint", "untrained"), [(95.0, None), (None, [0.1]), (None, [NAN] * 3)])
def test_what_it_is_compared_with_is_checked_too(joint, untrained):
    with pytest.raises(InvalidInputError):
        continual_figures(R, joint=joint, untrained=untrained)


def test_a_row_of_the_matrix():
    row = accuracy_by_task([1, 0, 1, 1], [0, 0, 2, 2], 4)
    np.testing.assert_array_equal(row, [0.5, NAN, 1.0, NAN])


def test_what_the_docs_show_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, "evaluation.md", "exec"), {})
