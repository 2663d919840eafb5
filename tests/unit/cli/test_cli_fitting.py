import json

import pytest

pytestmark = pytest.mark.usefixtures("words_installed")

ROWS = [{"text": f"{agent} please {number}", "label": agent} for number in range(20) for agent in ("billing", "sales")]


@pytest.fixture
def taught(cli, monkeypatch):
    """A command line with the strategy in its chain and forty labelled examples."""
    monkeypatch.setenv("ROUTER_STRATEGIES", '["words"]')
    monkeypatch.setenv("ROUTER_EPSILON", "0")
    (cli.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    cli.run("agents", "add", "billing")
    cli.run("agents", "add", "sales")
    cli.run("import", "rows.jsonl")
    return cli


def test_retrain_promote_and_roll_back(taught):
    fitted = taught.json("retrain")
    assert (fitted["state"], fitted["version"]["version"]) == ("promoted", 1)
    assert taught.json("route", "sales please")["agent"] == "sales"
    assert "Version 2 of words: refused." in taught.run("retrain", "--set", "mode=worse").stdout
    shown = taught.run("versions").stdout
    assert "refused: held_out_accuracy: fail" in " ".join(shown.split())
    assert taught.fault("promote", "words", "2", code=1)["type"] == "GateRefusedError"
    assert taught.json("promote", "words", "2", "--force") == {"strategy": "words", "version": 2}
    assert taught.json("rollback", "words")["version"] == 1
    assert "without any fit" in taught.run("rollback", "words").stdout
    assert [version["aliases"] for version in taught.json("versions", "words")["versions"]] == [[], []]


def test_pretrain_from_a_file_brings_the_agents(cli, monkeypatch):
    monkeypatch.setenv("ROUTER_STRATEGIES", '["words"]')
    monkeypatch.setenv("ROUTER_EPSILON", "0")
    (cli.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    fitted = cli.json("pretrain", "--data", "rows.jsonl")
    assert (fitted["state"], fitted["version"]["kind"]) == ("promoted", "pretrain")
    assert cli.json("route", "billing please")["model_version"] == 1
    assert cli.json("status")["store"]["outcomes"] == 0


def test_bad_input_says_what_to_do(taught):
    assert "epochs=3" in taught.fault("retrain", "--set", "epochs", code=2)["message"]
    assert "speed" in taught.fault("retrain", "--set", "speed=3", code=2)["message"]
    assert "not finite" in taught.fault("retrain", "--set", "mode=raise", code=1)["message"]
    assert "no version 9" in taught.fault("promote", "words", "9", code=2)["message"]
