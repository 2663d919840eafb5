"""``forget`` reaches every copy, and the privacy modes hold wherever texts go: not one byte is left, in any file."""

import csv
import json
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from fitted_strategy import Words
from killable import Living, bytes_beside

from router_sdk import Agent, Outcome, Router, Task, erasing
from router_sdk.errors import FitError, StoreUnavailableError
from router_sdk.exchange import exporting

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
SESSION, SECRET = "session-of-mrs-zebrawood", "xylophone"
PATIENCE_S = 20.0


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "router.db"


def open_router(store: Path, strategies=(Words, "thompson"), **settings) -> Router:
    options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, **settings}
    return Router(agents=AGENTS, strategies=list(strategies), store=store, **options)


def task(number=0, session=SESSION, secret=SECRET):
    return Task(
        f"refund {secret} {number}",
        session_id=session,
        features={secret: 1.0, "branch": f"the {secret} branch"},
        metadata={secret: {"deep": [secret]}},
    )


def teach(router, rounds=6):
    for number in range(rounds):
        for word, agent in RIGHT.items():
            router.observe(f"{word} number {number}", agent=agent, outcome=Outcome(correct_agent=agent))
    router.flush()


def lessons(rounds=8):
    """Rows to pre-train on, some of the session."""
    return [
        (Task(f"{word} {SECRET if n % 2 else 'harmless'} {n}", session_id=SESSION if n % 2 else None), agent)
        for n in range(rounds)
        for word, agent in RIGHT.items()
    ]


def tell(router, count=3, session=SESSION, secret=SECRET):
    ids = []
    for number in range(count):
        decision = router.route(task(number, session, secret))
        router.record(decision, Outcome(correct_agent="billing", response=f"said {secret}"))
        ids.append(decision.decision_id)
    router.flush()
    return ids


def left(store, *words):
    return sorted(
        {
            (path.name, word)
            for path, content in bytes_beside(store.parent)
            for word in words
            if word.encode() in content
        }
    )


def assert_gone(store, *words):
    assert left(store, *(words or (SECRET, SESSION))) == []


# -- copies


def test_what_comes_late_of_a_forgotten_decision_is_counted_and_not_kept(store):
    with open_router(store) as router:
        first, _ = tell(router, 2)
        held = router.route(task(9))
        router.flush()
        router.forget(SESSION)
        router.record(first, Outcome(feedback=-1.0, feedback_text=f"late {SECRET}", response=SECRET, error=SECRET))
        router.record(held, Outcome(success=True, response=SECRET))
        router.flush()
        assert_gone(store)
        assert router.statistics()["feedback_rate"] > 0.0
        assert router.statistics()["total_examples"] == 3
    assert_gone(store)


def test_versions_snapshots_and_archives_are_reached(store):
    with open_router(store) as router:
        teach(router)
        ids = tell(router)
        router.models.retrain(wait=True)
        router.snapshot()
        router.archive(2e9)
        tell(router, 2)
        assert {name for name, _ in left(store, SECRET)} > {"words.json"} or left(store, SECRET)
        assert router.forget(SESSION) == 5
        assert_gone(store)
        assert router.strategy("words").memory.keys().isdisjoint(ids)
        assert router.statistics()["total_examples"] == 23
    with open_router(store) as router:
        assert router.statistics()["total_examples"] == 23
        assert router.route("stolen card").model_version == 1
        assert_gone(store)


@pytest.mark.parametrize("form", ["jsonl", "csv", "chatml", "alpaca", "completion"])
def test_exports_that_the_store_knows_are_reached(store, form, tmp_path):
    path = tmp_path / f"out.{form}"
    with open_router(store) as router:
        tell(router, 2)
        tell(router, 2, session="other", secret="harmless\nand long")
        assert router.examples.export(path, format=form) == 4
        router.forget(SESSION)
        text = path.read_text()
        assert SECRET not in text
        assert SESSION not in text
        assert text.count("harmless") >= 2
        if form == "csv":
            assert len(list(csv.DictReader(text.splitlines(keepends=True)))) == 2
        else:
            assert [json.loads(line) for line in text.splitlines()]
        router.forget("other")
        assert "harmless" not in path.read_text()


def test_an_export_that_was_changed_or_moved_is_left_alone_and_said_so(store, tmp_path, caplog):
    changed, moved = tmp_path / "changed.jsonl", tmp_path / "moved.jsonl"
    with open_router(store) as router:
        tell(router, 2)
        for path in (changed, moved):
            router.examples.export(path)
        changed.write_text("mine now\n")
        moved.rename(tmp_path / "elsewhere.jsonl")
        router.forget(SESSION)
    assert changed.read_text() == "mine now\n"
    assert "was changed since it was written" in caplog.text


def test_a_running_fit_is_stopped_and_an_interrupted_one_goes(store, monkeypatch):
    begun = threading.Event()
    monkeypatch.setattr(Words, "before_fit", lambda self: begun.set())
    with open_router(store) as router:
        teach(router)
        tell(router)
        fit = router.models.retrain(mode="hang")
        assert begun.wait(PATIENCE_S)
        assert ("words.json", SESSION) not in left(store, SESSION)
        router.forget(SESSION)
        assert fit.wait(PATIENCE_S).state == "stopped"
        assert_gone(store)
        assert not list((store.parent / "router.db.artifacts" / "fits").iterdir())
        tell(router)
        begun.clear()
        router.models.retrain(mode="hang")
        assert begun.wait(PATIENCE_S)
        router._parts.trainer.turns.interrupt()  # as at the end of a process
    with open_router(store) as router:
        router.forget(SESSION)
        assert_gone(store)
        assert router.models.retrain(wait=True).state == "promoted"


def test_a_fit_in_another_process_is_reached_by_that(store):
    with open_router(store) as router:
        teach(router)
        tell(router)
        with router._parts.trainer.turns.alone():
            (store.parent / "router.db.artifacts" / "fits" / "words-fit").mkdir(parents=True)
            (store.parent / "router.db.artifacts" / "fits" / "words-fit" / "copy").write_text(SECRET)
            with pytest.raises(StoreUnavailableError, match="runs in another process"):
                router.forget(SESSION)
            assert router.status()["upkeep"]["unfinished"]
        router._parts.upkeep._work(False)
        assert router.status()["upkeep"]["unfinished"] == []
        assert_gone(store)


def test_what_was_pre_trained_on_is_reached(store):
    rows = lessons()
    with open_router(store) as router:
        assert router.models.pretrain([row for row, _ in rows], [agent for _, agent in rows]).state == "promoted"
        router.snapshot()
        assert router.forget(SESSION) == 12
        assert_gone(store)
        assert len(router.strategy("words").memory) < 12
        assert router.route("stolen card").model_version == 1


def test_what_an_interrupted_pre_training_left_is_reached_though_the_log_knows_nothing_of_it(store, monkeypatch):
    begun = threading.Event()
    monkeypatch.setattr(Words, "before_fit", lambda self: begun.set())
    rows = lessons()
    with open_router(store) as router:
        fit = router.models.pretrain([row for row, _ in rows], [agent for _, agent in rows], mode="hang", wait=False)
        assert begun.wait(PATIENCE_S)
        assert router.forget(SESSION) == 0
        assert fit.wait(PATIENCE_S).state == "stopped"
        assert_gone(store)


def test_words_of_lines_that_were_refused_go_too(store, tmp_path):
    lines = [{"text": f"{SECRET}", "session_id": SESSION, "label": "nobody"}, {"text": "fine", "label": "sales"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with open_router(store) as router:
        assert router.examples.import_from(tmp_path / "in.jsonl").rejected == 1
        assert left(store, SECRET)
        router.forget(SESSION)
        assert_gone(store)


def test_what_others_learnt_of_an_archived_past_is_written_anew_without_it(store):
    """One process runs Thompson, another the words; the one that forgets must not take the other's past away."""
    with open_router(store, [Words]) as router:
        teach(router)
        tell(router)
        table = dict(router.strategy("words").memory)
    with open_router(store, ["thompson"]) as router:
        router.archive(2e9)
        router._parts.upkeep._eraser._strategy_of = lambda name: Words(
            Words.Config(), router.strategy("thompson").services
        )
        assert router.forget(SESSION) == 3
        assert_gone(store)
    with open_router(store, [Words]) as router:
        kept = {
            key: value for key, value in table.items() if value[0] != "refund" or key in router.strategy("words").memory
        }
        assert len(router.strategy("words").memory) == 18
        assert router.strategy("words").memory.items() <= kept.items()


@pytest.fixture(scope="module")
def tiny_encoder_folder(tmp_path_factory):
    """A tiny transformer, made in code and exported."""
    from router_sdk_bert.config import EncoderSettings
    from router_sdk_bert.encoding.export import export_encoder
    from router_sdk_bert.encoding.tiny import tiny_checkpoint

    checkpoint = tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")
    folder = tmp_path_factory.mktemp("exported") / "encoder"
    export_encoder(checkpoint, folder, EncoderSettings(model=str(checkpoint)))
    return folder


@pytest.mark.slow
def test_the_real_thing_forgets_in_the_process_that_serves_it(store, tiny_encoder_folder):
    chain = [("bert", {"model": str(tiny_encoder_folder), "wait_for_encoder": True, "update": "head"}), "thompson"]
    rows = lessons()
    with open_router(store, chain) as router:
        teach(router, 8)
        router.models.pretrain([row for row, _ in rows], [agent for _, agent in rows])
        tell(router)
        router.models.retrain("bert", wait=True)
        router.snapshot()
        assert router.forget(SESSION) == 15
        assert_gone(store)
        assert router.forget(SESSION) == 0
        router.snapshot()
        assert router.models.retrain("bert", wait=True).state in ("promoted", "refused", "held")
        assert_gone(store)
    with open_router(store, chain) as router:
        assert_gone(store)
        assert router.route("refund please").strategy in ("bert", "thompson")


@pytest.mark.slow
def test_two_processes_forget_and_neither_brings_it_back(store):
    one, other = (Living(store, ["words", "thompson"]) for _ in range(2))
    for number in range(3):
        one.tell("record", f"s{number}", SECRET, 4, number)
        other.tell("record", f"s{number}", SECRET, 4, 10 + number)
        other.tell("snapshot")
    one.tell("fit", "words")
    for number in range(3):
        (one, other)[number % 2].tell("forget", f"s{number}")
    for living in (one, other):
        living.tell("settled")
        living.tell("snapshot")
    assert left(store, SECRET) == []
    for living in (one, other):
        living.close()
    assert left(store, SECRET) == []


# -- privacy modes


@pytest.mark.parametrize("mode", ["hmac", "none"])
def test_a_mode_that_keeps_no_text_keeps_none_wherever_it_goes(store, mode, tmp_path):
    rows = [(task(number), "billing") for number in range(12)] + [(Task(f"offer {n}"), "sales") for n in range(12)]
    lines = [{"text": SECRET, "session_id": SESSION, "label": f"nobody {SECRET}"}, {"text": SECRET, "agent": 5}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + f"not {SECRET} json\n")
    with open_router(store, [Words, "thompson"], privacy=mode) as router:
        tell(router)
        router.observe(task(7), agent="billing", outcome=Outcome(error=SECRET, feedback_text=SECRET))
        with suppress(FitError):  # without texts there is nothing to count words of
            router.models.pretrain([row for row, _ in rows], [agent for _, agent in rows])
        router.examples.import_from(tmp_path / "in.jsonl")
        router.dead_letter("stream", f"cannot read '{SECRET}'", body=SECRET)
        router.snapshot()
        router.flush()
        assert_gone(store)
        assert router.record_session(SESSION, Outcome(success=True)) == 4
        found = router.examples[-1].task
        assert found.session_id not in (None, SESSION)
        assert 1.0 in found.features.values()
        assert router.forget(SESSION) in (4, 16)
    assert_gone(store)


@pytest.mark.parametrize("mode", ["full", "redacted", "hmac", "none"])
def test_features_that_are_learnt_are_found_again_in_every_mode(store, mode):
    """What a request is looked up by is what was learnt: names and texts go the same way."""
    good = {"gold": "billing", "silver": "sales"}
    with open_router(store, ["thompson"], privacy=mode, seed=1, learn_now=True) as router:
        for number in range(120):
            kind = "gold" if number % 2 else "silver"
            features = {"plan": kind, "is gold": float(kind == "gold"), "size": number % 3}
            decision = router.route(Task(features=features))
            router.record(decision, Outcome(success=decision.agent == good[kind]))
        for kind, agent in good.items():
            found = router.rank(Task(features={"plan": kind, "is gold": float(kind == "gold"), "size": 1}))
            assert found[0].agent == agent


def test_a_mode_may_change_between_two_starts(store):
    with open_router(store, ["thompson"], privacy="full") as router:
        router.record(router.route(Task("x", session_id="plain")), Outcome(success=True))
    with open_router(store, ["thompson"], privacy="hmac") as router:
        router.record(router.route(Task("y", session_id="plain")), Outcome(success=True))
        router.flush()
        assert router.forget("plain") == 2


def test_what_is_forgotten_while_a_version_is_made_is_not_in_it(store, monkeypatch):
    """Neither where the copy of what serves is from before, nor where the version is finished meanwhile."""
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(Words, "before_fit", lambda self: (begun.set(), go_on.wait(PATIENCE_S)))
    with open_router(store) as router, open_router(store) as other:
        other._parts.upkeep.look = lambda: None  # it would stop its fit
        teach(router)
        ids = tell(router)
        fit = other.models.retrain()  # in what is another process, as far as the first one knows
        assert begun.wait(PATIENCE_S)
        with suppress(StoreUnavailableError):
            router.forget(SESSION)
        go_on.set()
        fit.wait(PATIENCE_S)
        router._parts.upkeep._work(False)
        assert router.status()["upkeep"]["unfinished"] == []
        assert_gone(store)
        assert fit.version is not None
        router._parts.promoter._again_at = 0.0
        router._parts.learner.submit(router._parts.promoter.follow).result()
        assert router.strategy("words").memory.keys().isdisjoint(ids)
        assert [
            path
            for path, content in bytes_beside(store.parent)
            if ids[0].encode() in content and path.name == "words.json"
        ] == []


# -- what processes left that were killed


@pytest.fixture
def leftovers(store):
    """What no table names: a snapshot and a version that were whole, one half written, and a damaged one."""
    with open_router(store) as router:
        tell(router)
        teach(router)
        router.models.retrain(wait=True)
    folder, places = Path(f"{store}.artifacts"), []
    for place in (
        "snapshots/words-1-abc",
        "snapshots/.draft-abc",
        "versions/words-abc",
        "damaged/versions-words-abc-1",
    ):
        places.append(folder / place)
        places[-1].mkdir(parents=True)
        (places[-1] / "words.json").write_text(SECRET)
    return places


def test_what_killed_processes_left_is_reached_once_nobody_can_be_writing_it(store, leftovers, monkeypatch):
    monkeypatch.setattr(erasing, "_KILLED_S", 60.0)
    monkeypatch.setattr(erasing, "_WRITING_S", 0.1)
    *young, damaged = leftovers
    with open_router(store) as router:
        router.forget(SESSION)
        assert not damaged.exists()
        assert [one["kind"] for one in router.status()["upkeep"]["unfinished"]] == ["forget"]
        assert all(place.exists() for place in young)  # a living process may say in a moment whose they are
        for place in young:
            os.utime(place, (0.0, 0.0))
        router._parts.upkeep._settle()
        assert router.status()["upkeep"]["unfinished"] == []
    assert not any(place.exists() for place in leftovers)
    assert_gone(store)


@pytest.mark.parametrize("step", ["while it was written", "before it was listed"])
def test_exports_of_killed_processes_are_reached(store, tmp_path, monkeypatch, step):
    class Killed(BaseException):
        pass

    path = tmp_path / "out.jsonl"
    with open_router(store) as router:
        tell(router)
        router.examples.export(path)

        def die(*arguments, draft=False, **more):
            if draft == (step == "while it was written"):
                raise Killed
            return listed(*arguments, draft=draft, **more)

        listed = exporting.note_export
        monkeypatch.setattr(exporting, "note_export", die)
        with suppress(Killed):
            router.examples.export(path)
        monkeypatch.undo()
        path.with_name(".out.jsonl.part").write_text(SECRET)  # which a killed process cannot clear away
        assert SECRET in path.read_text()
        router.forget(SESSION)
    assert SECRET not in path.read_text()
    assert [one.name for one in tmp_path.glob("out*")] == ["out.jsonl"]
