"""What goes out comes back: an export, imported, is the log that it was made of."""

import json
import random
import re

import pytest

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import StoreUnavailableError
from router_sdk.exchange import copied

NAMES = ["a", "b", "c"]


def open_router(store=":memory:", **settings):
    settings.setdefault("agents", NAMES)
    return Router(strategies=["thompson"], store=store, seed=3, retrain=False, **settings)


def live(router, count, seed=5):
    """Decisions with outcomes that are late, partial, repeated, corrected, and of who really ran."""
    rng = random.Random(seed)
    waiting = []
    for number in range(count):
        task = Task(
            f"text {number % 50}",
            task_type=rng.choice("xy"),
            session_id=f"session {number % 20}",
            tenant=rng.choice([None, "tenant"]),
            history=("a",) * (number % 3),
            metadata={"number": number},
            step=number // 20,
        )
        waiting.append(router.route(task))
        if number == count // 2:
            router.add_agent("b", fresh=True)
        while len(waiting) > (30 if number < count - 1 else 0):
            decision = waiting.pop(rng.randrange(len(waiting)))
            parts = [Outcome(success=rng.random() < 0.5, latency_ms=rng.random() * 100)]
            if rng.random() < 0.2:
                parts.append(Outcome(quality=rng.random(), response="an answer", origin="judge", actor="m"))
            if rng.random() < 0.1:
                parts.append(Outcome(success=rng.random() < 0.5))
            if rng.random() < 0.05:
                parts.append(Outcome(agent=rng.choice(NAMES), feedback=1.0))
            for part in parts:
                router.record(decision, part, outcome_id=f"own {number} {rng.random()}" if rng.random() < 0.1 else None)
    router.flush()


def posterior(router, folder):
    folder.mkdir(exist_ok=True)
    with router._parts.learner.folding.lock:
        router.strategy("thompson").save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def figures(router):
    own = {"total_updates", "successful_updates", "avg_update_time_ms"}  # of how it was learnt, not of what
    own |= {"update_success_rate", "updates_per_minute", "learning_efficiency"}
    told = {name: value for name, value in router.statistics().items() if name not in own}
    return told, [report.to_dict() for report in router.agent_performance()]


def examples(router, *, timed=True):
    return sorted(
        (
            *(one.decision_id, one.agent, one.decided_at, one.revision, one.reward),
            *((one.first_at, one.at) if timed else ()),
            *(one.propensity, one.source, str(one.signals), repr(one.task), one.eligible, dict(one.probabilities)),
        )
        for one in router.examples
    )


def lines(path):
    return [re.sub(r'"position": \d+', "", line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A router with a life behind it, and its export."""
    with open_router() as router:
        live(router, 300)
        path = tmp_path_factory.mktemp("out") / "log.jsonl"
        router.examples.export(path)
        yield router, path


def check_a_copy(router, path, tmp_path):
    with open_router() as copy:
        report = copy.examples.import_from(path)
        copy.flush()
        assert (report.rejected, report.known, report.errors) == (0, 0, [])
        assert posterior(copy, tmp_path / "copy") == posterior(router, tmp_path / "source")
        assert figures(copy) == figures(router)
        copy.examples.export(tmp_path / "again.jsonl")
        again = copy.examples.import_from(path)
        copy.flush()
        assert (again.imported, again.rejected) == (0, 0)
        assert figures(copy) == figures(router)
        return examples(copy)


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_copy_is_what_it_was_made_of(source, tmp_path, form):
    router, path = source
    if form != "jsonl":
        form == "csv" or pytest.importorskip("pyarrow")
        path = tmp_path / f"log.{form}"
        router.examples.export(path, format=form)
    assert check_a_copy(router, path, tmp_path) == examples(router)
    assert lines(tmp_path / "again.jsonl") == lines(source[1])


@pytest.mark.slow
def test_a_copy_of_a_long_log_has_its_posterior_and_figures_bit_by_bit(request, tmp_path):
    with open_router() as router:
        live(router, 100_000 if request.config.getoption("--reliability") else 2_000)
        router.examples.export(tmp_path / "log.jsonl")
        check_a_copy(router, tmp_path / "log.jsonl", tmp_path)


def test_an_export_into_its_own_store_changes_nothing(source, tmp_path):
    router, path = source
    before, counted = posterior(router, tmp_path / "before"), router.status()["store"]
    report = router.examples.import_from(path)
    router.flush()
    assert (report.imported, report.rejected) == (0, 0)
    assert posterior(router, tmp_path / "after") == before
    after = router.status()["store"]
    assert {name: after[name] for name in ("decisions", "outcomes")} == {
        name: counted[name] for name in ("decisions", "outcomes")
    }


def test_a_store_that_has_half_of_it_gets_the_other_half(source, tmp_path):
    router, path = source
    whole = path.read_text(encoding="utf-8").splitlines(keepends=True)
    half = tmp_path / "half.jsonl"
    half.write_text("".join(whole[::2]), encoding="utf-8")
    with open_router() as copy:
        copy.examples.import_from(half)
        copy.examples.import_from(path)
        copy.flush()
        assert copy.status()["store"]["outcomes"] == router.status()["store"]["outcomes"]
        assert examples(copy, timed=False) == examples(router, timed=False)  # a log's time never goes back


def test_an_import_that_was_cut_off_is_gone_on_with(source, tmp_path, monkeypatch):
    router, path = source
    written, calls = copied.write_copies, []

    def breaks(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise StoreUnavailableError("the disk is full")
        return written(*arguments)

    with open_router() as copy:
        monkeypatch.setattr(copied, "write_copies", breaks)
        with pytest.raises(StoreUnavailableError):
            copy.examples.import_from(path)
        monkeypatch.undo()
        copy._parts.upkeep._settle()
        copy.flush()
        assert posterior(copy, tmp_path / "copy") == posterior(router, tmp_path / "source")
        assert copy.examples.import_from(path).imported == 0


def test_all_that_a_decision_and_its_outcome_have_comes_back(tmp_path):
    agents = [Agent("a", capabilities={"sql"}), Agent("b", capabilities={"sql"}), "c"]
    task = Task(
        "what",
        task_type="kind",
        features={"size": 3, "share": 0.1, "rush": True, "place": "home"},
        session_id="talk",
        tenant="they",
        requires={"sql"},
        history=["c"],
        max_cost_usd=1.5,
        max_latency_ms=90.0,
        metadata={"deep": [1, {"er": None}]},
        step=4,
        parent_decision_id="0" * 32,
    )
    parts = [
        Outcome(response="so", feedback_text="thanks", error="late", tokens=3, cost_usd=0.1, latency_ms=5.0),
        Outcome(success=True, quality=1 / 3, feedback=-1.0, metrics={"m": 1e-9}, origin="judge", actor="one"),
        Outcome(correct_agent="c", agent="b", origin="user"),
        Outcome(no_agent_fits=True),
    ]
    with open_router(agents=agents) as router, open_router(agents=agents) as copy:
        decision = router.route(task)
        for number, part in enumerate(parts):
            router.record(decision, part, outcome_id=f"id {number}" if number % 2 else None)
        unanswered = router.route("nobody has said how it went")
        path = tmp_path / "out.jsonl"
        assert router.examples.export(path) == 1
        assert router.examples.export(path, unanswered=True) == 2
        copy.examples.import_from(path)
        assert examples(copy) == examples(router)
        for one in (decision, unanswered):
            there, here = copy.decision(one.decision_id), router.decision(one.decision_id)
            assert {**there.explain(), "task": there.task} == {**here.explain(), "task": here.task}
            assert (there.at, there.source, there.ranking) == (here.at, here.source, here.ranking)
        line = json.loads(path.read_text().splitlines()[0])
        told = [{name: part[name] for name in part.keys() - {"position", "at", "outcome_id"}} for part in line["parts"]]
        assert told == [
            {**part.model_dump(exclude_none=True), **({"success": False} if part.error else {})} for part in parts
        ]
        assert [part.get("outcome_id") for part in line["parts"]] == [None, "id 1", None, "id 3"]
        assert (line["agent"], line["ran"], line["tenant"]) == (decision.agent, "b", "they")


def test_what_was_forgotten_goes_out_and_comes_back_as_numbers(tmp_path):
    with open_router() as router, open_router() as copy:
        for session in ("gone", "kept"):
            router.record(router.route(Task(f"text of {session}", session_id=session)), Outcome(response="my secret"))
        router.examples.export(tmp_path / "before.jsonl")
        router.forget("gone")
        router.examples.export(tmp_path / "after.jsonl")
        assert copy.examples.import_from(tmp_path / "after.jsonl").imported == 2
        assert [(one.task.text, one.revision) for one in copy.examples] == [("", 0), ("text of kept", 0)]
        (tmp_path / "before.jsonl").rename(tmp_path / "moved.jsonl")
        router.examples.import_from(tmp_path / "moved.jsonl")
        assert [one.task.text for one in router.examples] == ["", "text of kept"]


@pytest.mark.parametrize("privacy", ["hmac", "none"])
def test_a_store_that_keeps_no_text_keeps_none_of_an_export(tmp_path, privacy):
    store = tmp_path / "store" / "router.db"
    store.parent.mkdir()
    path = tmp_path / "out.jsonl"
    with open_router() as router:
        task = Task("my secret text", session_id="my secret session", features={"my secret feature": "secret value"})
        router.record(router.route(task), Outcome(success=True, response="my secret answer"))
        router.examples.export(path)
    with open_router(store, privacy=privacy) as copy:
        assert copy.examples.import_from(path).imported == 1
        assert [one.signals.success for one in copy.examples] == [True]
        copy.examples.export(store.parent / "out.jsonl")
        assert copy.examples.import_from(store.parent / "out.jsonl").known == 1
    for file in store.parent.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(words in content for words in (b"my secret", b"secret value")), file


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_forget_takes_lines_out_of_an_export_and_leaves_the_rest_to_be_imported(tmp_path, form):
    path = tmp_path / f"out.{form}"
    with open_router() as router, open_router() as copy:
        for session in ("gone", "kept"):
            router.record(router.route(Task(f"text of {session}", session_id=session)), Outcome(success=True))
            router.add_agent("a", fresh=True)
        router.examples.export(path, format=form)
        router.forget("gone")
        assert "text of gone" not in path.read_text()
        assert copy.examples.import_from(path).rejected == 0
        assert [one.task.text for one in copy.examples] == ["text of kept"]
        assert len(copy.examples) == 1


def test_what_was_archived_is_not_learnt_from_again(tmp_path):
    with open_router(tmp_path / "router.db") as router:
        for number in range(3):
            router.record(router.route(f"text {number}"), Outcome(success=True))
        router.flush()
        path = tmp_path / "out.jsonl"
        router.examples.export(path)
        before = posterior(router, tmp_path / "before")
        assert router.archive(before=router.examples[-1].decided_at + 1) == 3
        assert router.examples.import_from(path).known == 3
        router.flush()
        assert posterior(router, tmp_path / "after") == before


def test_lines_of_earlier_releases_count_nothing_twice(tmp_path):
    with open_router() as router, open_router() as copy:
        decision = router.route("what")
        router.record(decision, Outcome(success=True, quality=0.5))
        row = {
            "decision_id": decision.decision_id,
            "at": decision.at,
            "text": "what",
            "agent": decision.agent,
            "reward": 0.5,
            "propensity": decision.propensity,
            "source": "routed",
            "success": True,
            "quality": 0.5,
        }
        path = tmp_path / "old.jsonl"
        path.write_text(json.dumps(row) + "\n")
        assert router.examples.import_from(path).known == 1
        assert router.status()["store"]["outcomes"] == 1
        assert [copy.examples.import_from(path).imported for _ in range(2)] == [1, 0]
        (example,) = copy.examples
        assert (example.propensity, example.source, example.reward) == (decision.propensity, "routed", 0.5)


BAD = {
    "id": ({"decision_id": "1"}, "decision_id"),
    "time": ({"at": "yesterday"}, "at: expected a time"),
    "no time": ({"at": None}, "at: expected a time"),
    "propensity": ({"propensity": 2}, "propensity"),
    "no chance": ({"propensity": 0}, "propensity"),
    "confidence": ({"confidence": "high"}, "confidence"),
    "source": ({"source": "elsewhere"}, "source"),
    "agent": ({"agent": "nobody"}, "nobody"),
    "favourite": ({"favourite": "nobody"}, "favourite"),
    "eligible": ({"eligible": [1]}, "eligible"),
    "probabilities": ({"probabilities": {"a": 1.0}}, "probabilities"),
    "vectors": ({"vectors": {"e": {"dtype": "<f4", "base64": "?"}}}, "vectors"),
    "vectors of objects": ({"vectors": {"e": {"dtype": "O", "base64": "AAAA"}}}, "vectors"),
    "skipped": ({"skipped": ["x"]}, "skipped"),
    "column": ({"colour": "red"}, "colour"),
    "parts": ({"parts": [3]}, "parts"),
    "part": ({"parts": [{"at": 1.0, "position": 1, "quality": 7}]}, "quality"),
    "part without a time": ({"parts": [{"position": 1, "quality": 0.7}]}, "parts: at"),
    "label": ({"parts": [{"at": 1.0, "position": 1, "correct_agent": "nobody"}]}, "nobody"),
    "version": ({"model_version": 10**30}, "model_version"),
    "task": ({"task_type": "a/b"}, "task_type"),
}


def test_exported_lines_that_were_spoilt_are_refused_by_name_and_the_others_are_imported(tmp_path):
    path = tmp_path / "out.jsonl"
    with open_router() as router, open_router() as copy:
        for number in range(2 * len(BAD)):
            router.record(router.route(f"text {number}"), Outcome(success=True))
        router.examples.export(path)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row, (bad, _) in zip(rows[::2], BAD.values(), strict=True):
            row |= bad
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        report = copy.examples.import_from(path)
        assert (report.imported, report.rejected) == (len(BAD), len(BAD))
        reasons = [letter["reason"] for letter in reversed(copy.dead_letters())]
        for number, (reason, (name, (_, named))) in enumerate(zip(reasons, BAD.items(), strict=True)):
            assert reason.startswith(f"out.jsonl:{2 * number + 1}: "), name
            assert named in reason, name


def test_lines_of_two_exports_of_one_log_count_each_part_once(tmp_path):
    with open_router() as router, open_router() as copy:
        decision = router.route("what")
        router.record(decision, Outcome(success=False))
        router.examples.export(tmp_path / "one.jsonl")
        router.record(decision, Outcome(success=True))
        router.examples.export(tmp_path / "two.jsonl")
        both = tmp_path / "both.jsonl"
        both.write_text((tmp_path / "one.jsonl").read_text() + (tmp_path / "two.jsonl").read_text())
        assert copy.examples.import_from(both).rejected == 0
        assert copy.status()["store"]["outcomes"] == 2
        assert examples(copy) == examples(router)


def test_what_a_store_learnt_of_an_agent_later_still_counts(tmp_path):
    with open_router(agents=["a"]) as router, open_router(agents=["a"]) as copy:
        router.record(router.route("before"), Outcome(success=True))
        router.add_agent("a", fresh=True)
        router.record(router.route("after"), Outcome(success=True))
        router.examples.export(tmp_path / "out.jsonl")
        copy.record(copy.route("own"), Outcome(success=True))
        copy.flush()
        before = copy.agent_performance()[0].executions
        copy.examples.import_from(tmp_path / "out.jsonl")
        copy.flush()
        assert (before, copy.agent_performance()[0].executions) == (1, 3)


def test_half_of_a_surrogate_pair_spoils_no_other_line(tmp_path):
    with open_router() as router, open_router() as copy:
        for number in range(3):
            router.record(router.route(f"text {number}"), Outcome(success=True))
        router.examples.export(tmp_path / "out.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        rows[1]["arm"] = "\ud800"
        (tmp_path / "out.json").write_text(json.dumps(rows))
        report = copy.examples.import_from(tmp_path / "out.json")
        assert report.imported == 2
        assert report.errors == ["line 2: a text holds half of a surrogate pair, and cannot be stored"]


def test_an_outcome_id_that_is_another_ones_is_refused_by_name(tmp_path):
    with open_router() as router, open_router() as copy:
        router.record(router.route("here"), Outcome(success=True), outcome_id="1")
        copy.record(copy.route("there"), Outcome(success=False), outcome_id="1")
        router.examples.export(tmp_path / "out.jsonl")
        report = copy.examples.import_from(tmp_path / "out.jsonl")
        assert report.errors == [
            f"line 1: outcome_id '1' is already that of an outcome of decision {copy.examples[0].decision_id}"
        ]


def test_an_outcome_that_came_before_its_decision_is_not_imported_again_with_it(tmp_path):
    with open_router() as router, open_router() as copy:
        decision = router.route(Task("what", tenant="acme"))
        router.record(decision, Outcome(success=True), outcome_id="1")
        router.examples.export(tmp_path / "out.jsonl")
        copy.record(decision.decision_id, Outcome(success=True), outcome_id="1")
        assert copy.status()["store"]["pending"] == 1
        assert copy.examples.import_from(tmp_path / "out.jsonl").rejected == 0
        assert (copy.status()["store"]["outcomes"], copy.status()["store"]["pending"]) == (1, 0)


def test_agents_of_an_export_become_agents_where_that_is_asked_for(tmp_path):
    with open_router() as router, open_router(agents=["c"]) as copy:
        router.record(router.route("what", exclude=["b", "c"]), Outcome(correct_agent="b"))
        path = tmp_path / "out.jsonl"
        router.examples.export(path)
        assert copy.examples.import_from(path).rejected == 1
        report = copy.examples.import_from(path, new_agents=True)
        assert (report.imported, report.new_agents) == (1, ["a", "b"])
        assert [agent.name for agent in copy.agents] == ["c", "a", "b"]
        assert copy.route("what", exclude=["a", "c"]).agent == "b"
