import numpy as np
import pytest

from router_sdk.evaluation.intervals import paired_interval, student_t


@pytest.mark.parametrize(
    ("freedom", "point"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)],
)
def test_students_t_is_that_of_the_tables(freedom: int, point: float) -> None:
    assert student_t(freedom) == pytest.approx(point, abs=0.005)


def test_where_every_task_is_a_session_it_is_the_plain_paired_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(50), rng.random(50)
    found = paired_interval(a, b, np.arange(50))
    half = student_t(49) * float((a - b).std(ddof=1)) / 50**0.5
    assert found.mean == pytest.approx(float((a - b).mean()))
    assert found.high - found.mean == pytest.approx(half)
    assert found.mean - found.low == pytest.approx(half)


def test_sessions_of_equal_size_are_means_of_sessions() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((40, 3)), rng.random((40, 3))
    found = paired_interval(a.ravel(), b.ravel(), np.repeat(np.arange(40), 3))
    means = (a - b).mean(axis=1)
    assert found.high - found.mean == pytest.approx(student_t(39) * float(means.std(ddof=1)) / 40**0.5)


def test_it_covers_although_tasks_of_a_session_are_alike_and_sessions_differ_in_size() -> None:
    rng = np.random.default_rng(2)
    covered = {"sessions": 0, "tasks": 0}
    for _ in range(400):
        sizes = rng.integers(1, 7, size=60)
        sessions = np.repeat(np.arange(60), sizes)
        shared = rng.normal(0.1, 0.3, size=60)[sessions]
        a = shared + rng.normal(0.0, 0.1, size=len(sessions))
        for name, clusters in (("sessions", sessions), ("tasks", np.arange(len(sessions)))):
            found = paired_interval(a, np.zeros_like(a), clusters)
            covered[name] += found.low <= 0.1 <= found.high
    assert covered["sessions"] / 400 == pytest.approx(0.95, abs=0.03)
    assert covered["tasks"] / 400 < 0.8


def test_one_session_says_nothing() -> None:
    assert paired_interval(np.ones(5), np.zeros(5), np.zeros(5, dtype=np.int64)) == (1.0, -1.0, 1.0)
