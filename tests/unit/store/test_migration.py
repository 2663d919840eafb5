"""A log goes into an empty store of its own; what would destroy another is refused before a file is touched."""

from contextlib import closing

import pytest
from typer.testing import CliRunner

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.cli.app import app
from router_sdk.errors import InvalidInputError
from router_sdk.store import Store
from router_sdk.store.migration import migrate

AGENTS = [Agent("billing"), Agent("technical")]


def filled(path):
    with Router(AGENTS, ["thompson"], path, seed=1, privacy="hmac") as router:
        router.record(router.route(Task("x", session_id="s")), Outcome(success=True))
        router.snapshot()
    return path


def files(path):
    folder = path.with_name(path.name + ".artifacts")
    return {each.relative_to(folder): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def moved(source, target):
    with closing(Store(source, read_only=True)) as old, closing(Store(target)) as new:
        return migrate(old, new)


@pytest.mark.parametrize("link", [False, True])
def test_a_store_is_not_copied_onto_itself(tmp_path, monkeypatch, link):
    source = filled(tmp_path / "a.db")
    monkeypatch.chdir(tmp_path)
    if link:
        (tmp_path / "b.db").symlink_to(source)
    before = files(source)
    with pytest.raises(InvalidInputError, match="is the store that is to be copied"):
        moved(source, "./b.db" if link else "./a.db")
    kept = files(source)
    assert {name: kept[name] for name in before} == before


def test_the_command_refuses_it_too(tmp_path, monkeypatch):
    source = filled(tmp_path / "a.db")
    monkeypatch.chdir(tmp_path)
    before = files(source)
    assert CliRunner().invoke(app, ["store", "migrate", "--store", "a.db", "./a.db"]).exit_code != 0
    assert before.items() <= files(source).items()


def test_a_store_with_anything_in_it_keeps_its_files(tmp_path):
    source, target = filled(tmp_path / "a.db"), filled(tmp_path / "b.db")
    before = files(target)
    with pytest.raises(InvalidInputError, match="is not empty"):
        moved(source, target)
    assert before.items() <= files(target).items()


def test_an_empty_store_gets_rows_folders_and_secret(tmp_path):
    source, target = filled(tmp_path / "a.db"), tmp_path / "b.db"
    Store(target, privacy="hmac").close()  # with a secret of its own
    assert moved(source, target).missing == ()
    there = {name for name in files(source) if name.parts[0] in ("snapshots", "privacy.key")}
    assert len(there) > 1
    assert {name: files(target)[name] for name in there} == {name: files(source)[name] for name in there}
    with Router(AGENTS, ["thompson"], target, seed=1, privacy="hmac") as router:
        assert router.status()["store"]["outcomes"] == 1
