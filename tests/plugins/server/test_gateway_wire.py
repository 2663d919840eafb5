import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_server.gateway.upstreams import Prices, Usage
from router_sdk_server.gateway.wire import Events, asking_for_usage, models_in, with_model
from upstreams import UpstreamServer

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["model", '"model": "x"', '\\"model":']),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["model", '"model']), inner),
    max_leaves=6,
)


@settings(max_examples=15)
@given(st.dictionaries(st.text() | st.just('"model'), VALUES), st.text(), st.integers(0, 9), st.booleans())
def test_the_name_is_exchanged_and_nothing_else(others, name, place, compact):
    others.pop("model", None)
    pairs = list(others.items())
    pairs.insert(min(place, len(pairs)), ("model", "auto"))
    written = json.dumps(dict(pairs), separators=(",", ":") if compact else None, ensure_ascii=compact)
    changed = with_model(written.encode(), name)
    assert list(json.loads(changed).items()) == [(key, name if key == "model" else value) for key, value in pairs]
    assert with_model(changed, "auto").decode() == written


@settings(max_examples=15)
@given(st.dictionaries(st.text().filter(lambda key: key != "model"), VALUES))
def test_what_has_no_model_of_its_own_stays(told):
    written = json.dumps(told).encode()
    assert with_model(written, "x") == written


@given(st.lists(st.integers(1, 40), max_size=200))
def test_a_stream_is_the_same_however_it_is_cut(cuts):
    whole = b": ping\n\n" + b"".join(UpstreamServer.events("fine", {"stream_options": {"include_usage": True}}))
    events, passed, at = Events("agent"), b"", 0
    for cut in [*cuts, len(whole)]:
        passed += events.pass_on(whole[at : at + cut])
        at += cut
    passed += events.last()
    assert passed == whole.replace(b'"fine-2026"', b'"agent"')
    assert events.complete
    assert events.usage == Usage(100, 40, 20)


def test_many_nested_names_take_no_longer_each():
    nested = b'{"model": "x"}, ' * 100_000
    whole = b'{"messages": [' + nested + b'{}], "model": "auto"}'
    assert with_model(whole, "y") == whole.replace(b'"auto"', b'"y"')  # by the square it would take an hour


@pytest.mark.parametrize("key", ["mod\\u0065l", "\\u006dodel", "m\\u006Fde\\u006C"])
def test_a_name_that_is_escaped_is_the_name_all_the_same(key):
    written = f'{{"a": {{"{key}": "auto"}}, "{key}": "auto", "models": "auto"}}'
    assert json.loads(with_model(written.encode(), "y")) == {"a": {"model": "auto"}, "model": "y", "models": "auto"}


@pytest.mark.parametrize("other", ['"model": "z"', '"mod\\u0065l": "z"', '"model": 3', '"model": {"model": "z"}'])
def test_a_name_that_stands_twice_is_counted(other):
    assert models_in(b'{"model": "auto", ' + other.encode() + b"}") == 2
    assert models_in(b'{"x": [{' + other.encode() + b'}, "model"], "model": "auto"}') == 1


def test_usage_is_asked_for_in_place():
    assert json.loads(asking_for_usage(b' {\n"model": "x"}')) == {
        "stream_options": {"include_usage": True},
        "model": "x",
    }


@pytest.mark.parametrize(
    "told",
    [
        *(None, 3, {}, {"prompt_tokens": -1}, {"prompt_tokens": 1.5}, {"prompt_tokens": True}),
        {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
    ],
)
def test_tokens_that_cannot_be_are_unknown(told):
    assert Usage.told(told) is None


def test_cached_tokens_without_a_price_cost_an_unknown_amount():
    prices = Prices(input=1, output=2)
    assert prices.of(Usage(1_000_000, 0, 500_000)) == 2.0
    assert prices.of(Usage(1_000_000, 1, 500_000)) is None
    assert Prices(input=1, output=2, cached_input=0).of(Usage(1_000_000, 1_000_000, 500_000)) == 1.0
