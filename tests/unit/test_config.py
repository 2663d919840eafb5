import json

import pytest

from router_sdk import Agent, Router, RouterConfig
from router_sdk.config import configure, load_config
from router_sdk.errors import InvalidAgentError, InvalidConfigError

from .doubles import Counting


@pytest.mark.parametrize(
    "settings",
    [
        {"epsilon": -0.1},
        {"epsilon": 1.5},
        {"epsilon": float("nan")},
        {"epsilon": "much"},
        {"seed": -1},
        {"batch_events": 0},
        {"batch_seconds": 0.0},
        {"batch_seconds": float("inf")},
        {"queue_size": 0},
        {"privacy": "secret"},
        {"store": 5},
        {"store": ""},
        {"agents": [{"description": "nameless"}]},
        {"agents": [{"name": "a/../b"}]},
        {"agents": [5]},
        {"strategies": "thompson"},
        {"strategy": {"thompson": 1}},
        {"epsilom": 0.1},
    ],
)
def test_a_setting_that_is_not_understood_is_named(settings):
    with pytest.raises(InvalidConfigError, match=next(iter(settings))):
        RouterConfig.of(**settings)


def test_a_router_says_so_too(store_path):
    with pytest.raises(InvalidConfigError, match="epsilom"):
        Router(agents=["a"], strategies=[Counting], store=store_path, epsilom=0.1)
    with pytest.raises(InvalidConfigError, match="store"):
        Router(agents=["a"], strategies=[Counting], store="")
    with pytest.raises(InvalidAgentError):
        Router(agents=[{"description": "nameless"}], strategies=[Counting], store=store_path)


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (
            "toml",
            'epsilon = 0.1\nagents = ["a", {name = "b", capabilities = ["sql"]}]\n[strategy.thompson]\ndraws = 5\n',
        ),
        ("yaml", "epsilon: 0.1\nagents: [a, {name: b, capabilities: [sql]}]\nstrategy: {thompson: {draws: 5}}\n"),
        (
            "json",
            '{"epsilon": 0.1, "agents": ["a", {"name": "b", "capabilities": ["sql"]}],'
            ' "strategy": {"thompson": {"draws": 5}}}',
        ),
    ],
)
def test_every_format_says_the_same(tmp_path, ending, text):
    path = tmp_path / f"router.{ending}"
    path.write_text(text)
    config = load_config(path)
    assert config.epsilon == 0.1
    assert config.agents == (Agent("a"), Agent("b", capabilities={"sql"}))
    assert config.strategy == {"thompson": {"draws": 5}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", b"epsilon = "),
        ("a.json", b"{"),
        ("a.json", b"[1]"),
        ("a.json", b"\xff\xfe"),
        ("a.yaml", b"a: [1"),
        ("a.yaml", b"1: x"),
        ("a.yaml", b""),
        ("a.yaml", b"just a text"),
        ("a.ini", b"epsilon = 1"),
        ("a.toml", b"epsilom = 0.1"),
        ("a.toml", b"epsilon = 7.0"),
    ],
)
def test_a_file_that_is_not_understood_is_a_named_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidConfigError):
        load_config(path)


def test_a_file_that_cannot_be_read_is_a_named_error(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(InvalidConfigError, match="cannot read"):
            load_config(path)


def test_the_environment_is_read_and_comes_after_arguments(monkeypatch):
    monkeypatch.setenv("ROUTER_EPSILON", "0.25")
    monkeypatch.setenv("ROUTER_STRATEGIES", '["heuristic"]')
    assert RouterConfig.of().epsilon == 0.25
    assert RouterConfig.of().strategies == ("heuristic",)
    assert RouterConfig.of(epsilon=0.5).epsilon == 0.5


@pytest.mark.parametrize(("variable", "value"), [("ROUTER_EPSILON", "much"), ("ROUTER_STRATEGIES", "[not json")])
def test_a_malformed_variable_is_a_named_error(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidConfigError):
        RouterConfig.of()


def test_settings_come_before_a_configuration_and_a_file(tmp_path):
    config = RouterConfig.of(agents=[Agent("a", capabilities={"x"})], epsilon=0.1, seed=3)
    assert configure(config, {}) is config
    joined = configure(config, {"epsilon": 0.2})
    assert (joined.epsilon, joined.seed, joined.agents) == (0.2, 3, config.agents)
    path = tmp_path / "router.json"
    path.write_text(json.dumps({"epsilon": 0.1, "seed": 3}))
    assert configure(path, {"epsilon": 0.2}).model_dump(include={"epsilon", "seed"}) == {"epsilon": 0.2, "seed": 3}


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        RouterConfig.of().epsilon = 1.0
