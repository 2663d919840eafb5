"""``encoder.json``: what stands in the folder of an exported encoder."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.config import Backend, EncoderSettings, Pooling
from router_sdk_bert.encoding.pipeline import Step

DESCRIPTION = "encoder.json"
FORMAT = 1
"""Raise it when exports change: vectors of different formats carry different tags, and cached exports are made anew."""
MODEL_FILES: dict[Backend, str] = {"onnx-int8": "model.int8.onnx", "onnx": "model.onnx"}

Precision = Literal["int8", "fp32", "bf16"]


class BackendCheck(BaseModel):
    """How the vectors of a back-end compare with torch's, over the probe texts.

    Attributes:
        backend: Which one was compared.
        cosine: Mean cosine between its vector of a text and torch's.
        top1: Share of texts whose nearest other text is the same one.
        agreement: The same, counting also texts that torch finds as near as its own choice, within .01.
        passed: Whether it may serve.
        problem: Why nothing could be compared, in words; empty if it could.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backend: Backend
    cosine: float
    top1: float
    agreement: float
    passed: bool
    problem: str = ""


class EncoderDescription(BaseModel):
    """What an export made, and what it is fit for.

    Attributes:
        format: Of the export.
        model: What it was made from, as the user named it.
        weights: SHA-256 of the safetensors.
        pooling: How token vectors become one.
        dimension: Of the vectors.
        longest: How many tokens the model takes at most.
        pad_id: Token that fills up shorter texts in a batch.
        prompt: What stands before every text.
        skipped: Tokens at the beginning that are not pooled.
        steps: What comes behind the pooling.
        kept: How many of the numbers are kept; None keeps all.
        pooled_norm: Mean length of the vectors before they are normalised.
        backend: What serves by default.
        checks: What was tried, and how it compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    model: str
    weights: str = Field(min_length=64, max_length=64)
    pooling: Pooling
    dimension: int = Field(gt=0)
    longest: int = Field(gt=0)
    pad_id: int = Field(ge=0)
    prompt: str = ""
    skipped: int = Field(default=0, ge=0)
    steps: tuple[Step, ...] = ()
    kept: int | None = Field(default=None, gt=0)
    pooled_norm: float = Field(gt=0)
    backend: Backend
    checks: tuple[BackendCheck, ...] = ()

    def tag(self, settings: EncoderSettings, tokenizer: str, precision: Precision) -> str:
        """``bert-…:precision``: equal only where vectors may be compared.

        Args:
            settings: How texts are cut and prepared.
            tokenizer: SHA-256 of the tokenizer.
            precision: Of the back-end that serves.
        """
        shaping: list[object] = [
            self.format,
            self.weights,
            self.pooling,
            tokenizer,
            min(settings.max_tokens, self.longest),
        ]
        around = self.model_dump(include={"prompt", "skipped", "steps", "kept"}, exclude_defaults=True)
        prepared = settings.preparation.model_dump(exclude_defaults=True)
        shaping += [prepared, around] if around else [prepared]
        digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
        return f"bert-{digest[:8]}:{precision}"


def read_description(content: bytes) -> EncoderDescription:
    """Parse ``encoder.json``.

    Raises:
        CorruptArtifactError: if it is not valid, or of another format.
    """
    try:
        found = EncoderDescription.model_validate_json(content)
    except ValidationError as error:
        raise CorruptArtifactError(f"{DESCRIPTION} is not valid: {error}") from error
    if found.format != FORMAT:
        raise CorruptArtifactError(f"{DESCRIPTION} has format {found.format}, this release reads {FORMAT}")
    return found
