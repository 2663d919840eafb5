import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_heuristic.predicate import parse_predicate


@pytest.mark.parametrize(
    ("text", "features", "holds"),
    [
        ("mape > 15", {"mape": 15.1}, True),
        ("mape > 15", {"mape": 15}, False),
        ("mape >= 15", {"mape": 15}, True),
        ("mape<-.5e1", {"mape": -6}, True),
        ("mape > 15", {}, False),
        ("mape != 15", {}, False),
        ("mape > 15 and region == 'EU'", {"mape": 20, "region": "EU"}, True),
        ('mape > 15 AND region == "EU"', {"mape": 20, "region": "US"}, False),
        ("a == 1 and b == 2 and c == 3", {"a": 1, "b": 2, "c": 4}, False),
        ("seasonal == true", {"seasonal": True}, True),
        ("seasonal == True", {"seasonal": False}, False),
        ("seasonal == 1", {"seasonal": True}, False),
        ("count == 1", {"count": 1}, True),
        ("count == '1'", {"count": 1}, False),
        ("count != '1'", {"count": 1}, True),
        ("name == 'salt and pepper > 3'", {"name": "salt and pepper > 3"}, True),
        ("error-rate.p99 <= 0.5", {"error-rate.p99": 0.5}, True),
        ("größe > 3", {"größe": 4}, True),
    ],
)
def test_a_predicate_says_what_it_reads_like(text, features, holds):
    assert parse_predicate(text).holds(features) is holds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected 'name operator value'"),
        ("mape", "found 'mape'"),
        ("mape >", "found 'mape >'"),
        ("> 15", "found '> 15'"),
        ("mape = 15", "did you mean '=='"),
        ("mape > high", "'high' is no value"),
        ("mape > 'high'", "compares numbers only"),
        ("flag > true", "compares numbers only"),
        ("mape > 15 or x > 1", "expected 'and'"),
        ("mape > 15 and", "expected 'and'"),
        ("mape > 15 and and", "found 'and'"),
        ("mape > 15, x > 1", "cannot read"),
        ("mape > 15x", "cannot read"),
        ("name == 'open", "cannot read"),
        ("__import__('os').system('true')", "cannot read"),
        ("(mape > 15)", "cannot read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_predicate(text)


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        predicate = parse_predicate(text)
    except ValueError:
        return
    predicate.holds({"a": 1.0, "b": True, "c": "x"})


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in {"and", "true", "false"})
operators = {"==": float.__eq__, "!=": float.__ne__, "<": float.__lt__, "<=": float.__le__, ">": float.__gt__}
numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(names, st.sampled_from(sorted(operators)), numbers), min_size=1, max_size=4), numbers)
def test_numbers_compare_as_python_compares_them(clauses, found):
    text = " and ".join(f"{name} {symbol} {value!r}" for name, symbol, value in clauses)
    features = {name: found for name, _, _ in clauses}
    expected = all(operators[symbol](found, value) for _, symbol, value in clauses)
    assert parse_predicate(text).holds(features) is expected
