"""A configuration file of which single settings are changed: comments, order and the ends of lines stay as they are.

An edit is made in the text, and holds only if what is then read is what was read before with the new values in place.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.config import parse_settings, settings_format
from router_sdk.errors import InvalidConfigError
from router_sdk.private_files import may_be_written, write_over

if TYPE_CHECKING:
    from yaml import MappingNode, Node

Keys = tuple[str, ...]
"""Where a setting stands, from the top."""

_STEP = "  "
"""How far a level of YAML is set in."""


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file, as it was read.

    Attributes:
        path: The file itself, where a symbolic link leads to it.
        content: What it held.
        named: What it was called, which says what it is written in.
    """

    path: Path
    content: bytes
    named: Path

    @classmethod
    def open(cls, path: Path) -> ConfigFile:
        """Read a file.

        Raises:
            InvalidConfigError: if it cannot be read.
            InvalidInputError: if it is no plain file.
        """
        named, path = path, may_be_written(path)
        try:
            return cls(path, path.read_bytes(), named)
        except OSError as error:
            raise InvalidConfigError(f"cannot read {path}: {error.strerror}") from error

    @property
    def text(self) -> str:
        """What it held, as a text, with the ends of lines that it has.

        Raises:
            InvalidConfigError: if it is no UTF-8.
        """
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise InvalidConfigError(f"{self.path.name}: it must be UTF-8: {error}") from error

    def settings(self) -> dict[str, Any]:
        """What it says, by name.

        Raises:
            InvalidConfigError: if it cannot be parsed, or names nothing.
        """
        return parse_settings(self.text, self.named)

    def edited(self, changes: Mapping[Keys, float]) -> str:
        """Its text with other numbers in it.

        Args:
            changes: Numbers, by where they stand: ``("strategy", "bert", "confidence_threshold")``.

        Raises:
            InvalidConfigError: if it cannot be parsed, or is written in a way that is not edited.
        """
        wanted = self.settings()
        text = self.text.replace("\r\n", "\n")
        for keys, value in changes.items():
            wanted = _with(wanted, keys, value)
            text = _EDITORS[settings_format(self.named)](text, keys, value)
        if not _says(text, self.named, wanted):
            told = ", ".join(f"{'.'.join(keys)} = {value:g}" for keys, value in changes.items())
            raise InvalidConfigError(f"{self.path.name} is written in a way that is not edited; put in by hand: {told}")
        return _with_ends_of(self.text, text)

    def diff(self, text: str) -> list[str]:
        """What would change, as lines of a unified diff."""
        name = self.path.name
        before, after = self.text.splitlines(), text.splitlines()
        return list(unified_diff(before, after, f"{name} (now)", f"{name} (then)", n=2, lineterm=""))

    def write(self, text: str) -> None:
        """Put a text in its place, whole, with the owner, the mode and the attributes of the file that is there.

        Raises:
            InvalidConfigError: if it cannot be written, or changed since it was read.
        """
        try:
            done = write_over(self.path, text.encode(), self.content)
        except OSError as error:
            raise InvalidConfigError(f"cannot write {self.path}: {error.strerror or error}") from error
        if not done:
            raise InvalidConfigError(f"{self.path} changed meanwhile and was left as it is; run the command again")


def _with_ends_of(before: str, text: str) -> str:
    """A text that was edited with plain ends of lines: lines that were there keep theirs, new ones end as most do."""
    *whole, last = before.split("\n")
    ends = ["\r" if line.endswith("\r") else "" for line in whole]
    most = "\r" if 2 * ends.count("\r") > len(ends) else ""
    lines = text.split("\n")
    new = [most] * len(lines)
    there = [line.removesuffix("\r") for line in whole]
    for _, begin, end, start, stop in SequenceMatcher(None, [*there, last], lines, autojunk=False).get_opcodes():
        if end - begin == stop - start:  # the same, or other words in their place
            new[start:stop] = [*ends, most][begin:end]
    return "\n".join(line + end for line, end in zip(lines, [*new[:-1], ""], strict=True))


def _with(settings: Mapping[str, Any], keys: Keys, value: float) -> dict[str, Any]:
    """Settings with one of them changed; what they are made of may stand in several places, and is left as it is."""
    first, *rest = keys
    return {**settings, first: _with(settings.get(first, {}), tuple(rest), value) if rest else value}


def _says(text: str, path: Path, wanted: dict[str, Any]) -> bool:
    try:
        return parse_settings(text, path) == wanted
    except InvalidConfigError:
        return False


def _edit_toml(text: str, keys: Keys, value: float) -> str:
    """A table that is there keeps its place, and a new one stands at the end, as does one that has no heading yet."""
    import tomlkit

    *above, last = keys
    document = tomlkit.parse(text)
    table: Any = document
    for key in above:
        table = table.get(key)
        if table is None:
            return _with_table(text, above, last, value)
    if isinstance(table, tomlkit.items.Table) and table.is_super_table():
        apart = _with_table(text, above, last, value)  # a heading in its place would stand among comments of others
        if _is_toml(apart):  # else it is made of dotted keys, and has no heading
            return apart
    below = []
    if last not in table and isinstance(table, tomlkit.items.Table):
        body = table.value.body
        while body and body[-1][0] is None:  # comments before the next heading belong to that
            below.append(body.pop())
    table[last] = value
    if below:
        body.extend(reversed(below))
    return tomlkit.dumps(document)


def _with_table(text: str, above: Sequence[str], last: str, value: float) -> str:
    import tomlkit

    heading = ".".join(tomlkit.key(key).as_string() for key in above)
    return f"{text.rstrip()}\n\n[{heading}]\n{last} = {value}\n"


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _edit_json(text: str, keys: Keys, value: float) -> str:
    """It is written anew, as far set in as it was."""
    margin = re.search(r"\n([ \t]+)", text)
    told = json.dumps(_with(json.loads(text), keys, value), indent=margin and margin[1], ensure_ascii=False)
    return f"{told}\n"


def _edit_yaml(text: str, keys: Keys, value: float) -> str:
    """Only the number is replaced; a new line stands below the last one of the mapping that it is put into."""
    import yaml

    node: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    told = yaml.safe_dump(value).split("\n")[0]  # 1e-05 would be a text
    for depth, key in enumerate(keys):
        if not isinstance(node, yaml.MappingNode):
            return text
        found = next((below for name, below in node.value if name.value == key), None)
        if found is None:
            return _into_mapping(text, node, keys[depth:], told)
        node = found
    return text if node is None else f"{text[: node.start_mark.index]}{told}{text[node.end_mark.index :]}"


def _into_mapping(text: str, node: MappingNode, keys: Keys, told: str) -> str:
    if node.flow_style:
        pairs = "{".join(f"{key}: " for key in keys) + told + "}" * (len(keys) - 1)
        place = node.start_mark.index + 1
        return f"{text[:place]}{pairs}{', ' if node.value else ''}{text[place:]}"
    margin = " " * node.value[0][0].start_mark.column
    lines = "\n".join(f"{margin}{_STEP * depth}{key}:" for depth, key in enumerate(keys))
    place = _end_of_line(text, node)
    start = "" if text[:place].endswith("\n") else "\n"
    return f"{text[:place]}{start}{lines} {told}\n{text[place:]}"


def _end_of_line(text: str, node: Node) -> int:
    """Behind the line on which the last thing in a node ends; the node's own mark stands where the next one begins."""
    while isinstance(node.value, list) and not getattr(node, "flow_style", None):
        last = node.value[-1]  # a block that holds nothing cannot be written
        node = last[-1] if isinstance(last, tuple) else last
    place = node.end_mark.index
    if text[:place].endswith("\n"):
        return place
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1


_EDITORS = {".toml": _edit_toml, ".yaml": _edit_yaml, ".yml": _edit_yaml, ".json": _edit_json}
