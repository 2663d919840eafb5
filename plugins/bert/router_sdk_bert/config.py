"""Everything that can be set of the strategy, flat, as it stands in ``[strategy.bert]`` of a configuration file."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from router_sdk.plugin import StrategyConfig

_ARROW = ">>"
_TREE = re.compile(r"\[([^\[\]]*>>[^\[\]]*)\]")
_EDGES = " \t\n\r\"'"
_WITH_ACCENTS = ("LATIN ", "GREEK ", "CYRILLIC ")
"""How the names of letters begin that are read alike with an accent and without one."""
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DAY_S = 86_400.0
FULL_LEARNING_RATE = 1e-5
LORA_LEARNING_RATE = 5e-4


class TextPreparation(BaseModel):
    """How a text is rewritten before it is tokenised; by default it is left alone.

    Whatever is chosen becomes part of the encoder's tag, so that vectors of differently prepared texts never mix.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accents: Literal["keep", "strip"] = "keep"
    """``"strip"`` turns é into e: for texts typed with and without accents, under a cased tokeniser.

    It is about Latin, Greek and Cyrillic letters. The marks of other scripts, such as Thai and Hindi vowels, stay.
    """
    categories: Literal["keep", "keywords"] = "keep"
    """``"keywords"`` turns ``[Electronics >> Mobile Phones >> Smartphones]`` into its names, each one once."""

    def __call__(self, text: str) -> str:
        """The text as it is tokenised."""
        if self.categories == "keywords" and _ARROW in text:
            text = _TREE.sub(lambda tree: " ".join(category_keywords(tree[1])), text)
        if self.accents == "strip" and not text.isascii():
            text = without_accents(text)
        return text


def without_accents(text: str) -> str:
    """Drop the marks on Latin, Greek and Cyrillic letters; elsewhere a mark is a vowel, a tone or another letter.

    Uncased BERT tokenizers drop all of them by themselves, also those of Thai, Hindi and Japanese.
    """
    kept, accents = [], False
    for letter in unicodedata.normalize("NFD", text):
        if unicodedata.category(letter) != "Mn":
            accents = _has_accents(letter)
        elif accents:
            continue
        kept.append(letter)
    return unicodedata.normalize("NFC", "".join(kept))


@lru_cache(maxsize=4096)
def _has_accents(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(_WITH_ACCENTS)


def category_keywords(tree: str) -> tuple[str, ...]:
    """The names in a category tree, from the widest to the narrowest; what repeats is named once.

    Example:
        >>> category_keywords('["Electronics >> Mobile Phones >> Smartphones"]')
        ('Electronics', 'Mobile Phones', 'Smartphones')
    """
    names = (name.strip(_EDGES) for name in tree.strip("[]" + _EDGES).split(_ARROW))
    kept: dict[str, str] = {}
    for name in names:
        if name:
            kept.setdefault(name.casefold(), name)
    return tuple(kept.values())


Backend = Literal["onnx-int8", "onnx", "torch"]
Precision = Literal["int8", "fp32", "bf16"]
"""Of a back-end's matrix products."""
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
    int8_batches: bool = False
    """Whether texts of one length share a run under int8, where many are encoded at once. Short ones take two thirds of
    the time, and a vector then depends on its neighbours: as far from the one it has alone as int8 is from torch."""
    hub_timeout_s: float = Field(default=5.0, gt=0)
    """How long the hub may take to answer at all before it counts as out of reach."""

    @property
    def wanted_backend(self) -> Backend:
        """What ``"auto"`` stands for."""
        return "onnx-int8" if self.backend == "auto" else self.backend


class HeadConfig(BaseModel):
    """How outcomes become estimates.

    Attributes:
        head: ``"memory"`` keeps vectors and refits over them; ``"analytic"`` keeps sums alone.
        labels: ``"exclusive"``: a label says that the other agents would have failed; ``"independent"``: it says
            nothing of them, because several can succeed; ``"auto"`` finds out from the rewards which of both it is.
        memory_size: Most outcomes kept; beyond it the agent with the most loses one.
        neighbours: Stored outcomes that speak for a task.
        ridge: Penalty on the logistic weights, in units of examples; where agents succeed each for itself, the least
            one, and the stored outcomes say how much more it takes.
        refit_interval: Fewest new outcomes between two refits.
        refit_share: The same as a share of what is stored (since an agent changed), so that refits cost little.
        half_life_s: Log time after which an outcome counts half, in seconds; None never forgets.
        change_threshold: Evidence, in nats, at which an agent counts as changed; None never looks.
        kept_after_change: What all older outcomes of a changed agent count for together, in outcomes.
        example_weight: What one of an agent's examples counts for, in outcomes.
        description_weight: The same for its description, and for each capability.
        propensity_clip: Weigh rewards by one over the propensity, at most this much; None weighs all alike.
        exploration: Standard deviation, on the scale of log odds, of what is not known of an agent here.
        novelty_threshold: Novelty above which nobody gets the task; None derives it from what is stored, and a number
            as large as 2 refuses nothing.
        novelty_share: What is derived refuses this share of what is known to be in scope.
        nearest_shown: Stored outcomes that an explanation names.
        analytic_features: Random features of the analytic head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    head: Literal["memory", "analytic"] = "memory"
    labels: Literal["auto", "exclusive", "independent"] = "auto"
    memory_size: int = Field(default=10_000, ge=1, le=1_000_000)
    neighbours: int = Field(default=32, ge=1, le=1_000)
    ridge: float = Field(default=0.05, gt=0.0)
    refit_interval: int = Field(default=20, ge=1)
    refit_share: float = Field(default=0.1, ge=0.0, le=10.0)
    half_life_s: float | None = Field(default=90 * DAY_S, gt=0.0)
    change_threshold: float | None = Field(default=12.0, gt=0.0)
    kept_after_change: float = Field(default=20.0, ge=0.0)
    example_weight: float = Field(default=1.0, ge=0.0, le=100.0)
    description_weight: float = Field(default=0.5, ge=0.0, le=100.0)
    propensity_clip: float | None = Field(default=None, ge=1.0)
    exploration: float = Field(default=0.5, ge=0.0)
    novelty_threshold: float | None = None
    novelty_share: float = Field(default=0.03, gt=0.0, lt=0.5)
    nearest_shown: int = Field(default=5, ge=0, le=100)
    analytic_features: int = Field(default=4_000, ge=1, le=20_000)

    @model_validator(mode="after")
    def _sums_need_one_right(self) -> Self:
        if self.head == "analytic" and self.labels == "independent":
            raise ValueError('head="analytic" keeps one set of sums for all agents, so it needs labels="exclusive"')
        return self


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
        pickled_weights: Whether a checkpoint to start from (``router.models.warm_start``) may hold its weights as
            ``.bin`` or ``.pt``: they are read as tensors alone, in a process of its own, and kept as safetensors.
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
    pickled_weights: bool = False
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


class BertConfig(StrategyConfig, EncoderSettings, HeadConfig, FitSettings):
    """Configuration of the transformer: its encoder, its head, and its fits; unknown keys are errors."""

    wait_for_encoder: bool = False
    """Whether ``prepare`` returns only once the encoder is open; else it opens in the background, and until then the
    strategy abstains. The first time a model is used on a machine it is exported, which takes some ten seconds."""
