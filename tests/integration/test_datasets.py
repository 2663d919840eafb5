"""What each version was trained on: listed and exported as it was known then, whatever happened to the log since."""

import json
import time
from pathlib import Path

import pytest
from fitted_strategy import Words
from killable import bytes_beside

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import FitError, InvalidInputError, UnknownVersionError
from router_sdk.store.restore import restore

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}


def open_router(store: Path, **settings) -> Router:
    options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, **settings}
    return Router(agents=AGENTS, strategies=[Words, "heuristic"], store=store, **options)


def teach(router: Router, rounds: int = 12, start: int = 0) -> None:
    for number in range(start, start + rounds):
        for word, agent in RIGHT.items():
            task = Task(f"{word} number {number}", session_id=f"s{word}{number}")
            router.observe(task, agent=agent, outcome=Outcome(correct_agent=agent))
    router.flush()


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(examples) -> set[str]:
    return {one.task.text for one in examples}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "r.db"


def test_it_is_listed_and_exported_as_it_was_known_when_the_version_was_made(store: Path, tmp_path: Path) -> None:
    with open_router(store) as router:
        teach(router)
        assert router.models.retrain(wait=True).state == "promoted"
        first = router.models.dataset("words", 1)
        learnt, judged = texts(first.examples), texts(first.held_out)
        assert learnt.isdisjoint(judged)
        assert len(learnt | judged) == 36
        assert len(first.examples) == first.counts["examples"] == router.models.versions()[0].samples
        assert first.counts["agents"] == {
            name: sum(RIGHT[one.split()[0]] == name for one in learnt) for name in RIGHT.values()
        }
        corrected = first.examples[0]
        router.record(corrected.decision_id, Outcome(correct_agent="fraud", response="said later"))
        teach(router, 6, start=12)
        router.models.retrain(wait=True)
    with open_router(store) as router:
        first, second = (router.models.dataset("words", number) for number in (1, 2))
        assert (texts(first.examples), texts(first.held_out)) == (learnt, judged)
        assert first.examples[0].label == corrected.label
        assert first.export(tmp_path / "first.jsonl") == len(learnt)
        again = {row["text"]: row["correct_agent"] for row in rows(tmp_path / "first.jsonl")}
        assert again == {text: RIGHT[text.split()[0]] for text in learnt}
        assert all(len(row["parts"]) == 1 for row in rows(tmp_path / "first.jsonl"))
        later = {one.decision_id: one.label for one in second.examples}
        assert later[corrected.decision_id] == "fraud"
        assert second.counts["fresh"] == sum(one.seq > first.upto for one in second.examples)
        assert second.counts["replayed"] == len(second.examples) - second.counts["fresh"] > 5
        assert first.data_hash != second.data_hash
        assert [version.dataset["examples"] for version in router.models.versions()] == [
            first.counts["examples"],
            second.counts["examples"],
        ]
        assert first.export(tmp_path / "held.csv", format="csv", held_out=True) == len(judged)
        with pytest.raises(InvalidInputError, match="unanswered"):
            first.export(tmp_path / "x.jsonl", unanswered=True)
        with pytest.raises(UnknownVersionError):
            router.models.dataset("words", 7)


def test_an_export_of_it_is_a_log_of_its_own(store: Path, tmp_path: Path) -> None:
    """What it was trained on makes the same version elsewhere."""
    with open_router(store) as router:
        teach(router)
        router.models.retrain(wait=True)
        count = router.models.dataset("words", 1).export(tmp_path / "data.jsonl")
    with open_router(tmp_path / "other.db", held_out=0.0) as other:
        assert other.examples.import_from(tmp_path / "data.jsonl").imported == count
        assert other.models.retrain(wait=True).version.samples == count


def test_what_is_forgotten_is_gone_from_it_and_what_is_archived_is_said(store: Path, tmp_path: Path) -> None:
    with open_router(store) as router:
        teach(router, 6)
        time.sleep(0.002)  # times of decisions have a resolution
        middle = time.time()
        teach(router, 6, start=6)
        router.models.retrain(wait=True)
        dataset = router.models.dataset("words", 1)
        gone = next(one for one in dataset.examples if one.task.text.endswith("number 9")).task
        before = len(dataset.examples)
        dataset.export(tmp_path / "before.jsonl")
        assert router.forget(gone.session_id) == 1
        assert gone.text not in texts(dataset.examples)
        assert gone.text not in (tmp_path / "before.jsonl").read_text()  # the store knows of the export
        assert dataset.export(tmp_path / "after.jsonl") == len(dataset.examples) == before - 1
        assert router.archive(middle) == 18
        told = router.models.dataset("words", 1).to_dict()
        assert (told["listed"], told["forgotten"], told["archived"]) == (17, 1, 18)
        assert told["counts"]["examples"] == before  # what it was, is not forgotten
    assert not [name for name, content in bytes_beside(tmp_path) if gone.text.encode() in content]


def test_a_backup_brings_it_along_and_pruning_keeps_its_figures(store: Path, tmp_path: Path) -> None:
    with open_router(store, keep_versions=1) as router:
        teach(router)
        router.models.retrain(wait=True)
        router.backup(tmp_path / "copy")
        expected = texts(router.models.dataset("words", 1).examples)
        for number in range(3):
            teach(router, 2, start=20 + 2 * number)
            router.models.retrain(wait=True)
        old = router.models.dataset("words", 1)
        assert router.models.versions()[0].pruned_at is not None
        assert old.counts["examples"] == len(expected)
        assert old.to_dict()["given_up"]
        with pytest.raises(UnknownVersionError, match="given up"):
            old.examples  # noqa: B018
        with pytest.raises(UnknownVersionError, match="given up"):
            old.export(tmp_path / "x.jsonl")
        newest = router.models.dataset("words", 4)
        assert texts(newest.examples) | texts(newest.held_out) >= expected
    restore(tmp_path / "copy", tmp_path / "restored.db")
    with open_router(tmp_path / "restored.db") as router:
        assert texts(router.models.dataset("words", 1).examples) == expected


def test_what_was_set_is_noted_and_what_is_left_out_counted(store: Path, tmp_path: Path) -> None:
    existing = tmp_path / "existing.jsonl"
    lines = [
        {"text": f"refund from a file {number}", "label": "billing", "session_id": "from-file"} for number in range(9)
    ]
    existing.write_text("".join(json.dumps(line) + "\n" for line in lines))
    training = {"balance": 1.0, "existing": existing, "existing_ratio": 0.2}
    with open_router(store, training=training) as router:
        teach(router)
        for number in range(30):
            router.observe(f"refund {number} more", agent="billing", outcome=Outcome(correct_agent="billing"))
        fit = router.models.retrain(wait=True)
        assert fit.state == "promoted", fit.words
        dataset = router.models.dataset("words", 1)
        assert dataset.settings["balance"] == 1.0
        assert dataset.settings["existing"] == str(existing)
        assert len(dataset.settings["existing_sha256"]) == 64
        labels = [one.label for one in dataset.examples]
        assert max(map(labels.count, RIGHT.values())) <= 13
        assert dataset.counts["existing"] == len(labels) // 4 > 5
        assert dataset.counts["left_out"] > 15
        assert not any("file" in text for text in texts(dataset.examples))
        # A session that the file brought can be forgotten: no later fit is taught it again.
        assert router.forget("from-file") == 9
        again = router.models.retrain(wait=True)
        assert again.version is not None
        assert router.models.dataset("words", 2).counts["existing"] == 0


def test_a_file_that_is_gone_ends_the_fit_and_says_so(store: Path, tmp_path: Path) -> None:
    with open_router(store, training={"existing": tmp_path / "gone.jsonl"}) as router:
        teach(router)
        fit = router.models.retrain()
        with pytest.raises(FitError, match=r"gone\.jsonl"):
            fit.wait(20)
        assert fit.state == "failed"
        assert router.route("refund").agent is not None


def test_a_pre_training_is_counted_and_not_listed(store: Path) -> None:
    with open_router(store) as router:
        tasks = [f"{word} number {number}" for number in range(12) for word in RIGHT]
        router.models.pretrain(tasks, [RIGHT[text.split()[0]] for text in tasks])
        dataset = router.models.dataset("words", 1)
        assert dataset.counts["examples"] > 20
        assert (len(dataset.examples), len(dataset.held_out)) == (0, 0)
        assert dataset.to_dict()["listed"] == 0
