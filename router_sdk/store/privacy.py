"""What of a text may be kept: everything, everything but what looks personal, a keyed hash, or nothing."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping
from hashlib import blake2b, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import StoreUnavailableError
from router_sdk.private_files import private_folder
from router_sdk.spelling import in_form, normal

if TYPE_CHECKING:
    from router_sdk.records import PrivacyMode

_PERSONAL = (
    (re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+"), "<email>"),
    (re.compile(r"\bhttps?://\S+"), "<url>"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){3,7}(?:[ ]?[A-Z0-9]{1,3})?\b"), "<iban>"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), "<ip>"),
    (re.compile(r"(?<![\w.])\+?\d[\d ()./-]{6,}\d(?!\w)"), "<number>"),
)

_QUOTED = re.compile(r" \(got .*|: '.*|'[^']*'|\"[^\"]*\"", re.DOTALL)
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
        secret = path.read_bytes() if path.is_file() else b""
        if len(secret) != _KEY_BYTES:
            raise StoreUnavailableError(
                f"{path.name} is not whole: another process is writing it (try again), or died doing so (delete it)"
            ) from None
        return secret
    with os.fdopen(descriptor, "wb") as file:
        secret = os.urandom(_KEY_BYTES)
        file.write(secret)
    return secret


def normalised(text: str) -> str:
    """A text without what does not make it another one: Unicode form, case, and how much white space there is."""
    if not text.isascii():
        text = in_form("NFKC", text)
    return " ".join(text.casefold().split())


class Privacy:
    """What may be kept of what people wrote.

    ========  =====================  ====================  ==========
    mode      texts                  names of features     sessions
    ========  =====================  ====================  ==========
    full      as they are            as they are           as they are
    redacted  see ``redact``         see ``redact``        as they are
    hmac      a keyed hash           a keyed hash          a keyed hash
    none      nothing                a keyed hash          a keyed hash
    ========  =====================  ====================  ==========

    Numbers are kept in every mode. The hash is an HMAC with SHA-256 under a secret in the store's folder: equal things
    stay equal, so that they can be counted, grouped and forgotten.

    Args:
        mode: Which.
        folder: The store's own folder.
        make: Whether to make the secret where there is none; else nothing can be found under it, nor is there anything.

    Attributes:
        changes: Whether anything is kept otherwise than it came.
        hides_texts: Whether no text can be read any more.
    """

    def __init__(self, mode: PrivacyMode, folder: Path, *, make: bool = True) -> None:
        self.mode: PrivacyMode = mode
        self._secret = b""
        if mode != "full" and (make or (folder / "privacy.key").exists()):
            self._secret = _key(private_folder(folder) / "privacy.key")
        self.changes = mode != "full"
        self.hides_texts = mode in ("hmac", "none")

    def text(self, text: str | None) -> str | None:
        """What is kept of a text."""
        if text is None or self.mode == "full":
            return text
        if self.mode == "redacted":
            return redact(text)
        return self._hash(text) if self.mode == "hmac" else None

    def name(self, name: str) -> str:
        """What is kept of the name of a feature or of a field of metadata."""
        if self.mode == "full":
            return name
        return redact(name) if self.mode == "redacted" else self._hash(name)[:16]

    def session(self, session_id: str | None) -> str | None:
        """What is kept of a session's id, and what it is found by."""
        if session_id is None or self.mode in ("full", "redacted"):
            return session_id
        return self._hash(session_id)[:32]

    def features(self, features: Mapping[str, Any]) -> Mapping[str, Any]:
        """Features as the log keeps them, and as strategies that learn from it must look them up."""
        return self.value(features) if features and self.changes else features

    def value(self, value: Any) -> Any:
        """A JSON value of which texts and names are kept as this mode keeps them."""
        if not self.changes:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            kept = {self.name(name): self.value(inner) for name, inner in value.items()}
            return {name: inner for name, inner in kept.items() if inner is not None}
        return [self.value(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    def reason(self, words: str) -> str:
        """Why something was refused, without quoting it where texts are not kept as they are."""
        return _QUOTED.sub("", words) if self.changes else words

    def fingerprint(self, text: str) -> str | None:
        """Equal for texts that differ in form alone, see ``normalised``; None where nothing of a text is kept."""
        if self.mode == "none":
            return None
        return blake2b(normalised(text).encode("utf-8", "replace"), digest_size=16, key=self._secret).hexdigest()

    def digest(self, *parts: str) -> str | None:
        """Equal for equal parts; None where nothing of a text is kept."""
        if self.mode == "none":
            return None
        whole = normal("\x00".join(parts)).encode("utf-8", "replace")
        return blake2b(whole, digest_size=16, key=self._secret).hexdigest()

    def _hash(self, text: str) -> str:
        return hmac.new(self._secret, normal(text).encode("utf-8", "replace"), sha256).hexdigest()
