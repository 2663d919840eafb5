"""What is kept, what is given up, and what readers of an old view still see."""

import numpy as np
import pytest
from head_cases import NAMES, clusters, labelled, new_head
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_bert.head.memory import Memory
from router_sdk_bert.head.neighbours import VectorMemory, _highest
from router_sdk_bert.head.rows import NOBODY, Names

from router_sdk.numerics.state_file import read_state, write_state
from router_sdk.plugin import CorruptArtifactError


def memory_of(size):
    return Memory(size, Names())


def test_the_largest_group_gives_way():
    vectors, _ = clusters(60)
    memory = memory_of(20)
    for row in labelled(vectors[:50], ["billing"] * 50):
        memory.add(row, None, 0.0)
    for row in labelled(vectors[50:], ["coder"] * 10, first=100):
        memory.add(row, None, 0.0)
    counts = {code: len(group.places) for code, group in memory.groups.by_code.items()}
    assert counts == {1: 10, 2: 10}
    assert len(memory) == 20


def test_what_is_kept_has_the_mean_of_what_was_seen():
    vectors, _ = clusters(500)
    memory = memory_of(25)
    for row in labelled(vectors, ["billing"] * 500):
        memory.add(row, None, 0.0)
    kept = memory.vectors[: memory.used][memory.columns["alive"][: memory.used]]
    rng = np.random.default_rng(0)
    away = np.linalg.norm(kept.mean(0) - vectors.mean(0))
    chance = [np.linalg.norm(vectors[rng.permutation(500)[:25]].mean(0) - vectors.mean(0)) for _ in range(50)]
    assert away < min(chance) / 2


@given(
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from(["add", "drop", "compact"]), st.integers(0, 3)), max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_it_never_loses_count(steps):
    vectors, _ = clusters(60)
    memory, alive = memory_of(8), {}
    for turn, (number, what, who) in enumerate(steps):
        decision = f"{number:032x}"
        if what == "add":
            row = labelled([vectors[turn]], [None if who == 3 else NAMES[who]], first=number)[0]
            memory.add(row, None, 0.0)
            alive[decision] = turn
        elif what == "drop" and memory.place_of(decision) is not None:
            memory.drop(memory.place_of(decision))
        elif what == "compact":
            memory.compact()
        alive = {key: at for key, at in alive.items() if memory.place_of(key) is not None}
        assert len(memory) == len(alive) <= 8
        assert len(memory) == int(memory.columns["alive"][: memory.used].sum())
        for key, at in alive.items():
            np.testing.assert_array_equal(memory.vectors[memory.place_of(key)], vectors[at])
        for code, group in memory.groups.by_code.items():
            assert all(memory.group_of(place) == code for place in group.places)
            if group.places:
                held = memory.vectors[list(group.places)].sum(0)
                np.testing.assert_allclose(group.held, held, atol=1e-5)


def test_a_view_stays_as_it_was():
    vectors, right = clusters(300)
    head = new_head(memory_size=100)
    head.add(labelled(vectors[:150], right[:150]))
    view, asked = head.snapshot, clusters(1, seed=5)[0][0]
    before = view.estimate(asked, NAMES)
    head.add(labelled(vectors[150:], right[150:], first=500))
    head.forget_agents(["coder"])
    after = view.estimate(asked, NAMES)
    np.testing.assert_array_equal(before.odds, after.odds)
    np.testing.assert_array_equal(before.neighbours.places, after.neighbours.places)


def test_distrusted_rows_count_for_little_together_and_are_no_neighbours():
    vectors, _ = clusters(100)
    memory = memory_of(1_000)
    for row in labelled(vectors, ["billing"] * 100):
        memory.add(row, None, 0.0)
    memory.distrust(1, 81, 4.0)
    weights = memory.weights(None)
    assert weights[:80].sum() == pytest.approx(4.0, rel=1e-4)
    assert weights[80:].sum() == pytest.approx(80.0, rel=1e-4), "what is left speaks for as many tasks as before"
    assert memory.block(None, exclusive=True).facts.weight[:80].max() == 0.0
    memory.distrust(NOBODY, 81, 4.0)


def test_half_lives_count_from_the_newest():
    vectors, _ = clusters(3)
    memory = memory_of(10)
    for row in labelled(vectors, ["billing"] * 3):
        memory.add(row, None, 0.0)
    np.testing.assert_allclose(memory.weights(1.0), [0.25, 0.5, 1.0])


def test_states_are_safetensors_with_a_checksum(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([True, False]),
        "c": np.zeros((0, 4), dtype=np.int64),
    }
    write_state(tmp_path, "state", arrays, {"names": ["é"]})
    found, facts = read_state(tmp_path, "state")
    assert facts == {"names": ["é"]}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    load_file = pytest.importorskip("safetensors.numpy").load_file
    np.testing.assert_array_equal(load_file(tmp_path / "state.safetensors")["a"], arrays["a"])
    broken = tmp_path / "state.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1] + b"\xff")
    with pytest.raises(CorruptArtifactError, match="checksum"):
        read_state(tmp_path, "state")


def test_what_is_found_is_described_as_its_block_has_it_whatever_stands_before_it():
    vectors, right = clusters(60)
    memory, own = memory_of(1_000), clusters(5, seed=3)[0]
    for row in labelled(vectors, right):
        memory.add(row, None, float(row.seq))
    stated = memory_of(1_000)
    for row in labelled(own, ["writer"] * 5):
        stated.add(row, None, 0.5)
    first, second = stated.block(None, exclusive=True), memory.block(10.0, exclusive=True)
    places = np.array([[3, 4, 5], [62, 5, 3]])
    found = VectorMemory((first, second)).described(np.zeros((2, 3), dtype=np.float32), places)
    weights = np.concatenate((stated.weights(None), memory.weights(10.0)))
    np.testing.assert_array_equal(found.facts.weight, weights[places])
    density = np.concatenate((np.full(5, 0.5), np.arange(1, 61)))
    np.testing.assert_array_equal(found.density, density[places])
    alone = VectorMemory((second,)).described(found.cosines, places - 3)
    np.testing.assert_array_equal(alone.facts.weight, weights[5:][places - 3])
    behind = VectorMemory((first, second)).described(found.cosines[1:], places[1:, :2])
    np.testing.assert_array_equal(behind.facts.weight, weights[places[1:, :2]])


@given(st.lists(st.integers(-3, 30), min_size=1, max_size=400), st.integers(1, 30))
def test_the_highest_and_all_that_are_level_with_them_are_found_in_their_order(numbers, count):
    scores = np.array(numbers, dtype=np.float32)
    lowest = sorted(numbers, reverse=True)[min(count, len(numbers)) - 1]
    found = _highest(scores, count)
    if count < len(numbers):
        np.testing.assert_array_equal(found, np.flatnonzero(scores >= lowest))
    else:
        np.testing.assert_array_equal(found, np.arange(len(numbers)))
