"""What a transformer is trained on, by the real child process; what its memory holds; and versions made elsewhere."""

import json

import pytest

from router_sdk import Agent, Outcome, Router

AGENTS = [Agent("billing", examples=["I was charged twice"]), Agent("coder", examples=["sort a list"])]
TEXTS = [("send the invoice again", "billing"), ("refund my order", "billing"), ("pay back the fee", "billing")]
TEXTS += [("the program crashes", "coder")]


@pytest.fixture
def router(tiny_encoder_folder, store_path, tmp_path):
    existing = tmp_path / "existing.jsonl"
    lines = [{"text": f"compile the module {number}", "label": "coder"} for number in range(6)]
    existing.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chain = [("bert", {"model": str(tiny_encoder_folder), "wait_for_encoder": True, "update": "head"}), "thompson"]
    settings = {"training": {"balance": 1.0, "existing": str(existing)}, "fit_executor": "process", "held_out": 0.3}
    with Router(AGENTS, chain, store_path, epsilon=0.0, retrain=False, seed=0, **settings) as made:
        for number in range(16):
            for text, agent in TEXTS:
                made.observe(f"{text} {number}", agent=agent, outcome=Outcome(correct_agent=agent))
        made.observe("nobody can do this", agent=None, outcome=Outcome(no_agent_fits=True))
        made.flush()
        yield made


@pytest.mark.slow
def test_the_child_process_trains_on_what_was_set_and_notes_it(router, tmp_path):
    assert router.models.category_distribution("bert") == {"billing": 48, "coder": 16, None: 1}
    assert router.models.category_distribution("thompson") == {}
    fit = router.models.retrain("bert", wait=True)
    assert fit.version is not None, fit.words
    dataset = router.models.dataset("bert", 1)
    labels = [one.label for one in dataset.examples]
    before = {one.task.text for one in router.examples} - {one.task.text for one in dataset.held_out}
    assert labels.count("billing") <= len(before) / 2  # the median of two is the mean
    assert dataset.counts["existing"] == 6
    assert dataset.counts["left_out"] > 5
    assert dataset.settings["balance"] == 1.0
    assert len(dataset.held_out) == dataset.counts["held_out"] > 10
    router.models.promote("bert", 1, force=True)
    kept = router.models.category_distribution()
    assert kept["coder"] >= 16 + 6  # the log's and the file's
    assert kept["billing"] < 48  # what balance left out is not remembered

    folder = router.models.export_to("bert", 1, tmp_path / "out")
    again = router.models.import_version(folder)
    assert again.version.kind == "import", again.words

    router.models.promote("bert", again.version.version, force=True)
    assert router.route("refund my order").strategy == "bert"
    assert router.models.category_distribution()["coder"] >= 16 + 6
