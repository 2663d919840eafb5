"""Every promise in ``docs/guarantees.md`` names a test, and that test exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"))


def test_there_are_promises():
    assert len(NAMED) > 30


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_promise_names_a_test_that_exists(file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_every_line_of_a_table_names_one():
    for line in (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and not line.startswith(("| promise", "|---")):
            assert "::" in line, line
