import numpy as np
import pytest
from router_sdk_thompson.posteriors.logistic import Logistic

from router_sdk.numerics.linear_snapshot import DoubleBuffer
from router_sdk.numerics.normal_gamma import NormalGamma, add_outer

NAMES = tuple(f"agent-{place}" for place in range(70))


def gaussian(width):
    return NormalGamma(width, ridge=0.3, offset=1.0, kappa=5.0, noise=0.3)


def taught(make, agents, outcomes=400, width=24):
    """A posterior, its copies, and every copy published on the way."""
    rng, posterior = np.random.default_rng(agents), make(width)
    copies = DoubleBuffer(posterior.new_snapshot)
    for turn in range(outcomes):
        x = np.append(1.0, rng.normal(size=width - 1) / np.sqrt(width))
        row = posterior.row(NAMES[turn % agents])
        posterior.observe(row, x, float(rng.random() < 0.3 + 0.6 * (turn % agents) / agents), 1.0)
        copies.touch(row, None)
        reading = copies.publish(posterior)
    return posterior, copies, reading


@pytest.mark.parametrize("agents", [1, 5, 70])
@pytest.mark.parametrize("make", [gaussian, lambda width: Logistic(width, 0.3, 0.9)])
def test_requests_read_single_precision_what_was_learnt_in_double(make, agents):
    posterior, _, reading = taught(make, agents)
    names, x = NAMES[:agents], np.append(1.0, np.full(23, 0.1))
    learnt, read = posterior.scores(names, x, 0.9), reading.scores(names, x.astype(np.float32), 0.9)
    assert np.array(read) == pytest.approx(np.array(learnt), rel=1e-4)
    assert reading.sigma.dtype == np.float32
    assert posterior.sigma.dtype == np.float64
    assert reading.counts(names) == posterior.counts(names)


def test_a_reading_follows_agents_that_come_and_go():
    posterior, copies, _ = taught(gaussian, 5)
    x = np.append(1.0, np.full(23, 0.1)).astype(np.float32)
    copies.touch_all(posterior.rows.values())
    posterior.forget(["agent-1"])
    copies.touch(posterior.row("newcomer"), None)
    reading = copies.publish(posterior)
    names = ("newcomer", *NAMES[:5])
    means, widths = reading.scores(names, x, 1.0)
    learnt = posterior.scores(names, x.astype(np.float64), 1.0)
    assert means == pytest.approx(learnt[0], rel=1e-4)
    assert widths == pytest.approx(learnt[1], rel=1e-4)
    assert means[0] == means[2] == 1.0


@pytest.mark.parametrize("make", [gaussian, lambda width: Logistic(width, 0.3, 0.9)])
def test_of_a_crowd_those_are_looked_at_who_can_be_the_best(make):
    _, _, reading = taught(make, 70)
    x = np.append(1.0, np.full(23, 0.1)).astype(np.float32)
    assert reading.crowded
    means, widths, contenders = reading.among_many(NAMES, x, 0.9)
    assert (means, widths) == reading.scores(NAMES, x, 0.9)
    assert sum(width > 0.0 for width in widths) == 16
    assert {place for place, width in enumerate(widths) if width} <= set(contenders)
    assert int(np.argmax(means)) in contenders
    for place in contenders:
        (variance,) = [x @ reading.sigma[place] @ x * reading.noise[place]]
        assert widths[place] == pytest.approx(0.9 * reading.closer * np.sqrt(variance), rel=1e-4) or not widths[place]
    larger = reading.among_many(NAMES, 8.0 * x, 0.9, 0.125)
    assert larger[0] == pytest.approx(means, rel=1e-5)
    assert larger[1] == pytest.approx(widths, rel=1e-5)


def test_newcomers_to_a_crowd_share_the_priors_width():
    _, _, reading = taught(gaussian, 70)
    x = np.append(1.0, np.full(23, 0.1)).astype(np.float32)
    names = (*NAMES[::-1], *(f"newcomer-{place}" for place in range(30)))
    means, widths, contenders = reading.among_many(names, x, 0.9)
    known, seen, _ = reading.among_many(NAMES, x, 0.9)
    assert (means[:70], widths[:70]) == (known[::-1], seen[::-1])
    assert set(range(70, 100)) <= set(contenders)
    assert len(set(widths[70:])) == 1 < len(set(means))
    assert reading.among_many((), x, 0.9) == ([], [], [])


def test_what_was_saved_is_summed_in_the_same_order():
    posterior, copies, _ = taught(gaussian, 5)
    restored = gaussian(24)
    restored.restore(posterior.names(), posterior.arrays())
    again = restored.new_snapshot()
    again.catch_up(restored, {row: [] for row in restored.rows.values()})
    x = np.append(1.0, np.random.default_rng(1).normal(size=23)).astype(np.float32)
    for names in (NAMES[:5], NAMES[4::-1]):
        assert again.scores(names, x, 0.9) == copies.publish(posterior).scores(names, x, 0.9)
    assert posterior.names() == list(NAMES[:5])


@pytest.mark.parametrize("width", [1, 2, 7, 65, 225])
def test_an_outer_product_is_added_in_place_and_stays_symmetric(width):
    rng = np.random.default_rng(width)
    block = rng.normal(size=(width + 1, width))
    block[:width] = block[:width] + block[:width].T
    left = rng.normal(size=width + 1)
    expected = block - np.outer(left, left[:width])
    add_outer(block, -1.0, left, left[:width])
    assert block == pytest.approx(expected, abs=1e-12)
    assert block[:width] == pytest.approx(block[:width].T, rel=1e-12, abs=1e-14)
