"""A first version from a checkpoint that somebody else trained."""

import json
import pickle
import shutil

import numpy as np
import pytest
from fit_cases import NAMES, WORDS, checkpoint
from router_sdk_bert.encoding.checkpoint import read_checkpoint
from router_sdk_bert.encoding.pickled import _convert, without_pickles
from router_sdk_bert.encoding.tiny import tiny_checkpoint
from router_sdk_bert.finetuning.carried_state import load_weights
from router_sdk_bert.finetuning.warm_start import exported_start
from version_cases import chosen, context, data, exported, make_serving, told

from router_sdk import Agent, Router
from router_sdk.errors import EncoderUnavailableError, FitError, InvalidInputError, NotTrainableError
from router_sdk.plugin import AgentSet, TrainingData

AGENTS = [Agent(name, examples=[" ".join(WORDS[name][:2])]) for name in NAMES]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights that are not those which serve."""
    return tiny_checkpoint(tmp_path_factory.mktemp("trained") / "elsewhere", seed=5)


def pickled(trained, folder, **more):
    """The same checkpoint as older releases of PyTorch saved it."""
    import torch
    from safetensors.torch import load_file

    shutil.copytree(trained, folder)
    torch.save({**load_file(folder / "model.safetensors"), **more}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def labelled(count, first=1):
    examples = told(count, first=first)
    return [one.task.text for one in examples], [one.label for one in examples]


def test_a_checkpoint_serves_with_rows_fisher_information_and_prototypes(trained, tmp_path):
    serving = make_serving()
    version = serving.fit(data(synthetic=True), context(tmp_path, start=trained))
    assert version.encoder.tag != serving.encoder.tag
    assert read_checkpoint(version.encoder.folder).digest == read_checkpoint(trained).digest  # nothing moved
    assert chosen(version, told(30, first=500)) >= 0.8
    left = load_weights(version.encoder.folder)
    assert set(left.rows.names) == set(NAMES)
    assert left.fisher
    assert all(bool((value >= 0).all()) and bool(value.isfinite().all()) for value in left.fisher.values())
    assert sum(float(value.sum()) for value in left.fisher.values()) > 0
    assert len(version.head.prototypes.vector_of()) == len(NAMES)
    assert len(version.carried.synthetic) == 60


def test_fisher_information_is_that_of_the_labelled_examples(trained, tmp_path):
    """Compared with the mean of each sample's own squared gradient, worked out by hand."""
    import torch
    from router_sdk_bert.encoding.torch_backend import load_module
    from router_sdk_bert.finetuning.model import RoutingModel

    version = make_serving(ewc_samples=1_000).fit(data(told(12), synthetic=True), context(tmp_path, start=trained))
    left = load_weights(version.encoder.folder)
    model = RoutingModel(load_module(version.encoder.folder, "mean"), left.rows)
    total = torch.zeros_like(torch.as_tensor(left.rows.weight))
    texts = [(one.task.text, one.label) for one in told(12)]
    texts += [(" ".join(WORDS[name][:2]), name) for name in NAMES]
    weight = torch.tensor(left.rows.weight, requires_grad=True)
    for text, label in texts:
        tokens = version.encoder.tokenize([text])
        with torch.no_grad():
            ids = torch.tensor(tokens)
            vector = model._encoder.embed(ids, torch.ones_like(ids))[0]
        logits = 20.0 * (weight @ vector) + torch.as_tensor(left.rows.bias)
        loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([left.rows.names.index(label)]))
        (gradient,) = torch.autograd.grad(loss, weight)
        total += gradient.square() / len(texts)
    found = next(value for name, value in left.fisher.items() if name.startswith("head.") and value.dim() == 2)
    assert torch.allclose(found.float(), total, rtol=0.05, atol=1e-4)


@pytest.mark.reliability
def test_the_next_fit_holds_what_the_warm_start_knew(trained, tmp_path):
    version = make_serving(update="lora", strategy="ewc").fit(
        data(synthetic=True), context(tmp_path / "a", start=trained)
    )
    before = load_weights(version.encoder.folder).fisher
    after = version.fit(data(told(60, first=200)), context(tmp_path / "b"))
    kept = load_weights(after.encoder.folder).fisher
    name = next(name for name in before if not name.startswith("head."))
    assert bool((kept[name].float() >= 0.85 * 0.9 * before[name].float() - 1e-6).all())  # bf16, decayed, and more


def test_through_the_router_it_passes_the_gate_and_is_the_baseline(trained, tmp_path):
    texts, labels = labelled(90)
    settings = {"bert": {"model": str(exported()), "backend": "onnx", "wait_for_encoder": True}}
    chain = {"strategies": ["bert"], "strategy": settings, "retrain": False, "epsilon": 0.0, "fit_executor": "thread"}
    with Router(AGENTS, store=tmp_path / "r.db", **chain) as router:
        assert router.models.baseline("bert") is None
        fit = router.models.warm_start(trained, texts, labels)
        assert fit.state == "promoted", fit.words
        told_of = router.models.baseline("bert")
        assert (told_of["version"], told_of["warm_start"]) == (1, "elsewhere")
        assert told_of["accuracy"] >= 0.8
        assert router.models.status()[0]["baseline"] == told_of
        assert router.statistics()["total_examples"] == 0  # nothing happened here
        again = router.models.warm_start(trained, texts, labels)
        assert again.state == "held"
        assert "promote it" in again.words
        assert router.status()["strategies"][0]["model_version"] == 1
        with pytest.raises(InvalidInputError, match="no folder"):
            router.models.warm_start(tmp_path / "nothing", texts, labels)
        with pytest.raises(InvalidInputError, match="not empty"):
            router.models.warm_start(trained, [], [])
    with Router(AGENTS, store=tmp_path / "r.db", **chain) as router:
        assert router.rank(texts[0], top_k=1)[0][0] == labels[0]
        assert router.status()["strategies"][0]["model_version"] == 1


def test_a_strategy_that_starts_from_no_checkpoint_says_so(trained, tmp_path):
    from fitted_strategy import Words

    with Router(AGENTS, [Words], tmp_path / "r.db") as router, pytest.raises(NotTrainableError, match="no checkpoint"):
        router.models.warm_start(trained, ["a"], [NAMES[0]])


def test_examples_of_one_class_measure_nothing(trained, tmp_path):
    only = [one for one in told(90) if one.label == NAMES[0]]
    nobody = TrainingData(only, AgentSet([Agent(name) for name in NAMES]), only[-1].seq, synthetic=True)
    with pytest.raises(FitError, match="one class"):
        make_serving().fit(nobody, context(tmp_path, start=trained))


# -- weights that were pickled; the child process does what ``_convert`` does


@pytest.mark.slow
def test_pickled_weights_are_refused_unless_they_are_asked_for(trained, tmp_path):
    folder = pickled(trained, tmp_path / "old")
    with pytest.raises(FitError, match="pickled_weights=True"):
        exported_start(folder, make_serving().settings, context(tmp_path / "a"))
    encoder = exported_start(folder, make_serving(pickled_weights=True).settings, context(tmp_path / "b"))
    plain = exported_start(trained, make_serving().settings, context(tmp_path / "c"))
    texts = [one.task.text for one in told(5, first=700)]
    assert np.allclose(encoder.encode(texts), plain.encode(texts), atol=1e-5)
    assert not list(encoder.folder.glob("*.bin"))


def test_nested_weights_are_found(trained, tmp_path):
    import torch
    from safetensors.torch import load_file

    whole = load_file(trained / "model.safetensors")
    torch.save({"state_dict": whole, "epoch": 3}, tmp_path / "weights.pt")
    _convert([tmp_path / "weights.pt"], tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors").keys() == whole.keys()


class Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.slow
def test_what_a_pickle_names_is_not_run(trained, tmp_path):
    folder = pickled(trained, tmp_path / "old")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Opens(tmp_path / "ran")}))
    with pytest.raises(EncoderUnavailableError, match="as tensors alone"):
        without_pickles(folder, tmp_path / "safe")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "safe" / "model.safetensors").exists()


@pytest.mark.parametrize("content", [{"words": "not a tensor"}, [1, 2]])
def test_what_is_no_tensor_is_refused(tmp_path, content):
    import torch

    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(TypeError, match="tensors"):
        _convert([tmp_path / "pytorch_model.bin"], tmp_path / "model.safetensors")


def test_several_files_that_do_not_belong_together_are_refused(trained, tmp_path):
    folder = pickled(trained, tmp_path / "old")
    (folder / "pytorch_model.bin").rename(folder / "a.pt")
    shutil.copy(folder / "a.pt", folder / "b.pt")
    with pytest.raises(EncoderUnavailableError, match=r"a\.pt, b\.pt"):
        without_pickles(folder, tmp_path / "safe")


def test_a_folder_that_is_no_checkpoint_says_what_is_missing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(FitError, match=r"no model\.safetensors"):
        make_serving().fit(data(synthetic=True), context(tmp_path / "fit", start=tmp_path / "empty"))


def test_the_checkpoint_of_the_tests_is_left_as_it_was(trained):
    assert read_checkpoint(trained).digest != read_checkpoint(checkpoint()).digest
