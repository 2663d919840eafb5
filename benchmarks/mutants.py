"""How many small faults the tests notice: a seeded sample of mutants over the rooms whose promises matter most.

    pip install cosmic-ray==8.7.0 coverage pytest-cov
    python benchmarks/mutants.py --mutants 400 --seed 8 --jobs 2 --out mutants.json

A mutant is one change of one place (a comparison turned, a number moved, a branch negated, a loop left out…), made by
cosmic-ray's operators in a copy of the project. First every test is run once to see which lines it executes; then each
mutant meets the tests that execute its line, the quick ones first, and is *killed* when one fails or hangs, twice in a
row (a busy machine kills nothing). What only changes an annotation is not drawn. Tests that take longer than ``--slow``
seconds, those behind a flag, and what would not fit into ``--budget`` seconds are left out, so the figure is a lower
bound. The survivors are printed with their change, to be read by hand. A run that was cut short goes on where it
stopped, and the part of a sample that is done is a sample itself.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [
    "router_sdk/store/*.py",
    "router_sdk/gate.py",
    "router_sdk/training/selection.py",
    "router_sdk/training/perform.py",
    "router_sdk/executors/child.py",
    "router_sdk/routing/agents.py",
    "router_sdk/rewards/outcome.py",
]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]


def main() -> None:
    """Draw, try, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=400)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--slow", type=float, default=4.0, help="seconds: tests that take longer are left out")
    parser.add_argument("--budget", type=float, default=40.0, help="seconds: most of measured time for one mutant")
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    arguments = parser.parse_args()

    sample = draw(arguments.mutants, arguments.seed)
    print(f"{len(sample)} mutants drawn with seed {arguments.seed}", flush=True)
    kept = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for number in range(arguments.jobs):
            copies.put(copied(Path(folder) / str(number)))
        if "tests" not in kept:
            copy = copies.get()
            kept = {"tests": durations_and_lines(copy, arguments.jobs), "results": {}}
            copies.put(copy)
            arguments.out.write_text(json.dumps(kept))

        def tried(mutant: dict) -> dict:
            copy = copies.get()
            try:
                names = covering(kept["tests"], mutant, arguments.slow, arguments.budget)
                return mutant | verdict(copy, mutant, names)
            finally:
                copies.put(copy)

        waiting = [mutant for mutant in sample if mutant["id"] not in kept["results"]]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for done in pool.map(tried, waiting):
                kept["results"][done["id"]] = done
                arguments.out.write_text(json.dumps(kept, indent=1))
                killed = sum(result["killed"] for result in kept["results"].values())
                print(f"{len(kept['results'])}/{len(sample)}: {killed} killed  {done['id']}", flush=True)
    for result in kept["results"].values():
        if not result["killed"]:
            print(f"\n{result['id']} ({result['tests']} tests)\n{result['change']}")
    killed = sum(result["killed"] for result in kept["results"].values())
    print(f"\n{killed} of {len(kept['results'])} killed: {killed / len(kept['results']):.1%}")


def draw(count: int, seed: int) -> list[dict]:
    """Places drawn without replacement, one change at each: operators with many variants crowd nobody out."""
    places: dict[tuple, list[dict]] = {}
    for path in sorted({path for room in ROOMS for path in ROOT.glob(room)}):
        code, name = path.read_text(), path.relative_to(ROOT).as_posix()
        nodes = list(ast_nodes(get_ast(code)))
        for operator_name in sorted(operator_names()):
            operator = get_operator(operator_name)
            if operator.arguments():
                continue
            starts = [start for node in nodes for start, _ in operator().mutation_positions(node)]
            for occurrence, start in enumerate(starts):
                family = operator_name.partition("/")[2].partition("_")[0]
                places.setdefault((name, start, family), []).append(
                    {"path": name, "line": start[0], "operator": operator_name, "occurrence": occurrence}
                )
    dice = random.Random(seed)
    order = dice.sample(sorted(places), len(places))
    drawn = (mutant for place in order if changes(mutant := dice.choice(places[place])))
    return [mutant | {"id": "{path}:{line} {operator} {occurrence}".format(**mutant)}
            for mutant in itertools.islice(drawn, count)]  # fmt: skip


def changes(mutant: dict) -> bool:
    """Whether it can be made, compiles, and is more than another annotation."""
    code = (ROOT / mutant["path"]).read_text()
    try:
        mutated = mutate_code(code, get_operator(mutant["operator"])(), mutant["occurrence"])
        if mutated is None or stripped(mutated) == stripped(code):
            return False
    except (SyntaxError, AttributeError):  # the latter: exceptions named with their module are beyond cosmic-ray 8.7
        return False
    mutant["change"] = "\n".join(
        line for line in difflib.unified_diff(code.splitlines(), mutated.splitlines(), lineterm="", n=0)
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    )  # fmt: skip
    return True


def stripped(code: str) -> str:
    """What the code means: its tree without annotations and what is imported for them only."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                node.returns = None
            case ast.arg() | ast.AnnAssign():
                node.annotation = ast.Constant(None) if isinstance(node, ast.AnnAssign) else None
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                node.body = [ast.Pass()]
    return ast.dump(tree)


def copied(folder: Path) -> Path:
    """The project as git knows it, where it may be broken."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def environment(copy: Path) -> dict[str, str]:
    """The copy's code wins over an installed one; every try has its own folder for temporary files."""
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def durations_and_lines(copy: Path, jobs: int) -> dict[str, dict]:
    """Each test's seconds and the lines of the rooms it executes, in this process or in the ones it starts."""
    report, data = copy / "durations.xml", copy / ".coverage"
    (copy / ".coveragerc").write_text(
        f"[run]\nsource = {copy / 'router_sdk'}\ndata_file = {data}\nparallel = true\ncore = ctrace\n"
    )
    subprocess.run(
        [*PYTEST, "-n", str(jobs), "--cov", "--cov-config=.coveragerc", "--cov-context=test", "--cov-report=",
         f"--junitxml={report}", "tests"], cwd=copy, env=environment(copy), check=False,
    )  # fmt: skip
    seconds: dict[str, float] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            print(f"fails before anything was changed, left out: {case.get('classname')}::{case.get('name')}")
            continue
        seconds[f"{case.get('classname')}::{case.get('name')}"] = float(case.get("time", 0))
    tests: dict[str, dict] = {}
    from coverage.numbits import numbits_to_nums

    with sqlite3.connect(data) as database:
        rows = database.execute(
            "SELECT context.context, file.path, line_bits.numbits FROM line_bits"
            " JOIN context ON context.id = context_id JOIN file ON file.id = file_id"
        )
        for context, path, bits in rows:
            name = context.partition("|")[0]
            module, _, function = name.partition("::")
            key = f"{module.removesuffix('.py').replace('/', '.')}::{function.replace('::', '.')}"
            if not name or key not in seconds:
                continue
            entry = tests.setdefault(name, {"seconds": seconds[key], "lines": {}})
            lines = entry["lines"].setdefault(Path(path).relative_to(copy).as_posix(), set())
            lines.update(numbits_to_nums(bits))
    for entry in tests.values():
        entry["lines"] = {path: sorted(lines) for path, lines in entry["lines"].items()}
    return tests


def covering(tests: dict[str, dict], mutant: dict, slow: float, budget: float) -> list[str]:
    """The tests that execute the mutant's line, or near it (a statement may begin above), the quick ones first.

    What runs when a module is imported is no test's: there they are those that execute anything else in the file.
    """
    room = mutant["path"].split("/")[1].removesuffix(".py")
    near = set(range(mutant["line"] - 6, mutant["line"] + 1))
    exact = {name for name, entry in tests.items() if mutant["line"] in entry["lines"].get(mutant["path"], ())}
    names = exact or {name for name, entry in tests.items() if near & set(entry["lines"].get(mutant["path"], ()))}
    names = names or {name for name, entry in tests.items() if mutant["path"] in entry["lines"]}
    quick = sorted(
        (name for name in names if tests[name]["seconds"] <= slow),
        key=lambda name: (f"unit/{room}" not in name, tests[name]["seconds"]),
    )
    spent = itertools.accumulate(tests[name]["seconds"] for name in quick)
    return [name for name, seconds in zip(quick, spent, strict=True) if seconds <= budget]


def verdict(copy: Path, mutant: dict, names: list[str]) -> dict:
    """Break the copy, ask the tests, mend it."""
    path = copy / mutant["path"]
    code = path.read_text()
    mutated = mutate_code(code, get_operator(mutant["operator"])(), mutant["occurrence"])
    path.write_text(mutated)
    try:
        for part in (names[:40], names[40:]):
            if part and not passes(copy, part) and not passes(copy, part):
                return {"killed": True, "tests": len(names)}
        return {"killed": False, "tests": len(names)}
    finally:
        path.write_text(code)


def passes(copy: Path, names: list[str]) -> bool:
    """Whether all pass; what hangs is taken for a failure."""
    with tempfile.TemporaryDirectory() as folder:
        (copy / "names.txt").write_text("\n".join(names))
        process = subprocess.Popen(
            [*PYTEST, "-n", "0", "-x", f"--basetemp={folder}/t", f"@{copy / 'names.txt'}"],
            cwd=copy, env=environment(copy) | {"TMPDIR": folder}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(timeout=200) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
