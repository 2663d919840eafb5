import numpy as np
import pytest
from router_sdk_bert.config import EncoderSettings
from router_sdk_bert.encoding.comparison import PROBES
from router_sdk_bert.encoding.encoder import load_encoder
from router_sdk_bert.encoding.export import export_encoder
from router_sdk_bert.encoding.tiny import tiny_checkpoint
from router_sdk_bert.encoding.weights import read_classifier

from router_sdk.numerics.state_file import read_tensor
from router_sdk.plugin import CorruptArtifactError

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def exported(tiny_classifier_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "encoder"
    export_encoder(tiny_classifier_folder, folder, EncoderSettings(model=str(tiny_classifier_folder)))
    return folder


def own_logits(folder, tokens):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return np.concatenate([model(input_ids=torch.tensor([ids])).logits.numpy() for ids in tokens])


def test_a_trained_head_chooses_as_before(tiny_classifier_folder, exported):
    head = read_classifier(exported)
    encoder = load_encoder(exported, EncoderSettings())
    assert head.labels == ("analyst", "billing", "coder")
    expected = own_logits(tiny_classifier_folder, encoder.tokenize(PROBES))
    found = head.logits(np.stack(encoder.encode(PROBES)))
    expected, found = expected - expected.mean(0), found - expected.mean(0)  # Random weights prefer one class for all.
    best, second = np.sort(expected, axis=1)[:, :-3:-1].T
    clear = best - second > 0.2
    assert clear.sum() >= 10
    assert set(expected[clear].argmax(1)) == {0, 1, 2}
    assert np.array_equal(expected[clear].argmax(1), found[clear].argmax(1))


def test_an_encoder_without_a_head_has_none(tiny_encoder_folder):
    assert read_classifier(tiny_encoder_folder) is None


ARCHITECTURES = {
    "roberta": ("Roberta", {"max_position_embeddings": 70, "pad_token_id": 1}),
    "distilbert": ("DistilBert", {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 64}),
    "electra": ("Electra", {"embedding_size": 32}),
    "modernbert": ("ModernBert", {"global_attn_every_n_layers": 2, "local_attention": 8, "pad_token_id": 0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_other_architectures_are_exported_with_what_their_heads_see(name, tiny_checkpoint_folder, tmp_path):
    import transformers

    family, settings = ARCHITECTURES[name]
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = getattr(transformers, f"{family}Config")(
        vocab_size=300, num_labels=3, initializer_range=0.2, **{**sizes, **settings}
    )
    torch.manual_seed(3)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "tokenizer.json").write_bytes((tiny_checkpoint_folder / "tokenizer.json").read_bytes())
    export_encoder(tmp_path / "checkpoint", tmp_path / "encoder", EncoderSettings(backend="onnx", max_tokens=64))

    encoder, head = (
        load_encoder(tmp_path / "encoder", EncoderSettings(backend="onnx")),
        read_classifier(tmp_path / "encoder"),
    )
    assert encoder.status["note"] == ""
    assert encoder.status["checks"][0]["cosine"] > 0.9999
    texts = [text for text in PROBES if len(encoder.tokenize([text])[0]) <= 60]
    expected = own_logits(tmp_path / "checkpoint", encoder.tokenize(texts))
    vectors = np.stack(encoder.encode(texts))
    np.testing.assert_allclose(vectors @ head.weight.T, _directions(expected - head.bias, vectors, head), atol=1e-3)


def _directions(products, vectors, head):
    """The model's own products with the head, scaled as if its vectors had length 1."""
    lengths = (products * (vectors @ head.weight.T)).sum(1) / ((vectors @ head.weight.T) ** 2).sum(1)
    return products / lengths[:, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_are_read_without_a_library(tmp_path, dtype):
    from safetensors.torch import save_file

    wanted = torch.linspace(-3, 3, 24).reshape(4, 6).to(dtype)
    save_file({"other": torch.ones(5), "wanted": wanted}, tmp_path / "x.safetensors")
    found = read_tensor(tmp_path / "x.safetensors", "wanted")
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted.float().numpy())
    assert read_tensor(tmp_path / "x.safetensors", "missing") is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x03\0\0\0\0\0\0\0[1]"])
def test_a_file_that_holds_no_tensors_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CorruptArtifactError):
        read_tensor(tmp_path / "x.safetensors", "wanted")


def test_the_tiny_model_depends_on_its_seed_alone(tmp_path):
    from router_sdk_bert.encoding.sealed_folder import sha256

    before = torch.random.get_rng_state()
    digests = [
        sha256(tiny_checkpoint(tmp_path / str(number), seed=seed) / "model.safetensors")
        for number, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(before, torch.random.get_rng_state())
