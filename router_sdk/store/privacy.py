"""What of a text may be kept: everything, everything but what looks personal, a keyed hash, or nothing."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.errors import StoreUnavailableError

if TYPE_CHECKING:
    from router_sdk.records import PrivacyMode

TextFilter = Callable[[str | None], str | None]

_PERSONAL = (
    (re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+"), "<email>"),
    (re.compile(r"\bhttps?://\S+"), "<url>"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){3,7}(?:[ ]?[A-Z0-9]{1,3})?\b"), "<iban>"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), "<ip>"),
    (re.compile(r"(?<![\w.])\+?\d[\d ()./-]{6,}\d(?!\w)"), "<number>"),
)


_KEY_BYTES = 32


def redact(text: str) -> str:
    """Replace e-mail and IP addresses, links, bank accounts and long numbers by a word that says what stood there.

    Patterns find forms, not people: names and free descriptions stay. Use ``hmac`` or ``none`` where that matters.
    """
    for pattern, word in _PERSONAL:
        text = pattern.sub(word, text)
    return text


def _key(path: Path) -> bytes:
    """Read the store's secret, or make it once, readable by its owner alone."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != _KEY_BYTES:
            raise StoreUnavailableError(
                f"{path.name} is not whole: another process is writing it (try again), or died doing so (delete it)"
            ) from None
        return secret
    with os.fdopen(descriptor, "wb") as file:
        secret = os.urandom(_KEY_BYTES)
        file.write(secret)
    return secret


def text_filter(mode: PrivacyMode, folder: Path) -> TextFilter:
    """How texts are changed before they are stored.

    Args:
        mode: ``full`` keeps them; ``redacted`` see ``redact``; ``hmac`` keeps a SHA-256 HMAC under a secret in
            ``folder``, so that equal texts can still be counted; ``none`` keeps nothing.
        folder: The store's own folder.
    """
    if mode == "full":
        return lambda text: text
    if mode == "redacted":
        return lambda text: None if text is None else redact(text)
    if mode == "none":
        return lambda text: None
    folder.mkdir(parents=True, exist_ok=True)
    secret = _key(folder / "privacy.key")
    return lambda text: None if text is None else hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
