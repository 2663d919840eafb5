"""Thresholds off the log of a whole router: looked for, derived at a fit, and where they come from."""

import pytest

from router_sdk import Outcome, Router
from router_sdk.errors import InvalidInputError
from router_sdk.plugin import Proposal, Strategy, StrategyConfig, StrategyServices

WORDS = ("known", "unknown")


class Specialist(Strategy):
    """Right about what it knows, and of the rest it says little and is wrong."""

    name = "specialist"

    def propose(self, task, agents, context):
        sure = task.text.startswith("known")
        return Proposal({"a": 1.0, "b": 0.0}, confidence=0.9 if sure else 0.3)


class Fitted(Specialist):
    """The same, with a fit."""

    name = "fitted"

    def fit(self, data, context):
        return Fitted(self.config, self.services)


class Generalist(Strategy):
    """Learns one thing: that everything is for b, unless it is told that it is not."""

    name = "generalist"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.heard = 0

    def propose(self, task, agents, context):
        return Proposal({"a": 0.0, "b": 1.0}) if self.heard else None

    def learn(self, examples):
        self.heard += len(examples)


def opened(folder, *kinds, **settings):
    first, *rest = kinds
    chain = [first(StrategyConfig(**settings), StrategyServices(folder))]
    chain += [kind(StrategyConfig(), StrategyServices(folder)) for kind in rest]
    return Router(["a", "b"], chain, folder / "log.db", seed=1, fit_executor="thread", retrain=False)


def labelled(router, count):
    for number in range(count):
        router.observe(f"{WORDS[number % 2]} {number}", agent="a", outcome=Outcome(correct_agent="ab"[number % 2]))
    router.flush()


def test_they_are_looked_for_off_the_log_and_nothing_is_changed(tmp_path):
    with opened(tmp_path, Specialist, Generalist) as router:
        labelled(router, 600)
        (found,) = router.models.tune_thresholds()
        assert found.strategy == "specialist"
        assert 0.1 < found.value < 0.9
        assert found.gain == pytest.approx(0.5, abs=0.05)
        assert router.status()["strategies"][0]["confidence_threshold"] == 0.0
        (few,) = router.models.tune_thresholds(newest=60)
        assert few.value is None
        assert few.reason.startswith("insufficient")
        for wrong in ({"cost_of_handing_on": -1.0}, {"cost_of_handing_on": float("nan")}, {"newest": 0}):
            with pytest.raises(InvalidInputError):
                router.models.tune_thresholds(**wrong)


def test_a_fit_derives_it_where_nobody_set_one(tmp_path):
    with opened(tmp_path, Fitted, Generalist) as router:
        labelled(router, 1_500)
        router.models.retrain(wait=True)
        (version,) = router.models.versions()
        told = version.metrics["threshold"]
        assert 0.1 < told["value"] < 0.9
        router.models.promote("fitted", 1, force=True)
        stage = router.status()["strategies"][0]
        assert (stage["confidence_threshold"], stage["confidence_threshold_from"]) == (told["value"], "version 1")
        assert router.route("known 1").strategy == "fitted"
        decision = router.route("unknown 1")
        assert decision.strategy == "generalist"
        assert decision.skipped[0].reason.endswith("as version 1 found")
        assert router.models.report("fitted", 1).threshold == told
    with opened(tmp_path, Fitted, Generalist) as router:
        assert router.status()["strategies"][0]["confidence_threshold_from"] == "version 1"
    with opened(tmp_path, Fitted, Generalist, confidence_threshold=0.0) as router:
        stage = router.status()["strategies"][0]
        assert (stage["confidence_threshold"], stage["confidence_threshold_from"]) == (0.0, "configuration")
        assert router.route("unknown 1").strategy == "fitted"
