"""What may move in this fit: the head alone, or the encoder as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from router_sdk_bert.finetuning.samples import Sample
from router_sdk_bert.finetuning.settings import FitSettings


class Choice(NamedTuple):
    """What moves, and why, in a few words."""

    update: Literal["head", "lora", "full"]
    reason: str


def choose_update(settings: FitSettings, samples: Sequence[Sample], agents: int, unseen: int, gone: int) -> Choice:
    """Decide what ``update`` stands for in this fit.

    Moving the encoder gains a point or two, and only where there are enough examples; the head alone takes a second.

    Args:
        settings: What was asked for.
        samples: What the encoder could be trained on.
        agents: How many there are.
        unseen: Samples that the encoder has not seen.
        gone: Examples whose text is gone.
    """
    wanted = settings.update
    if wanted == "head":
        return Choice("head", "the head alone, as was asked for")
    if not samples and gone:
        return Choice(
            "head", f"the head alone: none of {gone} examples has a text that the encoder could be trained on"
        )
    if wanted != "auto":
        return Choice(wanted, f"{wanted}, as was asked for" + (f"; {gone} examples have no text" if gone else ""))
    telling = sum(_tells_who(sample) for sample in samples)
    needed = settings.lora_examples * agents
    if telling < needed or len({sample.label or sample.agent for sample in samples if _tells_who(sample)}) < 2:
        return Choice("head", f"the head alone: {telling} examples say who is right, the encoder needs {needed}")
    if unseen < settings.lora_fresh:
        return Choice("head", f"the head alone: {unseen} examples are new to the encoder, of {settings.lora_fresh}")
    return Choice("lora", f"the encoder by adapters: {telling} examples say who is right, {unseen} are new to it")


def _tells_who(sample: Sample) -> bool:
    """Whether it says which agent is right, by a label or by success."""
    return sample.label is not None or (not sample.labelled and (sample.reward or 0.0) >= 0.5)
