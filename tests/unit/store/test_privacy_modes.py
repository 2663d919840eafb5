"""What each mode keeps of a task and of an outcome, which rows and ids that gives, and what is read back of them."""

import hmac
import json
import os
import stat
from hashlib import blake2b, sha256
from types import SimpleNamespace

import numpy as np
import pytest

from router_sdk import Agent, Decision, Outcome, Task
from router_sdk.errors import InvalidIdError, StoreUnavailableError
from router_sdk.records import AgentSet, Distribution, Skipped
from router_sdk.store import identity, rows
from router_sdk.store.context import PayloadContext
from router_sdk.store.identity import check_id, check_key, keyed_id, new_id
from router_sdk.store.privacy import Privacy, normalised
from router_sdk.store.rows import (
    DECISION_COLUMNS,
    OUTCOME_COLUMNS,
    PAYLOAD_COLUMNS,
    TASK_COLUMNS,
    decision_row,
    outcome_payload,
    outcome_row,
    stored_task,
    task_payload,
    vector_rows,
)

KEY = bytes(range(32))
MODES = ["full", "redacted", "hmac", "none"]
MAIL = "jo@example.org"


@pytest.fixture
def privacy(tmp_path):
    """Makes one of a mode, under a key that is known."""
    (tmp_path / "privacy.key").write_bytes(KEY)
    return lambda mode: Privacy(mode, tmp_path)


def keyed(text):
    return hmac.new(KEY, text.encode("utf-8", "replace"), sha256).hexdigest()


def mark(text, key=KEY):
    return blake2b(text.encode("utf-8", "replace"), digest_size=16, key=key).hexdigest()


@pytest.mark.parametrize(
    ("mode", "text", "name", "session", "changes", "hides"),
    [
        ("full", MAIL, MAIL, MAIL, False, False),
        ("redacted", "<email>", "<email>", MAIL, True, False),
        ("hmac", keyed(MAIL), keyed(MAIL)[:16], keyed(MAIL)[:32], True, True),
        ("none", None, keyed(MAIL)[:16], keyed(MAIL)[:32], True, True),
    ],
)
def test_what_a_mode_keeps(privacy, mode, text, name, session, changes, hides):
    kept = privacy(mode)
    assert (kept.text(MAIL), kept.name(MAIL), kept.session(MAIL)) == (text, name, session)
    assert (kept.text(None), kept.session(None)) == (None, None)
    assert (kept.changes, kept.hides_texts, kept.mode) == (changes, hides, mode)
    whole = {MAIL: MAIL, "n": 1.5, "deep": [MAIL, True, (None, MAIL)], "in": {MAIL: {}}, "no": None}
    given = json.dumps(whole)
    known = {each: kept.name(each) for each in ("n", "deep", "in", "no")}
    expected = {
        name: text,
        known["n"]: 1.5,
        known["deep"]: [text, True, [None, text]],
        known["in"]: {name: {}},
        known["no"]: None,
    }
    if mode == "full":
        assert kept.value(whole) is whole
        assert kept.features(whole) is whole
    else:
        expected = {each: value for each, value in expected.items() if value is not None}
        assert kept.value(whole) == kept.features(whole) == expected
    assert json.dumps(whole) == given
    empty = {}
    assert kept.features(empty) is empty


@pytest.mark.parametrize("mode", MODES)
def test_half_a_surrogate_pair_can_be_hashed(privacy, mode):
    kept = privacy(mode)
    broken = "x\ud800"
    assert kept.fingerprint(broken) == (None if mode == "none" else mark("x?", b"" if mode == "full" else KEY))
    assert kept.digest(broken) == kept.fingerprint(broken)
    assert kept.text(broken) == {"hmac": keyed(broken), "none": None}.get(mode, broken)


@pytest.mark.parametrize("mode", MODES)
def test_equal_tasks_have_equal_marks_and_other_stores_have_others(privacy, tmp_path, mode):
    kept, key = privacy(mode), b"" if mode == "full" else KEY
    if mode == "none":
        assert (kept.fingerprint("a"), kept.digest("a")) == (None, None)
        return
    assert kept.fingerprint("  \uff21 b\n") == kept.fingerprint("a  B") == mark("a b", key)
    assert kept.digest("A", "b") == mark("A\x00b", key) != kept.digest("a", "b")
    assert kept.digest("A", "b") != kept.digest("Ab")
    other = Privacy(mode, tmp_path / "other").fingerprint("a b")
    assert (other == kept.fingerprint("a b")) is (mode == "full")


@pytest.mark.parametrize(("text", "form"), [(" A\tb ", "a b"), ("ﬁx", "fix"), ("STRASSE ß", "strasse ss"), ("", "")])
def test_form_makes_no_other_text(text, form):
    assert normalised(text) == form


@pytest.mark.parametrize("mode", MODES)
def test_a_reason_quotes_only_where_texts_are_kept(privacy, mode):
    words = {
        "features: 'a\nb' is long": "features",
        "x (got 5\nand so on)": "x",
        "field 'secret' and \"other\" fail": "field  and  fail",
        "nothing quoted: 5": "nothing quoted: 5",
    }
    kept = privacy(mode)
    assert [kept.reason(said) for said in words] == list(words if mode == "full" else words.values())


@pytest.mark.parametrize("mode", MODES)
def test_a_letter_has_a_body_only_where_texts_are_kept(open_log, mode):
    log = open_log(privacy=mode)
    log.store.refuse([("outcome", "d", "bad 'text'", "body"), ("task", None, "late", None)])
    kept = [("outcome", "d", "bad 'text'", "body") if mode == "full" else ("outcome", "d", "bad ", None)]
    assert log.query("SELECT kind, decision_id, reason, body FROM dead_letters") == [
        *kept,
        ("task", None, "late", None),
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [True, False])
def test_a_secret_is_made_once_where_one_is_needed_and_wanted(tmp_path, mode, make):
    folder = tmp_path / "deep" / "beside"
    kept = Privacy(mode, folder, make=make)
    key = folder / "privacy.key"
    if mode == "full" or not make:
        assert not folder.parent.exists()
        assert kept.digest("a") == (None if mode == "none" else mark("a", b""))
        return
    assert (len(key.read_bytes()), stat.S_IMODE(key.stat().st_mode)) == (32, 0o600)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)] == [0o700, 0o700]
    for again in (Privacy(mode, folder), Privacy(mode, folder, make=False)):
        assert again.name("n") == kept.name("n")
        assert again.session("n") == kept.session("n")
    assert Privacy("hmac", tmp_path / "other").name("n") != Privacy("hmac", folder).name("n")
    assert (tmp_path / "other" / "privacy.key").exists()


@pytest.mark.parametrize("size", [0, 31, 33, None])
@pytest.mark.parametrize("make", [True, False])
def test_a_secret_that_is_not_whole_is_not_used(tmp_path, size, make):
    key = tmp_path / "privacy.key"
    key.mkdir() if size is None else key.write_bytes(bytes(size))
    with pytest.raises(StoreUnavailableError, match=r"privacy\.key is not whole: .* \(delete it\)"):
        Privacy("hmac", tmp_path, make=make)
    Privacy("full", tmp_path, make=make)


# -- rows


def everything():
    agents = AgentSet([Agent("a"), Agent("b")])
    drawn = Distribution(agents, (0.25, 0.75), 1, 0.625, None, None, "thompson", 4, 0.125)
    task = Task("Say", task_type="t", tenant="org", step=3, parent_decision_id="0" * 32)
    decision = Decision("1" * 32, "a", task, 5.0, 0.25, True, drawn, "kept", skipped=(Skipped("s", "why"),))
    decision.session_propensity, decision.arm, decision.arm_probability = 0.5, "treated", 0.875
    return decision


def test_a_decision_fills_its_columns():
    decision = everything()
    row = dict(zip(DECISION_COLUMNS.split(", "), decision_row(9, decision), strict=True))
    assert row == {
        "seq": 9,
        "decision_id": "1" * 32,
        "at": 5.0,
        "agent": "a",
        "task_type": "t",
        "tenant": "org",
        "source": "kept",
        "propensity": 0.25,
        "explored": 1,
        "strategy": "thompson",
        "model_version": 4,
        "confidence": 0.625,
        "epsilon": 0.125,
        "favourite": 1,
        "set_id": decision.distribution.agents.set_id,
        "probabilities": np.float32([0.25, 0.75]).tobytes(),
        "skipped": '[["s", "why"]]',
        "step": 3,
        "parent_decision_id": "0" * 32,
        "session_propensity": 0.5,
        "arm": "treated",
        "arm_probability": 0.875,
    }
    decision.skipped, decision.explored = (), False
    assert [decision_row(9, decision)[place] for place in (8, 16)] == [0, None]


def test_an_outcome_fills_its_columns(monkeypatch):
    monkeypatch.setattr(rows, "time", SimpleNamespace(time=lambda: 6.0))
    fields = {"success": False, "quality": 0.5, "feedback": -0.5, "correct_agent": "b", "no_agent_fits": False}
    fields |= {"latency_ms": 1.5, "cost_usd": 2.5, "tokens": 3}
    outcome = Outcome(**fields, metrics={"f1": 0.5}, agent="c", origin="judge", actor="j1")
    row = ("seq", *outcome_row("d", outcome, outcome.signals(), "o", "org"))
    assert dict(zip(OUTCOME_COLUMNS.split(", "), row, strict=True)) == {
        "seq": "seq",
        "outcome_id": "o",
        "decision_id": "d",
        "at": 6.0,
        "tenant": "org",
        **fields,
        "metrics": '{"f1": 0.5}',
        "agent": "c",
        "origin": "judge",
        "actor": "j1",
    }
    bare = Outcome(quality=0.5)
    assert outcome_row("d", bare, bare.signals(), None, None) == (None, "d", 6.0, None, None, 0.5, *(None,) * 10)


CONTEXTS = [
    ({"requires": {"sql"}}, {"requires": ["sql"]}),
    ({"history": ("a",)}, {"history": ["a"]}),
    ({"max_cost_usd": 0.5}, {"max_cost_usd": 0.5}),
    ({"max_latency_ms": 5.0}, {"max_latency_ms": 5.0}),
    ({"metadata": {"k": 1}}, {"metadata": {"k": 1}}),
]


@pytest.mark.parametrize(("fields", "context"), [*CONTEXTS, ({"requires": set(), "max_cost_usd": None}, None)])
def test_a_tasks_context_is_kept_where_there_is_any(privacy, fields, context):
    row = task_payload(9, Task(task_type="t", **fields), privacy("full"))
    if context is None:
        assert row is None
    else:
        same = mark("\x00\x00t", b"")
        assert row == (9, None, None, None, json.dumps(context), None, None, None, None, same)


def test_a_task_fills_its_columns(privacy):
    full, hashed, none = privacy("full"), privacy("hmac"), privacy("none")
    assert task_payload(9, Task(task_type="t"), full) is None
    assert len(task_payload(9, Task("x"), full)) == len(PAYLOAD_COLUMNS.split(", ")) == 10
    nothing = (None, None, None)
    about, same = mark("a b", b""), mark("A b\x00\x00t", b"")
    assert task_payload(9, Task("A b", task_type="t"), full) == (9, None, "A b", None, None, *nothing, about, same)
    named, same = '{"n": 1}', mark('\x00{"n": 1}\x00default', b"")
    assert task_payload(9, Task(features={"n": 1}), full) == (9, None, None, named, None, *nothing, None, same)
    same = mark("\x00\x00t", b"")
    session = Task(task_type="t", session_id="s")
    assert task_payload(9, session, full) == (9, "s", None, None, None, *nothing, None, same)
    assert task_payload(9, session, hashed)[1] == task_payload(9, session, none)[1] == keyed("s")[:32]
    assert task_payload(9, Task("x"), none) is None
    assert task_payload(9, Task("x", metadata={"k": "v"}), none)[4] == '{"metadata": {}}'
    kept = task_payload(9, Task("x", metadata={"k": "v"}), hashed)
    assert kept[2] == keyed("x")
    assert json.loads(kept[4]) == {"metadata": {keyed("k")[:16]: keyed("v")}}


def test_an_outcomes_texts_fill_their_columns(privacy):
    full, none = privacy("full"), privacy("none")
    assert outcome_payload(Outcome(quality=0.5), full) is None
    for place, field in enumerate(("response", "feedback_text", "error"), 4):
        row = [None] * 9
        row[place] = "x"
        assert outcome_payload(Outcome(**{field: "x"}), full) == tuple(row)
        assert outcome_payload(Outcome(**{field: "x"}), none) is None
    whole = Outcome(response="r", feedback_text="f", error="e")
    assert outcome_payload(whole, full) == (None, None, None, None, "r", "f", "e", None, None)


def test_a_vector_is_a_row():
    found = vector_rows(9, {"e": np.float32([1.0]), "f": np.int8([2, 3])})
    assert found == [(9, "e", "<f4", np.float32([1.0]).tobytes()), (9, "f", "|i1", b"\x02\x03")]


# -- and back


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ((None, None, None, None, None), {"text": ""}),
        ((None, None, "s", "x", None), {"text": "x", "session_id": "s"}),
        ((0, None, None, "x", None), {"text": "x", "step": 0, "parent_decision_id": None}),
        ((None, "p", None, "x", None), {"text": "x", "step": None, "parent_decision_id": "p"}),
        ((None, None, None, None, '{"n": 1}'), {"text": "", "features": {"n": 1}}),
    ],
)
def test_a_stored_task_says_what_is_left_of_it(row, fields):
    task = stored_task(("t", "org", *row, None))
    assert len(TASK_COLUMNS.split(", ")) == 8
    left = {"task_type": "t", "tenant": "org", "session_id": None, **fields}
    assert {name: getattr(task, name) for name in task.model_fields_set} == left


def test_a_stored_context_has_the_types_of_a_task():
    context = '{"requires": ["sql"], "history": ["a", "b"], "max_cost_usd": 0.5}'
    task = stored_task(("t", None, None, None, None, "x", None, context))
    assert (task.requires, task.history, task.max_cost_usd) == (frozenset({"sql"}), ("a", "b"), 0.5)
    task = stored_task(("t", None, None, None, None, "x", None, '{"metadata": {"k": 1}}'))
    assert (task.requires, task.history, task.metadata) == (frozenset(), (), {"k": 1})


def test_of_a_batch_is_known_what_was_decided_and_nothing_of_others(log):
    first = log.decision(task=Task("A b", task_type="t"))
    first.vectors = {"e": np.float32([1.0]), "f": np.int8([2])}
    empty = Distribution(AgentSet([]), (), -1, None, None, None, "observed", None, 0.0)
    second = Decision(new_id(), "z", Task(task_type="bare"), 5.0, None, False, empty, "observed")
    for decision in (first, second, log.decision()):
        log.decide(decision)

    def look(connection):
        for seqs in ([1, 2], (seq for seq in (1, 2))):
            context = PayloadContext(connection, seqs)
            assert (context.task(1).text, context.task(2).text, context.task(2).task_type) == ("A b", "", "bare")
            assert context.hashes(1) == (mark("a b", b""), mark("A b\x00\x00t", b""))
            assert context.hashes(2) == context.hashes(3) == (None, None)
            assert {tag: vector.tolist() for tag, vector in context.vectors(1).items()} == {"e": [1.0], "f": [2]}
            assert dict(context.vectors(2)) == {}
            assert (context.eligible(1), context.eligible(2)) == (("a", "b"), ())
            assert (context.probabilities(1), dict(context.probabilities(2))) == ({"a": 0.5, "b": 0.5}, {})
            with pytest.raises(KeyError):
                context.task(3)

    log.store.reader.query(look)


def test_probabilities_that_fit_no_agents_are_refused(log):
    log.decide()
    log.writer.transact(
        lambda connection, seq: connection.execute("UPDATE decisions SET probabilities = zeroblob(4)") and None
    )
    with pytest.raises(ValueError, match="shorter"):
        log.store.reader.query(lambda connection: PayloadContext(connection, [1]).probabilities(1))


# -- ids


def test_an_id_is_milliseconds_and_randomness(monkeypatch):
    assert new_id(1.5)[:12] == f"{1_500:012x}"
    assert len(new_id(0.0)) == len(new_id()) == 32
    monkeypatch.setattr(identity, "time", SimpleNamespace(time=lambda: 2.0))
    assert (new_id()[:12], new_id(0.0)[:12]) == (f"{2_000:012x}", "0" * 12)
    identity._tails.clear()
    ids = [new_id(1.0)]
    assert len(identity._tails) == 255
    ids += [new_id(1.0) for _ in range(255)]
    assert not identity._tails
    assert {len(each) for each in ids} == {32}
    assert len({each[12:] for each in ids}) == len({each[-8:] for each in ids}) == 256


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
def test_a_child_takes_no_id_of_its_parent():
    new_id()
    assert identity._tails
    child = os.fork()
    if not child:
        os._exit(len(identity._tails) and 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_callers_key_is_an_id_of_its_tenant():
    def told(text):
        return hmac.new(KEY, text.encode(), sha256).hexdigest()[:32]

    assert keyed_id(KEY, "k", "t") == told("t\x00k")
    assert keyed_id(KEY, "k", None) == told("\x00k")
    assert keyed_id(b"another", "k", "t") != check_id(keyed_id(KEY, "k", "t"))


@pytest.mark.parametrize("value", ["x", "x" * 199, "x" * 200, "é☃", " "])
def test_a_callers_key_is_any_text_that_is_not_too_long(value):
    assert check_key(value, "outcome_id") is value


@pytest.mark.parametrize("value", ["", "x" * 201, "x\ud800", None, 5, b"x"])
def test_what_is_no_key_is_named(value):
    with pytest.raises(InvalidIdError) as raised:
        check_key(value, "outcome_id")
    assert str(raised.value) == f"outcome_id: expected a text of 1 to 200 characters, got {value!r:.60}"


def test_of_what_is_no_id_sixty_characters_are_shown():
    assert check_id("0" * 32) == "0" * 32
    with pytest.raises(InvalidIdError) as raised:
        check_id("x" * 100, "parent")
    words = "parent: expected the 32 hexadecimal digits that route() returned, got '"
    assert str(raised.value) == words + "x" * 59
