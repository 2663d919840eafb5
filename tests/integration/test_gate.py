"""What the gate says of real fits: on tasks of the user's, beside reports of earlier releases, in a child process."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from fitted_strategy import Words

from router_sdk import Agent, Outcome, Router
from router_sdk.errors import InvalidConfigError
from router_sdk.evaluation.fit_page import render_fit_report
from router_sdk.evaluation.fit_report import FitReport

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}


@pytest.fixture
def open_router(store_path):
    def opened(**settings):
        options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, **settings}
        return Router(agents=AGENTS, strategies=[Words, "heuristic"], store=store_path, **options)

    return opened


def teach(router, rounds=20, right=RIGHT, start=0):
    for number in range(start, start + rounds):
        for word, agent in right.items():
            router.observe(f"{word} number {number}", agent=agent, outcome=Outcome(correct_agent=agent))
    router.flush()


def verdicts(router, version=1):
    return {one.check: one for one in router.models.report("words", version).verdicts}


def test_golden_tasks_stand_in_the_way_of_what_misses_one(open_router, tmp_path):
    rows = [{"text": "refund me", "agent": "billing"}, {"text": "stolen card", "agent": "fraud"}]
    rows.append({"text": "hello there", "agent": "sales"})
    (tmp_path / "golden.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with open_router(gate={"golden": tmp_path / "golden.jsonl"}) as router:
        teach(router)
        fit = router.models.retrain(wait=True)
        words = "golden_set: fail, 2 of 3 are answered as they must be, 0 by what serves; not number 3"
        assert (fit.state, fit.words) == ("refused", words)
        assert verdicts(router)["golden_set"].evidence["share"] == pytest.approx(2 / 3)
        assert verdicts(router)["no_regression"].status == "pass"
    with open_router(gate={"golden": rows, "golden_share": 0.6}) as router:
        assert router.models.retrain(wait=True).state == "promoted"
    with open_router(gate={"golden": [*rows, {"text": "x", "agent": "gone"}], "golden_share": 0.6}) as router:
        teach(router, 1, start=20)
        assert router.models.retrain(wait=True).state == "promoted"
        assert verdicts(router, 3)["golden_set"].reason.endswith("1 more name an agent that there is not")


def test_a_file_of_ones_own_judges_beside_the_held_out_share(open_router, tmp_path):
    """What is taught contradicts the file: on held-out examples the new version is better, on the file it is not."""
    file = tmp_path / "mine.csv"
    file.write_text("text,label\n" + "".join(f"offer mine {number},sales\n" for number in range(40)))
    with open_router(gate={"validation": file, "forgetting": False, "per_agent": False}) as router:
        teach(router)
        assert router.models.retrain(wait=True).state == "promoted"
        assert verdicts(router)["validation"].evidence["before"] == 0.0
        teach(router, 60, {**RIGHT, "offer": "billing"}, start=20)
        fit = router.models.retrain(wait=True)
        assert fit.state == "refused"
        said = verdicts(router, 2)
        assert (said["no_regression"].status, said["validation"].status) == ("pass", "fail")
        assert said["validation"].evidence["before"] == 1.0
        assert said["validation"].evidence["after"] == 0.0


def test_exported_lines_are_such_a_file_too_and_rewards_judge(open_router, tmp_path):
    with open_router() as router:
        for number in range(20):
            router.observe(f"refund {number}", agent="billing", outcome=Outcome(success=True))
        router.flush()
        router.examples.export(tmp_path / "out.jsonl")
    with open_router(gate={"validation": tmp_path / "out.jsonl"}) as router:
        teach(router)
        router.models.retrain(wait=True)
        assert router.models.report("words", 1).evidence.validation is None  # the unfitted one answers nothing
        teach(router, 1, start=20)
        assert router.models.retrain(wait=True).state == "promoted"
        assert router.models.report("words", 2).evidence.validation.ess == 20


def test_a_file_that_is_missing_is_an_error_at_the_start_and_leaves_no_thread(open_router, tmp_path):
    before = threading.active_count()
    with pytest.raises(InvalidConfigError, match=r"gate\.golden: .*nowhere\.jsonl"):
        open_router(gate={"golden": tmp_path / "nowhere.jsonl"})
    assert threading.active_count() == before


def test_a_file_that_went_away_fails_the_fit_and_what_serves_goes_on(open_router, tmp_path):
    (file := tmp_path / "mine.jsonl").write_text('{"text": "offer", "label": "sales"}\n')
    with open_router(gate={"validation": file}) as router:
        teach(router)
        file.unlink()
        fit = router.models.retrain()
        while fit.running:
            threading.Event().wait(0.01)
        assert fit.state == "failed"
        assert "gate.validation" in fit.words


def test_in_a_child_process_the_gate_sees_the_same(words_installed, store_path, tmp_path):
    (file := tmp_path / "mine.jsonl").write_text('{"text": "offer mine", "label": "sales"}\n' * 6)
    golden = [{"text": "refund me", "agent": "billing"}, {"text": "so what", "agent": None}]
    gate = {"validation": str(file), "golden": golden, "golden_share": 0.5}
    options = {"retrain": False, "fit_executor": "process", "epsilon": 0.0, "gate": gate}
    with Router(agents=AGENTS, strategies=["words", "heuristic"], store=store_path, **options) as router:
        teach(router)
        assert router.models.retrain(wait=True).state == "promoted"
        evidence = router.models.report("words", 1).evidence
        assert (evidence.golden.tasks, evidence.golden.passed, evidence.golden.missed) == (2, 1, (2,))
        assert evidence.latency.tasks > 0
        assert evidence.validation.after == 1.0


def test_old_reports_are_read_and_new_ones_tell_their_numbers(open_router, store_path):
    with open_router() as router:
        teach(router)
        router.models.retrain(wait=True)
        version = router.models.retrain(wait=True, mode="worse").version
        for told in (version.metrics["gate"]["results"], router.models.report("words", 2).to_dict()["verdicts"]):
            assert {one["check"]: one["evidence"] for one in told}["no_regression"]["after"] < 0.5
        page = render_fit_report(router.models.report("words", 2))
        assert "effective examples" in page
        path = store_path.with_name(f"{store_path.name}.artifacts") / "reports" / "words-2.json"
        known = json.loads(path.read_text())
        del known["evidence"]
        for verdict in known["verdicts"]:
            del verdict["evidence"]
        path.write_text(json.dumps(known))
        old = router.models.report("words", 2)
        assert isinstance(old, FitReport)
        assert (old.evidence, dict(old.verdicts[0].evidence), old.passed) == (None, {}, False)
        assert "no_regression" in render_fit_report(old)


def test_who_follows_a_drift_is_not_said_to_forget(open_router, store_path):
    """Stolen cards go to billing from now on: the old labels do not hold any longer. Offers are just not seen again."""
    with open_router() as router:
        teach(router, 60)
        assert router.models.retrain(wait=True).state == "promoted"
        teach(router, 60, {"stolen": "billing"}, start=60)
        fit = router.models.retrain(wait=True)
        assert fit.state == "promoted", fit.words
        forgetting = verdicts(router, 2)["forgetting"]
        assert forgetting.status == "pass"
        assert forgetting.evidence["overturned"] > 5
        assert forgetting.evidence["after"] == 1.0


def test_rewards_alone_judge_too(open_router):
    """Who acted is drawn; of the others' rewards nothing is known."""
    rng = np.random.default_rng(0)

    with open_router(epsilon=1.0, seed=0, gate={"no_regression": 0.0}) as router:
        teach(router, 30)
        assert router.models.retrain(wait=True).state == "promoted"
        for number in range(300):
            word = str(rng.choice(list(RIGHT)))
            decision = router.route(f"{word} rewarded {number}")
            router.record(decision, Outcome(quality=0.9 if decision.agent == RIGHT[word] else 0.2))
        router.flush()
        fit = router.models.retrain(wait=True, mode="worse")
        assert fit.state == "refused"
        assert "no_regression: fail" in fit.words


class Forgetful(Words):
    """Learns of each fit what is fresh, and nothing else."""

    name = "words"

    def fit(self, data, context):
        fresh = [one for one in data.examples if one.seq > data.fresh_after]
        fitted = super().fit(replace(data, examples=fresh), context)
        again = Forgetful(self.config, self.services)
        again.table, again.memory = fitted.table, fitted.memory
        return again


@pytest.mark.parametrize("forgets", [True, False])
def test_what_one_fit_after_the_other_lacks_to_one_fit_on_everything(store_path, forgets):
    off = dict.fromkeys(["no_regression", "forgetting", "per_agent"], False)
    gate = {**off, "joint_gap": True}
    chain = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, "gate": gate}
    with Router(AGENTS, [Forgetful if forgets else Words], store_path, **chain) as router:
        teach(router, rounds=40)
        assert router.models.retrain(wait=True).state == "promoted"
        assert verdicts(router)["joint_gap"].status == "pass"  # there is no past yet
        teach(router, rounds=40, start=100, right={"offer": "sales"})
        router.models.retrain(wait=True)
        said = verdicts(router, 2)["joint_gap"]
        assert said.status == ("fail" if forgets else "pass")
        assert said.evidence["threshold"] == -0.02
        assert router.models.report("words", 2).evidence.joint.after == pytest.approx(1.0 - forgets * 0.35, abs=0.3)


def test_how_long_the_parameters_of_versions_are_and_where_that_goes(open_router, monkeypatch):
    lengths = iter([1.0, 2.0, 4.0, 8.0, 16.0])

    def save(self, folder, plain=Words.save):
        plain(self, folder)
        np.save(folder / "weights.npy", np.array([length[0]]))
        np.save(folder / "at.npy", np.array([1e9 / length[0]]))  # what is no parameter, and goes the other way

    monkeypatch.setattr(Words, "save", save)
    monkeypatch.setattr(Words, "parameters", ("weights.npy",))
    with open_router() as router:
        for number, each in enumerate(lengths):
            length = [each]
            teach(router, 8, start=100 * number)
            assert router.models.retrain(wait=True).state == "promoted"
        (told,) = router.models.status()
        assert told["parameters"] == {"norms": dict(enumerate([1.0, 2.0, 4.0, 8.0, 16.0], 1)), "trend": "up"}
