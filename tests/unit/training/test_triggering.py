"""When a fit starts by itself, and what is said of it before."""

import threading
from types import SimpleNamespace

import pytest
from fitted_strategy import Words

from router_sdk import Agent, Outcome
from router_sdk.errors import InvalidConfigError, NotTrainableError
from router_sdk.plugin import Trigger, hookimpl
from router_sdk.store.registry import ROLLBACK_BY_ITSELF, set_champion
from router_sdk.training.triggering import BUILT_IN, Triggering

AGENTS = ("billing", "fraud", "sales")
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
HOUR, DAY = 3_600.0, 86_400.0


@pytest.fixture
def open_router(make_router):
    def make(**settings):
        options = {"agents": [Agent(name) for name in AGENTS], "retrain_interval": 30, "retrain_cooldown_seconds": 60.0}
        options |= {"fit_executor": "thread", "epsilon": 0.0, "learn_now": True, "retrain": False, **settings}
        return make_router([Words, "heuristic"], **options)

    return make


@pytest.fixture
def router(open_router):
    return open_router()


def teach(router, rounds, **outcome):
    for number in range(rounds):
        for word, agent in RIGHT.items():
            router.observe(f"{word} {number}", agent=agent, outcome=Outcome(correct_agent=agent, **outcome))
    router.flush()


def check(router):
    (found,) = router.models.check_triggers()
    return found, {one.trigger: one for one in found.readings}


class Clocks:
    """Of a triggering of the test's own, on a router's log."""

    def __init__(self, router, **settings):
        trainer = router._parts.trainer
        self.wall, self.true = 1_000_000.0, 500.0
        services = trainer._services
        automatic = router.config.model_copy(update={"retrain": True, **settings})
        services = SimpleNamespace(
            store=services.store, config=automatic, reward=services.reward, plugins=services.plugins
        )
        self.triggering = Triggering(
            services,
            router._parts.chain,
            router._parts.performance,
            trainer._gate.needs,
            wall=lambda: self.wall,
            monotonic=lambda: self.true,
        )

    def pass_by(self, seconds):
        self.wall += seconds
        self.true += seconds

    def due(self):
        due = self.triggering.due()
        return None if due is None else due.reason


# -- what is asked, and what is said


def test_each_trigger_says_what_it_measured(router):
    teach(router, 4, quality=0.9)
    found, said = check(router)
    assert list(said) == ["example_count", "quality_drop", "drift", "manual"]
    assert (said["example_count"].value, said["example_count"].threshold) == (12, 30)
    assert said["example_count"].reason == "18 more fresh examples to come"
    assert (found.strategy, found.due, found.waits, found.automatic) == ("words", None, None, False)
    assert found.next.trigger == "example_count"
    teach(router, 6)
    found, said = check(router)
    assert (found.due, found.waits) == ("30 fresh examples", None)
    assert found.to_dict()["readings"][0]["due"] is True
    assert router.status()["models"][0]["triggers"] == found.to_dict() | {
        "cooldown": found.cooldown.to_dict(),
        "next": "example_count",
    }


def test_every_trigger_can_be_switched_on_and_off(open_router):
    thresholds = {
        "schedule_hours": 24.0,
        "error_rate_threshold": 0.2,
        "negative_feedback_threshold": 0.2,
        "low_confidence_share": 0.5,
    }
    _, said = check(open_router(triggers=thresholds))
    assert list(said) == [*BUILT_IN, "manual"]
    found, said = check(open_router(triggers={**thresholds, "off": BUILT_IN}))
    assert list(said) == ["manual"]
    assert found.off == dict.fromkeys(BUILT_IN, "triggers.off names it")
    found, _ = check(open_router(triggers={"error_rate_threshold": 0.2, "off": ["drift"]}))
    assert found.off == {
        "schedule": "set triggers.schedule_hours",
        "negative_feedback": "set triggers.negative_feedback_threshold",
        "low_confidence": "set triggers.low_confidence_share",
        "drift": "triggers.off names it",
    }
    assert open_router(triggers={"off": ["example_count"]}, retrain=True).statistics()["next_retrain_in"] is None
    with pytest.raises(InvalidConfigError, match=r"triggers.off: there is no trigger quality; there are example_count"):
        open_router(triggers={"off": ["quality"]})


class Brought(Trigger):
    name = "brought"

    def __init__(self, answer):
        self.answer = answer

    def due(self, activity):
        return self.answer(activity)


def bringing(answer):
    class Plugin:
        @hookimpl
        def register_triggers(self):
            return [Brought(answer)]

    return {"plugins": [Plugin()]}


def test_a_plugins_trigger_is_asked_and_can_be_switched_off(open_router):
    router = open_router(**bringing(lambda activity: f"{activity.fresh} came"))
    teach(router, 4)
    found, said = check(router)
    assert (found.due, said["brought"].reason) == ("12 came", "12 came")
    _, said = check(open_router(triggers={"off": ["brought"]}, **bringing(lambda activity: "always")))
    assert "brought" not in said


def test_a_trigger_that_raises_is_not_due_and_stops_no_other(open_router, caplog):
    router = open_router(**bringing(lambda activity: 1 // 0))
    teach(router, 10)
    for _ in range(3):
        found, said = check(router)
    assert "it failed: ZeroDivisionError" in said["brought"].reason
    assert found.due == "30 fresh examples"
    assert len([one for one in caplog.records if "trigger brought failed" in one.message]) == 1


def test_fewer_good_examples_count(open_router):
    router = open_router(triggers={"min_quality_score": 0.7})
    teach(router, 8, quality=0.4)
    teach(router, 2, quality=0.8)
    found, said = check(router)
    assert (said["example_count"].value, found.due) == (6, None)
    assert said["example_count"].reason == "24 more fresh examples of quality 0.7 or more to come"


def test_windows_are_read_off_the_log_and_a_correction_counts_once(open_router):
    router = open_router(triggers={"error_rate_threshold": 0.3, "least_outcomes": 20})
    decisions = [router.route(f"offer {number}") for number in range(40)]
    for place, decision in enumerate(decisions):
        router.record(decision, Outcome(success=place % 2 == 0))
    _, said = check(router)
    assert (said["error_rate"].due, said["error_rate"].reason) == (True, "20 of 40 executions failed")
    for decision in decisions[1::2][:15]:
        router.record(decision, Outcome(success=True))
    _, said = check(router)
    assert (said["error_rate"].due, said["error_rate"].reason) == (False, "5 of 40 executions failed")


# -- what is in the way


def test_a_pin_the_cooldown_and_too_few_examples_are_in_the_way_and_say_so(router):
    teach(router, 1)
    found, _ = check(router)
    assert found.waits == "3 examples say how they went, the gate needs 5 to judge by"
    teach(router, 20)
    router.models.retrain(wait=True)
    found, _ = check(router)
    assert found.waits.startswith("cooldown: ")
    assert not found.cooldown.due
    router.models.pin("words")
    assert check(router)[0].waits == "a person pinned what serves: router unpin words"


def test_without_a_strategy_that_has_a_fit_there_is_nothing_to_check(make_router):
    router = make_router(["thompson"])
    assert router.models.check_triggers() == []
    assert router.status()["models"] == []
    with pytest.raises(NotTrainableError):
        router.models.retrain()


@pytest.mark.parametrize("leap", [-HOUR, DAY])
def test_a_leap_of_the_clock_neither_doubles_a_fit_nor_blocks_the_next(router, leap):
    clocks = Clocks(router)
    teach(router, 10)
    assert clocks.due() == "30 fresh examples"
    router.models.retrain(wait=True)
    clocks.wall += leap
    assert clocks.due() is None
    teach(router, 10)
    assert clocks.due() is None  # still cooling down
    clocks.pass_by(59.0)
    assert clocks.due() is None
    clocks.pass_by(2.0)
    assert clocks.due() == "30 fresh examples"
    restarted = Clocks(router)
    restarted.wall = clocks.wall + leap
    restarted.due()
    restarted.pass_by(61.0)
    assert restarted.due() == "30 fresh examples"


def test_after_a_restart_with_the_clock_ahead_the_same_examples_make_no_fit_due(router):
    teach(router, 10)
    router.models.retrain(wait=True)
    restarted = Clocks(router)
    restarted.wall += 365 * DAY
    assert restarted.due() is None


def test_a_schedule_goes_by_the_same_clock(open_router):
    router = open_router(triggers={"schedule_hours": 24.0})
    teach(router, 5)
    router.models.retrain(wait=True)
    clocks = Clocks(router)
    clocks.due()
    clocks.pass_by(23 * HOUR)
    assert clocks.due() is None
    clocks.pass_by(2 * HOUR)
    assert clocks.due() is None  # nothing is fresh
    teach(router, 1)
    assert clocks.due() == "25 hours since the last fit"


def test_after_rollbacks_by_themselves_more_is_needed_and_the_cooldown_is_longer(router):
    teach(router, 10)
    router.models.retrain(wait=True)
    writer = router._parts.store.writer
    set_champion(writer, "words", None, f"{ROLLBACK_BY_ITSELF}: it earned less", pinned=False)
    clocks = Clocks(router)
    teach(router, 10)
    clocks.due()
    clocks.pass_by(61.0)
    found = clocks.triggering.check(router._parts.chain.stage("words"))
    assert "2 times as long, after 1 versions were rolled back" in found.waits
    clocks.pass_by(60.0)
    assert clocks.due() is None
    teach(router, 10)
    assert clocks.due() == "60 fresh examples"
    set_champion(writer, "words", 1, "gate: better", pinned=False)
    set_champion(writer, "words", 1, "gate: better again", pinned=False)
    assert clocks.triggering.check(router._parts.chain.stage("words")).cooldown.threshold == 60.0


# -- the reason is kept


def test_why_a_fit_was_begun_is_kept_with_it(router):
    teach(router, 10)
    router.models.retrain(wait=True, reason="new labels")
    teach(router, 1)
    router.models.retrain(wait=True, mode="worse")
    assert [version.trigger for version in router.models.versions("words")] == ["new labels", "by hand"]
    newest, oldest = router.models.fits("words")
    assert [(one["status"], one["reason"]) for one in (oldest, newest)] == [
        ("succeeded", "new labels"),
        ("refused", "by hand"),
    ]
    assert router.models.fits("words", after=oldest["id"]) == [newest]
    (told,) = router.status()["models"]
    assert (told["serving"]["version"], told["refused"]["model_version"]) == (1, 2)
    assert "no_regression: fail" in told["refused"]["error"]
    assert [one.version for one in router.models.history("words")] == [1]


def test_a_fit_that_is_due_starts_by_itself_with_its_reason(open_router):
    begun, ended = [], threading.Event()

    class Observer:
        @hookimpl
        def on_fit_started(self, strategy, reason):
            begun.append((strategy, reason))

        @hookimpl
        def on_fit_finished(self):
            ended.set()

    router = open_router(retrain=True, plugins=[Observer()])
    teach(router, 10)
    assert ended.wait(20)
    assert begun == [("words", "30 fresh examples")]
    assert router.models.versions("words")[0].trigger == "30 fresh examples"


def test_a_fall_of_rewards_starts_one(open_router, monkeypatch):
    monkeypatch.setattr("router_sdk.training.lately._LOOK_S", 0.0)
    began = threading.Event()

    class Observer:
        @hookimpl
        def on_fit_started(self, reason):
            if "the mean reward went from" in reason:
                began.set()

    router = open_router(retrain=True, retrain_interval=10_000, retrain_cooldown_seconds=0.0, plugins=[Observer()])
    teach(router, 40, success=True)
    router.models.retrain(wait=True)
    for number in range(60):
        router.observe(f"refund {number}", "billing", Outcome(success=False))
    router.flush()
    assert began.wait(20)


def test_what_the_monitor_of_drift_reports_is_a_change_since_the_last_attempt(router):
    counts = {"fraud": 3}
    parts = router._parts
    triggering = Triggering(parts.trainer._services, parts.chain, parts.performance, 0, counts.copy)
    stage = parts.chain.stages[0]
    triggering.check(stage)
    counts["billing"] = 1
    triggering._reports = None
    assert triggering._activity(stage, triggering.last(stage.name)).changes == {"billing (drift)": 1}
