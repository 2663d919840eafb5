import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "transformers",
    "onnxruntime",
    "sklearn",
    "scipy",
    "pandas",
    "sqlite_utils",
    "fastapi",
    "typer",
    "rich",
}

IMPORT = "import router_sdk"
PLUGINS = """
from router_sdk.plugins import PluginRegistry
registry = PluginRegistry.load()
assert [info.error for info in registry.describe() if info.error] == []
assert {"heuristic", "thompson"} <= registry.strategies.keys()
"""
ROUTE = """
from router_sdk import Router
with Router(agents=["a", "b"], strategies=["thompson"], store="router.db") as router:
    router.route("x")
"""
REPORT = """
import json, os, sys, threading
found = {"modules": sorted({name.partition(".")[0] for name in sys.modules}), "files": os.listdir(),
         "threads": threading.active_count()}
print(json.dumps(found))
"""


def run(program, folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program + REPORT], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_sdk_imports_nothing_heavy_and_does_nothing(tmp_path):
    found = run(IMPORT, tmp_path)
    assert HEAVY.isdisjoint(found["modules"])
    assert "pydantic_settings" not in found["modules"]
    assert (found["files"], found["threads"]) == ([], 1)


def test_loading_every_plugin_imports_nothing_heavy(tmp_path):
    found = run(PLUGINS, tmp_path)
    assert HEAVY.isdisjoint(found["modules"])
    assert (found["files"], found["threads"]) == ([], 1)


@pytest.mark.slow
def test_a_store_that_stands_needs_nothing_to_migrate_it(tmp_path):
    run(ROUTE, tmp_path)
    assert HEAVY.isdisjoint(run(ROUTE, tmp_path)["modules"])


def test_a_store_in_a_file_needs_no_other_databases_driver(tmp_path):
    pytest.importorskip("router_sdk_postgres")
    known = "from router_sdk.plugins import PluginRegistry\nassert 'postgresql' in PluginRegistry.load().engines\n"
    assert {"psycopg", "psycopg_pool"}.isdisjoint(run(known + ROUTE, tmp_path)["modules"])


@pytest.mark.parametrize("module", ["router_sdk.testing", "router_sdk.plugin", "router_sdk.config"])
def test_what_plugin_authors_import_is_light_too(tmp_path, module):
    assert (HEAVY | {"pytest", "hypothesis"}).isdisjoint(run(f"import {module}", tmp_path)["modules"])
