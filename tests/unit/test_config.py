import json
import re
from pathlib import Path

import pytest

import router_sdk
from router_sdk import Agent, Router, RouterConfig
from router_sdk import setting_names as environment
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


@pytest.mark.parametrize("argument", [None, 0.1])
@pytest.mark.parametrize("variable", [None, 0.2])
@pytest.mark.parametrize("file", [None, 0.3])
def test_arguments_come_before_the_environment_and_that_before_a_file(tmp_path, monkeypatch, argument, variable, file):
    path = tmp_path / "router.json"
    path.write_text(json.dumps({} if file is None else {"epsilon": file}))
    if variable is not None:
        monkeypatch.setenv("ROUTER_EPSILON", str(variable))
    given = {} if argument is None else {"epsilon": argument}
    expected = next((value for value in (argument, variable, file) if value is not None), 0.02)
    assert configure(path, given).epsilon == expected
    if file is None:
        assert configure(None, given).epsilon == expected


def test_settings_of_strategies_are_joined_key_by_key(tmp_path, monkeypatch):
    path = tmp_path / "router.toml"
    path.write_text("[strategy.words]\na = 1\nb = 1\nc = 1\n[strategy.others]\na = 1\n")
    monkeypatch.setenv("ROUTER_STRATEGY", '{"words": {"b": 2, "c": 2}}')
    joined = configure(path, {"strategy": {"words": {"c": 3}, "third": {}}})
    assert joined.strategy == {"words": {"a": 1, "b": 2, "c": 3}, "others": {"a": 1}, "third": {}}
    assert configure(joined, {"strategy": {"third": {"x": 1}}}).strategy == {**joined.strategy, "third": {"x": 1}}


def test_a_list_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "router.toml"
    path.write_text('agents = ["a", "b"]\nstrategies = ["x"]\n')
    monkeypatch.setenv("ROUTER_AGENTS", '["openai/gpt-5"]')
    monkeypatch.setenv("ROUTER_STRATEGIES", '["heuristic"]')
    assert configure(path, {}).agents == (Agent("openai/gpt-5"),)
    assert configure(path, {}).strategies == ("heuristic",)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("ROUTER_EPSILON", "much", "epsilon"),
        ("ROUTER_STRATEGIES", "[not json", "strategies"),
        ("ROUTER_EPSILOM", "0.1", "did you mean ROUTER_EPSILON"),
        ("router_epsilom", "0.1", "did you mean ROUTER_EPSILON"),
        ("ROUTER_PRIVCY", "none", "did you mean ROUTER_PRIVACY"),
        ("ROUTER_PLUGIN", "x", "did you mean ROUTER_PLUGINS"),
        ("ROUTER_ZZZ", "x", "no such setting"),
        ("ROUTER_MIN_NEW_SAMPLES", "5", "min_new_samples is here: `retrain_interval`"),
        ("ROUTER_PRIVACY__MODE", "none", "nested variables are not read; give all of it in ROUTER_PRIVACY"),
        ("ROUTER_STRATEGY__THOMPSON__DRAWS", "5", "ROUTER_STRATEGY, lists and mappings as JSON"),
        ("ROUTER_PRIVACY", "", "ROUTER_PRIVACY is empty"),
        ("ROUTER_SEED", " ", "ROUTER_SEED is empty"),
        ("ROUTER_REWARD", "", "ROUTER_REWARD is empty"),
        ("ROUTER_STORE", "", "ROUTER_STORE is empty"),
    ],
)
def test_a_variable_that_would_be_passed_over_is_a_named_error(tmp_path, monkeypatch, variable, value, complaint):
    monkeypatch.setenv(variable, value)
    path = tmp_path / "router.json"
    path.write_text("{}")
    for load in (RouterConfig.of, lambda: load_config(path)):
        with pytest.raises(InvalidConfigError, match=complaint):
            load()


def test_variables_that_others_read_are_left_alone(monkeypatch):
    monkeypatch.setenv("ROUTER_PLUGINS", "")
    monkeypatch.setenv("ROUTER_BENCH_DATA", "/data")
    monkeypatch.setenv("ROUTER_TEST_ANYTHING", "x")
    monkeypatch.setenv("ROUTER_SERVICE_HOST", "10.0.0.1")  # a service called router in Kubernetes
    monkeypatch.setenv("ROUTER_SERVICE_PORT_HTTP", "80")
    monkeypatch.setenv("ROUTER_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("ROUTER_PORT_80_TCP_ADDR", "10.0.0.1")
    monkeypatch.setenv("ROUTER_ADMIN_SERVICE_PORT", "80")
    monkeypatch.setenv("ROUTERS", "x")
    assert RouterConfig.of() == RouterConfig.of(strategies=("thompson", "heuristic"))


def test_every_variable_that_the_product_reads_is_on_the_list():
    root = Path(router_sdk.__file__).parents[1]
    sources = [path for folder in ("router_sdk", "benchmarks", "plugins") for path in (root / folder).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"\bROUTER_[A-Z_]*[A-Z]\b", path.read_text("utf-8"))}
    settings = {f"ROUTER_{name.upper()}" for name in RouterConfig.model_fields}
    assert named - settings - {"ROUTER_PLUGIN"} == environment._OTHERS  # a name of its own in plugins.py, no variable


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
