"""A file that is trained on beside the log: whatever a router exports, and whatever it imports."""

import json
import logging

import pytest

from router_sdk import Agent, Outcome, OutcomeReward, Router, Task
from router_sdk.config import RouterConfig
from router_sdk.errors import InvalidConfigError, InvalidInputError
from router_sdk.exchange.existing import read_examples, taught_rows
from router_sdk.records import AgentSet

AGENTS = AgentSet([Agent("a"), Agent("b")])


def read(path, reward=None):
    return read_examples(path, AGENTS, reward or OutcomeReward())


def told(examples):
    return [(one.task.text, one.agent, one.label, one.reward) for one in examples]


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.jsonl.gz"])
def test_an_exported_log_says_what_it_came_to(tmp_path, name):
    with Router(["a", "b"], ["thompson"], tmp_path / "r.db") as router:
        one = router.route(Task("first", session_id="s", tenant="acme"))
        router.record(one, Outcome(quality=0.25))
        router.record(one, Outcome(correct_agent="b", cost_usd=0.5))
        router.observe("second", agent="b", outcome=Outcome(success=True, metrics={"x": 1.0}))
        router.observe("third", agent=None, outcome=Outcome(no_agent_fits=True))
        router.observe("says nothing", agent="a", outcome=Outcome(latency_ms=3.0))
        ran = router.route("fourth")
        other = "a" if ran.agent == "b" else "b"
        router.record(ran, Outcome(success=False, agent=other))
        router.flush()
        log = {example.task.text: example for example in router.examples}
        hashes = [example.context_hash for example in router.examples if example.labelled or example.reward is not None]
        path = tmp_path / name.removesuffix(".gz")
        router.examples.export(path, format="csv" if ".csv" in name else "jsonl")
    if name.endswith(".gz"):
        import gzip

        path = tmp_path / name
        path.write_bytes(gzip.compress((tmp_path / "log.jsonl").read_bytes()))
    found = read(path)
    assert told(found) == [
        ("first", log["first"].agent, "b", log["first"].reward),
        ("second", "b", None, 1.0),
        ("third", None, None, None),
        ("fourth", other, None, 0.0),
    ]
    assert [one.context_hash for one in found] == hashes  # as the log's, so that texts are known again
    assert [one.decision_id for one in found] == [log[one.task.text].decision_id for one in found]
    assert taught_rows(found)[0] == (found[0].decision_id, "s", found[0].context_hash, "acme")
    assert all(one.eligible == ("a", "b") and not one.probabilities and not one.vectors for one in found)
    assert all(one.forecast is None and one.seq == 0 and one.decision_seq < 0 for one in found)


def test_rows_of_ones_own_and_chats(tmp_path, caplog):
    rows = [
        {"text": "mine", "label": "a"},
        {"text": "scored", "agent": "b", "quality": 0.75},
        {"messages": [{"role": "user", "content": "chat"}, {"role": "assistant"}], "score": 0.5, "agent": "a"},
        {"text": "stranger", "label": "nobody knows"},
        {"text": "no outcome", "agent": "a"},
        {"text": "what", "is": "this"},
        {"messages": [{"role": "user", "content": "nobody answered"}]},
        {"instruction": "alpaca", "output": "says not who acted"},
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    with caplog.at_level(logging.WARNING):
        found = read(path)
    assert told(found) == [("mine", "a", "a", 1.0), ("scored", "b", None, 0.75), ("chat", "a", None, 0.5)]
    assert "3 of 8 lines" in caplog.text
    assert "this" not in caplog.text.replace("rows.json", "")  # no text of a line stands in a log
    assert [one.decision_id for one in read(path)] == [one.decision_id for one in found]
    assert len({one.decision_id for one in found}) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.jsonl", ""), ("x.jsonl", '{"text": "t", "label": "z"}'), ("x.txt", ""), ("gone.csv", None)],
)
def test_a_file_of_which_nothing_can_be_learnt_is_an_error(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInputError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize("privacy", ["redacted", "hmac", "none"])
def test_no_file_is_read_where_its_texts_may_not_be_kept(privacy):
    with pytest.raises(InvalidConfigError, match="privacy"):
        RouterConfig.of(training={"existing": "x.jsonl"}, privacy=privacy)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_quality_score": 0.7}, "min_quality"),
        ({"replay_buffer_size": 10}, "replay_size"),
        ({"balance": 0.5}, "balance"),
        ({"replay_ratio": 1.0}, "replay_ratio"),
        ({"existing_data_path": "x"}, "existing"),
        ({"deduplicate": True}, "dedupe"),
    ],
)
def test_what_is_set_must_be_known(settings, words):
    with pytest.raises(InvalidConfigError, match=words):
        RouterConfig.of(training=settings)


def test_settings_are_joined_key_by_key_and_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("ROUTER_TRAINING", '{"balance": 2.0, "min_quality": 0.5}')
    config = RouterConfig.of({"training": {"balance": 3.0, "prefer": "uncertain"}}, training={"min_quality": 0.25})
    assert (config.training.balance, config.training.prefer, config.training.min_quality) == (2.0, "uncertain", 0.25)
