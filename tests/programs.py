"""Runs a test file's own functions as programs: a test runner's process is no place to fork from, or to be ended in."""

import json
import os
import signal
import sys
from pathlib import Path

import forked_programs

LIMIT_S = 60


def run(scenario, *arguments, expected=0, runner=forked_programs.run):
    """Run a function of the file that it stands in as a program; what it returned."""
    done = runner(
        [
            sys.executable,
            *("-W", "error", "-W", "ignore:This process:DeprecationWarning"),  # from 3.12 on: a fork beside threads
            sys.modules[scenario.__module__].__file__,
            scenario.__name__,
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])},
    )
    assert done.returncode == expected, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def main(functions):
    """What such a file ends with: the function that was named, and its answer on stdout."""
    if hasattr(signal, "alarm"):
        signal.alarm(LIMIT_S)  # What hangs dies of it.
    answer = functions[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def in_child(work):
    """Fork, run ``work`` in the child, and return its exit code and what ``work`` returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S // 2)
        try:
            os.write(writing, json.dumps(work()).encode())
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [code, json.loads(said) if said else None]
