"""Single settings of a configuration file are changed; all else in it stays, to the last comment."""

import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_sdk.cli.commands.init import settings_file
from router_sdk.cli.config_file import ConfigFile
from router_sdk.config import configure, parse_settings
from router_sdk.errors import InvalidConfigError, InvalidInputError

KEYS = ("strategy", "thompson", "confidence_threshold")
TOML = [
    ("a = 1", "a = 1\n\n[strategy.thompson]\nconfidence_threshold = 0.4\n"),
    (
        "[strategy.thompson]\nconfidence_threshold   =  0.5   # mine\n",
        "[strategy.thompson]\nconfidence_threshold   =  0.4   # mine\n",
    ),
    (
        "[strategy.thompson]\nx = 5 # keep\n\n# of the next\n[strategy.bert]\ny = 1\n",
        "[strategy.thompson]\nx = 5 # keep\nconfidence_threshold = 0.4\n\n# of the next\n[strategy.bert]\ny = 1\n",
    ),
    (
        "[strategy.bert]\nx = 1\n\n# of the gate\n[gate]\ny = 2\n",
        "[strategy.bert]\nx = 1\n\n# of the gate\n[gate]\ny = 2\n\n[strategy.thompson]\nconfidence_threshold = 0.4\n",
    ),
    ("[strategy.thompson]\n# x = 5.0\n", "[strategy.thompson]\nconfidence_threshold = 0.4\n# x = 5.0\n"),
    (
        "strategy.thompson.x = 5\nz = 2\n",
        "strategy.thompson.x = 5\nstrategy.thompson.confidence_threshold = 0.4\nz = 2\n",
    ),
    (
        "[gate]\ny = 2\n\n# of what it inherits\n[strategy.thompson.inherit]\nb = 2\n",
        "[gate]\ny = 2\n\n# of what it inherits\n[strategy.thompson.inherit]\nb = 2\n\n"
        "[strategy.thompson]\nconfidence_threshold = 0.4\n",
    ),
    ("strategy = {thompson = {x = 5}} # d\n", "strategy = {thompson = {x = 5,confidence_threshold = 0.4}} # d\n"),
]
YAML = [
    ("a: 1", "a: 1\nstrategy:\n  thompson:\n    confidence_threshold: 0.4\n"),
    (
        "strategy:\n  thompson:\n    confidence_threshold: 0.5 # mine\na: 1\n",
        "strategy:\n  thompson:\n    confidence_threshold: 0.4 # mine\na: 1\n",
    ),
    (
        "strategy:\n  thompson:\n    # of x\n    x: 5.0  # c\n\n# next\na: 1\n",
        "strategy:\n  thompson:\n    # of x\n    x: 5.0  # c\n    confidence_threshold: 0.4\n\n# next\na: 1\n",
    ),
    (
        "strategy:\n    heuristic:\n        rules:\n        - {keywords: [a]}\n        - agent: b # t\n# e\n",
        "strategy:\n    heuristic:\n        rules:\n        - {keywords: [a]}\n        - agent: b # t\n"
        "    thompson:\n      confidence_threshold: 0.4\n# e\n",
    ),
    ("strategy: {thompson: {x: 5,}}\n", "strategy: {thompson: {confidence_threshold: 0.4, x: 5,}}\n"),
    ("strategy:\n  thompson: {}\n", "strategy:\n  thompson: {confidence_threshold: 0.4}\n"),
    ("a: |\n  b\n  c\n", "a: |\n  b\n  c\nstrategy:\n  thompson:\n    confidence_threshold: 0.4\n"),
    ("---\na: 1\n...\n", "---\na: 1\nstrategy:\n  thompson:\n    confidence_threshold: 0.4\n...\n"),
]
JSON = [
    ('{"a": 1}', '{"a": 1, "strategy": {"thompson": {"confidence_threshold": 0.4}}}\n'),
    (
        '{\n\t"strategy": {\n\t\t"thompson": {\n\t\t\t"confidence_threshold": 1\n\t\t}\n\t},\n\t"b": "é"\n}\n',
        '{\n\t"strategy": {\n\t\t"thompson": {\n\t\t\t"confidence_threshold": 0.4\n\t\t}\n\t},\n\t"b": "é"\n}\n',
    ),
]
CASES = [(form, *case) for form, cases in (("toml", TOML), ("yaml", YAML), ("json", JSON)) for case in cases]


def written(path, text):
    path.write_bytes(text.encode())
    return ConfigFile.open(path)


@pytest.mark.parametrize(("form", "before", "after"), CASES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_setting_is_changed_and_nothing_else(tmp_path, form, before, after, end):
    file = written(tmp_path / f"router.{form}", before.replace("\n", end))
    expected = after.replace("\n", end) if "\n" in before else after
    assert file.edited({KEYS: 0.4}) == expected
    assert file.edited({}) == before.replace("\n", end)


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
@settings(max_examples=20)
@given(values=st.dictionaries(st.sampled_from(["thompson", "heuristic", "bert", "other-one"]), st.floats(0, 1)))
def test_what_init_writes_says_the_same_but_for_the_changes(tmp_path_factory, form, values):
    file = written(tmp_path_factory.mktemp("init") / f"router.{form}", settings_file("router.db", ["a", "b"], form))
    changes = {("strategy", name, "confidence_threshold"): value for name, value in values.items()}
    text = file.edited(changes)
    told = parse_settings(text, file.path)
    for name, value in values.items():
        assert told["strategy"][name].pop("confidence_threshold") == value
    kept = {name: own for name, own in told["strategy"].items() if own or name in file.settings()["strategy"]}
    assert {**told, "strategy": kept} == file.settings()
    if form != "json":
        assert set(file.text.splitlines()) <= set(text.splitlines())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("router.toml", "strategy = {}\n"),
        ("router.yaml", "strategy:\n  bert: &both\n    x: 1\n  thompson: *both\n"),
    ],
)
def test_what_is_not_edited_says_what_to_put_in(tmp_path, name, text):
    file = written(tmp_path / name, text)
    with pytest.raises(InvalidConfigError, match=r"put in by hand: strategy.thompson.confidence_threshold = 0.4"):
        file.edited({KEYS: 0.4})


def test_lines_keep_their_ends_where_they_are_not_all_alike(tmp_path):
    before = "[gate]\r\ny = 2\n\r\n[strategy.thompson]\r\nx = 1\nconfidence_threshold = 0.1\r\nz = 3"
    after = before.replace("0.1", "0.4")
    assert written(tmp_path / "router.toml", before).edited({KEYS: 0.4}) == after
    before, after = "a: 1\r\nb: 2\nc: 3\r\n", "strategy:\r\n  thompson:\r\n    confidence_threshold: 0.4\r\n"
    assert written(tmp_path / "router.yaml", before).edited({KEYS: 0.4}) == before + after


@pytest.mark.parametrize(("link", "target"), [("router.toml", "settings"), ("settings", "router.toml")])
def test_what_a_file_is_written_in_says_its_name_or_that_of_what_it_leads_to(tmp_path, link, target):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / target).write_text("epsilon = 0.1\n")
    (tmp_path / link).symlink_to(tmp_path / "real" / target)
    assert configure(tmp_path / link, {}).epsilon == 0.1
    file = ConfigFile.open(tmp_path / link)
    file.write(file.edited({("epsilon",): 0.2}))
    assert (tmp_path / "real" / target).read_text() == "epsilon = 0.2\n"


def test_the_file_behind_a_link_is_written_and_keeps_its_mode_and_owner(tmp_path):
    target = tmp_path / "real" / "router.toml"
    target.parent.mkdir()
    target.write_text("epsilon = 0.1\n")
    target.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(target, 1234, 4321)
    before = target.stat()
    link = tmp_path / "router.toml"
    link.symlink_to(target)
    file = ConfigFile.open(link)
    file.write("epsilon = 0.2\n")
    assert link.is_symlink()
    assert target.read_text() == "epsilon = 0.2\n"
    after = target.stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (before.st_uid, before.st_gid, 0o640)
    assert [path.name for path in target.parent.iterdir()] == ["router.toml"]


def test_a_file_that_changed_meanwhile_is_left_as_it_is(tmp_path):
    file = written(tmp_path / "router.toml", "epsilon = 0.1\n")
    file.path.write_text("epsilon = 0.3\n")
    with pytest.raises(InvalidConfigError, match="changed meanwhile"):
        file.write("epsilon = 0.2\n")
    assert file.path.read_text() == "epsilon = 0.3\n"
    assert len(list(tmp_path.iterdir())) == 1
    file.path.unlink()
    with pytest.raises(InvalidConfigError, match="cannot write"):
        file.write("epsilon = 0.2\n")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(InvalidConfigError, match="cannot read"):
        ConfigFile.open(tmp_path / "none.toml")
    with pytest.raises(InvalidInputError, match="no plain file"):
        ConfigFile.open(tmp_path)
    with pytest.raises(InvalidConfigError, match="UTF-8"):
        ConfigFile(tmp_path / "router.toml", b"\xff", tmp_path / "router.toml").settings()
