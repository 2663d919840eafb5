"""A tiny model with random weights, made in code and exported once per session: what every test of the plugin uses."""

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint_folder(tmp_path_factory):
    """A checkpoint as ``transformers`` writes it: two layers, 32 dimensions, mean pooling."""
    pytest.importorskip("torch", reason="only serving works without torch")
    from router_sdk_bert.encoding.tiny import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="session")
def tiny_classifier_folder(tmp_path_factory):
    """A sequence-classification checkpoint of the same size, with a head for three agents."""
    pytest.importorskip("torch", reason="only serving works without torch")
    from router_sdk_bert.encoding.tiny import tiny_checkpoint

    return tiny_checkpoint(
        tmp_path_factory.mktemp("tiny") / "bert_router_trained", seed=1, labels=("analyst", "billing", "coder")
    )


@pytest.fixture(scope="session")
def tiny_encoder_folder(tiny_checkpoint_folder, tmp_path_factory):
    """The tiny model, exported to int8. Read it; do not write into it."""
    from router_sdk_bert.config import EncoderSettings
    from router_sdk_bert.encoding.export import export_encoder

    folder = tmp_path_factory.mktemp("tiny-exported") / "encoder"
    export_encoder(tiny_checkpoint_folder, folder, EncoderSettings(model=str(tiny_checkpoint_folder)))
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tiny_encoder_folder):
    """The tiny model, serving."""
    from router_sdk_bert.config import EncoderSettings
    from router_sdk_bert.encoding.encoder import load_encoder

    return load_encoder(tiny_encoder_folder, EncoderSettings())
