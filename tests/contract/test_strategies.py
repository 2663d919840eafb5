import inspect
from importlib.metadata import entry_points

import pytest

from router_sdk import hookspecs
from router_sdk.plugins import PluginRegistry
from router_sdk.testing import HashedWordsEncoder, check_strategy

OWN_TESTS = {"bert", "systemone"}
"""Checked where they have a small model, with the default one it would take minutes; or a server to ask."""
STRATEGIES = PluginRegistry.load().strategies.keys() - OWN_TESTS
ENCODERS = {"hashed-words": HashedWordsEncoder()}


@pytest.mark.skipif(not STRATEGIES, reason="no plugin with a strategy is installed")
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_installed_strategy_keeps_the_contract(name):
    """With its default config; what it does once fitted is for its own tests."""
    check_strategy(PluginRegistry.load().strategy(name), encoders=ENCODERS, must_answer=False)


@pytest.mark.parametrize(
    "entry_point", sorted(entry_points(group=hookspecs.PROJECT_NAME)), ids=lambda found: found.name
)
def test_no_hook_implementation_hides_an_argument_behind_a_default(entry_point):
    """Pluggy never passes an argument that has a default."""
    plugin = entry_point.load()
    hooks = [
        member
        for _, member in inspect.getmembers(plugin, callable)
        if getattr(member, f"{hookspecs.PROJECT_NAME}_impl", None)
    ]
    assert hooks
    for hook in hooks:
        for parameter in inspect.signature(hook).parameters.values():
            assert parameter.default is inspect.Parameter.empty, f"{entry_point.name}.{hook.__name__}"
