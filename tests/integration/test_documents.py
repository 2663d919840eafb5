"""What the documents show is run as it stands, each block by itself."""

from importlib.metadata import EntryPoint

import pytest
from documents import ROOT, blocks, run

from router_sdk import plugins

ELSEWHERE = {"plugins/bert/README.md", "README.md"}
"""Run with a tiny model in the plugin's own tests, and in ``test_readme.py``."""
EXAMPLE = "examples/third_party_plugin"
FOUND = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("**/*.md"))]
SHOWN = [(one, block) for one in FOUND if one not in ELSEWHERE and "/." not in f"/{one}" for block in blocks(one)]


def test_there_is_something_to_run():
    assert {"docs/outcomes.md", "docs/tenants.md", "plugins/thompson/README.md", f"{EXAMPLE}/README.md"} <= {
        document for document, _ in SHOWN
    }


@pytest.fixture
def example_installed(monkeypatch):
    """The plugin of the examples, as if it were installed; that it can be is tested by itself."""
    installed = plugins.discover()
    monkeypatch.syspath_prepend(ROOT / EXAMPLE)
    brought = EntryPoint("nearest", "router_sdk_nearest.hooks", "router_sdk"), None
    monkeypatch.setattr(plugins, "discover", lambda: [*installed, brought])


@pytest.mark.usefixtures("example_installed")
@pytest.mark.parametrize(
    ("document", "block"), SHOWN, ids=[f"{one}-{SHOWN.index((one, block))}" for one, block in SHOWN]
)
def test_a_block_runs_by_itself(document, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(document, block)
