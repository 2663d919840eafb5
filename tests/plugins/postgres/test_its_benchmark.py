"""``benchmarks/postgres.py`` runs: tiny sizes, no claim about speed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.services

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "postgres.py"


def test_every_part_runs(database):
    environment = {**os.environ, "BENCH_POSTGRES": database, "COLUMNS": "200"}
    told = subprocess.run(
        [sys.executable, SCRIPT, "--quick"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert told.returncode == 0, told.stderr
    for line in (
        "bare group committer",
        "bare binary COPY",
        "record in partitions",
        "4 processes: errors",
        "PostgreSQL: known elsewhere",
    ):
        assert line in told.stdout
