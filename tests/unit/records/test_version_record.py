"""Why a version serves, or was refused, in words of the checks that decided."""

import pytest

from router_sdk.gate import CheckResult, GateReport
from router_sdk.records import ModelVersion


def version(*results, reason="a line", proving=("no_regression", "validation")):
    gate = GateReport(results, frozenset(proving)).to_dict()
    return ModelVersion("bert", 3, 0.0, "fit", None, 9, 9, gate["passed"], reason, "f", metrics={"gate": gate})


def saw(count, before, after, low, check="no_regression", status="pass"):
    return CheckResult(
        check, status, "in figures", {"effective_examples": count, "before": before, "after": after, "low": low}
    )


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            saw(8, 0.876, 0.876, -0.236),
            "it did no worse than what served before on 8 held-out examples (0.88 against 0.88); too few to see a gain",
        ),
        (saw(1, 0.5, 0.5, -1.0), "on 1 held-out example (0.50 against 0.50); too few to see a gain"),
        (saw(80, 0.8, 0.81, -0.01), "on 80 held-out examples (0.81 against 0.80); no gain is certain"),
        (saw(80, 1.0, 1.0, 0.0), "on 80 held-out examples (1.00 against 1.00)"),
        (saw(80, 0.8, 0.9, 0.01), "it did better than what served before on 80 held-out examples (0.90 against 0.80)"),
        (saw(8, None, 0.9, 0.0), "it earned 0.90 on 8 held-out examples, where what served before had no answer"),
        (saw(80, 0.9, 0.8, -0.2, status="fail"), "it did worse than what served before on 80 held-out examples (0.80"),
        (saw(80, 0.9, 0.9, 0.0, status="fail"), "it gained nothing on 80 held-out examples"),
        (saw(80, 0.8, 0.9, 0.01, check="validation"), "better than what served before on 80 validation tasks"),
        (CheckResult("latency", "fail", "9 ms, 2 ms before"), "the check latency refused it: 9 ms, 2 ms before"),
        (saw(3, 0.8, 0.9, 0.01, status="insufficient"), "the check no_regression could not tell: in figures"),
    ],
)
def test_what_decided_is_said_in_words(result, words):
    assert words in version(result).why


def test_what_decided_is_noted_and_not_read_off_the_line():
    passed, other = saw(80, 0.8, 0.9, 0.01), CheckResult("latency", "pass", "2 ms")
    made = version(other, passed, reason="latency: whatever it says")
    assert [one["check"] for one in made.decided] == ["no_regression"]
    refused = version(passed, CheckResult("latency", "fail", "9 ms"), CheckResult("golden_set", "fail", "1 of 2"))
    assert refused.why == "the check latency refused it: 9 ms; the check golden_set refused it: 1 of 2"
    assert refused.to_dict()["why"] == refused.why


def test_the_line_stands_where_an_earlier_release_noted_nothing_else():
    made = ModelVersion("bert", 3, 0.0, "fit", None, 9, 9, True, "the line", "f", metrics={"gate": {"results": []}})
    assert (made.decided, made.why) == ((), "the line")
