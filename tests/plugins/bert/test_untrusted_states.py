"""States that somebody else wrote: whatever they say, they are read whole, or refused by one kind of error."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from head_cases import NAMES, clusters, labelled, new_head, rewarded
from hypothesis import example, given, settings
from hypothesis import strategies as st
from router_sdk_bert.finetuning.carried_state import FILE, load_carried, load_weights
from untrusted_cases import DEEP, accepted, numbers, values

from router_sdk.numerics.state_file import read_layout, read_state, read_tensor, write_state
from router_sdk.plugin import CorruptArtifactError

# -- tensors

entries = st.fixed_dictionaries(
    {"dtype": values | st.sampled_from(["F32", "BF16", "I8"]), "shape": st.lists(numbers, max_size=3) | values},
    optional={"data_offsets": st.lists(numbers, max_size=3) | values},
)


@given(st.dictionaries(st.text(max_size=4), entries, max_size=3) | values)
@example({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 16]}})
@example({"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}})
@example({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}})
@example({"a": {"dtype": "F32", "shape": [True, 4], "data_offsets": [0, 16]}})
@example({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}})
@example({"a": {"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]}})
@example({"a": {"dtype": "F33", "shape": [4], "data_offsets": [0, 16]}})
def test_tensors_lie_where_they_can_or_are_refused(tmp_path_factory, header):
    folder = tmp_path_factory.mktemp("tensors", numbered=True)
    head = json.dumps(header).encode()
    content = len(head).to_bytes(8, "little") + head + bytes(16)
    (folder / "state.safetensors").write_bytes(content)
    told = {"sha256": hashlib.sha256(content).hexdigest(), "facts": {}}
    (folder / "state.json").write_text(json.dumps(told))
    if accepted(lambda: read_state(folder, "state")):
        found, _ = read_state(folder, "state")
        assert sum(array.nbytes for array in found.values()) <= 16 * len(found)
    accepted(lambda: read_tensor(folder / "state.safetensors", "a"))
    shutil.rmtree(folder)


@given(st.binary(max_size=40))
@example((2**63).to_bytes(8, "little") + b"{}")
@example((100_000).to_bytes(8, "little") + DEEP.encode())
def test_tensors_may_be_no_tensors_at_all(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("tensors", numbered=True)
    (folder / "state.safetensors").write_bytes(content)
    (folder / "state.json").write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest(), "facts": {}}))
    accepted(lambda: read_state(folder, "state"))
    accepted(lambda: read_tensor(folder / "state.safetensors", "a"))
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "told", ["[]", "null", DEEP, '{"facts": [], "sha256": 5}', '{"facts": {}}', '{"facts": [["a", 1]]}']
)
def test_facts_are_facts_or_are_refused(tmp_path, told):
    write_state(tmp_path, "state", {}, {})
    (tmp_path / "state.json").write_text(told)
    with pytest.raises(CorruptArtifactError):
        read_state(tmp_path, "state")


def test_a_layout_is_that_of_the_library(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(5, dtype=np.int64)}
    save_file(arrays, tmp_path / "a.safetensors", metadata={"format": "np"})
    content = (tmp_path / "a.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    found = read_layout(content[8:start], len(content) - start)
    assert {name: one.shape for name, one in found.items()} == {"a": (2, 3), "b": (5,)}
    np.testing.assert_array_equal(read_tensor(tmp_path / "a.safetensors", "a"), arrays["a"])


# -- heads


def taught(kind):
    vectors, right = clusters(80)
    told = {name: vectors[[place for place, one in enumerate(right) if one == name][:2]] for name in NAMES}
    head = new_head(head=kind, told=told, **SMALL)
    head.add(labelled(vectors[:60], right[:60]))
    head.add(rewarded(vectors[60:], right[60:], [place % 3 / 2 for place in range(20)], first=200))
    return head


SMALL = {"memory_size": 50, "analytic_features": 16}
changes = st.one_of(
    st.tuples(st.just("drop"), st.none()),
    st.tuples(st.just("shape"), st.lists(st.integers(0, 70), min_size=0, max_size=3)),
    st.tuples(st.just("kind"), st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.bool_, np.uint32])),
    st.tuples(st.just("value"), st.sampled_from([np.nan, np.inf, -1.0, -2.0, 70.0])),
)


def changed(array, change, what):
    if change == "shape":
        return np.zeros(what, dtype=array.dtype)
    if change == "kind":
        return array.astype(what)
    with np.errstate(invalid="ignore"):
        found = array.copy()
        found.reshape(-1)[:1] = np.array([what]).astype(array.dtype)
        return found


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """States of both heads, as they were read."""
    found = {}
    for kind in ("memory", "analytic"):
        folder = tmp_path_factory.mktemp(kind)
        taught(kind).save(folder)
        found[kind] = read_state(folder, "head")
    return found


@settings(max_examples=150)
@given(kind=st.sampled_from(["memory", "analytic"]), data=st.data())
def test_a_head_is_read_and_works_or_is_refused(states, tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("head", numbered=True)
    arrays, facts = dict(states[kind][0]), dict(states[kind][1])
    name = data.draw(st.sampled_from([*arrays, *facts]))
    if name in arrays:
        change, what = data.draw(changes)
        if change == "drop":
            del arrays[name]
        else:
            arrays[name] = changed(arrays[name], change, what)
    else:
        facts[name] = data.draw(values)
        if isinstance(states[kind][1][name], dict) and data.draw(st.booleans()):
            facts[name] = {
                **states[kind][1][name],
                data.draw(st.sampled_from(["-1", "4", "99", "x"])): data.draw(values),
            }
    try:
        write_state(folder, "head", arrays, facts)
    except (ValueError, UnicodeEncodeError):
        return  # It cannot even be written.
    head = new_head(head=kind, **SMALL)
    if accepted(lambda: head.load(folder)):
        goes_on(head, folder)
    shutil.rmtree(folder)


def goes_on(head, folder):
    """Everything that is asked of a head."""
    vectors, right = clusters(30, seed=3)
    assert np.isfinite(head.predict(vectors[:5], NAMES).probabilities).all()
    head.add(labelled(vectors, right, first=500))
    head.forget_examples([f"{number:032x}" for number in range(10)])
    head.forget_agents(["billing"])
    head.report()
    head.refit()
    assert np.isfinite(head.predict(vectors[:5], NAMES).probabilities).all()
    head.save(folder)


# -- what is carried on


kept_examples = st.lists(st.dictionaries(st.sampled_from(["text", "decision_id", "reward"]), values))


@given(values | st.fixed_dictionaries({"upto": values, "synthetic": values | kept_examples}))
def test_what_is_carried_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / FILE
    path.write_text(json.dumps(content), "utf-8", "surrogatepass")
    if accepted(lambda: load_carried(path)):
        assert load_carried(path).upto >= 0


@pytest.mark.parametrize("content", ["", DEEP, '{"upto": NaN, "synthetic": []}', '{"upto": 1}'])
def test_what_is_carried_may_be_no_json_at_all(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(CorruptArtifactError):
        load_carried(tmp_path / FILE)


@given(values)
@example({"sha256": 5, "agents": 7})
def test_what_a_fit_left_is_read_or_left_aside(scratch_fit, content):
    from router_sdk_bert.finetuning.tensor_files import write_tensors

    torch = pytest.importorskip("torch")
    if isinstance(content, dict):
        facts = {"agents": content, **{key: value for key, value in content.items() if key != "sha256"}}
    else:
        facts = {"agents": content}
    try:
        write_tensors(scratch_fit / "continual", {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, facts)
    except (ValueError, UnicodeEncodeError):
        return
    found = load_weights(scratch_fit)
    assert found is None or len(found.rows.names) == 2


@pytest.fixture(scope="module")
def scratch_fit(tmp_path_factory):
    return tmp_path_factory.mktemp("fit")
