import contextlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from router_sdk_bert.config import EncoderSettings
from router_sdk_bert.encoding import comparison
from router_sdk_bert.encoding.checkpoint import read_checkpoint
from router_sdk_bert.encoding.comparison import PROBES
from router_sdk_bert.encoding.encoder import load_encoder
from router_sdk_bert.encoding.export import export_encoder

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError

torch = pytest.importorskip("torch")


@pytest.fixture
def checkpoint(tiny_checkpoint_folder, tmp_path):
    return shutil.copytree(tiny_checkpoint_folder, tmp_path / "checkpoint")


@pytest.fixture
def export(tmp_path):
    def make(checkpoint, name="encoder", **settings):
        chosen = EncoderSettings(model=str(checkpoint), **settings)
        export_encoder(checkpoint, tmp_path / name, chosen)
        return load_encoder(tmp_path / name, chosen)

    return make


def hidden_states(checkpoint, ids):
    from transformers import AutoModel

    with torch.inference_mode():
        return AutoModel.from_pretrained(checkpoint).eval()(torch.tensor([ids])).last_hidden_state[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_pooling_is_what_it_says(checkpoint, export, pooling, backend):
    encoder = export(checkpoint, pooling=pooling, backend=backend)
    for text in ("refund", "please explain this error and then fix the program, I need it today"):
        (ids,) = encoder.tokenize([text])
        states = hidden_states(checkpoint, ids)
        expected = states[0] if pooling == "cls" else states.mean(0)
        np.testing.assert_allclose(encoder.encode([text])[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_pooling_is_the_models_own_unless_it_is_chosen(checkpoint, export, tiny_classifier_folder):
    assert read_checkpoint(checkpoint).pooling == "mean"
    assert read_checkpoint(tiny_classifier_folder).pooling == "classifier"
    shutil.rmtree(checkpoint / "1_Pooling")
    assert read_checkpoint(checkpoint).pooling == "cls"
    chosen = export(checkpoint, "chosen", pooling="mean", backend="onnx")
    assert chosen.description.pooling == "mean"
    assert read_checkpoint(chosen.folder).pooling == "mean"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_batches_of_mixed_lengths_give_what_single_texts_give(checkpoint, export, backend):
    encoder = export(checkpoint, backend=backend)
    texts = [*PROBES, "", "refund"] * 2
    alone = [encoder.encode([text])[0] for text in texts]
    np.testing.assert_allclose(encoder.encode(texts), alone, atol=1e-5)


def test_an_export_of_an_export_is_the_same_encoder(checkpoint, export):
    first = export(checkpoint)
    again = export(first.folder, "again")
    assert again.tag == first.tag
    assert np.array_equal(again.encode(PROBES), first.encode(PROBES))


def test_other_weights_have_another_tag(checkpoint, export, tmp_path):
    from router_sdk_bert.encoding.tiny import tiny_checkpoint

    other = tiny_checkpoint(tmp_path / "other", seed=5)
    assert export(checkpoint, "one").tag != export(other, "two").tag


def test_a_back_end_that_disagrees_does_not_serve(checkpoint, export, monkeypatch, caplog):
    monkeypatch.setattr(comparison, "LEAST_COSINE", 0.999999)  # More than int8 reaches, less than single precision.
    encoder = export(checkpoint)
    assert (encoder.backend, encoder.precision) == ("onnx", "fp32")
    assert [check["passed"] for check in encoder.status["checks"]] == [False, True]
    assert "onnx-int8 agrees with torch" in encoder.status["note"]
    assert not (encoder.folder / "model.int8.onnx").exists()
    load_encoder(encoder.folder, EncoderSettings(model=str(checkpoint)))
    (warned,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert "onnx-int8 agrees with torch" in warned
    assert 'backend = "onnx" asks for it' in warned


def test_torch_serves_if_nothing_agrees(checkpoint, export, monkeypatch):
    monkeypatch.setattr(comparison, "LEAST_COSINE", 2.0)
    encoder = export(checkpoint)
    assert encoder.backend == "torch"
    assert len(encoder.status["checks"]) == 2
    assert not list(encoder.folder.glob("*.onnx"))
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(PROBES), axis=1), 1.0, rtol=1e-5)


def test_a_table_that_int8_cannot_hold_is_served_in_single_precision(checkpoint, export):
    """The quantiser gives an embedding table one scale: one word's great numbers leave the others nothing."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    tensors[name][4] = 300.0  # The mask, which no text has.
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    encoder = export(checkpoint)
    assert (encoder.backend, encoder.status["checks"][0]["passed"]) == ("onnx", False)


def test_what_is_written_is_of_a_version_that_the_runtime_reads(tiny_encoder_folder):
    import onnx

    model = onnx.load(tiny_encoder_folder / "model.int8.onnx")
    assert model.ir_version <= 13  # onnx 1.23 stamps 14 unless it is told otherwise, onnxruntime 1.31 reads 13.


def test_the_comparison_counts_what_it_says():
    reference = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]] + 0.001 * np.random.default_rng(0).normal(size=(4, 4))
    reference = (reference / np.linalg.norm(reference, axis=1, keepdims=True)).astype(np.float32)
    same = comparison.compare("onnx", reference, reference)
    assert (same.top1, same.agreement, same.passed) == (1.0, 1.0, True)
    assert same.cosine == pytest.approx(1.0, abs=1e-5)
    swapped = comparison.compare("onnx", reference, reference[[0, 2, 1, 3]])
    assert (swapped.top1, swapped.passed) == (0.0, False)
    assert not comparison.compare("onnx", reference, np.full_like(reference, np.nan)).passed


def test_weights_that_are_not_finite_are_not_exported(checkpoint, export, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    tensors[name][:] = float("nan")
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderUnavailableError, match="not finite"):
        export(checkpoint)
    assert not (tmp_path / "encoder").exists()


def test_pickled_weights_are_refused(checkpoint, export):
    torch.save({}, checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(EncoderUnavailableError, match=r"pytorch_model\.bin.*only safetensors"):
        export(checkpoint)


def test_code_that_comes_with_weights_is_not_run(checkpoint, export, tmp_path):
    config = json.loads((checkpoint / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoModel": "made.Model", "AutoConfig": "made.Config"}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "made.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(EncoderUnavailableError):
        export(checkpoint)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_export_is_not_exported_again(checkpoint, export):
    folder = export(checkpoint).folder
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CorruptArtifactError):
        export(folder, "again")


def test_a_checkpoint_in_several_files(checkpoint, export):
    from transformers import AutoModel

    whole = export(checkpoint, "whole", backend="onnx")
    model = AutoModel.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="40KB")
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 1
    parts = export(checkpoint, "parts", backend="onnx")
    np.testing.assert_allclose(parts.encode(PROBES), whole.encode(PROBES), atol=1e-6)


def test_a_checkpoint_from_before_tokenizer_files(checkpoint, export):
    modern = export(checkpoint, "modern")
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    (checkpoint / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    assert export(checkpoint, "old").tokenize(PROBES) == modern.tokenize(PROBES)


@pytest.mark.slow
def test_a_killed_export_leaves_no_folder(checkpoint, tmp_path):
    request = {"folder": str(tmp_path / "encoder"), "settings": {"model": str(checkpoint)}}
    child = subprocess.Popen([sys.executable, "-m", "router_sdk_bert.encoding.export_child"], stdin=subprocess.PIPE)
    child.stdin.write(json.dumps(request).encode())
    child.stdin.close()
    while not list(tmp_path.glob(".draft-*/config.json")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert child.wait(0.01) == 0
    child.kill()
    child.wait()
    assert not (tmp_path / "encoder").exists()
