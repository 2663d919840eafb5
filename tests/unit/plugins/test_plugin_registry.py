import sys
from importlib.metadata import EntryPoint

import pytest

from router_sdk import hookspecs, plugins
from router_sdk.errors import DuplicateNameError, InvalidConfigError, PluginLoadError, UnknownStrategyError
from router_sdk.plugin import hookimpl
from router_sdk.plugins import PluginRegistry

from ..doubles import Counting


class Brings:
    @hookimpl
    def register_strategies(self):
        return [Counting]


class BringsAgain(Brings):
    pass


class BringsRewards:
    @hookimpl
    def register_rewards(self):
        return {"ones": lambda signals, agent: 1.0}


class Raises:
    @hookimpl
    def register_strategies(self):
        raise RuntimeError("no licence")


class UnknownHook:
    @hookimpl
    def on_decisoin(self, decision):
        """Misspelt."""


class UnknownArgument:
    @hookimpl
    def on_decision(self, decisoin):
        """Misspelt."""


class SecondRouter:
    @hookimpl
    def route(self, task):
        """What the Router alone does."""


class Watching:
    @hookimpl(wrapper=True)
    def route(self, task):
        return (yield)


@pytest.fixture
def installed(monkeypatch):
    """Replace what is installed by these entry points: name to (module, attribute)."""

    def install(**found):
        points = [(EntryPoint(name, value, hookspecs.PROJECT_NAME), None) for name, value in found.items()]
        monkeypatch.setattr(plugins, "discover", lambda: points)

    install()
    return install


def load(*objects, **options):
    return PluginRegistry.load(objects, **options)


def test_what_plugins_bring_is_found_by_name(installed):
    registry = load(Brings(), BringsRewards())
    assert registry.strategies == {"counting": Counting}
    assert registry.reward("ones")(None, None) == 1.0
    assert {info.name: dict(info.provides) for info in registry.describe()} == {
        "Brings": {"strategies": ("counting",)},
        "BringsRewards": {"rewards": ("ones",)},
    }


def test_two_claims_to_one_name_are_refused(installed):
    with pytest.raises(DuplicateNameError, match="counting"):
        load(Brings(), BringsAgain())
    with pytest.raises(DuplicateNameError, match="Brings"):
        load(Brings(), Brings())


@pytest.mark.parametrize("plugin", [UnknownHook(), UnknownArgument(), SecondRouter()])
def test_what_the_router_cannot_call_is_refused_and_leaves_nothing_behind(installed, plugin):
    registry = load(Brings())
    with pytest.raises(PluginLoadError, match=type(plugin).__name__):
        registry.register(plugin)
    assert [info.name for info in registry.describe()] == ["Brings"]
    registry.register(Watching())


def test_one_bad_plugin_is_shown_once_and_spoils_no_other(installed, monkeypatch):
    installed(gone="no_such_module:hooks", bad=f"{__name__}:missing", fine=f"{__name__}:fine")
    monkeypatch.setattr(sys.modules[__name__], "fine", Brings(), raising=False)
    registry = load(Raises())
    for _ in range(3):
        assert registry.strategies == {"counting": Counting}
    faults = {info.name: str(info.error) for info in registry.describe() if info.error}
    assert len([info for info in registry.describe() if info.error]) == len(faults) == 3
    assert "no_such_module" in faults["gone"]
    assert "no licence" in faults["Raises"]
    with pytest.raises(UnknownStrategyError, match="no licence"):
        registry.strategy("bert")


def test_the_allow_list_keeps_the_others_from_being_imported(installed, monkeypatch):
    installed(gone="no_such_module:hooks", fine=f"{__name__}:fine")
    monkeypatch.setattr(sys.modules[__name__], "fine", Brings(), raising=False)
    monkeypatch.setenv(plugins.ALLOW_VARIABLE, " fine , other")
    assert [(info.name, info.error) for info in load().describe()] == [("fine", None)]
    assert [info.name for info in load(allow=[]).describe()] == []
    monkeypatch.setenv(plugins.ALLOW_VARIABLE, "")
    assert load().describe() == []


def test_unknown_names_say_what_there_is(installed):
    registry = load(Brings(), BringsRewards())
    with pytest.raises(UnknownStrategyError, match="counting"):
        registry.strategy("countin")
    with pytest.raises(InvalidConfigError, match="ones"):
        registry.reward("twos")


def test_an_observer_that_raises_stops_nobody(installed, caplog):
    seen = []

    class Broken:
        @hookimpl
        def on_outcome(self, decision_id, outcome):
            raise RuntimeError("observer down")

    class Quiet:
        @hookimpl
        def on_outcome(self, outcome):
            seen.append(outcome)

    registry = load(Quiet(), Broken())
    registry.notify("on_outcome", decision_id="d", outcome="o")
    assert seen == ["o"]
    assert "observer down" in caplog.text
    assert registry.implements("on_outcome")
    assert not registry.implements("on_decision")


def test_what_is_installed_while_the_program_runs_is_found(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "later" not in {entry_point.name for entry_point, _ in plugins.discover()}
    assert plugins.discover() is plugins.discover()
    info = tmp_path / "later-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[router_sdk]\nlater = nowhere\n")
    assert {entry_point.name: by for entry_point, by in plugins.discover()}["later"] == "later 1.0"
