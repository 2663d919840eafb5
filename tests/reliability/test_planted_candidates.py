"""What is no good does not get past the gate, and what is good does; on streams from which no threshold was chosen."""

from contextlib import contextmanager

import numpy as np
import pytest
from planted_candidates import AGENTS, RUINED, Planted, teach

from router_sdk import Agent, Router

STOPPED_BY = {
    "shuffled": "no_regression",
    "collapsed": "no_regression",
    "nan": "finite_parameters",
    "hidden nan": "finite_parameters",
    "stale": "no_regression",
    "slow": "latency",
    "ruinous": "per_agent",
}


@contextmanager
def serving(folder, seed, fault=""):
    """A router whose pinned first version has seen three quarters of what there is by now."""
    agents, rng = [Agent(name) for name in AGENTS], np.random.default_rng(seed)
    settings = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, "seed": seed}
    with Router(agents=agents, strategies=[Planted], store=folder / f"{seed}.db", **settings) as router:
        teach(router, rng, 600)
        assert router.models.retrain(wait=True, fault=fault).state == "promoted"
        router.models.pin("planted")
        teach(router, rng, 200)
        yield router, rng


def said(router, fit):
    """What each check said of a candidate."""
    return {one.check: one for one in router.models.report("planted", fit.version.version).verdicts}


def stopped_by(router, seed):
    """The checks that failed each planted candidate, and what a ruinous one did."""
    found = {}
    for fault in STOPPED_BY:
        fit = router.models.retrain(wait=True, fault=fault, resample=seed)
        assert fit.state == "refused", (fault, fit.words)
        found[fault] = said(router, fit)
    return found


def passed(folder, seeds, each):
    """For each of so many good candidates whether it passed, and why not."""
    words = []
    for seed in seeds:
        with serving(folder, seed) as (router, rng):
            for number in range(each):
                teach(router, rng, 10)
                fit = router.models.retrain(wait=True, resample=1_000 * seed + number)
                words.append(None if fit.version.passed else fit.words)
    return words


@pytest.mark.slow
def test_bad_candidates_are_stopped_and_say_by_what(tmp_path):
    with serving(tmp_path, 101, "dull") as (router, _):
        found = stopped_by(router, 101)
        for fault, check in STOPPED_BY.items():
            assert found[fault][check].status == "fail", fault
        ruinous = found["ruinous"]
        assert ruinous["no_regression"].status == "pass"
        assert ruinous["no_regression"].evidence["after"] > ruinous["no_regression"].evidence["before"]
        assert ruinous["per_agent"].evidence["before"] >= 0.8
        assert ruinous["per_agent"].evidence["after"] <= 0.2
        assert ruinous["per_agent"].reason.startswith(RUINED)
        assert router.status()["strategies"][0]["model_version"] == 1


@pytest.mark.slow
def test_good_candidates_pass(tmp_path):
    words = passed(tmp_path, (201, 202, 203), 4)
    assert words.count(None) >= 11, words


@pytest.mark.reliability
@pytest.mark.parametrize("fault", ["", "dull"])
def test_bad_candidates_are_stopped_in_many_streams(tmp_path, fault):
    for seed in range(300, 310):
        with serving(tmp_path, seed, fault) as (router, _):
            stopped_by(router, seed)


@pytest.mark.reliability
def test_nine_good_candidates_of_ten_pass(tmp_path):
    words = passed(tmp_path, range(400, 410), 8)
    assert words.count(None) >= 0.9 * len(words), words
