from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from router_sdk.errors import InvalidConfigError, InvalidInputError
from router_sdk.plugin import PrioritizedBuffer, ReservoirBuffer, Signals
from router_sdk.testing import make_example

KINDS = [ReservoirBuffer, PrioritizedBuffer]


@dataclass(frozen=True)
class Sample:
    decision_id: str
    label: str = "a"


def samples(count, label="a", start=0):
    return [Sample(f"{number:032x}", label) for number in range(start, start + count)]


def ids(buffer):
    return {sample.decision_id for sample in buffer}


@pytest.mark.parametrize("order", [1, -1])
def test_the_reservoir_is_uniform_over_the_stream(order):
    stream = samples(200)[::order]
    counts = Counter()
    for seed in range(400):
        buffer = ReservoirBuffer(20, seed=seed)
        buffer.add_samples(stream)
        assert len(buffer) == 20
        counts.update(ids(buffer))
    assert chisquare([counts[sample.decision_id] for sample in stream]).pvalue > 0.01


def test_the_reservoir_is_uniform_after_a_removal_too():
    early, late = samples(100), samples(30, start=100)
    counts = Counter()
    for seed in range(600):
        buffer = ReservoirBuffer(20, seed=seed)
        buffer.add_samples(early)
        buffer.remove([sample.decision_id for sample in early[::2]])
        buffer.add_samples(late)
        counts.update(ids(buffer))
    expected = [sample.decision_id for sample in early[1::2] + late]
    assert counts.keys() == set(expected)
    assert chisquare([counts[name] for name in expected]).pvalue > 0.01


def test_what_a_reservoir_keeps_does_not_depend_on_order_or_batches():
    stream = samples(500)
    whole, parts = ReservoirBuffer(50), ReservoirBuffer(50)
    whole.add_samples(stream)
    for start in range(0, 500, 7):
        parts.add_samples(stream[::-1][start : start + 7])
    assert ids(whole) == ids(parts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_balanced_reservoir_keeps_minorities_whole(kind):
    buffer = kind(100, balanced=True)
    buffer.add_samples([*samples(30, "rare"), *samples(5_000, "often", start=100), *samples(700, "some", start=9_000)])
    assert buffer.get_category_distribution() == {"rare": 30, "often": 35, "some": 35}
    plain = kind(100)
    plain.add_samples(buffer_stream := [*samples(30, "rare"), *samples(5_000, "often", start=100)])
    assert plain.get_category_distribution()["often"] > 90
    assert len(buffer_stream) == 5_030


def test_each_category_of_a_balanced_reservoir_is_a_uniform_sample_of_itself():
    stream = [Sample(f"{number:032x}", "b" if number % 4 == 0 else "a") for number in range(400)]
    counts = Counter()
    for seed in range(400):
        buffer = ReservoirBuffer(40, balanced=True, seed=seed)
        buffer.add_samples(stream)
        assert set(buffer.get_category_distribution().values()) == {20}
        counts.update(ids(buffer))
    for label in "ab":
        assert chisquare([counts[one.decision_id] for one in stream if one.label == label]).pvalue > 0.01


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.sampled_from("abc")), max_size=80),
    st.integers(1, 10),
    st.booleans(),
    st.sampled_from(KINDS),
)
def test_capacity_counts_and_content_agree_whatever_happens(steps, capacity, balanced, kind):
    buffer, newest = kind(capacity, balanced=balanced), {}
    for add, number, label in steps:
        sample = Sample(f"{number:032x}", label)
        if add:
            buffer.add_samples([sample])
            newest[sample.decision_id] = sample
        else:
            buffer.remove([sample.decision_id])
            newest.pop(sample.decision_id, None)
        assert len(buffer) == len(list(buffer)) == len(ids(buffer)) <= capacity
        assert all(newest[kept.decision_id] == kept for kept in buffer)
        assert buffer.get_category_distribution() == Counter(kept.label for kept in buffer)
    drawn = buffer.sample(5, np.random.default_rng(0))
    assert len(drawn.samples) == len(drawn.weights)
    assert {one.decision_id for one in drawn.samples} <= ids(buffer)


def test_an_example_counts_for_its_label_else_for_who_acted():
    right = make_example("a", 0.0, number=1, signals=Signals(correct_agent="b"))
    nobody = make_example("a", 0.0, number=2, signals=Signals(no_agent_fits=True))
    buffer = ReservoirBuffer()
    buffer.add_samples([right, nobody, make_example("c", 1.0, number=3)])
    assert buffer.capacity == 10_000
    assert buffer.get_category_distribution() == {"b": 1, None: 1, "c": 1}


def test_a_draw_from_the_reservoir_repeats_nothing_and_can_be_repeated():
    buffer = ReservoirBuffer(50)
    buffer.add_samples(samples(200))
    first = buffer.sample(30, np.random.default_rng(3))
    assert len({one.decision_id for one in first.samples}) == 30
    assert first.samples == buffer.sample(30, np.random.default_rng(3)).samples
    assert first.weights.tolist() == [1.0] * 30
    assert set(buffer.sample(80, np.random.default_rng(0)).samples) == set(buffer)
    assert ReservoirBuffer(5).sample(3, np.random.default_rng(0)).samples == ()


def test_draws_follow_the_priorities_and_weights_undo_them():
    buffer = PrioritizedBuffer(10, alpha=1.0, beta=1.0)
    stream = samples(4)
    buffer.add_samples(stream)
    rng = np.random.default_rng(1)
    assert len(buffer.sample(3, rng).samples) == 3
    buffer.update_priorities([one.decision_id for one in stream], [4.0, 2.0, 1.0, 1.0])
    drawn = buffer.sample(8_000, rng)
    counts = Counter(one.decision_id for one in drawn.samples)
    assert [counts[one.decision_id] / 8_000 for one in stream] == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=0.01)
    mass = Counter()
    for one, weight in zip(drawn.samples, drawn.weights, strict=True):
        mass[one.decision_id] += weight
    assert max(drawn.weights) == 1.0
    assert [mass[one.decision_id] / drawn.weights.sum() for one in stream] == pytest.approx([0.25] * 4, abs=0.01)


def test_what_is_new_or_corrected_is_drawn_first():
    buffer = PrioritizedBuffer(10, alpha=1.0)
    old, new = samples(1), samples(1, start=1)
    buffer.add_samples(old)
    buffer.update_priorities([old[0].decision_id], [0.0])
    buffer.add_samples(new)
    drawn = buffer.sample(200, np.random.default_rng(0)).samples
    assert set(drawn) == set(new)
    buffer.add_samples(old)
    assert set(buffer.sample(200, np.random.default_rng(0)).samples) == {*old, *new}


def test_alpha_zero_draws_each_alike():
    buffer = PrioritizedBuffer(10, alpha=0.0)
    stream = samples(5)
    buffer.add_samples(stream)
    buffer.update_priorities([one.decision_id for one in stream], [100.0, 1.0, 1.0, 1.0, 0.0])
    drawn = buffer.sample(500, np.random.default_rng(0))
    assert set(Counter(drawn.samples).values()) == {100}
    assert drawn.weights.tolist() == [1.0] * 500


@pytest.mark.parametrize("priorities", [[-1.0], [float("nan")], [float("inf")], [1.0, 2.0]])
def test_a_priority_that_is_none_is_refused(priorities):
    buffer = PrioritizedBuffer(2)
    buffer.add_samples(samples(1))
    with pytest.raises(InvalidInputError):
        buffer.update_priorities([f"{0:032x}"], priorities)


@pytest.mark.parametrize(
    "make", [lambda: ReservoirBuffer(0), lambda: PrioritizedBuffer(alpha=1.5), lambda: PrioritizedBuffer(beta=-0.1)]
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(InvalidConfigError):
        make()
