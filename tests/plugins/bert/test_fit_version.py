import json
import math
import subprocess
import sys

import numpy as np
import pytest
from fit_cases import LATER, NAMES, WORDS
from router_sdk_bert.finetuning.carried_state import load_weights
from version_cases import ask, chosen, context, data, make_serving, told, with_config

from router_sdk.evaluation.parameters import compare_parameters
from router_sdk.plugin import Agent, AgentSet, FitError, FitStoppedError, Signals, Task, TrainingData
from router_sdk.testing import make_example


@pytest.fixture
def serving():
    return make_serving()


@pytest.mark.slow
@pytest.mark.parametrize("update", ["lora", "full"])
def test_a_new_encoder_is_exported_and_everything_learnt_again(serving, tmp_path, update):
    serving.learn(told(60))
    before = serving.encoder.tag
    version = with_config(serving, update=update).fit(data(held_out=told(12, first=300)), context(tmp_path))
    assert version is not serving
    assert version.encoder.tag != before == serving.encoder.tag
    assert chosen(version, told(30, first=500)) >= 0.9
    assert version.report()["stored"] == 60
    state = load_weights(version.encoder.folder)
    assert set(state.rows.names) == set(NAMES)
    assert version.carried.upto == max(one.seq for one in told(12, first=300))


def test_a_version_survives_save_and_load(serving, tmp_path):
    version = with_config(serving, update="lora").fit(data(), context(tmp_path / "fit"))
    (tmp_path / "saved").mkdir()
    version.save(tmp_path / "saved")
    assert norm_of(version, tmp_path / "saved") > 2.0 * norm_of_the_classifier(version), "its encoder counts"
    again = make_serving()
    again.load(tmp_path / "saved")
    assert again.encoder.tag == version.encoder.tag
    for example in told(5, first=500):
        one, other = (ask(each, example.task.text) for each in (version, again))
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    assert load_weights(again.encoder.folder).rows.names == NAMES


@pytest.mark.slow
def test_the_next_fit_starts_from_what_the_last_one_left(serving, tmp_path):
    first = with_config(serving, update="lora", strategy="hybrid").fit(data(), context(tmp_path / "a"))
    assert load_weights(first.encoder.folder).fisher
    later = told(40, first=200)
    points = []
    again = first.fit(
        data([*told(60), *later], fresh_after=told(60)[-1].seq), context(tmp_path / "b", note=points.append)
    )
    assert again.encoder.tag != first.encoder.tag
    assert points
    assert chosen(again, told(30, first=500)) >= 0.9


def test_the_head_alone_leaves_the_encoder_as_it_is(serving, tmp_path):
    version = with_config(serving, update="head").fit(data(), context(tmp_path))
    assert version.encoder.tag == serving.encoder.tag
    assert chosen(version, told(30, first=500)) >= 0.8
    assert "torch" not in {path.name for path in tmp_path.rglob("*")}
    (tmp_path / "saved").mkdir()
    version.save(tmp_path / "saved")
    assert norm_of(version, tmp_path / "saved") == pytest.approx(norm_of_the_classifier(version), rel=1e-5)


def norm_of(version, folder):
    """What drift looks at: no count, no sum and no time."""
    return compare_parameters(folder, None, version.parameters).norm


def norm_of_the_classifier(version):
    fitted = version.head.model.logistic
    return math.hypot(np.linalg.norm(fitted.weights), np.linalg.norm(fitted.intercepts))


def test_auto_waits_until_there_is_enough(serving, tmp_path):
    few = with_config(serving, update="auto", lora_examples=20, lora_fresh=10)
    assert few.fit(data(told(30)), context(tmp_path / "a")).encoder.tag == serving.encoder.tag
    assert few.fit(data(told(60)), context(tmp_path / "b")).encoder.tag != serving.encoder.tag
    stale = with_config(serving, update="auto", lora_examples=20, lora_fresh=100)
    assert stale.fit(data(told(60)), context(tmp_path / "c")).encoder.tag == serving.encoder.tag


def test_without_texts_the_head_is_refitted_and_the_fit_says_so(serving, tmp_path):
    tag, vector = serving.encoder.tag, np.ones(32, np.float32) / np.sqrt(32)
    rng = np.random.default_rng(0)
    nameless = [
        make_example(
            NAMES[number % 3],
            1.0,
            number=number,
            task=Task(task_type="no text"),
            signals=Signals(correct_agent=NAMES[number % 3]),
            vectors={tag: vector + rng.normal(0, 0.1, 32).astype(np.float32)},
        )
        for number in range(1, 31)
    ]
    words = []
    asked = context(tmp_path, progress=lambda share, word: words.append(word))
    version = with_config(serving, update="lora").fit(data(nameless), asked)
    assert version.encoder.tag == tag
    assert version.report()["stored"] == 30
    assert "none of 30 examples has a text" in words[0]


def test_too_little_to_learn_from_is_an_error(serving, tmp_path):
    for examples in ([], told(4)):
        with pytest.raises(FitError, match="examples to learn from"):
            serving.fit(data(examples), context(tmp_path))


def test_one_class_only_fails_where_the_encoder_was_asked_for_and_serves_on(serving, tmp_path):
    serving.learn(told(30))
    before = ask(serving, "pay the bill").probabilities
    one = told(30, names=NAMES[:1])
    silent = TrainingData(one, AgentSet([Agent(name) for name in NAMES]), one[-1].seq)
    with pytest.raises(FitError, match="one class"):
        with_config(serving, update="lora").fit(silent, context(tmp_path / "a"))
    version = with_config(serving, update="auto", lora_examples=1, lora_fresh=1).fit(silent, context(tmp_path / "b"))
    assert version.encoder.tag == serving.encoder.tag
    after = ask(serving, "pay the bill").probabilities
    assert before == after


def test_only_the_newest_examples_are_used_where_a_window_is_set(serving, tmp_path):
    version = with_config(serving, update="head", fit_window=20).fit(data(told(60)), context(tmp_path))
    assert version.report()["stored"] == 20


def test_a_fit_that_is_told_to_stop_raises(serving, tmp_path):
    for number, update in enumerate(("head", "lora")):
        asked = context(tmp_path / str(number), stopped=lambda: True)
        with pytest.raises(FitStoppedError):
            with_config(serving, update=update).fit(data(), asked)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["head", "lora"])
def test_what_pretraining_taught_outlives_later_fits(serving, tmp_path, first):
    made_up = told(45, first=1000)
    started = with_config(serving, update=first)
    version = started.fit(data(made_up, synthetic=True), context(tmp_path / "a"))
    assert len(version.carried.synthetic) == 45
    (tmp_path / "saved").mkdir()
    version.save(tmp_path / "saved")
    for update in ("head", "lora"):
        served = with_config(serving, update=update)
        served.load(tmp_path / "saved")
        real = told(24, words={**WORDS, **LATER}, names=NAMES[:2])
        again = served.fit(data(real), context(tmp_path / update))
        assert again.report()["stored"] == 24 + 45
        assert chosen(again, told(30, first=500)) >= 0.6
        assert len(again.carried.synthetic) == 45
    without = with_config(serving, update="head", use_synthetic_data=False)
    without.load(tmp_path / "saved")
    assert without.fit(data(told(24)), context(tmp_path / "c")).report()["stored"] == 24


def test_a_fit_can_be_resumed_in_another_process_folder(serving, tmp_path):
    kept, how = tmp_path / "kept", with_config(serving, update="lora", epochs=3)
    kept.mkdir()
    whole = how.fit(data(), context(tmp_path / "whole"))
    with pytest.raises(FitStoppedError):
        how.fit(data(), context(tmp_path / "a", checkpoints=kept, stopped=lambda: len(list(kept.glob("*.json"))) > 1))
    resumed = how.fit(data(), context(tmp_path / "b", checkpoints=kept))
    assert resumed.encoder.tag == whole.encoder.tag, "the tag holds a digest of the weights"


def test_settings_alone_import_no_torch():
    code = "import sys, router_sdk_bert.finetuning.fit; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout.lower()) is False
