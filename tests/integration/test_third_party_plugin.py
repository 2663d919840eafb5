"""The plugin to copy, as a stranger would use it: built, installed offline into a fresh environment, found, used."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "third_party_plugin"
PARTS_OF_THE_CORE = ("pyproject.toml", "README.md", "LICENSE", "router_sdk")

USE_IT = """
import sys
from pathlib import Path

import router_sdk
from router_sdk import Agent, Outcome, Router
from router_sdk.plugins import PluginRegistry
from router_sdk.testing import check_strategy

home, store = Path(sys.prefix), sys.argv[1]
assert Path(router_sdk.__file__).is_relative_to(home), router_sdk.__file__

(plugin,) = PluginRegistry.load().describe()
assert (plugin.name, plugin.distribution) == ("nearest", "router-sdk-nearest 0.1.0"), plugin
assert dict(plugin.provides) == {"strategies": ("nearest",)}, plugin

strategy = PluginRegistry.load().strategy("nearest")
assert Path(sys.modules[strategy.__module__].__file__).is_relative_to(home)
check_strategy(strategy)

agents = [Agent("billing"), Agent("technical")]
settings = dict(strategies=["nearest"], store=store, seed=5, learn_now=True, epsilon=0.1)
texts = {"billing": "charged twice for order", "technical": "the app crashes on page"}
with Router(agents=agents, **settings) as router:
    for number in range(40):
        for right, text in texts.items():
            decision = router.route(f"{text} {number}")
            router.record(decision, Outcome(success=decision.agent == right))

with Router(agents=agents, **settings) as router:
    for right, text in texts.items():
        best = router.rank(f"{text} 99")[0]
        assert best.agent == right, best
        decision = router.route(f"{text} 99")
        assert decision.strategy == "nearest", decision.explain()
        assert decision.explain()["evidence"]["nearest"] in ("billing", "technical")
print("served")
"""


def run(*command, **settings):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **settings)
    assert done.returncode == 0, f"{done.stdout[-2_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout


@pytest.fixture
def fresh_python(tmp_path):
    """An environment that holds the two wheels, sees this one's other packages, and none of its editable installs."""
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("building the wheels needs setuptools>=77 in this environment")
    core = tmp_path / "core"
    core.mkdir()
    for part in PARTS_OF_THE_CORE:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, core / part)
    example = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("*.egg-info", "build"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir")
    offline = ("--no-deps", "--no-index", "--quiet")
    run(*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", tmp_path / "wheels", core, example)
    wheels = sorted((tmp_path / "wheels").glob("*.whl"))
    assert [wheel.name.partition("-")[0] for wheel in wheels] == ["router_sdk", "router_sdk_nearest"]
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = Path(venv.EnvBuilder().ensure_directories(environment).env_exe)
    run(*pip, "--python", python, "install", *offline, *wheels)
    place = run(python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A path line makes the dependencies importable and does not follow the .pth files of editable installs.
    (Path(place) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.mark.slow
def test_it_is_found_keeps_the_contract_and_routes(fresh_python, tmp_path):
    script = tmp_path / "use_it.py"
    script.write_text(USE_IT)
    environment = {**os.environ, "ROUTER_PLUGINS": "nearest"}
    environment.pop("PYTHONPATH", None)
    command = (fresh_python, "-I", "-W", "error", script, tmp_path / "router.db")
    assert run(*command, cwd=tmp_path, env=environment).strip() == "served"


@pytest.mark.slow
def test_its_own_tests_pass():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLE), str(ROOT)])}
    options = ("-q", "-n", "0", "-p", "no:cacheprovider")
    run(sys.executable, "-m", "pytest", *options, EXAMPLE / "tests", cwd=ROOT, env=environment)


def test_it_imports_nothing_of_the_core_but_what_plugins_may():
    imported = {
        line.split()[1]
        for path in (EXAMPLE / "router_sdk_nearest").glob("*.py")
        for line in path.read_text().splitlines()
        if line.strip().startswith(("from router_sdk.", "import router_sdk", "from router_sdk "))
    }
    assert imported == {"router_sdk.plugin"}
