import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from router_sdk import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if inspect.isfunction(function) and hasattr(function, "router_sdk_spec")
}


def test_the_page_is_fresh():
    subprocess.run([sys.executable, "docs/generate_hooks.py", "--check"], cwd=ROOT, check=True)


def test_a_stale_page_fails_the_check(tmp_path):
    for name in ("generate_hooks.py", "hooks.md"):
        (tmp_path / name).write_bytes((ROOT / "docs" / name).read_bytes())
    with (tmp_path / "hooks.md").open("a") as page:
        page.write("more")
    done = subprocess.run(
        [sys.executable, tmp_path / "generate_hooks.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "run python" in done.stderr
    assert (tmp_path / "hooks.md").read_text().endswith("more")


@pytest.mark.parametrize("name", HOOKS)
def test_every_hooks_exact_signature_stands_in_the_docs(name):
    signature = inspect.signature(HOOKS[name])
    assert f"\ndef {name}{signature}\n".replace("'", "") in (ROOT / "docs/hooks.md").read_text()


@pytest.mark.parametrize("name", HOOKS)
def test_no_hook_argument_has_a_default(name):
    """Pluggy would not pass it on, and a caller could leave it out unseen."""
    assert all(argument.default is argument.empty for argument in inspect.signature(HOOKS[name]).parameters.values())


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_says_since_when_and_is_typed(name):
    assert "Since 0." in HOOKS[name].__doc__
    signature = inspect.signature(HOOKS[name])
    assert signature.return_annotation is not signature.empty
    assert all(argument.annotation is not argument.empty for argument in signature.parameters.values())


def test_every_hook_has_a_test():
    tests = ast.parse((ROOT / "tests/unit/plugins/test_every_hook.py").read_text())
    tested = {item.name.removeprefix("test_") for item in tests.body if isinstance(item, ast.FunctionDef)}
    assert HOOKS.keys() <= tested
