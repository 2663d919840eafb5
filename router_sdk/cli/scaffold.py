"""The skeleton of a new plugin: a distribution that installs, routes, learns and passes ``check_strategy``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from router_sdk.errors import InvalidInputError

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LONGEST = 50
_TAKEN = frozenset({"bert", "heuristic", "thompson", "uniform"})


def write_plugin(name: str, parent: Path) -> Path:
    """Write the skeleton into ``parent / router-sdk-NAME`` and return that folder.

    Raises:
        InvalidInputError: if the name cannot serve, or the folder is there already.
    """
    files = plugin_files(name)
    folder = parent / _names(name)["distribution"]
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InvalidInputError(f"{folder} is there already; nothing was written") from None
    for place, content in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")
    return folder


def plugin_files(name: str) -> Mapping[str, str]:
    """The skeleton's files: path within its folder to content.

    Raises:
        InvalidInputError: if the name cannot serve.
    """
    fill = _names(name)
    return {Template(place).substitute(fill): Template(text[1:]).substitute(fill) for place, text in _FILES.items()}


def _names(name: str) -> dict[str, str]:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise InvalidInputError(
            f"plugin name {name!r}: use up to {_LONGEST} lower-case letters and digits, starting with a letter, "
            "with single '-' or '_' between words, such as 'nearest' or 'my-rules'"
        )
    if name in _TAKEN:
        raise InvalidInputError(f"plugin name {name!r} is taken by router-sdk itself; two of one name cannot load")
    words = re.split("[-_]", name)
    return {
        "name": name,
        "distribution": "router-sdk-" + "-".join(words),
        "package": "router_sdk_" + "_".join(words),
        "module": "_".join(words),
        "title": "".join(word.capitalize() for word in words),
    }


_PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$distribution"
version = "0.1.0"
description = "The $name strategy for router-sdk"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["pydantic>=2.10", "router-sdk>=0.1"]

# The router finds the plugin through this entry point: a module with hook implementations.
[project.entry-points.router_sdk]
$name = "$package.hooks"

[tool.setuptools.packages.find]
include = ["$package*"]

[tool.setuptools.package-data]
$package = ["py.typed"]
"""

_README = """
# $distribution

The `$name` strategy for `router-sdk`. As generated it prefers the agents with the highest mean reward; make it yours in
`$package/strategy.py`, then `pip install -e .` and `pytest`.

```python
from router_sdk import Outcome, Router

with Router(agents=["billing", "technical"], strategies=["$name"]) as router:
    router.record(router.route("I was charged twice"), Outcome(success=True))
```
"""

_INIT = '''
"""The $name strategy for router-sdk."""

from $package.config import ${title}Config
from $package.strategy import ${title}Strategy

__all__ = ["${title}Config", "${title}Strategy"]
'''

_HOOKS = '''
"""What the plugin registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.plugin import hookimpl

from $package.strategy import ${title}Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk.plugin import Strategy


@hookimpl
def register_strategies() -> Sequence[type[Strategy]]:
    """The $name strategy."""
    return [${title}Strategy]
'''

_CONFIG = '''
"""Settings of the strategy."""

from pydantic import Field
from router_sdk.plugin import StrategyConfig


class ${title}Config(StrategyConfig):
    """How fast it makes up its mind.

    Args:
        prior: Observations at reward 0.5 that each agent starts with; above 0.
    """

    prior: float = Field(default=1.0, gt=0.0)
'''

_STRATEGY = '''
"""The strategy: probability in proportion to the mean reward."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from router_sdk.plugin import CorruptArtifactError, InvalidConfigError, Proposal, Strategy

from $package.config import ${title}Config

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from router_sdk.plugin import AgentSet, Example, RouteContext, StrategyConfig, StrategyServices, Task

_STATE = "totals.json"


class ${title}Strategy(Strategy):
    """Mean reward of each agent, whatever the task. ``scores`` are those means."""

    name: ClassVar[str] = "$name"
    Config: ClassVar[type[StrategyConfig]] = ${title}Config

    def __init__(self, config: StrategyConfig, services: StrategyServices) -> None:
        super().__init__(config, services)
        if not isinstance(config, ${title}Config):
            raise InvalidConfigError(f"$name: expected a ${title}Config, got {type(config).__name__}")
        self._prior = config.prior
        self._totals: Mapping[str, tuple[float, float]] = {}

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """Answer from what ``learn`` published; change nothing."""
        totals = self._totals  # read once: learn may replace it while this runs
        means = {}
        for name in agents.names:
            reward, count = totals.get(name, (0.0, 0.0))
            means[name] = (reward + 0.5 * self._prior) / (count + self._prior)
        whole = sum(means.values())
        return Proposal({name: mean / whole for name, mean in means.items()}, scores=means)

    def learn(self, examples: Sequence[Example]) -> None:
        """Add up rewards; a revision takes the earlier one back. Then publish by one assignment."""
        totals = dict(self._totals)
        for example in examples:
            if example.agent is None:
                continue
            reward, count = totals.get(example.agent, (0.0, 0.0))
            if example.previous_reward is not None:
                reward, count = reward - example.previous_reward, count - 1.0
            if example.reward is not None:
                reward, count = reward + example.reward, count + 1.0
            totals[example.agent] = (reward, count)
        self._totals = totals

    def forget_agents(self, names: Collection[str]) -> None:
        """Start again with these agents."""
        self._totals = {name: total for name, total in self._totals.items() if name not in names}

    def save(self, folder: Path) -> None:
        """Write the totals as JSON."""
        (folder / _STATE).write_text(json.dumps(self._totals), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it is missing or damaged.
        """
        try:
            saved = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            self._totals = {str(name): (float(reward), float(count)) for name, (reward, count) in saved.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(f"$name: {error}") from error
'''

_TESTS = """
from router_sdk.testing import check_strategy

from $package import ${title}Strategy


def test_it_keeps_the_contract():
    check_strategy(${title}Strategy)
"""

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "$package/__init__.py": _INIT,
    "$package/py.typed": "",
    "$package/hooks.py": _HOOKS,
    "$package/config.py": _CONFIG,
    "$package/strategy.py": _STRATEGY,
    "tests/test_$module.py": _TESTS,
}
