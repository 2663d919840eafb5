import json

import numpy as np
import pytest

from router_sdk.evaluation.parameters import Parameters, compare_parameters
from router_sdk.numerics.state_file import write_state


@pytest.fixture
def folder(tmp_path):
    """A new folder, for each call."""
    numbers = iter(range(10))

    def make():
        (made := tmp_path / str(next(numbers))).mkdir()
        return made

    return make


def test_arrays_are_found_in_every_kind_of_file_and_below(folder):
    place = folder()
    write_state(place / "head", "state", {"weights": np.ones((2, 3)), "counts": np.arange(3)}, {})
    np.savez(place / "more.npz", a=np.ones(2, dtype=np.float16), names=np.array(["x"]))
    np.save(place / "one.npy", np.ones(1))
    (place / "facts.json").write_text(json.dumps({"bias": 0.5}))
    assert compare_parameters(place) == Parameters(arrays=3, norm=pytest.approx(3.0))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_named(folder, wrong):
    place = folder()
    np.savez(place / "a.npz", good=np.ones(2), bad=np.array([1.0, wrong]))
    (place / "b.json").write_text(json.dumps([wrong]))
    assert compare_parameters(place).not_finite == ("a.npz:bad", "b.json")


def test_half_precisions_are_read(folder):
    place = folder()
    for kind, numbers in (("BF16", np.array([0x3F80, 0x7FC0], dtype="<u2")), ("F16", np.array([1, np.nan], "<f2"))):
        head = json.dumps({"w": {"dtype": kind, "shape": [2], "data_offsets": [0, 4]}}).encode()
        content = len(head).to_bytes(8, "little") + head + numbers.tobytes()
        (place / f"{kind}.safetensors").write_bytes(content)
    assert compare_parameters(place).not_finite == ("BF16.safetensors:w", "F16.safetensors:w")


def test_norms_are_compared_where_name_and_shape_are_the_same(folder):
    before, after = folder(), folder()
    np.savez(before / "s.npz", same=np.ones(4), grown=np.ones(4), shape=np.ones(4), zero=np.zeros(4), gone=np.ones(1))
    np.savez(after / "s.npz", same=np.ones(4), grown=np.full(4, 0.02), shape=np.full(5, 9e9), zero=np.ones(4))
    found = compare_parameters(after, before)
    assert (found.arrays, found.compared, found.widest) == (4, 2, "s.npz:grown")
    assert found.ratio == pytest.approx(50.0)
    assert compare_parameters(after).compared == 0


def test_the_norm_is_that_of_the_arrays_that_are_named(folder):
    place = folder()
    np.savez(place / "s.npz", weights=np.full(4, 2.0), at=np.full(4, 1e9), bad=np.array([np.nan]))
    np.save(place / "bias.npy", np.full(1, 3.0))
    assert compare_parameters(place, None, ("*:weights", "bias.npy")).norm == 5.0
    assert compare_parameters(place, None, ("s.npz:bad", "bias.npy")).norm == 3.0
    assert compare_parameters(place, None, ("bias",)).norm is None


def test_large_numbers_have_a_norm_and_what_is_no_array_is_passed_over(folder):
    place, other = folder(), folder()
    np.save(place / "a.npy", np.full(4, 1e300))
    np.save(other / "a.npy", np.full(4, 5e299))
    (place / "b.npz").write_bytes(b"no archive")
    (place / "c.safetensors").write_bytes(b"\0" * 20)
    (place / "d.json").write_text("{")
    np.save(place / "e.npy", np.array([{}], dtype=object), allow_pickle=True)
    found = compare_parameters(place, other)
    assert (found.arrays, found.not_finite, found.ratio) == (1, (), pytest.approx(2.0))
