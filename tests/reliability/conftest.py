"""The real transformer, tiny, for those who fit it."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # experiments are made up there


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    pytest.importorskip("torch", reason="makes the tiny model")
    from router_sdk_bert.config import EncoderSettings
    from router_sdk_bert.encoding.export import export_encoder
    from router_sdk_bert.encoding.tiny import tiny_checkpoint

    checkpoint = tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")
    folder = tmp_path_factory.mktemp("exported") / "encoder"
    export_encoder(checkpoint, folder, EncoderSettings(model=str(checkpoint)))
    return folder
