"""What sentence-transformers noted beside a model is done, or refused by file and key."""

import contextlib
import hashlib
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from untrusted_cases import DEEP, values

pytest.importorskip("torch")

import sentence_folders as folders
import torch
from router_sdk_bert.config import EncoderSettings, TextPreparation
from router_sdk_bert.encoding.checkpoint import read_checkpoint, write_checkpoint
from router_sdk_bert.encoding.comparison import PROBES, told_apart
from router_sdk_bert.encoding.encoder import load_encoder
from router_sdk_bert.encoding.export import export_encoder, reference_vectors
from router_sdk_bert.encoding.opening import cache_key
from router_sdk_bert.encoding.pipeline import Dense, Pipeline, read_pipeline
from router_sdk_bert.encoding.tiny import tiny_checkpoint
from router_sdk_bert.encoding.tokenizer import TextTokens
from router_sdk_bert.encoding.torch_backend import EncoderModule, load_layers, load_module, pool_tokens
from router_sdk_bert.finetuning.model import LinearRows, RoutingModel

from router_sdk.plugin import EncoderUnavailableError

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
BOOLEANS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
SIDE_FILES = [
    "modules.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
]
TEXTS = (
    "refund",
    "my card was charged twice this month, please refund it",
    "how long is the flight, and what is the price of the ticket",
    "x",
)


@pytest.fixture
def folder(tmp_path):
    folders.modules(tmp_path, "Pooling", "Normalize")
    folders.pooled(tmp_path, "mean")
    return tmp_path


def refused(folder, *words):
    with pytest.raises(EncoderUnavailableError) as raised:
        read_pipeline(folder)
    assert all(word in str(raised.value) for word in words), str(raised.value)


# -- what is read


def test_a_folder_that_only_pools_and_scales_keeps_its_tag(folder, tiny_encoder):
    assert read_pipeline(folder) == Pipeline(pooling="mean")
    said = tiny_encoder.description.model_dump()
    assert tiny_encoder.tag == earlier_tag(said, tiny_encoder)


def earlier_tag(said, encoder):
    """As releases made it that knew of pooling alone."""
    tokenizer = hashlib.sha256((encoder.folder / "tokenizer.json").read_bytes()).hexdigest()
    shaping = [said["format"], said["weights"], said["pooling"], tokenizer, min(128, said["longest"]), {}]
    return f"bert-{hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:8]}:int8"


@pytest.mark.parametrize("mode", MODES)
def test_pooling_is_read_as_every_release_wrote_it(folder, mode):
    folders.write(folder, "1_Pooling/config.json", {"embedding_dimension": 32, "pooling_mode": mode})
    assert read_pipeline(folder).pooling == mode
    booleans = {key: name == mode for key, name in BOOLEANS.items()}
    folders.write(folder, "1_Pooling/config.json", {"word_embedding_dimension": 32, **booleans})
    assert read_pipeline(folder).pooling == mode
    (folder / "modules.json").unlink()
    assert read_pipeline(folder).pooling == mode


def test_several_poolings_stand_in_their_order(folder):
    folders.pooled(folder, "mean", "cls")
    assert read_pipeline(folder).pooling == "mean+cls"
    folders.write(folder, "1_Pooling/config.json", dict.fromkeys(["pooling_mode_mean_tokens", *BOOLEANS], True))
    assert read_pipeline(folder).pooling == "+".join(MODES)


def test_a_folder_that_says_nothing_is_pooled_by_its_first_token(tiny_checkpoint_folder, tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "plain", layers=1)
    (checkpoint / "1_Pooling" / "config.json").unlink()
    assert read_pipeline(checkpoint) == Pipeline()
    assert read_checkpoint(checkpoint).pooling == "cls"
    assert read_checkpoint(tiny_checkpoint_folder).pooling == "mean"


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"pooling_mode": "attention"}, "pooling_mode"),
        ({"pooling_mode": []}, "pooling_mode"),
        ({"pooling_mode": [["mean"]]}, "pooling_mode"),
        ({"pooling_mode_attention": True}, "pooling_mode_attention"),
        ({"pooling_mode_mean_tokens": "yes"}, "pooling_mode_mean_tokens"),
        ({"include_prompt": "no"}, "include_prompt"),
        (["mean"], "list"),
    ],
)
def test_an_unknown_pooling_is_refused(folder, said, key):
    folders.write(folder, "1_Pooling/config.json", said)
    refused(folder, "1_Pooling/config.json", key)


@pytest.mark.parametrize(
    "kind",
    ["WeightedLayerPooling", "LSTM", "CNN", "LayerNorm", "BoW", "WordWeights", "SpladePooling", "MultiVectorMask"],
)
def test_no_module_is_left_out(folder, kind):
    folders.modules(folder, "Pooling", kind)
    refused(folder, "modules.json", kind)


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        [{"type": "sentence_transformers.models.StaticEmbedding", "path": ""}],
        [{"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"}],
        [{"type": "sentence_transformers.models.Transformer", "path": ""}],
        [{"type": "custom_st.Transformer", "path": ""}],
        ["Transformer"],
        [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "../1_Pooling"},
        ],
    ],
)
def test_modules_that_are_none_are_refused(folder, said):
    folders.write(folder, "modules.json", said)
    refused(folder, "modules.json")


def test_a_file_that_cannot_be_read_is_not_passed_over(folder):
    (folder / "1_Pooling" / "config.json").write_text("{")
    refused(folder, "1_Pooling/config.json")
    (folder / "1_Pooling" / "config.json").unlink()
    refused(folder, "1_Pooling/config.json")


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"max_seq_length": "long"}, "max_seq_length"),
        ({"do_lower_case": "yes"}, "do_lower_case"),
        ({"transformer_task": "fill-mask"}, "transformer_task"),
        ({"module_output_name": "sentence_embedding"}, "module_output_name"),
        ({"modality_config": {"message": {}}}, "modality_config"),
        ({"tokenizer_name_or_path": "elsewhere"}, "tokenizer_name_or_path"),
        ({"config_kwargs": {"is_causal": False}}, "config_kwargs"),
        ({"tokenizer_args": {"add_eos_token": True}}, "tokenizer_args"),
    ],
)
def test_what_changes_the_transformer_is_refused(folder, said, key):
    folders.write(folder, "sentence_bert_config.json", said)
    refused(folder, "sentence_bert_config.json", key)


def test_lengths_and_case_are_read(folder):
    way = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    folders.write(
        folder,
        "sentence_bert_config.json",
        {"max_seq_length": 40, "do_lower_case": True, "modality_config": way, "module_output_name": "token_embeddings"},
    )
    found = read_pipeline(folder)
    assert (found.longest, found.lower_case) == (40, True)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"prompts": {"query": "q: "}, "default_prompt_name": "passage"}, "default_prompt_name"),
        ({"prompts": {"query": 7}, "default_prompt_name": "query"}, "default_prompt_name"),
        ({"truncate_dim": 0}, "truncate_dim"),
        ({"model_type": "SparseEncoder"}, "model_type"),
    ],
)
def test_a_prompt_that_is_not_there_is_refused(folder, said, key):
    folders.write(folder, "config_sentence_transformers.json", said)
    refused(folder, "config_sentence_transformers.json", key)


def test_only_the_default_prompt_stands_before_a_text(folder):
    said = {"prompts": {"query": "find: ", "document": ""}, "default_prompt_name": None, "truncate_dim": None}
    folders.write(folder, "config_sentence_transformers.json", said)
    assert read_pipeline(folder).prompt == ""
    folders.write(folder, "config_sentence_transformers.json", {**said, "default_prompt_name": "query"})
    assert read_pipeline(folder).prompt == "find: "


def test_layers_are_read_or_refused(folder):
    folders.modules(folder, "Pooling", "Dense", "Dropout", "Normalize")
    folders.dense(folder, "2_Dense", 32, 8)
    (step,) = read_pipeline(folder).steps
    assert isinstance(step, Dense)
    assert (step.folder, step.activation) == ("2_Dense", "Tanh")
    for key, value in {"activation_function": "my.Own", "module_input_name": "token_embeddings"}.items():
        folders.dense(folder, "2_Dense", 32, 8)
        said = json.loads((folder / "2_Dense" / "config.json").read_text())
        folders.write(folder, "2_Dense/config.json", {**said, key: value})
        refused(folder, "2_Dense/config.json", key)
    folders.dense(folder, "2_Dense", 32, 8)
    (folder / "2_Dense" / "model.safetensors").unlink()
    refused(folder, "2_Dense", "model.safetensors")


@given(st.sampled_from(SIDE_FILES), values)
@example("1_Pooling/config.json", {"pooling_mode": {"mean": 1}})
@example("modules.json", [{"type": "sentence_transformers.models.Transformer", "path": {}}])
@example("sentence_bert_config.json", {"max_seq_length": True, "config_args": [1]})
@example("config_sentence_transformers.json", {"prompts": [1], "default_prompt_name": [1]})
@example("2_Dense/config.json", {"activation_function": ["torch.nn.Tanh"]})
def test_whatever_a_file_says_it_is_read_or_refused(whole, name, said):
    before = (whole / name).read_text()
    try:
        folders.write(whole, name, said)
        with contextlib.suppress(EncoderUnavailableError):
            assert read_pipeline(whole).pooling
        (whole / name).write_text(DEEP)
        refused(whole, name)
    finally:
        (whole / name).write_text(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    folders.modules(folder, "Pooling", "Dense", "Normalize")
    folders.pooled(folder, "mean")
    folders.dense(folder, "2_Dense", 32, 8)
    folders.write(folder, "sentence_bert_config.json", {"max_seq_length": 40})
    folders.write(folder, "config_sentence_transformers.json", {"default_prompt_name": None})
    return folder


# -- what is done


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("skipped", [0, 2])
def test_padding_changes_no_pooling(mode, skipped):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 9, 4, generator=generator)
    lengths = (9, 5, 3)
    mask = torch.tensor([[int(place < length) for place in range(9)] for length in lengths])
    together = pool_tokens(hidden, mask, [mode], skipped)
    alone = torch.cat([pool_tokens(hidden[i : i + 1, :n], None, [mode], skipped) for i, n in enumerate(lengths)])
    torch.testing.assert_close(together, alone)
    states = hidden[0].double().numpy()[skipped:]
    places = np.arange(1 + skipped, 10)
    expected = {
        "cls": states[0],
        "max": states.max(0),
        "mean": states.mean(0),
        "mean_sqrt_len_tokens": states.sum(0) / len(states) ** 0.5,
        "weightedmean": (states * places[:, None]).sum(0) / places.sum(),
        "lasttoken": states[-1],
    }
    np.testing.assert_allclose(together[0].numpy(), expected[mode], atol=1e-6)


@pytest.mark.parametrize("activation", ["Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid"])
@pytest.mark.parametrize("narrow", [8, 32])
def test_layers_are_what_the_reference_says(folder, activation, narrow):
    folders.modules(folder, "Pooling", "Normalize", "Dense", "Normalize")
    folders.dense(folder, "3_Dense", 32, narrow, activation, use_residual=True)
    pipeline = read_pipeline(folder)
    states = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))

    class Constant:
        def __call__(self, **_):
            return type("Output", (), {"last_hidden_state": states})

    module = EncoderModule(Constant(), "mean", 0, pipeline, load_layers(folder, pipeline))
    (expected,), _ = reference_vectors(module, folder, [[1] * 5])
    np.testing.assert_allclose(module.embed(torch.ones(1, 5, dtype=torch.int64))[0].numpy(), expected, atol=1e-6)
    assert expected.shape == (narrow,)


def test_a_prompt_is_tokenised_before_the_text_and_never_cut(tiny_checkpoint_folder):
    content = (tiny_checkpoint_folder / "tokenizer.json").read_bytes()
    plain = TextTokens(content, 16, TextPreparation())
    prompted = TextTokens(content, 16, TextPreparation(), "query: ")
    (first, *query, last) = plain("query:")
    assert prompted("refund") == [first, *query, *plain("refund")[1:]]
    assert prompted.skipped == 1 + len(query)
    long = prompted(" ".join(["refund"] * 40))
    assert len(long) == 16
    assert long[: prompted.skipped] == [first, *query]
    assert long[-1] == last


def test_an_empty_text_is_a_text_under_a_tokenizer_without_frames(tiny_checkpoint_folder):
    said = json.loads((tiny_checkpoint_folder / "tokenizer.json").read_text())
    content = json.dumps({**said, "post_processor": None}).encode()
    assert len(TextTokens(content, 16, TextPreparation())("")) == 1
    assert len(TextTokens(content, 16, TextPreparation(), "query")("")) == 2


def test_texts_that_get_one_vector_are_no_embedding(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    tokens = [[1, place] for place in range(40)]
    told_apart(tmp_path, "cls", tokens, vectors)
    vectors[10:] = vectors[0]
    with pytest.raises(EncoderUnavailableError, match=r"31 of 40 texts .*'cls'.*'lasttoken'"):
        told_apart(tmp_path, "cls", tokens, vectors)
    told_apart(tmp_path, "cls", [[1]] * 40, vectors)  # The same text is allowed the same vector.


def test_a_cached_export_follows_what_lies_in_the_folders_of_its_modules(folder):
    settings = EncoderSettings(model=str(folder))
    before = cache_key(settings)
    folders.pooled(folder, "mean", "cls")
    assert cache_key(settings) != before


def test_a_fit_trains_and_hands_on_the_whole_pipeline(tmp_path):
    folder = folders.of_kind("Bert", tmp_path / "bert")
    folders.modules(folder, "Pooling", "Dense", "Normalize")
    folders.pooled(folder, "lasttoken", "mean")
    folders.dense(folder, "2_Dense", 64, 12)
    rows = LinearRows(("a",), np.zeros((1, 12), np.float32), np.zeros(1, np.float32))
    model = RoutingModel(load_module(folder), rows)
    tokens = [[1, 2, 3], [1, 7, 8, 9, 3]]
    expected, _ = reference_vectors(load_module(folder), folder, tokens)
    found = model.embed(tokens)
    found.sum().backward()
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)
    assert not any("layers" in name for name in model.trainable())
    write_checkpoint(read_checkpoint(folder), model.body, tmp_path / "tuned")
    assert read_pipeline(tmp_path / "tuned") == read_pipeline(folder)
    again, _ = reference_vectors(load_module(tmp_path / "tuned"), tmp_path / "tuned", tokens)
    np.testing.assert_allclose(again, expected, atol=1e-6)


# -- the whole of it: the vectors of sentence-transformers itself


def exported(folder, tmp_path, **settings):
    chosen = EncoderSettings(model=str(folder), **settings)
    export_encoder(folder, tmp_path / "encoder", chosen)
    return load_encoder(tmp_path / "encoder", chosen)


def test_a_last_token_decoder_serves(tmp_path):
    folder = folders.unframed(folders.of_kind("GPT2", tmp_path / "gpt2", "lasttoken"))
    encoder = exported(folder, tmp_path, backend="onnx")
    assert (encoder.backend, encoder.description.pooling) == ("onnx", "lasttoken")
    vectors = np.stack(encoder.encode(TEXTS))
    np.testing.assert_allclose(vectors, [encoder.encode([text])[0] for text in TEXTS], atol=1e-5)
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    for text, vector in zip(TEXTS, vectors, strict=True):
        (ids,) = encoder.tokenize([text])
        with torch.inference_mode():
            last = model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1].numpy()
        np.testing.assert_allclose(vector, last / np.linalg.norm(last), atol=1e-5)
    with pytest.raises(EncoderUnavailableError, match=r"get the vector of another one with pooling 'cls'"):
        export_encoder(folder, tmp_path / "collapsed", EncoderSettings(model=str(folder), pooling="cls"))


def test_what_cannot_be_traced_is_served_by_torch_and_says_so(tmp_path, caplog):
    folder = folders.of_kind("Gemma3Text", tmp_path / "gemma", "mean")
    encoder = exported(folder, tmp_path)
    assert encoder.backend == encoder.status["backend"] == "torch"
    assert "onnx-int8 cannot be made of a Gemma3TextModel" in encoder.status["note"]
    assert len([record for record in caplog.records if "cannot be made" in record.message]) == 1
    assert np.isfinite(encoder.encode(TEXTS)).all()


def reference(folder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return lambda texts: np.stack([model.encode(text, normalize_embeddings=True) for text in texts])


@pytest.mark.reliability  # some seconds each, and the import of sentence-transformers
@pytest.mark.parametrize("kind", sorted(set(folders.KINDS) - {"FNet"}))
def test_every_kind_of_model_gives_its_makers_vectors(kind, tmp_path):
    pytest.importorskip("sentence_transformers")
    causal = kind in ("GPT2", "Llama", "Mistral", "Qwen2", "Qwen3")
    folder = folders.of_kind(kind, tmp_path / kind, "lasttoken" if causal else "mean")
    encoder = exported(folder, tmp_path, backend="onnx")
    np.testing.assert_allclose(encoder.encode(TEXTS), reference(folder)(TEXTS), atol=1e-4)
    assert encoder.backend == ("torch" if kind == "Gemma3Text" else "onnx")


@pytest.mark.reliability  # some seconds
def test_a_model_whose_vectors_depend_on_their_neighbours_is_refused_by_name(tmp_path):
    folder = folders.of_kind("FNet", tmp_path / "fnet", "mean")
    with pytest.raises(EncoderUnavailableError, match="FNetModel gives a text another vector in a batch"):
        exported(folder, tmp_path)


@pytest.mark.reliability  # some seconds each, and the import of sentence-transformers
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), ("cls", "mean"), ("lasttoken", "max", "weightedmean")])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_the_whole_pipeline_gives_its_makers_vectors(modes, include_prompt, tmp_path):
    pytest.importorskip("sentence_transformers")
    folder = folders.of_kind("Bert", tmp_path / "bert")
    folders.modules(folder, "Pooling", "Dense", "Normalize")
    folders.pooled(folder, *modes, include_prompt=include_prompt)
    folders.dense(folder, "2_Dense", 32 * len(modes), 12, "GELU")
    said = {"prompts": {"query": "find this: "}, "default_prompt_name": "query", "truncate_dim": 10}
    folders.write(folder, "config_sentence_transformers.json", said)
    encoder = exported(folder, tmp_path, backend="onnx")
    expected = reference(folder)(TEXTS)
    assert encoder.dimension == 10
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-4)
    served = load_encoder(encoder.folder, EncoderSettings(backend="torch"))
    np.testing.assert_allclose(served.encode(PROBES), encoder.encode(PROBES), atol=1e-4)
    export_encoder(encoder.folder, tmp_path / "again", EncoderSettings(model="x", backend="onnx"))
    again = load_encoder(tmp_path / "again", EncoderSettings(backend="onnx"))
    assert again.tag == encoder.tag
    np.testing.assert_allclose(again.encode(TEXTS), expected, atol=1e-4)


@pytest.mark.reliability  # some seconds, and the import of sentence-transformers
def test_lower_case_is_its_makers(tmp_path):
    pytest.importorskip("sentence_transformers")
    folder = folders.of_kind("Bert", tmp_path / "bert", "mean")
    said = json.loads((folder / "tokenizer.json").read_text())
    folders.write(folder, "tokenizer.json", {**said, "normalizer": None})
    folders.write(folder, "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    encoder = exported(folder, tmp_path, backend="onnx")
    shouted = ["REFUND my ORDER", *TEXTS]
    np.testing.assert_allclose(encoder.encode(shouted), reference(folder)(shouted), atol=1e-4)
    assert encoder.description.longest == 20
