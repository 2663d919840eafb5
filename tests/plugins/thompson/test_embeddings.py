"""Tasks that come with an embedding are learnt many at once, and to the same bits as one by one."""

import numpy as np
import pytest
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.features.columns import Columns
from router_sdk_thompson.features.design import Design, typed

from router_sdk.plugin import Agent, AgentSet, Encoder, EncoderConfig, Signals, Task
from router_sdk.testing import make_example, make_services, revise

AGENTS = AgentSet([Agent(f"agent-{place}") for place in range(5)])


class Given(Encoder):
    """Every embedding is logged."""

    name = "given"

    def encode(self, texts):
        raise AssertionError("nothing is encoded")


def strategy(**fields):
    config = ThompsonConfig(encoder="given", min_context_evidence=0, half_life_s=200.0, **fields)
    return ThompsonStrategy(config, make_services(encoders={"given": Given(EncoderConfig())}))


def stream(width, dtype, seed=0, count=300):
    """First rewards for the most part; corrections, labels, features, types, another precision, nothing in between."""
    rng = np.random.default_rng(seed)
    weights, told = rng.normal(size=(5, width)), []
    for number in range(1, count + 1):
        vector = rng.normal(size=width).astype(dtype)
        place = int(rng.integers(3 if number < 100 else 5))
        reward = float(rng.random() < 1.0 / (1.0 + np.exp(-2.0 * weights[place] @ vector)) - 0.5 * (number > 200))
        kind = rng.random()
        task = Task("a text", features={"size": float(number)} if kind > 0.97 else {})
        if 0.95 < kind < 0.97:
            task = Task("a text", task_type="sums")
        signals = Signals(success=bool(reward), correct_agent="agent-1") if 0.93 < kind < 0.95 else None
        given = {Given(EncoderConfig()).tag: vector.astype(np.float16) if 0.92 < kind < 0.93 else vector}
        told.append(
            make_example(
                AGENTS.names[place],
                None if kind < 0.03 else reward,
                number=number,
                task=task,
                signals=signals,
                propensity=0.1 if kind < 0.3 else 0.6,
                eligible=AGENTS.names,
                vectors=given,
            )
        )
        if 0.03 < kind < 0.08:
            told.append(revise(told[-1], 1.0 - reward))
    return told


def files_of(made, folder):
    folder.mkdir()
    made.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
@pytest.mark.parametrize(("width", "dtype"), [(64, np.float32), (64, np.float64), (33, np.float32)])
def test_how_they_are_cut_changes_no_bit(tmp_path, likelihood, width, dtype):
    told = stream(width, dtype)
    saved = []
    for size in (1, 3, 16, len(told)):
        made = strategy(likelihood=likelihood)
        for start in range(0, len(told), size):
            made.learn(told[start : start + size])
        saved.append(files_of(made, tmp_path / str(size)))
    assert "dense_sigma.npy" in saved[0]
    assert all(each == saved[0] for each in saved[1:])


def test_the_prior_loosens_where_vectors_tell_much_and_a_restart_in_between_changes_no_bit(tmp_path):
    tag = Given(EncoderConfig()).tag
    vectors = (0.02 * np.random.default_rng(3).normal(size=(300, 33)) + np.eye(33)[0]).astype(np.float32)  # much alike
    told = []
    for number, vector in enumerate(vectors, 1):
        place = number % 3
        said = {"number": number, "task": Task("a text"), "eligible": AGENTS.names, "vectors": {tag: vector}}
        told.append(make_example(AGENTS.names[place], float(vector[1 + place] > 0.0), propensity=0.5, **said))
    made, saved = strategy(), []
    for size in (7, 300):
        made = strategy()
        for start in range(0, 300, size):
            made.learn(told[start : start + size])
            if start == 175:
                files_of(made, folder := tmp_path / "between")
                made = strategy()
                made.load(folder)
        saved.append(files_of(made, tmp_path / str(size)))
    assert made.report()["dense"]["ridge"] < made.config.ridge
    assert saved[0] == saved[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_are_encoded_to_the_bits_of_one(dtype):
    vectors = [*np.random.default_rng(3).normal(size=(9, 37)).astype(dtype), np.zeros(37, dtype)]
    bare = ["default"] * 10
    design = Design(Columns(37), None)
    one_by_one = np.array([design.encode(vector, {}) for vector in vectors])
    assert np.array_equal(design.encode_texts(vectors, bare), one_by_one)
    into = np.empty(38, np.float32)
    for vector, x in zip(vectors, one_by_one, strict=True):
        factor = design.encode_into(into, vector, {})
        assert into * factor == pytest.approx(x, rel=1e-6)
    assert design.encode_texts([vectors[0][:5], vectors[1]], bare[:2]) is None
    for other in (vectors[1][:5], vectors[1].astype(np.float16)):
        assert np.array_equal(design.encode_texts([vectors[0], other], bare[:2]), one_by_one[:1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_of_several_types_are_encoded_to_the_bits_of_one(dtype):
    vectors = [*np.random.default_rng(3).normal(size=(9, 37)).astype(dtype), np.zeros(37, dtype)]
    kinds = ["sums", "default", "poems", "sums", "poems", "default", "sums", "new", "sums", "default"]
    design = Design(Columns(37), None)
    for kind in ("sums", "poems"):
        design.columns.fit(typed(kind))
    one_by_one = np.array([design.encode(vector, typed(kind)) for vector, kind in zip(vectors, kinds, strict=True)])
    assert np.array_equal(design.encode_texts(vectors, kinds), one_by_one[:7]), "up to the type that is new"
    assert np.array_equal(design.encode_texts(np.array(vectors)[8:], kinds[8:]), one_by_one[8:])
