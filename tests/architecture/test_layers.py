import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_point_one_way():
    """The contracts stand in ``pyproject.toml``; a module that no layer names breaks them too."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    places = [*map(str, sorted((ROOT / "plugins").iterdir())), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},  # adapters are read there, their frameworks or not
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kept, 0 broken" in done.stdout
