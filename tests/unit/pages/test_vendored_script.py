import hashlib
from pathlib import Path

from router_sdk import pages

FOLDER = Path(pages.__file__).parent
DIGESTS = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


def test_the_charting_script_is_the_published_one_with_its_licence():
    """Of the npm package ``uplot``; a new release brings new digests, and a new number where the package is named."""
    for name, digest in DIGESTS.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert "uPlot (v1.6.32)" in (FOLDER / "uPlot.iife.min.js").read_text(encoding="utf-8").splitlines()[0]
    assert "uPlot 1.6.32" in pages.__doc__
    assert "The MIT License" in (FOLDER / "uPlot.LICENSE").read_text(encoding="utf-8")
