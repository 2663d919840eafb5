import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from router_sdk_bert.config import EncoderSettings, TextPreparation
from router_sdk_bert.encoding.encoder import BertEncoder, BertEncoderConfig, load_encoder
from router_sdk_bert.encoding.sealed_folder import link_sealed as link_encoder

from router_sdk import Outcome
from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError

TEXTS = ["please refund my order", "write a program that sorts", "", "plan a trip by plane", "refund"] * 8

SERVE = """
import sys
from pathlib import Path
from router_sdk_bert.config import EncoderSettings
from router_sdk_bert.encoding.encoder import load_encoder
encoder = load_encoder(Path(sys.argv[1]), EncoderSettings())
assert len(encoder.encode(["route this", "and that"])) == 2
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture
def copied(tiny_encoder_folder, tmp_path):
    return shutil.copytree(tiny_encoder_folder, tmp_path / "copied")


def test_serving_needs_neither_torch_nor_transformers(tiny_encoder_folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SERVE, str(tiny_encoder_folder)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"onnxruntime", "tokenizers"} <= loaded
    assert loaded.isdisjoint({"torch", "transformers", "peft", "onnx", "safetensors", "huggingface_hub", "scipy"})


def test_vectors_have_length_one(tiny_encoder):
    vectors = tiny_encoder.encode(TEXTS)
    assert {(vector.shape, vector.dtype.name) for vector in vectors} == {((tiny_encoder.dimension,), "float32")}
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


def test_no_texts_no_vectors(tiny_encoder):
    assert tiny_encoder.encode([]) == []


def test_under_int8_a_vector_depends_on_its_text_alone(tiny_encoder):
    assert tiny_encoder.backend == "onnx-int8"
    together = tiny_encoder.encode(TEXTS)
    alone = [tiny_encoder.encode([text])[0] for text in TEXTS]
    assert np.array_equal(together, alone)


def test_int8_may_run_texts_of_one_length_together(tiny_encoder_folder, tiny_encoder):
    encoder = load_encoder(tiny_encoder_folder, EncoderSettings(int8_batches=True))
    assert encoder.tag == tiny_encoder.tag
    for ours, alone in zip(encoder.encode(TEXTS * 3), tiny_encoder.encode(TEXTS * 3), strict=True):
        assert ours @ alone > 0.95
    for text in TEXTS:
        assert np.array_equal(encoder.encode([text]), tiny_encoder.encode([text]))


def test_many_threads_get_what_one_gets(tiny_encoder):
    expected = tiny_encoder.encode(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: tiny_encoder.encode(TEXTS), range(16)))
    assert all(np.array_equal(expected, answer) for answer in answers)


def test_the_tokens_are_those_that_are_encoded(tiny_encoder):
    (ids,) = tiny_encoder.tokenize(["refund " * 500])
    assert len(ids) == 128


def test_the_tag_tells_settings_apart_that_shape_a_vector(tiny_encoder_folder):
    def tag(**settings):
        return load_encoder(tiny_encoder_folder, EncoderSettings(**settings)).tag

    name, _, precision = tag().partition(":")
    assert name.startswith("bert-")
    assert precision == "int8"
    assert tag() == tag(hub_timeout_s=1.0)
    different = [tag(), tag(max_tokens=64), tag(preparation=TextPreparation(accents="strip")), tag(backend="torch")]
    assert len(set(different)) == 4


def test_asking_for_more_tokens_than_the_model_takes_changes_nothing(tiny_encoder_folder):
    most = load_encoder(tiny_encoder_folder, EncoderSettings(max_tokens=8_000))
    assert most.tag == load_encoder(tiny_encoder_folder, EncoderSettings(max_tokens=160)).tag
    assert np.isfinite(most.encode(["word " * 1_000])).all()


@pytest.mark.parametrize("name", ["model.int8.onnx", "tokenizer.json", "encoder.json"])
def test_a_changed_file_is_refused(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=name):
        load_encoder(copied, EncoderSettings())


@pytest.mark.parametrize("name", ["model.int8.onnx", "model.safetensors", "config.json"])
def test_a_truncated_file_is_refused_even_if_serving_does_not_read_it(copied, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptArtifactError, match=name):
        load_encoder(copied, EncoderSettings())


def test_a_missing_file_is_refused(copied):
    (copied / "tokenizer.json").unlink()
    with pytest.raises(CorruptArtifactError, match=r"tokenizer\.json"):
        load_encoder(copied, EncoderSettings())


@pytest.mark.parametrize("content", ["", "[]", '{"encoder.json": 1}', "\x00"])
def test_a_manifest_that_says_nothing_is_refused(copied, content):
    (copied / "manifest.json").write_text(content)
    with pytest.raises(CorruptArtifactError, match="manifest"):
        load_encoder(copied, EncoderSettings())


def test_changed_weights_are_found_before_anybody_trains_on_them(copied):
    content = bytearray((copied / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "model.safetensors").write_bytes(content)
    load_encoder(copied, EncoderSettings())  # What serves is intact.
    with pytest.raises(CorruptArtifactError, match=r"model\.safetensors"):
        load_encoder(copied, EncoderSettings(backend="torch"))


def test_a_back_end_that_was_not_exported_is_replaced_and_status_says_so(tiny_encoder_folder):
    encoder = load_encoder(tiny_encoder_folder, EncoderSettings(backend="onnx"))
    assert encoder.backend == "onnx-int8"
    assert "exported without onnx" in encoder.status["note"]


def test_a_linked_folder_serves_after_the_first_is_gone(copied, tmp_path, tiny_encoder):
    link_encoder(copied, tmp_path / "linked")
    shutil.rmtree(copied)
    linked = load_encoder(tmp_path / "linked", EncoderSettings())
    assert linked.tag == tiny_encoder.tag
    assert np.array_equal(linked.encode(TEXTS), tiny_encoder.encode(TEXTS))


def test_linking_over_something_leaves_it_alone(copied, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(OSError):
        link_encoder(copied, tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["notes.txt"]
    assert not list(tmp_path.glob(".draft-*"))


def test_an_encoder_by_its_configuration_alone_opens_at_first_use(tiny_encoder_folder, tiny_encoder):
    encoder = BertEncoder(BertEncoderConfig(model=str(tiny_encoder_folder)))
    assert encoder.status["backend"] is None
    assert np.array_equal(encoder.encode(TEXTS), tiny_encoder.encode(TEXTS))
    assert encoder.status["backend"] == "onnx-int8"
    assert encoder.precision == "int8"


def test_a_failure_to_open_is_not_repeated_for_every_request(tmp_path):
    encoder = BertEncoder(BertEncoderConfig(model=str(tmp_path / "nothing here"), cache=tmp_path / "cache"))
    with pytest.raises(EncoderUnavailableError) as first:
        encoder.encode(["x"])
    with pytest.raises(EncoderUnavailableError) as second:
        _ = encoder.tag
    assert first.value is second.value
    assert "nothing here" in encoder.status["note"]


def test_the_description_says_what_was_checked(tiny_encoder_folder):
    said = json.loads((tiny_encoder_folder / "encoder.json").read_text())
    (check,) = said["checks"]
    assert check["passed"]
    assert check["cosine"] > 0.98
    assert (said["pooling"], said["dimension"], said["longest"]) == ("mean", 32, 160)


def test_thompson_sampling_can_use_it(tiny_encoder_folder, make_router):
    pytest.importorskip("router_sdk_thompson")
    router = make_router(
        [("thompson", {"encoder": "bert", "min_context_evidence": 0})],
        agents=["billing", "coder"],
        encoder={"bert": {"model": str(tiny_encoder_folder)}},
    )
    for text, agent in [("please refund my order", "billing"), ("write a program", "coder")] * 40:
        router.observe(text, agent, Outcome(success=True))
        router.observe(text, "coder" if agent == "billing" else "billing", Outcome(success=False))
    router.flush()
    assert router.rank("please refund my order")[0].agent == "billing"
    assert router.rank("write a program")[0].agent == "coder"
