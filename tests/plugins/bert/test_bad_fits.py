"""The gate before the real thing: fits of the transformer that went wrong do not get past it, and a good one does."""

from dataclasses import replace

import numpy as np
import pytest
from fit_cases import NAMES, WORDS
from router_sdk_bert.strategy import BertStrategy

from router_sdk import Agent, Outcome, Router


class Planted(BertStrategy):
    """Fits on labels that are not those of the log."""

    fault = ""

    def fit(self, data, context):
        labels = [one.label for one in data.examples]
        if self.fault == "shuffled":
            labels = np.random.default_rng(3).permutation(labels).tolist()
        if self.fault == "collapsed":
            labels = [NAMES[0]] * len(labels)
        if self.fault == "stale":
            labels = [NAMES[0] if label == NAMES[1] else label for label in labels]
        examples = [
            replace(one, signals=one.signals._replace(correct_agent=label))
            for one, label in zip(data.examples, labels, strict=True)
        ]
        return super().fit(replace(data, examples=examples), context)


@pytest.fixture
def router(tiny_encoder_folder, store_path):
    bert = {"model": str(tiny_encoder_folder), "wait_for_encoder": True, "update": "head"}
    options = {"epsilon": 0.0, "retrain": False, "fit_executor": "thread", "seed": 0, "strategy": {"bert": bert}}
    with Router([Agent(name) for name in NAMES], [Planted], store_path, **options) as opened:
        yield opened


def teach(router, rng, count):
    for _ in range(count):
        label = NAMES[rng.integers(len(NAMES))]
        router.observe(" ".join(rng.choice(WORDS[label], 4)), agent=label, outcome=Outcome(correct_agent=label))
    router.flush()


@pytest.mark.slow
def test_what_went_wrong_is_refused_and_a_refit_passes(router, monkeypatch):
    rng = np.random.default_rng(11)
    teach(router, rng, 180)
    assert router.models.retrain(wait=True).state == "promoted"
    router.models.pin("bert")
    teach(router, rng, 60)
    for fault in ("shuffled", "collapsed", "stale"):
        monkeypatch.setattr(Planted, "fault", fault)
        fit = router.models.retrain(wait=True)
        assert fit.state == "refused", (fault, fit.words)
        said = {one.check: one for one in router.models.report("bert", fit.version.version).verdicts}
        assert said["no_regression"].status == "fail"
        assert said["finite_parameters"].evidence["arrays"] > 3
        assert said["latency"].status == "pass"
    monkeypatch.setattr(Planted, "fault", "")
    fit = router.models.retrain(wait=True)
    assert fit.version.passed, fit.words
