"""The command line in processes of its own, as a shell and a program meet it."""

import json
import os
import subprocess
import sys

import forked_programs
import pytest

ROUTER = [sys.executable, "-c", "from router_sdk.cli import main; main()"]
TIMEOUT_S = 120


@pytest.fixture
def router(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROUTER_")}

    def run(*arguments, **options):
        options = {"capture_output": True, "text": True, "timeout": TIMEOUT_S, **options}
        return forked_programs.run([*ROUTER, *arguments], cwd=tmp_path, env=environment, **options)

    run.environment, run.folder = environment, tmp_path
    return run


def test_importing_the_sdk_brings_no_command_line_with_it():
    code = (
        "import sys, router_sdk; print([m for m in ('typer', 'rich', 'click', 'router_sdk.cli') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_help_loads_no_learning_library():
    code = (
        "import sys\nfrom router_sdk.cli import main\nsys.argv = ['router', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'sqlite_utils') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.stdout.endswith("[]\n"), shown.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["route", "hello"], ["agents", "list"], ["status"]])
def test_a_command_loads_what_it_needs_and_no_other_command(router, command):
    code = (
        f"import sys\nfrom router_sdk.cli import main\nsys.argv = ['router', *{command}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*(m for m in sys.modules if m.startswith('router_sdk.cli.commands.')))\n"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'router_sdk.demo', 'router_sdk.pages') if m in sys.modules])"
    )
    router("agents", "add", "billing", "--example", "I was charged twice")
    router.environment["ROUTER_STRATEGIES"] = '["thompson", "heuristic"]'
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=router.folder, env=router.environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-2:] == [f"router_sdk.cli.commands.{command[0]}", "[]"], done.stderr


@pytest.mark.slow
def test_one_process_decides_another_records_and_a_third_reports(router):
    assert router("init").returncode == 0
    decision = json.loads(router("route", "I was charged twice", "--json").stdout)
    recorded = router("record", decision["decision_id"], "--success", "--json")
    assert json.loads(recorded.stdout)["pending"] is False
    report = json.loads(router("status", "--json").stdout)
    assert report["store"]["outcomes"] == 1
    assert report["performance"][0]["executions"] == 1


def test_a_stream_is_answered_line_by_line(router):
    """A program can hold a conversation: the answer to a line comes before the next line is written."""
    router("init")
    pipe = subprocess.PIPE
    command = [*ROUTER, "route", "--batch", "-", "--json"]
    with forked_programs.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=router.folder, env=router.environment
    ) as process:
        for line in (1, 2):
            process.stdin.write('{"text": "I was charged twice"}\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["line"] == line
        process.stdin.write("broken\n")
        process.stdin.flush()
        assert json.loads(process.stderr.readline())["refused"]["line"] == 3
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == 2


def test_a_reader_that_goes_away_is_no_fault_of_ours(router):
    router("init", "--agent", "a")
    tasks = "".join(json.dumps({"text": "x" * 500, "task_type": f"t{i}"}) + "\n" for i in range(2_000))
    (router.folder / "tasks.jsonl").write_text(tasks)
    command = [*ROUTER, "route", "--batch", "tasks.jsonl", "--json"]
    with forked_programs.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=router.folder, env=router.environment
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        process.wait(TIMEOUT_S)
    assert "Traceback" not in told
    assert "Exception" not in told


def test_errors_are_json_on_stderr_and_stdout_stays_empty(router):
    for arguments, code in ((["status"], 1), (["route"], 2), (["route", "x", "--nope"], 2), (["nope"], 2)):
        result = router(*arguments, "--json")
        assert (result.returncode, result.stdout) == (code, ""), arguments
        assert json.loads(result.stderr)["error"]["exit_code"] == code


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_bar_moves_on_a_terminal_and_stdout_stays_clean(router):
    import pty

    outer, inner = pty.openpty()
    try:
        environment = {**router.environment, "TERM": "xterm", "COLUMNS": "80"}
        process = forked_programs.Popen(
            [
                *ROUTER,
                "demo",
                "--act",
                "support-desk",
                "--rounds",
                "20",
                "--seeds",
                "1",
                "--strategies",
                "thompson,heuristic",
            ],
            stdout=subprocess.PIPE,
            stderr=inner,
            cwd=router.folder,
            env=environment,
        )
        os.close(inner)
        shown = b""
        while True:
            try:
                chunk = os.read(outer, 4096)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
        answer = process.stdout.read().decode()
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 0
    finally:
        os.close(outer)
    assert "━" in shown.decode(errors="replace")
    assert "━" not in answer
    assert "router-demo.html" in answer
