import dataclasses
import time

import numpy as np
import pytest
import torch
from fit_cases import (
    NAMES,
    accuracy,
    changed_world,
    encode,
    fine_tune,
    model,
    settings,
    some,
    source,
    training_set,
)
from router_sdk_bert.finetuning.carried_state import load_weights
from router_sdk_bert.finetuning.checkpoints import Checkpoints
from router_sdk_bert.finetuning.fine_tune import first_rows, served_rows
from router_sdk_bert.finetuning.model import RoutingModel
from router_sdk_bert.finetuning.samples import Sample
from safetensors.torch import load_file

from router_sdk.plugin import FitError, FitStoppedError

STRATEGIES = ["none", "replay", "distillation", "ewc", "hybrid"]


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(first, second):
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("update", ["lora", "full"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_learns_with_every_update(tmp_path, update, strategy):
    samples = [*some(18, NAMES, fresh=False), *some(36, NAMES, first=100)]
    how = settings(update=update, strategy=strategy, epochs=4, learning_rate=2e-3, ewc_lambda=100.0)
    how = how.model_copy(update={"distillation_weight": 0.3})
    out, state, progress = fine_tune(tmp_path, training_set(samples), how)
    assert accuracy(out, state, some(30, NAMES, first=500)) >= 0.8
    assert progress.epoch == 4
    assert not same(out, source().checkpoint), "the encoder must have moved"
    assert load_weights(out).rows.names == NAMES


def test_replay_forgets_less_than_nothing_does(tmp_path):
    old, new, test = changed_world()
    kept = {}
    for strategy in ("none", "replay"):
        (tmp_path / strategy).mkdir()
        how = settings(strategy=strategy, epochs=6, learning_rate=5e-3)
        out, state, _ = fine_tune(tmp_path / strategy, training_set([*old, *new], names=NAMES[:2]), how)
        kept[strategy] = accuracy(out, state, test)
    assert kept["replay"] > kept["none"] + 0.3


def test_rewards_alone_teach_too(tmp_path):
    labelled = some(90, NAMES)
    told = [
        Sample(one.decision_id, one.text, agent=agent, reward=float(agent == one.label), vector=one.vector)
        for place, one in enumerate(labelled)
        for agent in [NAMES[(place // 3) % 3]]
    ]
    out, state, _ = fine_tune(tmp_path, training_set(told), settings(epochs=6, learning_rate=2e-3))
    assert accuracy(out, state, some(30, NAMES, first=500)) >= 0.8


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        folder.mkdir()
        fine_tune(folder, seed=seed)
    first, again, other = (folder / "tuned" for folder in folders)
    assert same(first, again)
    assert not same(first, other)


def test_the_callers_generators_and_threads_are_left_alone(tmp_path):
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    fine_tune(tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["hybrid", "replay"])
def test_an_interrupted_fit_resumes_to_the_same_result(tmp_path, strategy):
    samples = [*some(12, NAMES, fresh=False), *some(24, NAMES, first=100)]
    what = training_set(samples, some(12, NAMES, first=500))
    how = settings(strategy=strategy, epochs=3, replay_buffer="prioritized", patience=9)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts, parts / "kept"):
        folder.mkdir()
    points, resumed = [], []
    fine_tune(whole, what, how, note=points.append)

    def interrupt():
        return len(list((parts / "kept").glob("*.json"))) >= 2

    with pytest.raises(FitStoppedError):
        fine_tune(parts, what, how, checkpoints=parts / "kept", stopped=interrupt)
    assert not (parts / "tuned").exists()
    steps = []
    fine_tune(
        parts,
        what,
        how,
        checkpoints=parts / "kept",
        note=resumed.append,
        progress=lambda share, words: steps.append(words),
    )
    assert same(whole / "tuned", parts / "tuned")
    assert resumed == points
    assert all(words.startswith("epoch 3") for words in steps), "what was done must not be done again"


def test_a_torn_checkpoint_is_passed_over(tmp_path):
    what, how = training_set(held_out=some(12, NAMES, first=500)), settings(epochs=3)
    kept, whole, again = tmp_path / "kept", tmp_path / "whole", tmp_path / "again"
    for folder in (kept, whole, again):
        folder.mkdir()
    fine_tune(whole, what, how, checkpoints=kept)
    newest = max(kept.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-10])
    steps = []
    fine_tune(again, what, how, checkpoints=kept, progress=lambda share, words: steps.append(words))
    assert same(whole / "tuned", again / "tuned")
    assert {words.partition(",")[0] for words in steps} == {"epoch 3"}


def test_checkpoints_of_another_fit_are_not_used(tmp_path):
    kept = tmp_path / "kept"
    for name in ("kept", "a", "b"):
        (tmp_path / name).mkdir()
    fine_tune(tmp_path / "a", how=settings(epochs=1), checkpoints=kept)
    steps = []
    fine_tune(
        tmp_path / "b",
        how=settings(epochs=1, weight_decay=0.02),
        checkpoints=kept,
        progress=lambda share, words: steps.append(words),
    )
    assert steps


def test_checkpoints_are_safetensors_and_json_alone(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    fine_tune(tmp_path, how=settings(epochs=4), checkpoints=kept)
    assert {path.suffix for path in kept.iterdir()} == {".safetensors", ".json"}
    assert len(list(kept.iterdir())) == 4, "the newest two"
    assert Checkpoints(kept, "another fit").newest() is None


def test_the_best_epoch_is_kept_and_patience_ends_the_fit(tmp_path):
    wrong = [
        dataclasses.replace(one, label=NAMES[(NAMES.index(one.label) + 1) % 3]) for one in some(18, NAMES, first=500)
    ]
    points = []
    how = settings(epochs=8, learning_rate=5e-3, patience=1)
    out, state, progress = fine_tune(tmp_path, training_set(held_out=wrong), how, note=points.append)
    losses = [point["held_out_loss"] for point in points]
    assert progress.best_epoch == int(np.argmin(losses)) + 1
    assert progress.epoch == progress.best_epoch + 1 < 8
    scores = torch.as_tensor(state.rows.logits(encode([one.text for one in wrong], out)))
    labels = torch.tensor([NAMES.index(one.label) for one in wrong])
    assert torch.nn.functional.cross_entropy(scores, labels).item() == pytest.approx(min(losses), rel=1e-3)


def test_it_stops_within_a_second_in_the_middle_of_a_step(tmp_path):
    asked = []

    def stopped():
        asked.append(time.monotonic())
        return len(asked) > 40

    with pytest.raises(FitStoppedError):
        fine_tune(tmp_path, how=settings(epochs=100, batch_size=24), stopped=stopped)
    assert max(np.diff(asked)) < 1.0
    assert len(asked) == 41, "nothing may go on after the answer"
    assert not (tmp_path / "tuned").exists()


def test_a_pass_through_the_model_asks_at_each_layer(tmp_path):
    asked = []
    fine_tune(tmp_path, how=settings(epochs=1, batch_size=24), stopped=lambda: bool(asked.append(1)))
    # one step of one batch over two layers, forwards and backwards, and the loop's own two questions
    assert len(asked) == 6


def test_a_loss_that_is_not_finite_is_an_error(tmp_path, monkeypatch):
    original, what = RoutingModel.embed, training_set()
    monkeypatch.setattr(RoutingModel, "embed", lambda made, tokens: original(made, tokens) * float("nan"))
    with pytest.raises(FitError, match="loss became nan"):
        fine_tune(tmp_path, what)
    assert not (tmp_path / "tuned").exists()


def test_a_serving_encoder_that_is_broken_is_an_error(tmp_path):
    samples = some(24, NAMES)
    broken = [dataclasses.replace(samples[0], vector=samples[0].vector * np.nan), *samples[1:]]
    with pytest.raises(FitError, match="not finite"):
        fine_tune(tmp_path, training_set(broken))


def test_nothing_to_learn_is_an_error(tmp_path):
    with pytest.raises(FitError, match="no examples"):
        fine_tune(tmp_path, training_set([]))


def test_one_class_only_is_an_error(tmp_path):
    with pytest.raises(FitError, match="one class"):
        fine_tune(tmp_path, training_set(some(12, NAMES[:1])))


def test_failures_of_one_agent_beside_its_successes_are_two_classes(tmp_path):
    one = [
        Sample(
            sample.decision_id,
            sample.text,
            agent="billing",
            reward=float(sample.label == "billing"),
            vector=sample.vector,
        )
        for sample in some(24, NAMES)
    ]
    fine_tune(tmp_path, training_set(one))


def hungry(monkeypatch, most):
    """Let memory run out whenever more than ``most`` texts are trained on at once; the sizes that went through."""
    sizes, original = [], RoutingModel.embed

    def embed(made, tokens):
        if torch.is_grad_enabled():
            if len(tokens) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            sizes.append(len(tokens))
        return original(made, tokens)

    monkeypatch.setattr(RoutingModel, "embed", embed)
    return sizes


def test_out_of_memory_halves_the_batches_and_changes_no_step(tmp_path, monkeypatch):
    (tmp_path / "roomy").mkdir()
    (tmp_path / "tight").mkdir()
    how = settings(update="full", batch_size=8, epochs=2)
    # Dropout is drawn for each pass, so the comparison needs a model without any.
    monkeypatch.setattr(RoutingModel, "train", lambda made, mode=True: made.body.eval())
    _, roomy, _ = fine_tune(tmp_path / "roomy", how=how)
    sizes = hungry(monkeypatch, most=3)
    _, tight, _ = fine_tune(tmp_path / "tight", how=how)
    assert max(sizes) == 2
    assert np.allclose(roomy.rows.weight, tight.rows.weight, atol=1e-4)


def test_memory_for_not_even_one_example_is_a_clean_failure(tmp_path, monkeypatch):
    hungry(monkeypatch, most=0)
    with pytest.raises(FitError, match="one example at a time"):
        fine_tune(tmp_path)
    assert not (tmp_path / "tuned").exists()


def test_accumulated_batches_are_one_step(tmp_path):
    steps = {}
    for accumulation in (1, 3):
        folder = tmp_path / str(accumulation)
        folder.mkdir()
        words = []
        how = settings(batch_size=4, accumulation=accumulation, epochs=1)
        fine_tune(folder, how=how, progress=lambda share, word, words=words: words.append(word))
        steps[accumulation] = len(words)
    assert steps == {1: 6, 3: 2}


@pytest.mark.parametrize("more", [{"mixed_precision": "bf16"}, {"gradient_checkpointing": True}])
@pytest.mark.parametrize("update", ["lora", "full"])
def test_ways_to_save_memory_train_as_well(tmp_path, update, more):
    points = []
    how = settings(update=update, epochs=4, learning_rate=2e-3, **more)
    fine_tune(tmp_path, training_set(held_out=some(18, NAMES, first=500)), how, note=points.append)
    assert points[-1]["accuracy"] >= 0.8


def test_a_new_agent_gets_a_row_and_the_others_keep_theirs(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, state, _ = fine_tune(tmp_path / "a", training_set(some(24, NAMES[:2]), names=NAMES[:2]))
    samples = [*some(12, NAMES[:2], fresh=False), *some(24, NAMES, first=100)]
    how = settings(strategy="replay", epochs=6, learning_rate=3e-3)
    start = first_rows(training_set(samples), served_rows(training_set(samples), state.rows))
    assert np.array_equal(start.weight[:2], state.rows.weight)
    assert np.linalg.norm(start.weight[2]) > 0
    out, grown, _ = fine_tune(tmp_path / "b", training_set(samples), how, state)
    assert grown.rows.names == NAMES
    assert accuracy(out, grown, some(30, NAMES, first=500)) >= 0.8


def test_what_was_written_is_a_checkpoint_like_the_one_before(tmp_path):
    out, _, _ = fine_tune(tmp_path)
    before = {name: value.shape for name, value in weights(source().checkpoint).items()}
    after = {name: value.shape for name, value in weights(out).items()}
    assert before == after
    assert (out / "tokenizer.json").read_bytes() == (source().checkpoint / "tokenizer.json").read_bytes()
    assert np.isfinite(encode(["pay the bill"], out)).all()
    assert model(out).body.config.hidden_size == 32
