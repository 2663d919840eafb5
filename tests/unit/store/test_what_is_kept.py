import time

import pytest

from router_sdk import Task
from router_sdk.errors import StoreUnavailableError
from router_sdk.store.privacy import Privacy, redact

SECRET = "corvid-nebula-71"


def everything(secret):
    return Task(
        f"text {secret}",
        session_id="s1",
        features={"mape": 12.3, "note": f"category {secret}"},
        metadata={"comment": f"metadata {secret}"},
    )


@pytest.mark.parametrize("mode", ["hmac", "none"])
def test_a_mode_that_keeps_no_text_keeps_none_anywhere(open_log, mode):
    log = open_log(privacy=mode)
    decision = log.decide(task=everything(SECRET))
    log.tell(decision, response=f"response {SECRET}", feedback_text=SECRET, error=SECRET, success=True)
    assert SECRET.encode() not in log.bytes()
    (example,) = log.tail.read(0, log.tail.head(), 10).examples
    assert 12.3 in example.task.features.values()
    assert example.task.features == log.store.privacy.features(everything(SECRET).features)


def test_a_keyed_hash_tells_equal_texts_from_others_and_is_one_per_store(open_log, tmp_path):
    log = open_log(privacy="hmac")
    for text in ("one", "two", "one"):
        log.decide(task=Task(text))
    kept = [text for (text,) in log.query("SELECT text FROM payloads ORDER BY seq")]
    assert kept[0] == kept[2] != kept[1]
    assert len(kept[0]) == 64
    assert Privacy("hmac", log.store.folder).text("one") == kept[0]
    assert Privacy("hmac", tmp_path / "other").text("one") != kept[0]


def test_a_key_that_was_never_written_is_not_used(tmp_path):
    """Another process stands between creating the file and writing it, or died there."""
    (tmp_path / "privacy.key").touch()
    with pytest.raises(StoreUnavailableError, match=r"privacy\.key"):
        Privacy("hmac", tmp_path)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to jo.doe+x@mail.example.org now", "write to <email> now"),
        ("see https://example.org/a?b=c now", "see <url> now"),
        ("pay DE89 3704 0044 0532 0130 00 now", "pay <iban> now"),
        ("from 192.168.0.17 now", "from <ip> now"),
        ("call +49 (30) 1234567 now", "call <number> now"),
        ("card 4111-1111-1111-1111 now", "card <number> now"),
        ("MAPE=12.3%, R2=0.87, MAE=950, week 42", "MAPE=12.3%, R2=0.87, MAE=950, week 42"),
        ("a@b", "a@b"),
    ],
)
def test_what_looks_personal_is_replaced(text, kept):
    assert redact(text) == kept


@pytest.mark.parametrize("piece", ["a", "a.", "1", "1 ", "1(", "a@", "a@b.", "A1", "http", "+", "1.1.", "AB12 "])
def test_redacting_the_longest_text_takes_no_longer_than_a_moment(piece):
    text = (piece * 20_000)[:20_000]
    started = time.perf_counter()
    redact(text)
    assert time.perf_counter() - started < 0.5


def test_forgetting_leaves_no_byte(log, open_log):
    kept, gone = log.decide(task=Task("kept")), log.decide(task=everything(SECRET))
    gone.vectors = None
    log.tell(gone, response=f"response {SECRET}", success=True)
    log.tell(kept, success=True)
    assert SECRET.encode() in log.bytes()
    assert log.forget("s1") == [gone.decision_id]
    assert SECRET.encode() not in log.bytes()
    assert b"s1" not in b"".join(str(row).encode() for row in log.query("SELECT session_id FROM payloads"))
    skeleton = log.store.reader.decision(gone.decision_id)
    assert (skeleton.agent, skeleton.propensity, skeleton.task.text, skeleton.task.session_id) == ("a", 0.5, "", None)
    assert log.store.reader.decision(kept.decision_id).task.text == "kept"
    batch = log.tail.read(log.tail.head() - 1, log.tail.head(), 10)
    assert batch.forgotten == (gone.decision_id,)
    assert log.forget("s1") == log.forget("never") == []
