import json

import pytest

from router_sdk import Outcome, OutcomeReward
from router_sdk.errors import InvalidConfigError
from router_sdk.plugin import QualityScorer, Score, hookimpl

from ..doubles import Counting

FEEDBACK = {"scorers": ["feedback"]}


def did(name):
    return Outcome(origin="signal", actor=name)


@pytest.fixture
def scoring(make_router):
    def make(quality=FEEDBACK, **settings):
        return make_router([Counting], quality=quality, **settings)

    return make


class Brevity(QualityScorer):
    """The shorter the answer, the better."""

    name = "brevity"

    def score(self, execution):
        if execution.response is None:
            return None
        return Score(1.0 / (1.0 + len(execution.response.split())), 1.0, {"words": -0.1})


class Bring:
    def __init__(self, *scorers):
        self.scorers = scorers

    @hookimpl
    def register_quality_scorers(self):
        return self.scorers


def test_nobody_scores_unless_told_to(make_router):
    router = make_router([Counting])
    decision = router.observe("x", "billing", Outcome(feedback=1))
    router.flush()
    assert [part.outcome.quality for part in router.examples.parts(decision.decision_id)] == [None]
    assert router.status()["quality"] == {"scorers": [], "waits": {}, "failed": [], "said": {}}


def test_a_signal_alone_teaches_once_it_is_scored(scoring):
    router = scoring()
    decision = router.route("x")
    router.record(decision, did("retry"))
    router.flush()
    (heard, scored) = router.examples.parts(decision.decision_id)
    assert heard.outcome.model_dump(exclude_none=True) == {"origin": "signal", "actor": "retry"}
    assert (scored.outcome.quality, scored.outcome.origin) == (pytest.approx(0.1), "signal")
    assert scored.outcome.actor == "scorer:feedback"
    assert "retry -0.40" in scored.outcome.reason
    assert router.examples[-1].reward == pytest.approx(0.1)
    assert router.status()["quality"]["said"] == {"feedback": {"parts": 1, "mean": pytest.approx(0.1)}}


def test_a_score_follows_what_is_said_later_and_is_said_once(scoring):
    router = scoring()
    decision = router.route("x")
    for part in (did("retry"), Outcome(latency_ms=5.0), Outcome(feedback=1)):
        router.record(decision, part)
        router.flush()
        router.flush()
    scores = [p.outcome.quality for p in router.examples.parts(decision.decision_id) if p.outcome.quality is not None]
    assert scores == [pytest.approx(0.1), pytest.approx(0.82)]
    assert router.examples[-1].signals.latency_ms == 5.0


@pytest.mark.parametrize("given_first", [True, False])
def test_what_somebody_says_holds(scoring, given_first):
    router = scoring()
    decision = router.route("x")
    for part in [Outcome(quality=0.3, origin="judge"), did("copy")][:: 1 if given_first else -1]:
        router.record(decision, part)
        router.flush()
    router.record(decision, did("edit"))
    router.flush()
    assert router.examples[-1].signals.quality == 0.3


def test_a_word_that_comes_between_reading_and_writing_holds(scoring):
    """The scorer has read that nobody judged; before it writes, somebody does."""
    router = scoring()
    decision = router.route("x")
    scoring_of = router._parts.scoring
    entry = scoring_of._entry

    def late(*told):
        router.record(decision, Outcome(quality=0.2))
        return entry(*told)

    scoring_of._entry = late  # before anything is said, or the learner's thread may be faster
    router.record(decision, did("copy"))
    router.flush()
    scoring_of._entry = entry
    router.flush()
    assert router.examples[-1].signals.quality == 0.2


def test_of_one_group_what_somebody_says_holds(scoring):
    router = scoring()
    decision = router.route("x")
    store = router._parts.store
    score, given = Outcome(quality=0.9, actor="scorer:feedback"), Outcome(quality=0.2)
    router.flush()
    store.append_all([store.entry(decision.decision_id, one, one.signals()) for one in (given, score)])
    assert [part.outcome.quality for part in router.examples.parts(decision.decision_id)] == [0.2]


def test_what_scorers_said_is_a_fold_of_the_log_like_anything_else(scoring, tmp_path):
    """Another router learns the same from the log, with no scorer, and exported lines bring the scores along."""
    router = scoring()
    for number in range(30):
        decision = router.route(f"task {number}")
        router.record(decision, did(["retry", "copy", "edit"][number % 3]))
        if number % 5 == 0:
            router.record(decision, Outcome(feedback=-1))
    router.flush()
    lessons = router._parts.chain.stages[0].strategy.cells
    router.examples.export(tmp_path / "out.jsonl")
    router.close()

    plain = scoring({})
    plain.flush()
    assert plain._parts.chain.stages[0].strategy.cells == lessons
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])
    assert line["quality"] == pytest.approx(0.9)
    assert line["parts"][-1]["actor"] == "scorer:feedback"
    assert line["parts"][-1]["reason"]

    other = scoring({}, store=tmp_path / "other.db")
    other.examples.import_from(tmp_path / "out.jsonl")
    other.flush()
    assert other._parts.chain.stages[0].strategy.cells == lessons
    assert [e.signals.quality for e in other.examples] == [e.signals.quality for e in plain.examples]


def test_what_is_there_already_is_scored_when_a_scorer_comes(scoring):
    router = scoring({})
    ids = [router.observe(f"x {number}", "billing", did("copy")).decision_id for number in range(600)]
    router.close()
    router = scoring()
    router.flush()
    assert {example.signals.quality for example in router.examples} == {0.9}
    assert router.status()["quality"]["said"]["feedback"]["parts"] == len(ids)


def test_two_processes_write_a_score_once(scoring, store_path):
    router, other = scoring(), scoring()
    decision = router.route("x")
    router.record(decision, did("copy"))
    router.flush()
    store = router._parts.store
    store.writer.transact(lambda connection, seq: connection.execute("DELETE FROM positions WHERE name LIKE 'scored%'"))
    other.flush()
    assert len(router.examples.parts(decision.decision_id)) == 2


def test_an_outcome_that_came_before_its_decision_is_scored_with_it(scoring):
    router = scoring()
    late = router.route("late")
    early = router.route("other")
    router.flush()
    missing = "f" * 32
    router.record(missing, did("copy"))
    router.record(early, did("copy"))
    router.flush()
    assert router.examples.of(missing) is None
    assert router.examples.of(early.decision_id).signals.quality == 0.9
    router.record(late, did("retry"))
    router.flush()
    assert router.examples.of(late.decision_id).signals.quality == pytest.approx(0.1)


def test_forgotten_sessions_are_not_scored_and_their_reasons_go(scoring):
    router = scoring()
    decision = router.route({"text": "x", "session_id": "s"})
    router.record(decision, did("copy"))
    router.flush()
    router.forget("s")
    router.record(decision, did("retry"))
    router.flush()
    parts = router.examples.parts(decision.decision_id)
    assert [part.outcome.reason for part in parts] == [None] * len(parts)
    assert parts[-1].outcome.actor == "retry"


def test_a_plugins_scorer_and_an_ensemble(scoring):
    router = scoring({"scorers": ["feedback", "brevity"]}, plugins=[Bring(Brevity())])
    decision = router.route("x")
    router.record(decision, Outcome(response="one two three", feedback=1))
    router.flush()
    scored = router.examples.parts(decision.decision_id)[-1].outcome
    assert scored.quality == pytest.approx((4.0 * 1.0 + 1.0 * 0.25) / 5.0)
    assert (scored.origin, scored.actor) == ("judge", "scorer:feedback+brevity")
    assert "brevity: words" in scored.reason


@pytest.mark.parametrize("value", [1.5, float("nan"), "raise"])
def test_a_scorer_that_fails_says_nothing_and_holds_up_nobody(scoring, value, caplog):
    class Broken(QualityScorer):
        name = "broken"

        def score(self, execution):
            if value == "raise":
                raise RuntimeError("no")
            return Score(value)

    router = scoring({"scorers": ["broken", "feedback"]}, plugins=[Bring(Broken())])
    decision = router.route("x")
    router.record(decision, did("copy"))
    router.flush()
    assert router.examples.parts(decision.decision_id)[-1].outcome.actor == "scorer:feedback"
    assert router.status()["quality"]["failed"] == ["broken"]


def test_the_discriminator_waits_until_it_can_then_scores_what_is_there(scoring):
    router = scoring({"scorers": ["discriminator"]})
    assert "not fitted" in router.status()["quality"]["waits"]["discriminator"]
    for number in range(120):
        good = number % 2 == 0
        words = f"you get {number} euros back" if good else f"sorry we cannot help number {number}"
        router.observe(f"refund {number}", "billing", Outcome(response=words, quality=0.9 if good else 0.1))
    silent = router.observe("refund now", "billing", Outcome(response="sorry we cannot help you"))
    router.flush()
    assert router.status()["quality"]["waits"] == {}
    scored = router.examples.parts(silent.decision_id)[-1].outcome
    assert scored.actor == "scorer:discriminator"
    assert scored.quality < 0.4
    assert "sorry" in scored.reason
    assert router.examples.of(silent.decision_id).reward == scored.quality


def test_no_scorer_learns_from_scores(scoring):
    seen = []

    class Apprentice(QualityScorer):
        name = "apprentice"

        def fit(self, scored):
            seen.append([value for _, value in scored])

        def score(self, execution):
            return Score(0.123)

    router = scoring({"scorers": ["apprentice"]}, plugins=[Bring(Apprentice())])
    for number in range(30):
        router.observe(f"x {number}", "billing", Outcome(quality=0.5))
        router.observe(f"y {number}", "billing", Outcome(response="z"))
    router.flush()
    for number in range(30):
        router.observe(f"x {number}", "billing", Outcome(quality=0.5))
    router.flush()
    # The learner's thread may look between two flushes, so a scorer may be fitted more often.
    assert len(seen) >= 2
    assert {value for values in seen for value in values} == {0.5}
    assert max(map(len, seen)) == 60
    assert {example.signals.quality for example in router.examples} == {0.5, 0.123}


def test_filters_of_training_data_see_scores(scoring, tmp_path):
    router = scoring()
    for number in range(10):
        router.observe(f"x {number}", "billing", did("copy" if number % 2 else "retry"))
    router.flush()
    assert router.examples.export(tmp_path / "good.jsonl", min_quality_score=0.7) == 5


@pytest.mark.parametrize(
    ("quality", "settings", "words"),
    [
        ({"scorers": ["nobody"]}, {}, "there is no nobody"),
        ({"scorers": ["discriminator"]}, {"privacy": "none"}, "reads texts"),
        ({"scorers": ["feedback", "feedback"]}, {}, "asked once"),
        ({"signals": {"retry": 2.0}}, {}, "signals"),
    ],
)
def test_settings_that_cannot_be_are_named(scoring, quality, settings, words):
    with pytest.raises(InvalidConfigError, match=words):
        scoring(quality, **settings)


def test_scores_do_not_count_twice():
    """A thumb and the score that was made of it alone come to what the thumb comes to."""
    reward = OutcomeReward()
    for thumb in (-1.0, -0.4, 0.0, 1.0):
        alone = Outcome(feedback=thumb).signals()
        both = Outcome(feedback=thumb, quality=(thumb + 1) / 2).signals()
        assert reward(both, "a") == pytest.approx(reward(alone, "a"))
