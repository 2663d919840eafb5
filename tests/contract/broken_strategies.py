"""Every broken strategy, by name; each says in ``promise`` which check must catch it."""

from . import broken_on_requests, broken_on_updates
from .sound_strategy import SoundStrategy

BROKEN = sorted(
    (
        kind
        for module in (broken_on_requests, broken_on_updates)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, SoundStrategy) and kind is not SoundStrategy
    ),
    key=lambda kind: kind.__name__,
)
