"""The ``tokenizer.json`` of an export: what the checkpoint's own tokenizer makes of a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.encoding.module import quietly

_FILE = "tokenizer.json"


def settle_tokenizer(folder: Path, draft: Path, texts: Sequence[str], *, lower_case: bool) -> None:
    """See that the draft's ``tokenizer.json`` gives the ids that the checkpoint's tokenizer does.

    ``tokenizer_config.json`` may say more than ``tokenizer.json``, such as a token at the end. Where the ids differ,
    and where there is no such file, it is written as ``transformers`` has it.

    Args:
        folder: The checkpoint.
        draft: Holds a copy of its files.
        texts: Over which they are compared.
        lower_case: Whether sentence-transformers puts texts into lower case first.

    Raises:
        EncoderUnavailableError: if no such file can be made.
    """
    from transformers import AutoTokenizer

    path = draft / _FILE
    try:
        with quietly():
            own: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            backend, wanted = own.backend_tokenizer, own(list(texts))["input_ids"]
    except Exception as error:  # What the library raises depends on what is missing.
        if not path.is_file():
            raise EncoderUnavailableError(f"{folder} has no {_FILE}, and none can be made: {error}") from error
        backend = wanted = None
    try:
        if wanted is not None and not (path.is_file() and _ids(path, texts) == wanted):
            backend.save(str(path))
            if _ids(path, texts) != wanted:
                raise EncoderUnavailableError(f"{folder}: its tokenizer does more than a {_FILE} can say")
        if lower_case:
            _lower(path)
    except EncoderUnavailableError:
        raise
    except Exception as error:  # The tokenizers library raises bare Exceptions.
        raise EncoderUnavailableError(f"{folder}: its tokenizer cannot be read: {error}") from error


def _ids(path: Path, texts: Sequence[str]) -> list[list[int]]:
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def _lower(path: Path) -> None:
    """Put texts into lower case before whatever else is done to them, unless that is done already."""
    from tokenizers import Tokenizer, normalizers

    tokenizer: Any = Tokenizer.from_file(str(path))
    if tokenizer.normalizer is not None and tokenizer.normalizer.normalize_str("A") == "a":
        return
    steps = [normalizers.Lowercase()] + ([] if tokenizer.normalizer is None else [tokenizer.normalizer])
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.save(str(path))
