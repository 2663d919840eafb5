import pytest

from router_sdk.cli.invocation import typed_pairs
from router_sdk.errors import InvalidInputError


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("x=1", 1),
        ("x=-2.5e3", -2500.0),
        ("x=true", True),
        ("x=EU", "EU"),
        ("x=", ""),
        ("x=a=b", "a=b"),
        ('x="12345"', "12345"),
        ("x=0123", "0123"),
        ("x=[1]", "[1]"),
        ("x=null", "null"),
        ("x=NaN", "NaN"),
        ("x=Infinity", "Infinity"),
    ],
)
def test_a_value_is_read_as_what_it_spells(given, value):
    (found,) = typed_pairs([given], "--feature").values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("given", [["x"], ["=1"], ["x=1", "x=2"]])
def test_what_is_no_pair_is_refused_by_the_options_name(given):
    with pytest.raises(InvalidInputError, match="--feature"):
        typed_pairs(given, "--feature")
