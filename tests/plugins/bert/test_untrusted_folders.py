"""Folders that somebody else wrote: whatever they say, they are read whole, or refused by one kind of error."""

import hashlib
import json
import os
import shutil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from router_sdk_bert.config import EncoderSettings
from router_sdk_bert.encoding.checkpoint import DESCRIPTION, read_checkpoint
from router_sdk_bert.encoding.encoder import load_encoder
from router_sdk_bert.encoding.sealed_folder import MANIFEST, SealedFolder, write_sealed
from router_sdk_bert.encoding.sealed_folder import link_sealed as link_encoder
from router_sdk_bert.encoding.weights import read_classifier
from untrusted_cases import DEEP, accepted, values

from router_sdk.plugin import CorruptArtifactError

HOSTILE = [
    "../secret.txt",
    "sub/../../secret.txt",
    "..",
    ".",
    "",
    "/etc/hostname",
    "a.txt/",
    "./a.txt",
    "sub//b.txt",
    "a.txt\0",
    "link.txt",
    "away/secret.txt",
    "loop",
    "n" * 5_000,
    "C:\\secret.txt",
    "sub\\..\\..\\secret.txt",
]


def resealed(folder, name, content):
    """Give a sealed folder another file, as somebody would who wants it to be believed."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    entries = json.loads((folder / MANIFEST).read_text())
    entries[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_text(json.dumps(entries))


# -- sealed folders


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A sealed folder with two files, and a file beside it that is none of its business."""
    home = tmp_path_factory.mktemp("sealed")
    (home / "secret.txt").write_text("secret")

    def fill(draft):
        (draft / "a.txt").write_text("a")
        (draft / "sub").mkdir()
        (draft / "sub" / "b.txt").write_text("b")

    write_sealed(home / "folder", fill)
    (home / "folder" / "link.txt").symlink_to(home / "secret.txt")
    (home / "folder" / "away").symlink_to(home, target_is_directory=True)
    (home / "folder" / "loop").symlink_to(home / "folder" / "loop")
    return home / "folder"


def with_manifest(sealed, content):
    (sealed / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return sealed


@given(values | st.dictionaries(st.text(max_size=12), st.fixed_dictionaries({"sha256": values, "bytes": values})))
@example({"a.txt": {"sha256": "0" * 64, "bytes": -1}})
@example({"a.txt": {"sha256": "0" * 64, "bytes": True}})
@example({"a.txt": {"sha256": ["0" * 64], "bytes": 1}})
@example({"a.txt": {"sha256": "0" * 64}})
def test_a_manifest_is_one_or_is_refused(sealed, content):
    with_manifest(sealed, json.dumps(content))
    if accepted(lambda: SealedFolder(sealed)):
        assert isinstance(content, dict)
        assert content.keys() <= {"a.txt", "sub/b.txt"}


@given(st.binary(max_size=64))
@example(DEEP.encode())
@example(b'{"a.txt": {"sha256": 1e999, "bytes": ' + b"9" * 10_000 + b"}}")
def test_a_manifest_may_be_no_json_at_all(sealed, content):
    assert content.strip() == b"{}" or not accepted(lambda: SealedFolder(with_manifest(sealed, content)))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leads_out_of_the_folder(sealed, name):
    secret = {"sha256": hashlib.sha256(b"secret").hexdigest(), "bytes": 6}
    plain = {"sha256": hashlib.sha256(b"a").hexdigest(), "bytes": 1}
    for entry in (secret, plain, {**secret, "bytes": os.stat("/").st_size}):
        with pytest.raises(CorruptArtifactError, match="missing"):
            SealedFolder(with_manifest(sealed, json.dumps({"a.txt": plain, name: entry})))
    folder = SealedFolder(with_manifest(sealed, json.dumps({"a.txt": plain})))
    with pytest.raises(CorruptArtifactError):
        folder.read(name)
    with pytest.raises(CorruptArtifactError):
        folder.verify([name])


def test_what_the_manifest_does_not_name_is_not_linked(sealed, tmp_path):
    plain = {"sha256": hashlib.sha256(b"a").hexdigest(), "bytes": 1}
    link_encoder(with_manifest(sealed, json.dumps({"a.txt": plain})), tmp_path / "linked")
    assert {path.name for path in (tmp_path / "linked").rglob("*")} == {"a.txt", MANIFEST}


# -- encoders


@pytest.fixture
def copied(tiny_encoder_folder, tmp_path):
    return shutil.copytree(tiny_encoder_folder, tmp_path / "copied")


@pytest.fixture(scope="module")
def scratch(tiny_encoder_folder, tmp_path_factory):
    """An encoder whose files are written over and over."""
    return shutil.copytree(tiny_encoder_folder, tmp_path_factory.mktemp("scratch") / "encoder")


def reads(folder):
    return accepted(lambda: load_encoder(folder, EncoderSettings()).encode(["a text"]))


@given(st.data())
def test_a_description_is_one_or_is_refused(scratch, tiny_encoder_folder, data):
    said = json.loads((tiny_encoder_folder / DESCRIPTION).read_text())
    name = data.draw(st.sampled_from([*said, "another"]))
    said[name] = data.draw(values)
    resealed(scratch, DESCRIPTION, json.dumps(said).encode())
    reads(scratch)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"5", DEEP.encode(), b'{"format": 1}', b"\xff\xfe"])
@pytest.mark.parametrize("name", [DESCRIPTION, "tokenizer.json", "model.int8.onnx"])
def test_a_file_of_another_kind_is_refused(copied, name, content):
    resealed(copied, name, content)
    assert not reads(copied)


def test_an_encoder_that_makes_other_vectors_than_it_says_is_refused(copied):
    said = json.loads((copied / DESCRIPTION).read_text())
    resealed(copied, DESCRIPTION, json.dumps({**said, "dimension": 33}).encode())
    assert not reads(copied)


def test_a_tokenizer_of_more_words_than_the_model_knows_is_refused(copied):
    said = json.loads((copied / "tokenizer.json").read_text())
    said["model"]["vocab"] = {word: number + 100_000 for word, number in said["model"]["vocab"].items()}
    said["added_tokens"], said["post_processor"] = [], None
    resealed(copied, "tokenizer.json", json.dumps(said).encode())
    assert not reads(copied)


@given(values)
@example({"architectures": "BertForSequenceClassification", "id2label": [1]})
@example({"architectures": ["BertForSequenceClassification"], "id2label": {"x": "y", "٣": 1, "9" * 5_000: 0}})
@example({"architectures": [7], "max_position_embeddings": "many", "pad_token_id": [0], "model_type": []})
def test_a_configuration_is_one_or_is_refused(classifier, content):
    resealed(classifier, "config.json", json.dumps(content).encode())
    accepted(lambda: read_classifier(classifier))
    if isinstance(content, dict) and content:
        found = read_checkpoint(classifier)
        assert found.longest > 0
        assert found.pad_id >= 0
        assert all(isinstance(label, str) for label in found.labels)
        assert found.pooling in ("mean", "cls", "classifier")


@pytest.fixture(scope="module")
def classifier(tiny_classifier_folder, tmp_path_factory):
    from router_sdk_bert.encoding.export import export_encoder

    folder = tmp_path_factory.mktemp("classifier") / "encoder"
    export_encoder(tiny_classifier_folder, folder, EncoderSettings(model=str(tiny_classifier_folder)))
    return folder


@pytest.mark.parametrize("stranger", ["adapter_config.json", "model.safetensors.index.json", "1_Pooling/config.json"])
def test_a_file_that_nobody_vouches_for_is_not_trained_on(copied, stranger):
    entries = json.loads((copied / MANIFEST).read_text())
    entries.pop(stranger, None)
    (copied / MANIFEST).write_text(json.dumps(entries))
    (copied / stranger).write_text("{}")
    with pytest.raises(CorruptArtifactError, match=stranger):
        read_checkpoint(copied)


def test_a_link_is_not_followed_to_what_is_trained_on(copied, tmp_path):
    shutil.move(copied / "model.safetensors", tmp_path / "model.safetensors")
    (copied / "model.safetensors").symlink_to(tmp_path / "model.safetensors")
    with pytest.raises(CorruptArtifactError):
        read_checkpoint(copied)
