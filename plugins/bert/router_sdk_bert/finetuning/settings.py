"""What a user may set of the background fine-tune."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FULL_LEARNING_RATE = 1e-5
LORA_LEARNING_RATE = 5e-4

Update = Literal["auto", "head", "lora", "full"]
Continual = Literal["none", "replay", "distillation", "ewc", "hybrid"]


class FitSettings(BaseModel):
    """How the encoder is fine-tuned, and what keeps it from forgetting.

    Attributes:
        update: What may move. ``"head"`` refits the head on stored embeddings; ``"lora"`` trains low-rank adapters in
            the encoder, which are merged afterwards; ``"full"`` trains all its weights; ``"auto"`` is ``"head"`` until
            there are ``lora_examples`` labelled rows per agent and ``lora_fresh`` that the encoder has not seen,
            then ``"lora"``.
        strategy: What keeps it from forgetting; ``"none"`` trains on fresh examples alone, for comparison.
        epochs: Most passes over the fresh examples.
        learning_rate: Of the encoder; None means 1e-5 for ``"full"`` and 5e-4 for ``"lora"``.
        head_learning_rate: Of the linear rows that are trained with it.
        batch_size: Examples in one pass through the encoder; halved where memory does not suffice.
        accumulation: Batches behind one step of the optimiser.
        weight_decay: Of AdamW, towards zero, on matrices.
        warmup: Share of the steps during which the learning rate rises.
        clip_norm: Longest gradient.
        patience: Epochs without improvement on the held-out examples after which it stops early.
        lora_rank: Rank of the adapters.
        lora_alpha: Their scale; the change of a weight is ``alpha / rank · B A``.
        lora_dropout: Dropout before the adapters.
        lora_examples: Labelled rows per agent, on average, from which ``"auto"`` touches the encoder.
        lora_fresh: Rows that the encoder has not seen from which ``"auto"`` touches it.
        contrastive_weight: Weight of the supervised contrastive loss between the embeddings of a batch.
        replay_size: Most examples in the replay buffer.
        replay_share: Share of each batch that is replayed.
        replay_buffer: ``"reservoir"`` replays each alike, ``"prioritized"`` what was learnt worst more often.
        replay_balanced: Whether all agents get the same room in the buffer.
        use_synthetic_data: Whether examples of the pre-training are blended in.
        synthetic_share: Share of each batch that comes from them.
        distillation_temperature: Softens both distributions before they are compared.
        distillation_weight: Share of the loss that holds the model to what served, in [0, 1].
        distillation_embeddings: Weight of one minus the cosine between old and new embeddings.
        ewc_lambda: Weight of the quadratic penalty.
        ewc_decay: What the Fisher information of earlier fits counts beside that of the newest.
        ewc_samples: Examples from which the Fisher information is estimated.
        ewc_penalty: ``"fisher"`` weighs each parameter by its Fisher information; ``"l2"`` holds all alike, and
            costs nothing to prepare.
        mixed_precision: Autocast; ``"auto"`` is bf16 on a GPU that has it, and off on a CPU.
        gradient_checkpointing: Whether activations are computed again in the backward pass, to save memory.
        torch_threads: Threads of one operation on the CPU.
        memory_limit_mb: Most resident memory of the process, in MiB; beyond it batches are halved.
        gpu_memory_share: Share of the GPU's memory that may be used.
        fit_window: Only the newest this many examples are used.
        fit_min_examples: Fewest examples for a fit.
        keep_checkpoints: Whether each epoch is kept on disk until the fit is done, so that it can be resumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    update: Update = "auto"
    strategy: Continual = "replay"
    epochs: int = Field(default=2, ge=1, le=1_000)
    learning_rate: float | None = Field(default=None, gt=0.0, le=1.0)
    head_learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    batch_size: int = Field(default=8, ge=1, le=4_096)
    accumulation: int = Field(default=1, ge=1, le=1_024)
    weight_decay: float = Field(default=0.01, ge=0.0, le=1.0)
    warmup: float = Field(default=0.1, ge=0.0, le=1.0)
    clip_norm: float = Field(default=1.0, gt=0.0)
    patience: int = Field(default=2, ge=1)
    lora_rank: int = Field(default=8, ge=1, le=512)
    lora_alpha: int = Field(default=16, ge=1)
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    lora_examples: int = Field(default=20, ge=1)
    lora_fresh: int = Field(default=100, ge=1)
    contrastive_weight: float = Field(default=0.0, ge=0.0)
    replay_size: int = Field(default=10_000, ge=1)
    replay_share: float = Field(default=0.5, ge=0.0, lt=1.0)
    replay_buffer: Literal["reservoir", "prioritized"] = "reservoir"
    replay_balanced: bool = True
    use_synthetic_data: bool = True
    synthetic_share: float = Field(default=0.125, ge=0.0, lt=1.0)
    distillation_temperature: float = Field(default=3.0, gt=0.0)
    distillation_weight: float = Field(default=0.5, ge=0.0, le=1.0)
    distillation_embeddings: float = Field(default=0.0, ge=0.0)
    ewc_lambda: float = Field(default=10_000.0, ge=0.0)
    ewc_decay: float = Field(default=0.9, ge=0.0, le=1.0)
    ewc_samples: int = Field(default=128, ge=1)
    ewc_penalty: Literal["fisher", "l2"] = "fisher"
    mixed_precision: Literal["auto", "off", "bf16", "fp16"] = "auto"
    gradient_checkpointing: bool = False
    torch_threads: int = Field(default=1, ge=1)
    memory_limit_mb: int | None = Field(default=None, ge=1)
    gpu_memory_share: float | None = Field(default=None, gt=0.0, le=1.0)
    fit_window: int | None = Field(default=None, ge=1)
    fit_min_examples: int = Field(default=5, ge=1)
    keep_checkpoints: bool = True

    @property
    def replays(self) -> bool:
        """Whether batches hold examples of the past."""
        return self.strategy in ("replay", "hybrid")

    @property
    def distils(self) -> bool:
        """Whether what served is the teacher."""
        return self.strategy in ("distillation", "hybrid")

    @property
    def consolidates(self) -> bool:
        """Whether weights are held where they were."""
        return self.strategy in ("ewc", "hybrid")
