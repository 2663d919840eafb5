import numpy as np
import pytest
from fit_cases import settings
from hypothesis import given
from hypothesis import strategies as st
from router_sdk_bert.finetuning.samples import BatchPlan, Sample, filled_buffer


def world(fresh=20, old=30, synthetic=10):
    kinds = [("fresh", fresh, True, False), ("old", old, False, False), ("made", synthetic, False, True)]
    return [
        Sample(f"{kind}-{place}", "text", "abc"[place % 3], True, fresh=new, synthetic=made)
        for kind, count, new, made in kinds
        for place in range(count)
    ]


def kinds(samples, batch):
    return [samples[place].decision_id.partition("-")[0] for place in batch]


def plan(samples, **more):
    return BatchPlan(samples, settings(strategy="replay", **more), seed=0)


def test_half_of_each_batch_is_replayed():
    samples = world(synthetic=0)
    for which, _ in plan(samples, batch_size=8).epoch(np.random.default_rng(0)):
        assert kinds(samples, which).count("old") == 4


def test_every_fresh_sample_comes_once_in_an_epoch():
    samples = world()
    seen = [samples[place].decision_id for which, _ in plan(samples).epoch(np.random.default_rng(0)) for place in which]
    assert sorted(one for one in seen if one.startswith("fresh")) == sorted(f"fresh-{place}" for place in range(20))


def test_synthetic_examples_are_blended_in_or_left_out():
    samples = world()
    blended = [kinds(samples, which) for which, _ in plan(samples, batch_size=8).epoch(np.random.default_rng(0))]
    assert all(batch.count("made") == 1 and batch.count("old") == 4 for batch in blended)
    without = plan(samples, use_synthetic_data=False).epoch(np.random.default_rng(0))
    assert not any("made" in kinds(samples, which) for which, _ in without)


@pytest.mark.parametrize("strategy", ["none", "distillation", "ewc"])
def test_strategies_without_replay_see_fresh_examples_alone(strategy):
    samples = world(synthetic=0)
    batches = BatchPlan(samples, settings(strategy=strategy, batch_size=8), 0).epoch(np.random.default_rng(0))
    assert {kind for which, _ in batches for kind in kinds(samples, which)} == {"fresh"}
    assert len(batches) == 3


def test_where_nothing_is_new_the_past_is_trained_on_again():
    samples = world(fresh=0)
    seen = {kind for which, _ in plan(samples).epoch(np.random.default_rng(0)) for kind in kinds(samples, which)}
    assert "old" in seen
    only_made = world(fresh=0, old=0)
    assert plan(only_made).steps > 0


def test_an_epoch_follows_from_its_generator():
    samples = world()
    first, again, other = (
        [which.tolist() for which, _ in plan(samples).epoch(np.random.default_rng(seed))] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_what_was_learnt_worst_is_replayed_more_often():
    samples = world(fresh=200, old=50, synthetic=0)
    made = plan(samples, replay_buffer="prioritized", batch_size=8)
    made.prioritize({f"old-{place}": 9.0 if place == 7 else 0.01 for place in range(50)})
    drawn = [one for which, _ in made.epoch(np.random.default_rng(0)) for one in which]
    counts = np.bincount(drawn, minlength=len(samples))
    assert counts[200 + 7] == counts[200:].max()
    assert counts[200 + 7] > 5 * np.median(counts[200:])
    weights = {
        int(p): float(w) for which, ws in made.epoch(np.random.default_rng(0)) for p, w in zip(which, ws, strict=True)
    }
    assert weights[207] == min(weights.values()) < 1.0, "what is drawn more often counts less each time"


def test_the_buffer_keeps_what_it_has_room_for():
    buffer = filled_buffer(world(fresh=0, synthetic=0), settings(replay_size=9), seed=0)
    assert dict(buffer.get_category_distribution()) == {"a": 3, "b": 3, "c": 3}


@given(
    st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 9), st.floats(0, 0.9), st.floats(0, 0.9)
)
def test_any_mixture_gives_batches_that_are_whole(fresh, old, synthetic, size, replayed, made):
    samples = world(fresh, old, synthetic)
    if not samples:
        return
    drawn = plan(samples, batch_size=size, replay_share=replayed, synthetic_share=made)
    batches = drawn.epoch(np.random.default_rng(0))
    assert len(batches) == drawn.steps
    assert all(len(which) == len(weights) > 0 for which, weights in batches)
    assert all(len(which) <= size + 1 for which, _ in batches)
    new = {place for place, sample in enumerate(samples) if sample.fresh}
    assert new <= {int(place) for which, _ in batches for place in which}
