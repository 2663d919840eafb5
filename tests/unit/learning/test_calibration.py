import random
from dataclasses import replace

import pytest

from router_sdk.errors import CorruptArtifactError
from router_sdk.learning.calibration import LEAST_CHANCE, TEMPER, WINDOW, Calibration
from router_sdk.numerics.calibration import LEAST
from router_sdk.records import ExampleColumns, Forecast
from router_sdk.testing.examples import make_example, revise


def told(number, confidence, reward, *, strategy="s", version=None, tenant=None, since=0, newcomer=None, chance=1.0):
    forecast = Forecast(strategy, version, confidence, tenant, since, newcomer, chance)
    return make_example("a", reward, number=number, forecast=forecast)


def stream(count, *, seed=1_000, first=1, lift=0.5, **who):
    """Favourites that do better than was said of them."""
    rng = random.Random(seed)
    found = []
    for number in range(first, first + count):
        confidence = rng.random()
        found.append(told(number, confidence, float(rng.random() < confidence**lift), **who))
    return found


def kept(window):
    pairs = window.pairs
    return list(zip(pairs.decisions, *(column.tolist() for column in pairs.columns()), strict=True))


def state(calibration):
    return {
        key: (kept(window), window.since, window.newcomer, window.heard, window.calibrator)
        for key, window in calibration._windows.items()
    }


def taught(examples, **settings):
    calibration = Calibration(**settings)
    calibration.learn(examples)
    return calibration


def test_it_says_what_confidences_came_to():
    found = taught(stream(1_500))
    assert found.of("s", None)(0.25) == pytest.approx(0.5, abs=0.06)
    assert found.report("s", None) == {"calibrated": True, "pairs": 1_500}


def test_until_enough_came_it_says_nothing_and_why():
    found = taught(stream(LEAST - 1))
    assert found.of("s", None) is None
    assert found.report("s", None)["note"] == "49 outcomes of favourites are known, 50 are needed"
    assert found.report("nobody", None)["pairs"] == 0


def test_what_was_explored_or_observed_says_nothing():
    explored = [make_example("a", 1.0, number=number) for number in range(1, 200)]
    observed = [replace(one, source="observed") for one in stream(200)]
    assert taught(explored + observed)._windows == {}


def test_a_favourite_that_is_seldom_chosen_stands_for_the_others_of_its_sort():
    rng = random.Random(1_000)
    found = []
    for number in range(1, 4_000):
        sure = rng.random() < 0.5
        chance, earns = (0.98, 0.9) if sure else (0.25, 0.1)
        if rng.random() < chance:
            found.append(told(number, 0.3, float(rng.random() < earns), chance=chance))
    assert taught(found).of("s", None)(0.3) == pytest.approx(0.63, abs=0.06)  # of all .5, of those chosen .74


def test_a_chance_that_is_hardly_there_is_no_trouble():
    found = taught([told(1, 0.3, 1.0, chance=0.0)])
    (window,) = found._windows.values()
    assert kept(window) == [(10, 0.3, 1.0, pytest.approx(LEAST_CHANCE**-TEMPER))]


def corrected(count):
    """A stream with outcomes that come in parts, are corrected, and are taken back."""
    rng = random.Random(1_001)
    found = []
    for number, example in enumerate(stream(count), 1):
        turn = rng.random()
        if turn < 0.1:
            example = replace(example, reward=None)
        found.append(example)
        if turn < 0.2:
            earlier = found[rng.randrange(len(found))]
            reward = None if turn < 0.13 else rng.random()
            found.append(revise(earlier, reward, seq=10 * number + 5))
            found[found.index(earlier)] = earlier
    return found


@pytest.mark.parametrize("size", [1, 7, 64, 5_000])
def test_how_the_log_is_cut_makes_no_difference(size):
    examples = corrected(WINDOW + 300)
    one, other, columns = Calibration(), Calibration(), Calibration()
    one.learn(examples)
    for start in range(0, len(examples), size):
        other.learn(examples[start : start + size])
        columns.learn_columns(ExampleColumns.of(examples[start : start + size]))
    assert state(one) == state(other) == state(columns)


def test_a_correction_takes_the_place_of_what_was_said():
    right = stream(300)
    wrong = [replace(one, reward=1.0 - one.reward) for one in right]
    again = [revise(one, 1.0 - one.reward, seq=10_000 + place) for place, one in enumerate(wrong)]
    assert taught(wrong + again).of("s", None) == taught(right).of("s", None)
    back = [revise(one, None, seq=20_000 + place) for place, one in enumerate(right)]
    assert taught(right + back).of("s", None) is None


def test_a_correction_of_what_is_kept_no_more_changes_nothing():
    examples = stream(WINDOW + 100)
    before = state(taught(examples))
    after = state(taught([*examples, revise(examples[0], 0.5, seq=10**6)]))
    (key,) = before
    assert before[key][0] == after[key][0]


def test_each_version_is_judged_by_its_own():
    found = taught([*stream(300), *stream(40, first=301, version=2)])
    assert found.of("s", None) is not None
    assert found.of("s", 2) is None
    assert found.report("s", 2)["pairs"] == 40


def test_a_new_agent_drops_what_was_before_and_says_so():
    before, after = stream(300, since=3), stream(60, first=301, since=900, newcomer="new")
    found = taught(before)
    found.agents_came(900, "new")
    assert found.of("s", None) is None
    note = "agent 'new' came, and what was before does not count; 0 outcomes of favourites are known, 50 are needed"
    assert found.report("s", None) == {"calibrated": False, "pairs": 0, "note": note}
    found.learn(after[:20])
    assert found.report("s", None)["note"].startswith("agent 'new' came")
    found.learn(after[20:])
    assert found.report("s", None) == {"calibrated": True, "pairs": 60}
    late = stream(100, first=5_000, since=3)  # decided before the agent came, heard of afterwards
    found.learn(late)
    assert found.report("s", None)["pairs"] == 60


def test_an_agent_that_came_for_one_strategy_came_for_all():
    found = taught([*stream(300), *stream(1, first=400, strategy="t", since=7, newcomer="x")])
    assert found.of("s", None) is None


def test_tenants_that_keep_apart_stay_apart():
    low, high = stream(300, tenant="low", lift=4.0), stream(300, first=301, tenant="high", lift=0.25)
    apart = taught(low + high, tenancy="separate", most_tenants=10)
    assert apart.of("s", None, "low")(0.5) < 0.3 < 0.7 < apart.of("s", None, "high")(0.5)
    assert apart.of("s", None, "third") is None
    leaning = taught(low + high, tenancy="prior", most_tenants=10)
    assert leaning.of("s", None, "low") == apart.of("s", None, "low")
    assert leaning.of("s", None, "third")(0.5) == taught(low + high).of("s", None)(0.5)
    assert taught(low + high).of("s", None, "low") == taught(low + high).of("s", None, "high")


def test_few_windows_are_kept_however_many_versions_there_are():
    found = taught([told(number, 0.5, 1.0, version=number) for number in range(1, 200)])
    assert len(found._windows) == 64
    assert found.report("s", 199)["pairs"] == 1
    assert found.report("s", 1)["pairs"] == 0


def test_saved_and_loaded_it_goes_on_as_if_nothing_had_happened(tmp_path):
    examples = corrected(1_000) + stream(70, first=3_000, version=4, since=5, newcomer="x")
    whole, first = taught(examples), taught(examples[:700])
    first.save(tmp_path)
    loaded = first.begun_again()
    assert state(loaded) == {}
    loaded.load(tmp_path)
    assert state(loaded) == state(first)
    loaded.learn(examples[700:])
    assert state(loaded) == state(whole)
    assert loaded._calibrators == whole._calibrators


def test_a_damaged_state_is_refused(tmp_path):
    found = taught(stream(100))
    found.save(tmp_path)
    (tmp_path / "calibration.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CorruptArtifactError):
        found.load(tmp_path)
    assert found.of("s", None) is not None
