"""What a user may choose about the encoder."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from router_sdk_bert.encoding.preparation import TextPreparation

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

Backend = Literal["onnx-int8", "onnx", "torch"]
PoolingMode = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
"""How token vectors become one, as sentence-transformers calls it: the mean; the first token's; the greatest of each
number; the sum over the root of the length; the mean weighed by position (Muennighoff, SGPT, 2022); the last one's."""
_MODE = "|".join(get_args(PoolingMode))
POOLING = rf"(classifier|({_MODE})(\+({_MODE}))*)"
Pooling = Annotated[str, Field(pattern=f"^{POOLING}$")]
"""One mode, or several joined by ``+`` and put beside each other; ``"classifier"`` is what a trained head sees."""


class EncoderSettings(BaseModel):
    """Which model embeds the texts, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(default=DEFAULT_MODEL, min_length=1)
    """A folder with ``config.json`` and ``model.safetensors``, or a name on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; None takes the newest, or the same weights from an installed package."""
    backend: Literal["auto", "onnx-int8", "onnx", "torch"] = "auto"
    """What runs it: ``"auto"`` is ``"onnx-int8"``, unless its vectors fail the check against torch."""
    max_tokens: int = Field(default=128, ge=8, le=8192)
    """Longer texts keep their head and their tail."""
    pooling: Literal["auto", "classifier", PoolingMode] = "auto"
    """How token vectors become one: ``"auto"`` is the model's own way, ``"classifier"`` what its trained head sees."""
    preparation: TextPreparation = TextPreparation()
    """What is done to a text before it is tokenised."""
    hub_timeout_s: float = Field(default=5.0, gt=0)
    """How long the hub may take to answer at all before it counts as out of reach."""

    @property
    def wanted_backend(self) -> Backend:
        """What ``"auto"`` stands for."""
        return "onnx-int8" if self.backend == "auto" else self.backend
