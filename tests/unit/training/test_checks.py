import json
from dataclasses import replace

import pytest

from router_sdk.config import RouterConfig
from router_sdk.errors import InvalidConfigError
from router_sdk.evaluation.candidate import CandidateEvidence, Latency, MustPass, OffPolicyPair
from router_sdk.evaluation.fit_report import HeldOutFigures
from router_sdk.evaluation.off_policy import PolicyValue
from router_sdk.evaluation.paired import AgentGain, Calibration, Gain, PairedComparison
from router_sdk.evaluation.parameters import Parameters
from router_sdk.gate import Check, CheckResult, Comparison, Gate
from router_sdk.rewards import OutcomeReward
from router_sdk.training.checks import checks_of


def figures(value, ess=100.0):
    return HeldOutFigures(value, value, ess, 0.1, int(ess), 0, 0.0, 0)


def gain(mean, error=0.01, ess=100.0, before=0.9):
    return Gain(int(ess), ess, before, before + mean, error, max(1, int(ess) - 1))


def comparison(recent, **evidence):
    unchanged = evidence.pop("unchanged", False)
    agents = tuple(AgentGain(name, 0.5, one) for name, one in evidence.pop("agents", {}).items())
    paired = PairedComparison(recent, agents, evidence.pop("forgotten", None), 0, evidence.pop("divergence", 0.1), None)
    paired = replace(paired, calibration=evidence.pop("calibration", None))
    parameters = evidence.pop("parameters", Parameters(3))
    known = recent or gain(0.0)
    return Comparison(
        strategy="words",
        serving=evidence.pop("serving", figures(known.before, known.ess)),
        candidate=evidence.pop("candidate", figures(known.after, known.ess)),
        held_out=100,
        forgetting=(),
        evidence=CandidateEvidence(paired, parameters, **evidence),
        settings={},
        unchanged=unchanged,
    )


def made(**gate):
    return checks_of(RouterConfig.of(gate=gate), OutcomeReward())


def status(name, compared, **gate):
    """What one check says."""
    (check,) = [one for one in made(**gate) if one.name == name]
    found = check.compare(compared)
    assert found.check == name
    return found.status


def test_each_check_is_switched_off_by_its_name():
    everything = [
        *("no_regression", "per_agent", "forgetting", "calibration", "latency", "divergence", "finite_parameters"),
        "off_policy",
    ]
    assert [check.name for check in made()] == everything
    assert [check.name for check in made(**dict.fromkeys(everything, False))] == []
    assert [check.name for check in made(minimum_accuracy=True)] == [everything[0], "minimum_accuracy", *everything[1:]]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (gain(0.05), "pass"),
        (gain(0.0), "pass"),
        (gain(-0.005, 0.001), "pass"),  # surely worse, but by less than the tolerance
        (gain(-0.05, 0.01), "fail"),
        (gain(-0.05, 0.05), "pass"),  # may be chance
        (gain(-0.2, 0.15, ess=10.0), "insufficient"),
        (gain(-0.6, 0.15, ess=10.0), "fail"),
        (gain(0.1, 0.2, ess=4.0), "insufficient"),
        (None, "insufficient"),
    ],
)
def test_no_regression(one, expected):
    assert status("no_regression", comparison(one)) == expected


def test_what_served_without_an_answer_is_no_bar_and_a_tie_on_the_same_examples_is_one():
    silent = comparison(None, serving=figures(None), candidate=figures(0.4))
    assert status("no_regression", silent) == "pass"
    assert status("no_regression", comparison(gain(0.0), unchanged=True)) == "fail"
    assert status("no_regression", comparison(gain(0.02, 0.05), unchanged=True)) == "pass"


def test_thresholds_can_be_set():
    worse = comparison(gain(-0.05, 0.01), forgotten=gain(-0.08), agents={"a": gain(-0.2)}, divergence=2.0)
    assert status("no_regression", worse, no_regression=0.06) == "pass"
    assert (status("forgetting", worse), status("forgetting", worse, forgetting=0.1)) == ("fail", "pass")
    assert (status("per_agent", worse), status("per_agent", worse, per_agent=0.3)) == ("fail", "pass")
    assert (status("divergence", worse), status("divergence", worse, divergence=1.5)) == ("pass", "fail")
    accurate = comparison(gain(0.0))
    assert status("minimum_accuracy", accurate, minimum_accuracy=True) == "pass"
    assert status("minimum_accuracy", accurate, minimum_accuracy=0.95) == "fail"


def test_one_ruined_agent_is_enough_and_many_agents_make_chance_likelier():
    good, ruined = gain(0.1), gain(-0.6, 0.12, ess=20.0, before=0.85)
    assert status("per_agent", comparison(gain(0.05), agents={"a": good, "b": ruined})) == "fail"
    unlucky = gain(-0.25, 0.12, ess=40.0)
    alone, among = {"a": unlucky}, {"a": unlucky} | {f"b{n}": good for n in range(30)}
    assert status("per_agent", comparison(good, agents=alone)) == "fail"
    assert status("per_agent", comparison(good, agents=among)) == "pass"
    few = {"a": gain(-0.9, 0.1, ess=5.0)}
    assert status("per_agent", comparison(good, agents=few)) == "insufficient"


def test_confidences_may_not_say_less_unless_much_is_gained():
    off = Calibration(100, 0.05, 0.25, 0.1)
    assert status("calibration", comparison(gain(0.0), calibration=off)) == "fail"
    assert status("calibration", comparison(gain(0.1), calibration=off)) == "pass"
    assert status("calibration", comparison(gain(0.0), calibration=replace(off, low=-0.01))) == "pass"
    assert status("calibration", comparison(gain(0.0), calibration=replace(off, examples=20))) == "insufficient"


@pytest.mark.parametrize(("before", "after", "expected"), [(1, 3, "pass"), (1, 7, "fail"), (20, 30, "pass")])
def test_slower_is_told_by_factor_and_floor(before, after, expected):
    assert status("latency", comparison(gain(0.0), latency=Latency(30, before, after))) == expected


def test_parameters_are_finite_and_of_the_same_order():
    broken = Parameters(3, ("head:w",))
    grown = Parameters(3, (), 2, 150.0, "head:w")
    assert status("finite_parameters", comparison(gain(0.0), parameters=broken)) == "fail"
    assert status("finite_parameters", comparison(gain(0.0), parameters=grown)) == "fail"
    assert status("finite_parameters", comparison(gain(0.0), parameters=grown), finite_parameters=1000) == "pass"


def test_golden_tasks_must_be_passed_all_or_in_so_large_a_share():
    golden = ({"text": "x", "agent": "a"},)
    missed = comparison(gain(0.0), golden=MustPass(10, 9, 10, (4,)))
    assert status("golden_set", missed, golden=golden) == "fail"
    assert status("golden_set", missed, golden=golden, golden_share=0.9) == "pass"
    unknown = comparison(gain(0.0), golden=MustPass(0, 0, 0, (), 3))
    assert status("golden_set", unknown, golden=golden) == "insufficient"


def test_what_proves_nothing_promotes_nothing():
    class Mine(Check):
        name = "mine"

        def compare(self, comparison):
            return CheckResult(self.name, "pass", "I say so")

    few = comparison(gain(0.1, ess=3.0))
    report = Gate(made()).judge(few)
    assert not report.passed
    assert {one.check for one in report.results if one.status == "pass"} >= {"finite_parameters", "divergence"}
    assert report.reason.startswith("no_regression: insufficient, ")
    assert Gate([*made(), Mine()]).judge(few).passed
    assert Gate(made(no_regression=False)).judge(few).passed  # who takes it out, takes what is left
    assert Gate(made()).judge(comparison(gain(0.1))).reason.startswith("no_regression: pass, ")


def test_one_that_raises_has_failed_and_results_are_plain():
    class Broken(Check):
        name = "broken"

        def compare(self, comparison):
            raise ZeroDivisionError

    report = Gate([*made(), Broken()]).judge(comparison(gain(0.1)))
    assert not report.passed
    assert report.reason == "broken: fail, the check itself failed: ZeroDivisionError: "
    first, last = report.to_dict()["results"][0], report.to_dict()["results"][-1]
    assert first["evidence"]["low"] == pytest.approx(0.08, abs=0.001)
    assert last["evidence"] == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"golden": "nowhere.jsonl"}, "gate.golden: .*nowhere"),
        ({"golden": [{"text": "x", "agent": "a"}, {"text": "y"}]}, "gate.golden, row 2: .*agent"),
        ({"golden": [{"text": "x", "agent": "a", "colour": "red"}]}, "row 1: expected the fields of a task"),
        ({"validation": "nowhere.csv"}, "gate.validation: .*nowhere"),
        ({"validation": "unsaid.jsonl"}, "no row of unsaid.jsonl says"),
        ({"validation": "wrong.jsonl"}, "gate.validation, row 2: "),
    ],
)
def test_tasks_that_cannot_be_read_are_an_error_at_once(tmp_path, monkeypatch, settings, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unsaid.jsonl").write_text('{"text": "x", "agent": "a"}\n')
    (tmp_path / "wrong.jsonl").write_text('{"text": "x", "label": "a"}\nnot json\n')
    with pytest.raises(InvalidConfigError, match=words):
        made(**settings)


@pytest.mark.parametrize("settings", [{"unknown": 1}, {"per_agent": 2.0}, {"latency": 0.5}, {"golden_share": -1}])
def test_settings_that_mean_nothing_are_errors(settings):
    with pytest.raises(InvalidConfigError, match="gate"):
        made(**settings)


@pytest.mark.parametrize(
    ("after", "ess", "expected"),
    [
        (0.9, 300.0, "pass"),
        (0.76, 300.0, "pass"),  # worse, but what serves may be no better
        (0.74, 300.0, "fail"),
        (0.74, 99.0, "insufficient"),
        (0.99, 99.0, "insufficient"),
    ],
)
def test_off_policy_values_are_held_against_the_lower_bound_of_what_serves(after, ess, expected):
    pair = OffPolicyPair(PolicyValue(0.8, 0.75, 0.85, 400.0, 500), PolicyValue(after, 0.5, 1.0, ess, 500))
    compared = comparison(gain(0.0), off_policy=pair)
    assert status("off_policy", compared) == expected
    assert status("off_policy", comparison(gain(0.0))) == "insufficient"
    if expected == "insufficient":
        assert status("off_policy", compared, off_policy=50) != "insufficient"
        assert Gate(made()).judge(compared).passed  # it never blocks by itself
    (alone,) = [one for one in made() if one.name == "off_policy"]
    assert not alone.proves  # nor does it promote


def test_off_policy_values_survive_the_trip_from_the_process_that_measured_them():
    pair = OffPolicyPair(PolicyValue(0.8, 0.75, 0.85, 400.0, 500), PolicyValue(0.7, 0.5, 1.0, 200.0, 500))
    found = comparison(gain(0.0), off_policy=pair).evidence
    assert CandidateEvidence.from_dict(json.loads(json.dumps(found.to_dict()))).off_policy == pair


@pytest.mark.parametrize(
    ("joint", "expected"),
    [
        (None, "insufficient"),
        (gain(-0.2, ess=5.0), "insufficient"),
        (gain(0.0), "pass"),
        (gain(-0.015), "pass"),
        (gain(-0.05, error=0.04), "pass"),
        (gain(-0.05), "fail"),
        (gain(0.3), "pass"),
    ],
)
def test_the_gap_to_a_joint_refit(joint, expected):
    assert status("joint_gap", comparison(gain(0.0), joint=joint), joint_gap=True) == expected
    assert status("joint_gap", comparison(gain(0.0), joint=gain(-0.05)), joint_gap=0.1) == "pass"
    assert RouterConfig.of().gate.tasks["joint"] is False
