"""Texts to vectors: finding weights, exporting them once, and serving them without torch."""

from router_sdk_bert.encoding.classifier import Classifier, read_classifier
from router_sdk_bert.encoding.encoder import BertEncoder, BertEncoderConfig, load_encoder, open_encoder
from router_sdk_bert.encoding.export import export_encoder
from router_sdk_bert.encoding.module import EncoderModule, load_module
from router_sdk_bert.encoding.opening import default_cache
from router_sdk_bert.encoding.preparation import TextPreparation, category_keywords
from router_sdk_bert.encoding.sealed_folder import link_sealed as link_encoder
from router_sdk_bert.encoding.settings import DEFAULT_MODEL, EncoderSettings
from router_sdk_bert.encoding.tiny import tiny_checkpoint

__all__ = [
    "DEFAULT_MODEL",
    "BertEncoder",
    "BertEncoderConfig",
    "Classifier",
    "EncoderModule",
    "EncoderSettings",
    "TextPreparation",
    "category_keywords",
    "default_cache",
    "export_encoder",
    "link_encoder",
    "load_encoder",
    "load_module",
    "open_encoder",
    "read_classifier",
    "tiny_checkpoint",
]
