"""What the command line says: once, in words that a person uses."""

import sqlite3
from contextlib import closing

import pytest

from router_sdk.cli.commands.status import _by_version
from router_sdk.spelling import counted


@pytest.mark.parametrize("name", ["promote", "rollback", "pin", "unpin", "init", "restore", "retrain", "import"])
def test_help_shows_no_markup(cli, name):
    assert "`" not in cli.run(name, "--help").stdout


def test_one_is_no_plural(desk):
    assert [counted(count, "decision") for count in (0, 1, 2, 1_000)] == [
        "0 decisions",
        "1 decision",
        "2 decisions",
        "1,000 decisions",
    ]
    desk.run("route", "x", "--session", "s")
    assert "1 decision of s" in desk.run("record", "--session", "s", "--success").stdout
    assert "1 decision; 1 outcome," in desk.run("status").stdout
    assert "1 decision and 1 outcome" in desk.run("backup", "there").stdout


@pytest.mark.parametrize(
    ("versions", "words"),
    [({"2": 8}, ""), ({}, ""), ({"1": 6, "2": 2}, " (v1 60%, v2 20%)"), ({"1": 8}, " (v1 80%)")],
)
def test_decisions_are_of_the_version_that_made_them(versions, words):
    row = {"decisions": 8, "share": 0.8, "versions": versions}
    assert _by_version(row, {"model_version": 2}) == words


def test_restore_names_the_option(desk):
    desk.run("backup", "there")
    assert "--force" in desk.fault("restore", "there", code=2)["message"]


def test_a_locked_store_is_told_once(desk, monkeypatch):
    monkeypatch.setenv("ROUTER_STORE_TIMEOUT_SECONDS", "0.2")
    with closing(sqlite3.connect(desk.store, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        result = desk.run("route", "x", code=1)
    assert result.stderr.count("locked") == 1
    assert result.stderr.startswith("error: decisions stay queued")
