import pytest


def test_agents_come_and_go_in_the_store(desk):
    desk.run("agents", "add", "fraud", "--description", "Suspicious payments", "--cost-usd", "0.01", "--disabled")
    listed = desk.json("agents", "list")
    assert listed["source"] == "the store"
    assert [agent["name"] for agent in listed["agents"]] == ["billing", "technical", "fraud"]
    assert listed["agents"][0]["capabilities"] == ["refunds"]
    assert listed["agents"][2]["enabled"] is False
    assert "fraud (disabled)" in desk.run("agents", "list").stdout
    desk.run("agents", "remove", "billing")
    assert [agent["name"] for agent in desk.json("agents", "list")["agents"]] == ["technical", "fraud"]
    assert desk.json("route", "I was charged twice")["agent"] == "technical"


@pytest.mark.parametrize("arguments", [["add", "fraud"], ["remove", "billing"]])
def test_a_configured_list_is_changed_in_its_file(cli, arguments):
    cli.run("init")
    error = cli.fault("agents", *arguments, code=2)
    assert "router.toml" in error["message"]
    assert cli.json("agents", "list")["source"] == "router.toml"
    assert not cli.store.exists(), "a list from the file needs no store"


def test_names_with_markup_are_shown_as_they_are(cli):
    cli.run("agents", "add", "[bold]loud", "--description", "[red]x")
    shown = cli.run("agents", "list").stdout
    assert "[bold]loud" in shown
    assert "[red]x" in shown
    assert "[bold]loud" in cli.run("route", "hello").stdout
