import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.errors import CorruptArtifactError, InvalidConfigError
from router_sdk.learning import drift as room
from router_sdk.learning.drift import Drift
from router_sdk.learning.windows import LASTING
from router_sdk.loop_settings import DriftConfig
from router_sdk.numerics.change_detection import river_installed
from router_sdk.records import ExampleColumns, Forecast, Task
from router_sdk.testing.examples import make_example, revise

QUALITY = {"a": 0.9, "b": 0.7, "c": 0.6}
SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}
OLD = [f"old{number}" for number in range(300)]
NEW = [f"new{number}" for number in range(300)]


def stream(count, *, seed=1, first=1, shares=SHARES, quality=QUALITY, kind="default", since=0, vocabulary=OLD, fresh=0):
    """Favourites with what was foretold of them, which is right; ``fresh`` is the share of words of another kind."""
    rng = random.Random(seed)
    found = []
    for number in range(first, first + count):
        agent = rng.choices(list(shares), shares.values())[0]
        texts = [rng.choice(NEW if rng.random() < fresh else vocabulary) for _ in range(12)]
        forecast = Forecast("s", None, QUALITY[agent], None, since, None)
        task = Task(text=" ".join(texts), task_type=kind)
        reward = float(rng.random() < quality[agent])
        found.append(make_example(agent, reward, number=number, task=task, forecast=forecast))
    return found


def taught(examples, **settings):
    found = Drift(DriftConfig(**settings))
    found.learn(examples)
    return found


def state(found, folder):
    """All that is saved, as text and bytes."""
    folder.mkdir(exist_ok=True)
    found.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def messy(count, *, seed=5):
    """A stream with outcomes that come in parts, are corrected, come of no favourite, or of other encoders."""
    rng = random.Random(seed)
    found = []
    for number, example in enumerate(stream(count, seed=seed, kind=rng.choice(["x", "y"])), 1):
        turn = rng.random()
        if turn < 0.1:
            example = replace(example, reward=None)
        elif turn < 0.2:
            example = replace(example, source="observed")
        elif turn < 0.3:
            vectors = {"e:fp32": np.random.default_rng(number).normal(size=32).astype(np.float32)}
            example = make_example("b", 1.0, number=number, vectors=vectors, task=f"text {number}")
        found.append(example)
        if rng.random() < 0.1:
            earlier = found[rng.randrange(len(found))]
            found.append(revise(earlier, rng.random(), seq=10 * number + 5))
    return found


MESSY = messy(700)


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=12), by_columns=st.booleans())
def test_how_the_log_is_cut_makes_no_difference(sizes, by_columns, tmp_path_factory):
    cut, start = Drift(DriftConfig(window=50)), 0
    for size in [*sizes, len(MESSY)]:
        piece = MESSY[start : start + size]
        if by_columns:
            cut.learn_columns(ExampleColumns.of(piece))
        else:
            cut.learn(piece)
        start += size
    folder = tmp_path_factory.mktemp("drift")
    assert state(cut, folder / "cut") == state(taught(MESSY, window=50), folder / "whole")


@settings(max_examples=8, deadline=None)
@given(cut=st.integers(0, 700), seed=st.integers(0, 3))
def test_saved_and_loaded_it_goes_on_as_if_nothing_had_happened(cut, seed, tmp_path_factory):
    examples, folder = messy(500, seed=seed), tmp_path_factory.mktemp("drift")
    first = taught(examples[:cut], window=50)
    first.save(folder)
    loaded = first.begun_again()
    loaded.load(folder)
    assert loaded.report() == first.report()
    loaded.learn(examples[cut:])
    assert state(loaded, folder / "loaded") == state(taught(examples, window=50), folder / "whole")


def test_a_damaged_state_is_refused_and_what_was_there_stays(tmp_path):
    found = taught(stream(300))
    found.save(tmp_path)
    before = found.report()
    (tmp_path / "drift.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CorruptArtifactError):
        found.load(tmp_path)
    assert found.report() == before


def test_a_state_that_is_none_is_refused(tmp_path):
    from router_sdk.numerics.state_file import read_state, write_state

    found = taught(stream(300))
    found.save(tmp_path)
    arrays, facts = read_state(tmp_path, "drift")
    facts["agents"]["a"]["records"][0][0] = "many"
    write_state(tmp_path, "drift", arrays, facts)
    with pytest.raises(CorruptArtifactError):
        found.load(tmp_path)


def alarms(report):
    return [flag for flag in ("prediction_drift", "input_drift", "residual_change") if report[flag]]


def ever(examples, size=200, **settings):
    """What was ever said to differ, looked at after each ``size`` outcomes; and after how many it first was."""
    found, said = Drift(DriftConfig(**settings)), {}
    for start in range(0, len(examples), size):
        found.learn(examples[start : start + size])
        for flag in alarms(found.report()):
            said.setdefault(flag, start + size)
    return said


def test_where_nothing_changes_hardly_anything_is_ever_called_a_change():
    said = Counter(flag for seed in range(10) for flag in ever(stream(1_000, seed=seed), window=100))
    assert max(said.values(), default=0) <= 1, "the chance is at most 1 % each"


def test_a_strategy_that_is_too_sure_of_itself_is_no_change():
    sure = [
        replace(one, context=replace(one.context, fixed_forecast=one.forecast._replace(confidence=1.0)))
        for one in stream(3_000, seed=77)
    ]
    assert "residual_change" not in ever(sure)


def test_two_agents_that_swap_are_found_within_a_window_and_a_few_outcomes():
    swapped = {"a": 0.2, "b": 0.3, "c": 0.5}
    said = ever([*stream(1_000, seed=3), *stream(600, seed=4, first=2_000, shares=swapped)], size=10)
    assert 1_000 < said["prediction_drift"] <= 1_200
    fallen = {"a": 0.2, "b": 0.7, "c": 0.9}
    said = ever([*stream(1_000, seed=3), *stream(600, seed=4, first=2_000, quality=fallen)], size=10)
    assert 1_000 < said["residual_change"] <= 1_080
    assert set(said) == {"residual_change"}


def test_an_agent_that_fails_is_named():
    found = taught([*stream(1_000, seed=3), *stream(100, seed=4, first=2_000, quality={**QUALITY, "b": 0.0})])
    told = found.report()["agents"]
    assert (told["b"]["changed"], told["b"]["direction"], told["b"]["changes"]) == (True, "worse", 1)
    assert told["b"]["since"] == pytest.approx(2_000, abs=60)
    assert told["b"]["residual"] < -0.2
    assert [told[name]["changed"] for name in "ac"] == [False, False]
    found.learn(stream(1_500, seed=5, first=3_000, quality={**QUALITY, "b": 0.0}))
    told = found.report()["agents"]["b"]
    assert (told["changed"], told["failures"], told["outcomes"]) == (False, 1.0, 100), "it is its usual one by now"
    found.forget_agents({"b"})
    assert "b" not in found.report()["agents"]


def test_what_was_observed_is_watched_too():
    examples = [replace(one, source="observed") for one in stream(1_000, seed=6)]
    failing = [
        replace(one, source="observed") for one in stream(200, seed=7, first=2_000, quality={**QUALITY, "a": 0.1})
    ]
    told = taught(examples + failing).report()
    assert told["agents"]["a"]["direction"] == "worse"
    assert told["predictions"] == {}, "somebody else decided"


def test_a_new_kind_of_text_is_found_within_two_windows():
    said = ever([*stream(800, seed=3), *stream(600, seed=4, first=2_000, fresh=0.5)], size=10)
    assert 800 < said["input_drift"] <= 1_200
    assert set(said) == {"input_drift"}


def test_embeddings_are_compared_where_there_are_some():
    rng = np.random.default_rng(8)

    def embedded(count, first, shift):
        vectors = rng.normal(size=(count, 64)).astype(np.float32) + np.float32(shift) * (np.arange(64) % 7 == 0)
        return [
            make_example("a", 1.0, number=first + place, vectors={"bert:fp32": vector})
            for place, vector in enumerate(vectors)
        ]

    found = taught(embedded(600, 1, 0.0))
    assert alarms(found.report()) == []
    found.learn(embedded(400, 700, 0.8))
    told = found.report()
    assert list(told["inputs"]) == ["bert:fp32"]
    assert told["input_drift"]
    assert told["inputs"]["bert:fp32"]["value"] > told["inputs"]["bert:fp32"]["limit"]


def test_features_are_words_too_and_a_task_without_anything_is_none():
    tasks = [Task(task_type="x", features={"size": 10.0 ** (number % 3), "vip": True}) for number in range(250)]
    found = taught([make_example("a", 1.0, number=number, task=task) for number, task in enumerate(tasks, 1)])
    assert found.report()["inputs"]["text"]["value"] is None, "there is a reference, and nothing to compare yet"
    assert taught([make_example("a", 1.0, task=Task(task_type="x"))]).report()["inputs"] == {}


def numbered(count, *, text="ticket", feature=None, first=1, seed=2):
    """Tasks that are the same but for a number in the text, or a feature."""
    rng = random.Random(seed)
    for number in range(first, first + count):
        features = {} if feature is None else {"x": feature(number, rng)}
        yield make_example("a", 1.0, number=number, task=Task(text=f"{text} please help with it", features=features))


@pytest.mark.parametrize(
    "feature",
    [
        lambda number, rng: number,  # its bins are powers of two: a window of its own for each
        lambda number, rng: 1_000.0 * number + rng.random(),
        lambda number, rng: max(number + rng.randint(-3, 3), 0),  # outcomes that overtake each other
    ],
)
def test_a_feature_that_runs_on_is_no_drift(feature):
    for found in (taught(numbered(3_000, feature=feature)), taught(numbered(600, feature=feature))):
        report = found.report()["inputs"]["text"]
        assert not report["differs"], report
        assert report["value"] < report["limit"]


@pytest.mark.parametrize("numbers", [lambda number: number, lambda number: f"2026-11-{number // 150:02}"])
def test_numbers_in_a_text_that_run_on_are_no_drift(numbers):
    found = Drift(DriftConfig())
    for number in range(1, 2_000):
        found.learn(numbered(1, text=f"ticket {numbers(number)}", first=number))
        assert not found.report()["input_drift"], number


def test_a_feature_that_steps_or_comes_otherwise_is_drift():
    for feature in (
        lambda number, rng: 4 if number < 600 else 64,
        lambda number, rng: rng.random() * (1.0 if number < 600 else 50.0),
        lambda number, rng: number > 600,
    ):
        found = Drift(DriftConfig())
        said = []
        for number in range(1, 1_300):
            found.learn(numbered(1, feature=feature, first=number, seed=number))
            said.append(found.report()["input_drift"])
        assert not any(said[:600])
        assert any(said[600:])


def test_what_ran_on_and_does_no_more_counts_again(tmp_path):
    running = room.RunningNumbers()
    for number in range(100):
        left = running.told({"id": number, "plan": "pro", "vip": True})
    assert left == {"plan": "pro", "vip": True}
    running = room.RunningNumbers.restored(running.state())
    assert "id" not in running.told({"id": 100})
    assert sum("id" in running.told({"id": number % 7}) for number in range(100)) > 20


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.just(10**400)))
def test_numbers_fall_into_bins_however_large(value):
    assert room._bin(value).lstrip("-").lstrip("-").isdigit()
    assert room._bin(3) == room._bin(3.0) == room._bin(2) != room._bin(4)


def test_task_types_are_compared_each_on_its_own_and_all_together():
    one = stream(800, seed=3, kind="x")
    two = stream(800, seed=4, first=2_000, kind="x", shares={"a": 0.1, "b": 0.1, "c": 0.8})
    told = taught(one + two).report()["predictions"]
    assert set(told) == {"default", "x"}
    assert told["x"]["differs"]
    assert told["x"]["value"] > told["x"]["limit"] == 0.1
    assert told["x"]["trend"] in ("up", "flat")


def test_few_task_types_are_kept_and_all_together_among_them():
    examples = [example for number in range(100) for example in stream(5, first=10 * number + 1, kind=f"type {number}")]
    told = taught(examples).report()["predictions"]
    assert len(told) == room.MOST_TYPES
    assert "default" in told
    assert "type 99" in told


def test_what_lasts_is_the_new_normal():
    found = taught(stream(400, seed=3))
    shares = {"a": 0.1, "b": 0.1, "c": 0.8}
    found.learn(stream(200 * LASTING, seed=4, first=2_000, shares=shares))
    assert found.report()["prediction_drift"]
    found.learn(stream(600, seed=5, first=6_000, shares=shares))
    assert not found.report()["prediction_drift"]


def test_favourites_are_counted_anew_beside_a_new_agent():
    found = taught(stream(400, seed=3))
    found.learn(stream(300, seed=4, first=1_000, since=4_000, shares={"c": 1.0}))
    assert not found.report()["prediction_drift"]
    found.learn(stream(300, seed=5, first=2_000, since=0, shares={"a": 1.0}))
    assert not found.report()["prediction_drift"], "decided before the agent came"


def test_of_a_long_log_fewer_are_looked_at(monkeypatch):
    monkeypatch.setattr(room, "FULL", 100)
    monkeypatch.setattr(room, "FULL_INPUTS", 50)
    found = taught(stream(5_000, seed=3), residual_threshold=None)
    looked = sum(found._compared) * 200
    assert looked < 2_000
    assert [found._heard, found._next >= 5_000, found._next_input >= 5_000] == [5_000, True, True]


def test_what_comes_round_regularly_is_looked_at_like_anything_else():
    _, places = room._places(10**6, 2 * 10**6, room.FULL, room.MOST)
    assert len(places) == pytest.approx(10**6 / room.MOST, rel=0.05)
    for period in (2, 7, 8, 16, 31, 64):
        seen = Counter(place % period for place in places)
        assert min(seen.values()) > 0.85 * len(places) / period


def test_each_figure_can_be_switched_off():
    examples = [
        *stream(500, seed=3),
        *stream(500, seed=4, first=2_000, shares={"c": 1.0}, quality={"c": 0.0}, fresh=1.0),
    ]
    assert set(ever(examples, size=50)) == {"prediction_drift", "input_drift", "residual_change"}
    off = taught(examples, prediction_kl=None, inputs=False, residual_threshold=None).report()
    assert alarms(off) == []
    assert (off["predictions"], off["inputs"]) == ({}, {})


@pytest.mark.skipif(river_installed(), reason="river is here")
def test_a_detector_that_is_not_installed_is_an_error_at_the_start():
    from router_sdk.config import RouterConfig

    with pytest.raises(InvalidConfigError, match=r"pip install 'router-sdk\[adwin\]'"):
        RouterConfig.of(drift={"detector": "adwin"})


def test_river_is_an_option(tmp_path):
    pytest.importorskip("river")
    examples = [*stream(600, seed=3), *stream(200, seed=4, first=2_000, quality={**QUALITY, "a": 0.0})]
    found = taught(examples, detector="adwin")
    assert found.report()["agents"]["a"]["direction"] == "worse"
    found.save(tmp_path)
    loaded = found.begun_again()
    loaded.load(tmp_path)
    assert loaded.report() == found.report()
