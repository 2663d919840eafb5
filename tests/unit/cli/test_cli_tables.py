import json

import pytest
from fitted_strategy import Words
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from router_sdk import Agent, Outcome, Task
from router_sdk.cli.commands.agents import agent_table
from router_sdk.cli.commands.models import quarantine_table
from router_sdk.cli.commands.status import status_tables
from router_sdk.cli.model_tables import version_table
from router_sdk.cli.screen import plain
from router_sdk.cli.tables import dollars, milliseconds, share, table, visible, word


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


# -- at eighty columns


def shown(tables, width=80):
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        for one in tables:
            console.print(one)
    return capture.get()


words = st.lists(st.text("abcdefgh_", min_size=1, max_size=40), max_size=20).map(" ".join)
numbers = st.integers(0, 10**6).map(word)


@given(st.lists(st.tuples(words, numbers, numbers, words, words), min_size=1, max_size=4), st.integers(60, 200))
def test_a_table_is_as_wide_as_the_terminal_and_breaks_no_word(rows, width):
    headings = ["agent", ">runs", ">examples", "can", "why"]
    told = shown([table("A title", headings, rows, wide="why", last=("can", "agent"))], width)
    assert all(len(line.rstrip()) <= width for line in told.splitlines())
    assert "…" not in told
    there = told.split()
    assert {one for row in rows for cell in row for one in cell.split()} <= set(there)


def test_a_column_with_room_stays_where_it_is():
    told = shown([table("Versions", ["strategy", ">version", "gate"], [["bert", "1", "passed"]], wide="gate")])
    assert told.splitlines()[-1].split() == ["bert", "1", "passed"]


def test_every_table_of_a_store_with_long_names_and_reasons_can_be_read(make_router):
    names = ["customer_support_specialist_emea", "demand_forecaster_of_the_marketing_mix", "billing"]
    agents = [
        Agent(name, description=f"what {name} answers", cost_usd=0.0123, latency_ms=1234.0, capabilities=set(names))
        for name in names
    ]
    reason = "monthly retraining after the catalogue was changed_in_every_single_category"
    router = make_router([Words, "thompson", "heuristic"], agents=agents, retrain=False, fit_executor="thread")
    for number in range(40):
        name = names[number % 3]
        told = Outcome(success=number % 7 > 0, correct_agent=name, latency_ms=1234.0, cost_usd=0.0123)
        router.observe(Task(f"{name} {number}", task_type=f"kind-{number % 4}"), name, told)
    for mode in ("learn", "worse"):
        router.models.retrain("words", wait=True, reason=reason, mode=mode)
    router.models.quarantine("words", from_seq=20, to_seq=25, reason=reason)
    router.dead_letter("outcome", f"line 3: {reason}")
    router.flush()
    tables = [version_table(router.models.versions()), quarantine_table(router.models.quarantines())]
    told = shown([*tables, agent_table(router.agents, "router.db"), *status_tables(router.status())])
    assert "…" not in told
    assert all(len(line.rstrip()) <= 80 for line in told.splitlines())
    there = told.split()
    assert {*names, "better", "changed_in_every_single_category)"} <= set(there)
