import pytest

from router_sdk.numerics.change_detection import BernoulliCusum, ResidualCusum, bernoulli_residual


def test_a_shift_either_way_is_found_and_found_again():
    watched = ResidualCusum()
    assert not any(watched.update(residual, 6.0) for residual in [0.3, -0.3] * 200)
    assert [watched.update(-2.0, 6.0) for _ in range(4)] == [False, False, False, True]
    assert [watched.update(2.0, 6.0) for _ in range(4)] == [False, False, False, True]
    assert (watched.alarms, watched.worse, watched.better) == (2, 0.0, 0.0)


def test_its_numbers_come_back_and_must_be_numbers():
    watched = ResidualCusum(1.5, 0.25, 3)
    assert ResidualCusum.restored(watched.state()).state() == [1.5, 0.25, 3]
    with pytest.raises(ValueError, match="not finite"):
        ResidualCusum.restored([float("nan"), 0.0, 0])


def test_one_upset_of_a_sure_thing_is_worth_a_few_deviations_at_most():
    assert bernoulli_residual(0.0, 1.0) == pytest.approx(-5.0)
    assert bernoulli_residual(1.0, 0.5) == pytest.approx(1.0)


def test_a_fall_of_successes_is_dated_from_its_first_failure():
    watched = BernoulliCusum()
    for position in range(60):
        watched = watched.updated(0.9, 1.0, position)
    for position in range(60, 66):
        watched = watched.updated(0.9, 0.0, position)
    assert watched.since == 60
    assert watched.evidence > 5.0
    assert watched.restarted() == BernoulliCusum(alarms=1)
