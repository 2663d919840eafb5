import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.cli.screen import plain
from router_sdk.cli.tables import dollars, milliseconds, share, visible, word


@given(st.text())
def test_no_text_can_steer_the_terminal(text):
    shown = visible(text)
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert visible(shown) == shown


def test_an_escape_sequence_is_spelled_out_and_words_stay():
    assert visible("a\x1b[31mb") == "a\\x1b[31mb"
    assert visible("Grüße, 你好") == "Grüße, 你好"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.12345, "0.123"),
        ({}, "-"),
        ({"a": 1, "b": [0.5, "x"]}, "a 1, b 0.500, x"),
        (["a", "b"], "a, b"),
        ("\x07", "\\x07"),
    ],
)
def test_values_are_short(value, shown):
    assert word(value) == shown


def test_units():
    assert (share(0.666), milliseconds(1234.5), milliseconds(0.04)) == ("67%", "1,234 ms", "0.0 ms")
    assert (dollars(0.00217), dollars(12.5), dollars(None), share(None)) == ("$0.0022", "$12.50", "-", "-")


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.none() | st.text(), inner) | st.tuples(inner),
)


@given(json_like)
def test_whatever_is_answered_is_strict_json(value):
    json.loads(json.dumps(plain(value), allow_nan=False))
