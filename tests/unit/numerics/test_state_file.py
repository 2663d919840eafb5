import json
import stat

import numpy as np
import pytest

from router_sdk.errors import CorruptArtifactError
from router_sdk.numerics.state_file import array_of, read_state, read_tensor, write_state

ARRAYS = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "codes": np.array([1, 2]), "known": np.array([True])}


def test_what_was_written_is_read_and_is_its_owners_alone(tmp_path):
    write_state(tmp_path / "new", "head", ARRAYS, {"events": 3})
    arrays, facts = read_state(tmp_path / "new", "head")
    assert facts == {"events": 3}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()} == {0o600}
    np.testing.assert_array_equal(read_tensor(tmp_path / "new" / "head.safetensors", "weights"), ARRAYS["weights"])
    assert read_tensor(tmp_path / "new" / "head.safetensors", "none") is None


def test_what_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="weights holds a number that is not finite"):
        write_state(tmp_path, "head", {"weights": np.array([np.inf])}, {})


def test_another_content_is_refused(tmp_path):
    write_state(tmp_path, "head", ARRAYS, {})
    path = tmp_path / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(CorruptArtifactError, match="checksum"):
        read_state(tmp_path, "head")
    (tmp_path / "head.json").write_text(json.dumps({"facts": {}}))
    with pytest.raises(CorruptArtifactError, match="cannot be read"):
        read_state(tmp_path, "head")


def test_an_array_is_what_it_should_be_or_an_error_says_what_it_is():
    assert array_of(ARRAYS, "weights", np.float32, (None, 3), (0.0, 5.0)) is ARRAYS["weights"]
    wrong = [(np.float64, (2, 3), (0, 9)), (np.float32, (3, 2), (0, 9)), (np.float32, (2, 3), (1, 9))]
    for kind, shape, within in wrong:
        with pytest.raises(ValueError, match="weights"):
            array_of(ARRAYS, "weights", kind, shape, within)
