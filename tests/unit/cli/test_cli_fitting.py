import json

import pytest

pytestmark = pytest.mark.usefixtures("words_installed", "words_alone")

ROWS = [{"text": f"{agent} please {number}", "label": agent} for number in range(20) for agent in ("billing", "sales")]


@pytest.fixture
def taught(cli):
    """A command line with forty labelled examples in its store."""
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
    served = " ".join(shown.partition("What served")[2].split())
    assert "it did better than what served before on 40 held-out examples" in served
    assert "no_regression: " not in served
    assert ("active" in shown, "candidate" in shown, "refused" in shown) == (True, True, True)
    assert taught.fault("promote", "words", "2", code=1)["type"] == "GateRefusedError"
    assert taught.json("promote", "words", "2", "--force") == {"strategy": "words", "version": 2}
    assert taught.json("rollback", "words")["version"] == 1
    assert "without any fit" in taught.run("rollback", "words").stdout
    assert [version["aliases"] for version in taught.json("versions", "words")["versions"]] == [[], []]
    assert taught.json("rollback", "words", "2", "--reason", "better after all", "--actor", "ada")["version"] == 2
    newest = taught.json("versions")["history"]["words"][0]
    assert (newest["version"], newest["actor"], newest["reason"]) == (2, "ada", "rollback: better after all")
    assert "ada" in taught.run("versions").stdout
    assert "pinned by ada" in taught.run("status").stdout


def test_what_a_version_was_trained_on_is_shown_and_exported(taught):
    version = taught.json("retrain")["version"]
    (shown,) = taught.json("versions")["versions"]
    assert shown["dataset"] == version["dataset"]
    assert shown["dataset"]["examples"] == version["samples"] > 20
    told = taught.json("export", "data.jsonl", "--dataset", "words:1")
    lines = (taught.folder / "data.jsonl").read_text().splitlines()
    assert told["examples"] == len(lines) == version["samples"]
    held = taught.json("export", "held.jsonl", "--dataset", "words:1", "--held-out")["examples"]
    assert held == shown["dataset"]["held_out"]
    assert taught.run("export", "-", "--dataset", "words:1", "--most", "3").stdout.count("\n") == 3
    for wrong in ("words", "words:x", ":1"):
        assert "STRATEGY:VERSION" in taught.fault("export", "x.jsonl", "--dataset", wrong, code=2)["message"]
    assert "no version 9" in taught.fault("export", "x.jsonl", "--dataset", "words:9", code=2)["message"]
    assert "--dataset" in taught.fault("export", "x.jsonl", "--held-out", code=2)["message"]


def test_a_version_of_another_store_is_imported(taught):
    from router_sdk import Router

    taught.run("retrain")
    with Router(store=taught.store) as router:
        router.models.export_to("words", 1, taught.folder / "out")
    fitted = taught.json("import-version", "out")
    assert (fitted["state"], fitted["version"]["kind"]) == ("refused", "import")  # nothing is gained by it
    assert "Version 3 of words: refused." in taught.run("import-version", "out").stdout
    assert taught.json("promote", "words", "2", "--force")["version"] == 2
    (taught.folder / "out" / "words.json").write_text("[]")
    assert taught.fault("import-version", "out", code=1)["type"] == "CorruptArtifactError"
    assert "no folder" in taught.fault("import-version", "nowhere", code=2)["message"]


def test_pretrain_from_a_file_brings_the_agents(cli):
    (cli.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    fitted = cli.json("pretrain", "--data", "rows.jsonl")
    assert (fitted["state"], fitted["version"]["kind"]) == ("promoted", "pretrain")
    assert cli.json("route", "billing please")["model_version"] == 1
    assert cli.json("status")["store"]["outcomes"] == 0


def test_retrain_from_a_file_imports_and_fits_in_one_step(cli):
    rows = [{"q": row["text"], "who": row["label"]} for row in ROWS]
    (cli.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"q": "nobody"}]))
    asked = ("--from", "rows.jsonl", "--strategy", "words", "--map", "text=q", "--map", "label=who", "--new-agents")
    result = cli.run("retrain", *asked, "--json", code=2)  # one line is refused, and the others are fitted on
    told = json.loads(result.stdout)
    assert (told["state"], told["imported"]["imported"], told["imported"]["rejected"]) == ("promoted", 40, 1)
    assert cli.json("route", "sales please")["agent"] == "sales"
    assert "--from" in cli.fault("retrain", "--new-agents", code=2)["message"]
    assert "no such file" in cli.fault("retrain", "--from", "none.jsonl", code=2)["message"]
    assert "nope" in cli.fault("retrain", "--from", "rows.jsonl", "--strategy", "nope", code=2)["message"]


def test_bad_input_says_what_to_do(taught):
    assert "epochs=3" in taught.fault("retrain", "--set", "epochs", code=2)["message"]
    assert "speed" in taught.fault("retrain", "--set", "speed=3", code=2)["message"]
    assert "not finite" in taught.fault("retrain", "--set", "mode=raise", code=1)["message"]
    assert "no version 9" in taught.fault("promote", "words", "9", code=2)["message"]


PRODUCTS = "id,product_name,product_category_tree,details,price\n" + "".join(
    f'{number},{word} {number},"[""{tree}""]",{number} pieces,{price}\n'
    for number in range(20)
    for word, tree, price in (
        ("phone", "Electronics >> Mobile Phones >> Smartphones", 199),
        ("sofa", "Furniture >> Living Room", 0.5),
    )
)
MAP = ("--map", "text=product_name,details", "--map", "label=product_category_tree:first")


def test_a_product_file_is_learnt_and_imported_by_one_mapping(cli, monkeypatch):
    monkeypatch.setenv("ROUTER_STRATEGIES", '["words"]')
    monkeypatch.setenv("ROUTER_EPSILON", "0")
    (cli.folder / "products.csv").write_text(PRODUCTS)
    assert cli.json("pretrain", "--data", "products.csv", *MAP)["state"] == "promoted"
    assert sorted(agent["name"] for agent in cli.json("agents", "list")["agents"]) == ["Electronics", "Furniture"]
    routed = cli.json("route", "phone with a long battery life")
    assert (routed["agent"], routed["model_version"]) == ("Electronics", 1)
    assert cli.json("route", "sofa for three")["agent"] == "Furniture"
    imported = cli.json("import", "products.csv", *MAP)
    assert (imported["imported"], imported["rejected"]) == (40, 0)
    assert cli.json("retrain")["version"]["samples"] > 0


def test_a_wrong_mapping_is_refused_alike_by_import_and_pretrain(cli):
    (cli.folder / "products.csv").write_text(PRODUCTS)
    for command in (("import", "products.csv"), ("pretrain", "--data", "products.csv")):
        assert "there are 'id', 'product_name'" in cli.fault(*command, "--map", "text=title", code=2)["message"]
        assert "write text=COLUMN" in cli.fault(*command, "--map", "title=product_name", code=2)["message"]
        assert "write text=COLUMN" in cli.fault(*command, "--map", "text=", code=2)["message"]
        assert "given twice" in cli.fault(*command, "--map", "label=id", "--map", "label=price", code=2)["message"]
    assert "--data" in cli.fault("pretrain", *MAP, code=2)["message"]


def test_thresholds_are_looked_for_and_nothing_is_changed(taught, monkeypatch):
    told = taught.json("tune-thresholds")
    assert told == {"thresholds": [], "strategy": {}}
    assert "hands nothing on" in taught.run("tune-thresholds").stdout
    monkeypatch.setenv("ROUTER_STRATEGIES", '["words", "heuristic"]')
    told = taught.json("tune-thresholds", "--newest", "20", "--cost-of-handing-on", "0.1")
    (words,) = told["thresholds"]
    assert (words["strategy"], words["value"], words["now"], words["now_from"]) == ("words", None, 0.0, "default")
    assert words["reason"].startswith("insufficient")
    assert "insufficient" in taught.run("tune-thresholds").stdout
    assert taught.fault("tune-thresholds", "--newest", "0", code=2)


def test_the_status_says_what_confidence_rests_on(taught):
    shown = " ".join(taught.run("status").stdout.split())
    assert "Confidence of words: 0 outcomes of favourites are known, 50 are needed" in shown


def test_warm_up_says_who_starts_from_no_checkpoint(desk, words_alone, tmp_path):
    (tmp_path / "labelled.jsonl").write_text(
        '{"text": "refund", "label": "billing"}\n{"text": "app", "label": "technical"}\n'
    )
    (tmp_path / "checkpoint").mkdir()
    fault = desk.fault("warm-up", str(tmp_path / "checkpoint"), "--data", str(tmp_path / "labelled.jsonl"), code=1)
    assert "starts from no checkpoint" in fault["message"]
    fault = desk.fault("warm-up", str(tmp_path / "none"), "--data", str(tmp_path / "labelled.jsonl"), code=2)
    assert "is no folder" in fault["message"]
