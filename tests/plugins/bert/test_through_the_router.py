"""The transformer in a router with its real threads: taught, fine-tuned, restarted, and served without torch."""

import json
import shutil
import subprocess
import sys
import threading

import pytest
from documents import blocks, run
from router_sdk_bert.strategy import BertStrategy

from router_sdk import Agent, Outcome, Router

AGENTS = [Agent("billing", examples=["I was charged twice"]), Agent("coder", examples=["sort a list"])]
TEXTS = [("send the invoice again", "billing"), ("refund my order", "billing")]
TEXTS += [("the program crashes", "coder"), ("write a test for this", "coder")]

WITHOUT_TORCH = """
import json, sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "peft", "onnx", "safetensors", "huggingface_hub"}:
            raise ModuleNotFoundError(f"no module named {name}")
sys.meta_path.insert(0, NotInstalled())
from router_sdk import Agent, Outcome, Router
from router_sdk.errors import FitError
store, model = sys.argv[1:]
agents = [Agent("billing", examples=["I was charged twice"]), Agent("coder", examples=["sort a list"])]
chain = [("bert", {"model": model, "wait_for_encoder": True}), "thompson"]
with Router(agents, chain, store, epsilon=0.0, retrain=False, fit_executor="thread") as router:
    decision = router.route("refund my order")
    router.record(decision, Outcome(correct_agent="billing"))
    router.flush()
    said = {"strategy": decision.strategy, "version": decision.model_version, "chances": decision.explain()["evidence"]}
    try:
        router.models.retrain("bert", wait=True, update="lora")
    except FitError as error:
        said["fault"] = str(error)
    said["head"] = router.models.retrain("bert", wait=True, update="head").state
print(json.dumps(said))
"""


def make_router(model, store):
    settings = {"model": str(model), "wait_for_encoder": True, "epochs": 1}
    chain = [("bert", settings), "thompson"]
    return Router(AGENTS, chain, store, epsilon=0.0, retrain=False, fit_executor="thread", seed=0)


@pytest.fixture
def open_router(tiny_encoder_folder, store_path):
    return lambda: make_router(tiny_encoder_folder, store_path)


@pytest.fixture(scope="module")
def fitted_once(tiny_encoder_folder, tmp_path_factory):
    """A folder with such a store, and how its version answers."""
    folder = tmp_path_factory.mktemp("fitted")
    with make_router(tiny_encoder_folder, folder / "router.db") as router:
        for number, (text, agent) in enumerate(TEXTS * 10):
            router.record(router.route(f"{text} {number}"), Outcome(correct_agent=agent))
        fit = router.models.retrain("bert", wait=True, update="lora", strategy="hybrid")
        # Which examples are held out depends on their ids; a tiny model may do worse on a few.
        router.models.promote("bert", fit.version.version, force=True, pin=False)
        assert router.strategy("bert").report()["fine_tuned"]
        decision = router.route("refund my order")
        assert (decision.strategy, decision.model_version) == ("bert", 1)
        chances = decision.explain()["evidence"]["chances"]
    return folder, chances


@pytest.fixture
def fitted(fitted_once, store_path):
    """A store with a version whose encoder was fine-tuned, and how that version answers."""
    folder, chances = fitted_once
    shutil.copytree(folder, store_path.parent, dirs_exist_ok=True)
    return chances


@pytest.mark.parametrize("block", blocks("plugins/bert/README.md"))
def test_the_block_of_the_readme_runs(block, tiny_encoder_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROUTER_STRATEGY", json.dumps({"bert": {"model": str(tiny_encoder_folder)}}))
    monkeypatch.setenv("ROUTER_FIT_EXECUTOR", "thread")  # a child takes seconds to import torch
    run("plugins/bert/README.md", block)


@pytest.mark.slow
def test_a_fine_tuned_version_survives_a_restart(fitted, open_router):
    with open_router() as router:
        decision = router.route("refund my order")
        assert (decision.strategy, decision.model_version) == ("bert", 1)
        assert decision.explain()["evidence"]["chances"] == pytest.approx(fitted, abs=1e-6)
        assert router.models.rollback("bert") is None
        assert router.route("refund my order").model_version is None


@pytest.mark.slow
def test_a_saved_version_serves_without_torch_and_a_fit_says_what_it_needs(fitted, store_path, tiny_encoder_folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(store_path), str(tiny_encoder_folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["strategy"], said["version"]) == ("bert", 1)
    assert said["chances"]["chances"] == pytest.approx(fitted, abs=1e-6)
    assert "router-sdk-bert[fit]" in said["fault"]
    assert said["head"] in ("promoted", "refused")


def test_a_version_can_be_made_before_the_encoder_was_opened(tiny_encoder_folder, store_path, monkeypatch):
    opened = threading.Event()
    open_encoder = BertStrategy.open

    def slowly(self):
        opened.wait()
        return open_encoder(self)

    monkeypatch.setattr(BertStrategy, "open", slowly)
    chain = [("bert", {"model": str(tiny_encoder_folder), "update": "head"}), "thompson"]
    with Router(AGENTS, chain, store_path, epsilon=0.0, retrain=False, fit_executor="thread", seed=0) as router:
        texts = [f"{text} {number}" for number, (text, _) in enumerate(TEXTS * 10)]
        labels = [label for _, label in TEXTS * 10]
        assert router.route("refund my order").strategy != "bert", "it answers once it is open"
        fit = router.models.pretrain(texts, labels, wait=False)
        opened.set()
        assert fit.wait().version.version == 1
        router.models.promote("bert", 1, force=True)
        router.warm_up()
        decision = router.route("refund my order")
        assert (decision.strategy, decision.model_version) == ("bert", 1)
