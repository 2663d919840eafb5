"""Versions that somebody else made: by a function of the user's, or another router; they pass the gate like any fit."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from fitted_strategy import Words

from router_sdk import Agent, Outcome, Router
from router_sdk.errors import (
    CorruptArtifactError,
    FitError,
    GateRefusedError,
    InvalidInputError,
    NotTrainableError,
    UnknownStrategyError,
)

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
PATIENCE_S = 20.0


def open_router(store: Path, **settings) -> Router:
    options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, "held_out": 0.4, **settings}
    return Router(agents=AGENTS, strategies=[Words, "heuristic"], store=store, **options)


def teach(router: Router, rounds: int = 14, start: int = 0) -> None:
    for number in range(start, start + rounds):
        for word, agent in RIGHT.items():
            task = {"text": f"{word} number {number}", "session_id": f"s{number}"}
            router.observe(task, agent=agent, outcome=Outcome(correct_agent=agent, response=f"{agent} says {number}"))
    router.flush()


@pytest.fixture
def router(tmp_path: Path):
    with open_router(tmp_path / "r.db") as made:
        teach(made)
        yield made


class Trains:
    """Learns the right agent for each first word, as ``Words`` does, and writes down what it was given."""

    def __init__(self, folder: Path, wrong: bool = False) -> None:
        self.folder, self.wrong, self.rows, self.path = folder, wrong, [], None

    def __call__(self, path: str) -> dict:
        self.path = Path(path)
        assert self.path.stat().st_mode & 0o077 == 0
        assert self.path.parent.stat().st_mode & 0o077 == 0
        self.rows = [json.loads(line) for line in self.path.read_text().splitlines()]
        table = {row["text"].split()[0]: "sales" if self.wrong else row["correct_agent"] for row in self.rows}
        self.folder.mkdir(exist_ok=True)
        (self.folder / "words.json").write_text(json.dumps([table, {}]))
        return {"model_path": str(self.folder), "metrics": {"loss": 0.25, "note": "by hand"}}


def attempts(tmp_path: Path) -> list[str]:
    fits = tmp_path / "r.db.artifacts" / "fits"
    return sorted(path.name for path in fits.iterdir()) if fits.is_dir() else []


# -- a function of the user's


def test_what_it_makes_of_the_data_passes_the_gate_and_serves(router: Router, tmp_path: Path) -> None:
    train = Trains(tmp_path / "model")
    fit = router.models.check_and_retrain(train)
    assert fit is not None
    assert (fit.state, fit.reason) == ("promoted", "42 fresh examples")
    assert (router.route("refund please").agent, router.route("refund please").model_version) == ("billing", 1)
    (version,) = router.models.versions()
    assert (version.kind, version.passed, version.samples) == ("external", True, len(train.rows))
    assert version.metrics["external"] == {"loss": 0.25, "note": "by hand"}
    assert version.metrics["after"]["value"] == 1.0
    # What judged it, it had not seen; and that is what is noted.
    dataset = router.models.dataset("words", 1)
    assert {row["text"] for row in train.rows} == {one.task.text for one in dataset.examples}
    assert {row["text"] for row in train.rows}.isdisjoint(one.task.text for one in dataset.held_out)
    assert len(dataset.held_out) == version.metrics["held_out"] > 5
    # Nothing is left of the data, and the user's own folder is as it was.
    assert not train.path.exists()
    assert attempts(tmp_path) == []
    assert (tmp_path / "model" / "words.json").exists()
    shutil.rmtree(tmp_path / "model")
    assert router.models.retrain(wait=True).version.parent == 1


def test_it_learns_what_it_was_not_given_before_it_serves(router: Router, tmp_path: Path) -> None:
    def train(path: str) -> dict:
        told = Trains(tmp_path / "model")(path)
        teach(router, 3, start=50)  # others are at work meanwhile
        return told

    router.models.check_and_retrain(train, force=True)
    held_out = {one.decision_id for one in router.models.dataset("words", 1).held_out}
    strategy = router.strategy("words")
    assert held_out <= strategy.memory.keys()
    later = {one.decision_id for one in router.examples if one.task.text.endswith(("50", "51", "52"))}
    assert len(later) == 9
    assert later <= strategy.memory.keys()


def test_it_is_asked_for_where_a_trigger_says_so(router: Router, tmp_path: Path) -> None:
    train = Trains(tmp_path / "model")
    assert router.models.check_and_retrain(train) is not None
    train.path = None
    assert router.models.check_and_retrain(train) is None  # nothing is new
    teach(router, 10, start=20)
    assert router.models.check_and_retrain(train) is None  # only just fitted
    assert train.path is None
    fit = router.models.check_and_retrain(train, force=True)
    assert fit.reason == "train_fn, by hand"
    assert len(router.models.versions()) == 2


def test_a_bad_one_is_refused_with_its_report(router: Router, tmp_path: Path) -> None:
    router.models.retrain(wait=True)
    fit = router.models.check_and_retrain(Trains(tmp_path / "model", wrong=True), force=True)
    assert fit.state == "refused"
    assert router.route("refund please").model_version == 1
    assert router.models.report("words", 2).passed is False
    with pytest.raises(GateRefusedError):
        router.models.promote("words", 2)


@pytest.mark.parametrize("form", ["chatml", "alpaca", "completion", "csv", "jsonl"])
def test_any_format_is_handed_over(router: Router, tmp_path: Path, form: str) -> None:
    given = {}

    def train(path: str) -> dict:
        given["name"], given["lines"] = Path(path).name, len(Path(path).read_text().splitlines())
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "words.json").write_text(json.dumps([RIGHT, {}]))
        return {"model_path": tmp_path / "model"}

    fit = router.models.check_and_retrain(train, format=form, min_reward=0.5)
    assert fit.state == "promoted", fit.words
    assert given["name"] == ("data.csv" if form == "csv" else "data.jsonl")
    assert given["lines"] == len(router.models.dataset("words", 1).examples) + (form == "csv")


RAISED = "xylophone"


def raises(path):
    raise ValueError(f"a text of somebody's: {RAISED}")


def leaves(path):
    raise SystemExit(3)


def empty(path):
    (Path(path).parent / "empty").mkdir()
    return {"model_path": Path(path).parent / "empty"}


def does_not_load(path):
    (Path(path).parent / "words.json").write_text("no state")
    return {"model_path": Path(path).parent}


def links(path):
    folder = Path(path).parent / "linked"
    folder.mkdir()
    (folder / "words.json").symlink_to("/etc/hostname")
    return {"model_path": folder}


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (raises, "train_fn raised ValueError"),
        (leaves, "train_fn raised SystemExit"),
        (lambda path: None, "train_fn returned None; expected .*model_path"),
        (lambda path: {"path": path}, "train_fn returned"),
        (lambda path: {"model_path": 5}, "train_fn returned"),
        (lambda path: {"model_path": "/nowhere/at/all"}, "is no folder"),
        (lambda path: {"model_path": path}, "is no folder"),
        (lambda path: {"model_path": Path(path).parent, "metrics": {"loss": float("nan")}}, "metrics"),
        (lambda path: {"model_path": Path(path).parent, "metrics": [1]}, "metrics"),
        (empty, "empty"),
        (does_not_load, "cannot be loaded"),
        (links, "symbolic link"),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_nothing(router: Router, tmp_path: Path, train, words: str) -> None:
    before = router.route("refund please").strategy
    with pytest.raises(FitError, match=words):
        router.models.check_and_retrain(train, force=True)
    assert router.models.newest_fit.state == "failed"
    assert router.models.versions() == []
    assert attempts(tmp_path) == []
    assert not list((tmp_path / "r.db.artifacts").glob("versions/*"))
    assert router.route("refund please").strategy == before
    logged = [
        row[0]
        for row in router._parts.store.reader.query(
            lambda c: c.execute("SELECT error FROM learning_events WHERE type = 'fit'").fetchall()
        )
    ]
    assert len(logged) == 1
    assert RAISED not in logged[0]
    assert router.models.retrain(wait=True).state == "promoted"  # and the next fit is none the worse


def test_what_cannot_be_asked_for_is_refused_at_once(router: Router, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="train_fn"):
        router.models.check_and_retrain("train.py")
    with pytest.raises(InvalidInputError, match="format"):
        router.models.check_and_retrain(raises, format="xml", force=True)
    with pytest.raises(InvalidInputError, match="unanswered"):
        router.models.check_and_retrain(raises, format="chatml", unanswered=True)
    with pytest.raises(UnknownStrategyError):
        router.models.check_and_retrain(raises, "nobody")
    with pytest.raises(NotTrainableError):
        router.models.check_and_retrain(raises, "heuristic", force=True)
    assert router.models.newest_fit is None


def test_where_nothing_goes_into_the_file_nothing_is_called(tmp_path: Path) -> None:
    with open_router(tmp_path / "r.db") as router:
        for number in range(20):
            router.observe(f"refund {number}", agent="billing", outcome=Outcome(correct_agent="billing"))
        fit = router.models.check_and_retrain(raises, format="chatml", force=True)
        assert fit.state == "refused"
        assert "responses" in fit.words
        assert attempts(tmp_path) == []


@pytest.mark.parametrize("how", ["stop", "forget", "close"])
def test_whoever_must_stop_it_does_not_wait_for_the_function(tmp_path: Path, how: str) -> None:
    router = open_router(tmp_path / "r.db")
    teach(router)
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def train(path: str) -> dict:
        begun.set()
        go_on.wait(PATIENCE_S)
        ended.set()
        return {"model_path": path}

    fit = router.models.check_and_retrain(train, force=True, wait=False)
    assert begun.wait(PATIENCE_S)
    {"stop": fit.stop, "forget": lambda: router.forget("s3"), "close": router.close}[how]()
    fit.wait(PATIENCE_S)
    assert fit.state == "stopped"
    assert not ended.is_set()
    assert attempts(tmp_path) == []  # the data file is gone, too
    go_on.set()
    assert ended.wait(PATIENCE_S)
    if how != "close":
        assert router.models.versions() == []
        router.close()


# -- another router's


@pytest.fixture
def exported(router: Router, tmp_path: Path) -> Path:
    router.models.retrain(wait=True)
    return router.models.export_to("words", 1, tmp_path / "out")


def test_a_version_from_elsewhere_is_a_candidate_until_it_is_promoted(exported: Path, tmp_path: Path) -> None:
    with open_router(tmp_path / "other.db") as other:
        teach(other, start=100)
        fit = other.models.import_version(exported)
        assert (fit.state, fit.version.kind, fit.version.passed) == ("held", "import", True)
        assert other.route("refund please").model_version is None
        assert fit.version.metrics["import"] == {"strategy": "words", "version": 1}
        assert (fit.version.upto, fit.version.dataset) == (0, None)
        assert fit.version.samples == json.loads((exported / "version.json").read_text())["samples"]
        other.models.promote("words", 1)
        assert (other.route("refund please").agent, other.route("refund please").model_version) == ("billing", 1)
        known = other.strategy("words").memory
        assert {one.decision_id for one in other.examples} <= known.keys()  # it has learnt this log
    with open_router(tmp_path / "other.db") as other:
        assert other.route("refund please").model_version == 1


def test_where_nothing_can_judge_it_a_person_decides(exported: Path, tmp_path: Path) -> None:
    with open_router(tmp_path / "other.db") as other:
        fit = other.models.import_version(str(exported))
        assert (fit.state, fit.version.passed) == ("refused", False)
        assert "insufficient" in fit.words
        with pytest.raises(GateRefusedError):
            other.models.promote("words", 1)
        other.models.promote("words", 1, force=True)
        assert other.route("stolen card").agent == "fraud"
        assert other.statistics()["retrain_count"] == 0  # nothing was fitted


def test_in_its_own_log_it_learns_only_what_is_new_to_it(exported: Path, router: Router) -> None:
    made_at = router.models.versions()[0].upto
    teach(router, 2, start=70)
    gone = next(one for one in router.examples if one.task.session_id == "s4")
    router.forget("s4")
    router.models.rollback("words")
    fit = router.models.import_version(exported)
    assert fit.version.upto == made_at
    router.models.promote("words", fit.version.version, force=True)
    memory = router.strategy("words").memory
    assert gone.decision_id not in memory  # it remembered a session that was forgotten since
    assert {one.decision_id for one in router.examples if one.task.text.endswith(("70", "71"))} <= memory.keys()


def test_a_byte_that_changed_is_refused_and_nothing_registered(exported: Path, router: Router) -> None:
    for spoil in (
        lambda: (exported / "words.json").write_text("[{}, {}]"),
        lambda: (exported / "version.json").write_text("{}"),
        lambda: (exported / "more").write_text("x"),
        lambda: (exported / "manifest.json").unlink(),
    ):
        kept = exported.with_name("kept")
        shutil.copytree(exported, kept)
        spoil()
        with pytest.raises(CorruptArtifactError):
            router.models.import_version(exported)
        shutil.rmtree(exported)
        kept.rename(exported)
    with pytest.raises(InvalidInputError, match="no folder"):
        router.models.import_version(exported / "nowhere")
    assert len(router.models.versions()) == 1


def test_another_strategys_version_is_no_version_here(exported: Path, tmp_path: Path) -> None:
    with (
        Router(agents=AGENTS, strategies=["heuristic"], store=tmp_path / "other.db") as other,
        pytest.raises(UnknownStrategyError),
    ):
        other.models.import_version(exported)
