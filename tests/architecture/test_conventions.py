import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("router_sdk", "plugins", "examples", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if "build" not in path.parts and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
SHIPPED = [
    path for path in SOURCES if path.is_relative_to(ROOT / "router_sdk") or path.is_relative_to(ROOT / "plugins")
]

LONGEST = 400
FACES = {"router_sdk/router.py": 620, "router_sdk/training/models.py": 550}
"""A public face reads top to bottom, with every promise where it is made."""
BANNED = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
UNSAFE = {"pickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def nodes(path, kind):
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kind)]


def imported(path):
    for node in nodes(path, (ast.Import, ast.ImportFrom)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        yield from (name.partition(".")[0] for name in names)


def test_there_is_something_to_look_at():
    assert len(SHIPPED) > 50


def test_files_are_short():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > FACES.get(name, LONGEST)} == {}


def test_names_say_what_a_thing_does():
    banned = {}
    for path in SOURCES:
        words = {word for part in path.relative_to(ROOT).with_suffix("").parts for word in part.lower().split("_")}
        for node in nodes(path, ast.ClassDef):
            words |= {word.lower() for word in re.findall(r"[A-Z][a-z]+", node.name)}
        if words & BANNED:
            banned[name_of(path)] = words & BANNED
    assert banned == {}


def test_what_plugins_are_put_into_changes_by_six_lines_at_most():
    longest = {}
    for readme in (ROOT / "plugins").glob("*/README.md"):
        for before_and_after in re.findall(r"^```diff\n(.*?)^```", readme.read_text(encoding="utf-8"), re.M | re.S):
            added = len(re.findall(r"^\+", before_and_after, re.M))
            longest[readme.parent.name] = max(added, longest.get(readme.parent.name, 0))
    adapters = {"a2a", "langchain", "litellm", "mcp", "openai_agents", "otel", "systemone"}
    assert adapters <= longest.keys()
    assert {name: added for name, added in longest.items() if added > 6} == {}


def test_nothing_that_runs_code_when_read_is_imported():
    assert {name_of(path): found for path in SHIPPED if (found := UNSAFE.intersection(imported(path)))} == {}


def test_every_file_says_what_it_is_for():
    assert [
        name_of(path) for path in SHIPPED if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


def test_what_takes_long_is_deselected_without_its_flag(tmp_path):
    (tmp_path / "test_marked.py").write_text(
        "import pytest\n"
        + "".join(
            f"@pytest.mark.{flag}\ndef test_{flag}(): pass\n"
            for flag in ("slow", "reliability", "kafka", "benchmark", "gpu")
        )
        + "def test_always(): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    every = ["--slow", "--reliability", "--kafka", "--benchmark", "--gpu"]
    program = "import sys, pytest\n" + "".join(
        f"pytest.main(['-q', '-p', 'conftest', '--strict-markers', 'test_marked.py', *{flags}])\n"
        for flags in ([], every[:1], every)
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    without, some, all_of_them = re.findall(r"^.* in [\d.]+s", done.stdout, re.MULTILINE)
    assert "1 passed, 5 deselected" in without
    assert "2 passed, 4 deselected" in some
    assert "6 passed" in all_of_them
