"""Texts with a logged vector, or hashed, teach the same bits however the log is cut, restarts in between included."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_thompson import ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.features.hashed_text import TEXT_ENCODER, text_ids

from router_sdk.plugin import Agent, AgentSet, Encoder, EncoderConfig, ExampleColumns, Signals, Task
from router_sdk.testing import make_example, make_services, revise

AGENTS = AgentSet([Agent(f"agent-{place}") for place in range(4)])
WORDS = ["refund", "invoice", "late", "parcel", "broken", "please", "again", "hello"]


class Given(Encoder):
    """Every embedding is logged."""

    name = "given"

    def encode(self, texts):
        raise AssertionError("nothing is encoded")


TAG = Given(EncoderConfig()).tag


def begun(encoder, half_life_s=300.0):
    config = ThompsonConfig(encoder=encoder, min_context_evidence=0, half_life_s=half_life_s, change_threshold=4.0)
    made = ThompsonStrategy(config, make_services(encoders={"given": Given(EncoderConfig())}))
    made.prepare(AGENTS)
    return made


def stream(seed, count, odd, width=40):
    """Agents and types turn up one after the other, one agent fails later; labels and corrections in between."""
    rng = np.random.default_rng(seed)
    told = []
    for number in range(1, count + 1):
        agent = AGENTS.names[rng.integers(2 + (number > 30) + (number > 60))]
        text = " ".join(rng.choice(WORDS, 4))
        right = agent == AGENTS.names[len(text) % 4] if number < 2 * count // 3 else agent != "agent-0"
        reward, kind = float(rng.random() < (0.9 if right else 0.1)), rng.random()
        signals = Signals(success=bool(reward), correct_agent="agent-1") if kind < odd else None
        task = Task(text, task_type=rng.choice(["default", "sums", "poems"][: 1 + number // 40]))
        vector = rng.normal(size=width) + 2.0 * right * (np.arange(width) == 0)
        told.append(
            make_example(
                None if 0.9 < kind < 0.93 else agent,
                None if kind > 0.97 else reward,
                number=number,
                task=task,
                signals=signals,
                propensity=0.1 if rng.random() < 0.5 else 0.7,
                eligible=AGENTS.names,
                vectors={TAG: vector.astype(np.float32), TEXT_ENCODER.tag: text_ids(text)},
            )
        )
        if kind < odd / 2.0:
            told.append(revise(told[-1], 1.0 - reward))
        elif odd and 0.5 < kind < 0.53:
            told.append(revise(told[-1], None))  # taken back
    return told


def saved(made, folder):
    folder.mkdir()
    made.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("encoder", "width"), [("given", 40), ("given", 6), (None, 6)], ids=["linear", "fourier", "words"]
)
@pytest.mark.parametrize("odd", [0.0, 0.1])
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_how_the_log_is_cut_changes_no_bit(tmp_path_factory, encoder, width, odd, seed, data):
    told = stream(seed, 150, odd, width)
    folder = tmp_path_factory.mktemp("states")
    one_by_one = begun(encoder)
    for example in told:
        one_by_one.learn([example])
    wanted = saved(one_by_one, folder / "wanted")
    cuts = sorted({0, len(told), *data.draw(st.lists(st.integers(0, len(told)), max_size=6))})
    restart = data.draw(st.sampled_from(cuts))
    made = begun(encoder)
    for begin, end in pairwise(cuts):
        made.learn_columns(ExampleColumns.of(told[begin:end]))
        if begin == restart:
            saved(made, folder / "restart")
            made = begun(encoder)
            made.load(folder / "restart")
    assert saved(made, folder / "found") == wanted


def test_what_is_learnt_is_something(tmp_path):
    made = begun("given")
    made.learn_columns(ExampleColumns.of(stream(0, 150, 0.0)))
    told = made.report()
    assert told["dense"]["events"] > 120
    assert told["agents"]["agent-0"]["changes"] >= 1


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32])
def test_embeddings_of_whole_numbers_are_learnt_to_the_same_bits_at_once(tmp_path, kind):
    told = [
        make_example(
            AGENTS.names[number % 2],
            float(number % 3 > 0),
            number=number,
            eligible=AGENTS.names,
            vectors={TAG: np.random.default_rng(number).integers(0, 100, 40, kind)},
        )
        for number in range(1, 61)
    ]
    one_by_one, at_once = begun("given"), begun("given")
    for example in told:
        one_by_one.learn([example])
    at_once.learn_columns(ExampleColumns.of(told))
    assert saved(one_by_one, tmp_path / "one") == saved(at_once, tmp_path / "all")
