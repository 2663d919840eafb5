"""What every test may use: a store's path, three agents, a factory of routers, and flags for what takes long."""

import gc
import multiprocessing.util
import os
import platform

# Read when numpy and torch are loaded; the workers share the processors already.
if platform.machine() == "x86_64":
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")  # with AVX-512 sums are added up in another order
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import shutil
import tempfile

import fitted_strategy
import pytest
from hypothesis import Phase, settings
from postgres_databases import cluster, database, server, store_url  # noqa: F401

from router_sdk import Agent, Router

FLAGS = {
    "slow": "takes a second or more where a faster one stands beside it; .ci/run runs it",
    "reliability": "kills, power cuts and floods, many times over",
    "services": "talks to PostgreSQL, Redis, NATS and Kafka brokers; skips what is not there",
    "kafka": "the part of --services that talks to Kafka brokers",
    "browser": "clicks through the pages in Chromium; skips where there is none",
    "benchmark": "measures; run it on a quiet machine",
    "gpu": "needs a GPU",
}

MEMORY, ROOM = "/dev/shm", 2 << 30
"""Where Linux keeps files in memory, and how many bytes have to be free there."""

settings.register_profile(
    "router_sdk",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=50,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
settings.load_profile("router_sdk")


def pytest_addoption(parser):
    for flag, meaning in FLAGS.items():
        parser.addoption(f"--{flag}", action="store_true", help=f"run the tests marked {flag!r} too: {meaning}")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    if config.getoption("benchmark") or config.getoption("reliability"):
        config.option.numprocesses = 0  # What is measured, and what is killed, has the machine and its disk to itself.
    elif "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        # The stores of thousands of tests would wait for a disk at each commit. What they are is the same here.
        os.environ["TMPDIR"], tempfile.tempdir = MEMORY, None


def pytest_configure(config):
    for flag, meaning in FLAGS.items():
        config.addinivalue_line("markers", f"{flag}: {meaning}; deselected without --{flag}")
    for variable in [name for name in os.environ if name.startswith("ROUTER_")]:
        del os.environ[variable]
    # A test that names no chain shall not wait for a transformer; what is about it names it.
    os.environ["ROUTER_STRATEGIES"] = '["thompson", "heuristic"]'


def pytest_collection_modifyitems(config, items):
    off = {flag for flag in FLAGS if not config.getoption(flag)}
    if config.getoption("reliability"):
        off.discard("slow")
    if config.getoption("services"):
        off.discard("kafka")
    left_out = [item for item in items if off & {mark.name for mark in item.iter_markers()}]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish():
    gc.freeze()  # A million objects of libraries and tests, which no collection has to go through again.


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory):
    """What is made without ``tmp_path``, and by processes that were killed, goes with the folder of the session."""
    multiprocessing.util.get_temp_dir()  # its own outlives the session, and is taken away at the process's end
    os.environ["TMPDIR"] = tempfile.tempdir = str(tmp_path_factory.mktemp("made"))


@pytest.fixture
def store_path(tmp_path):
    """A database file that does not exist yet."""
    return tmp_path / "router.db"


@pytest.fixture
def agents():
    """Three agents that differ in what they can do."""
    return [
        Agent("analyst", description="reads tables and charts", capabilities={"sql"}, cost_usd=0.01),
        Agent("billing", description="invoices and refunds", examples=["I was charged twice"], capabilities={"refund"}),
        Agent("coder", description="writes and mends programs", capabilities={"python", "sql"}, latency_ms=900.0),
    ]


@pytest.fixture
def make_router(store_path, agents):
    """Build routers that are closed when the test ends: ``make_router(strategies=[...], store=..., **settings)``."""
    made = []

    def make(strategies, store=None, **settings):
        settings.setdefault("agents", agents)
        settings.setdefault("seed", 7)
        made.append(Router(strategies=strategies, store=store_path if store is None else store, **settings))
        return made[-1]

    yield make
    for router in reversed(made):
        router.close()


@pytest.fixture
def words_installed(tmp_path_factory, monkeypatch):
    """The strategy ``words`` as an installed distribution, so that other processes find it, too."""
    site = tmp_path_factory.mktemp("site")
    (site / "words_plugin").mkdir()
    shutil.copy(fitted_strategy.__file__, site / "words_plugin")
    info = site / "words-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: words\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[router_sdk]\nwords = words_plugin.fitted_strategy\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
