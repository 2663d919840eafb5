"""What the documents show is run as it stands, each block by itself."""

import re
from functools import cache
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


_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@cache
def anchors(page):
    """What a page's headings are called in links, as GitHub names them."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere():
    broken, seen = [], 0
    for document in (one for one in FOUND if "/." not in f"/{one}"):
        page = ROOT / document
        for link in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            seen += 1
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                broken.append(f"{document}: {link}")
    assert broken == []
    assert seen > 100
