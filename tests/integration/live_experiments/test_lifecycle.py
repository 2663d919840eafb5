"""What becomes of experiments: concluded once, by whoever looks; who won serves, who lost is in quarantine."""

import threading

import numpy as np
import pytest

from router_sdk import Outcome, Task
from router_sdk.errors import CorruptArtifactError, ExperimentError, GateRefusedError
from router_sdk.experiments.arms import Arm
from router_sdk.plugin import hookimpl

from .conftest import HOUR_S, look

LAST = Arm(name="other", strategies=["last"])
HALF = {"other": 0.5}
SOON = {"min_duration_hours": 0.0, "max_duration_hours": None}


def live(router, good, count=300, seed=0):
    """Tasks that go well with the chance that their agent has."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        one = router.route(f"task {number}")
        well = bool(rng.random() < good[one.agent])
        router.record(one, Outcome(success=well, quality=float(well)))


def after(router, clock, hours=25.0):
    """Look again some hours later."""
    clock.ahead_s += hours * HOUR_S
    look(router)


def test_a_chain_that_is_better_serves_all_until_it_is_configured(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], shares=HALF, **SOON)
    live(router, {"analyst": 0.2, "coder": 0.9})
    look(router)
    assert router.experiments.show("pair")["status"] == "running"  # no unit has closed
    after(router, clock)
    shown = router.experiments.show("pair")
    assert (shown["status"], shown["winner"], shown["serves"]) == ("challenger", "other", True)
    assert "better" in shown["reason"]
    assert shown["analysis"]["verdict"]["decided"] == "challenger"
    for router in (router, make()):  # noqa: B020  # and one that starts afterwards
        one = router.route("hello")
        assert (one.agent, one.strategy, one.arm) == ("coder", "last@pair.other", None)
        assert router.rank("hello")[0].agent == "coder"
        (told,) = router.status()["experiments"]
        assert (told["serves"], told["configured"]) == (True, False)
        with pytest.raises(ExperimentError, match="change the configuration"):
            router.experiments.start("next", [LAST])
        router.close()
    configured = make(["last"])
    assert configured.route("hello").strategy == "last"
    assert configured.status()["experiments"][0]["configured"]
    configured.experiments.start("next", [Arm(name="other", strategies=["first"])])
    assert [one.name for one in configured.experiments.list() if one.keeps_serving] == []


def test_a_person_lets_the_configured_chain_serve_again(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], shares=HALF, **SOON)
    router.experiments.stop("pair", "other", reason="I know it is better")
    assert router.route("hello").agent == "coder"
    router.experiments.stop("pair", reason="I was wrong")
    assert router.route("hello").agent == "analyst"
    with pytest.raises(ExperimentError, match="has ended"):
        router.experiments.stop("pair", reason="again")


def test_a_challenger_that_is_worse_loses_before_its_time(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], shares=HALF)
    live(router, {"analyst": 0.9, "coder": 0.2})
    after(router, clock)
    shown = router.experiments.show("pair")
    assert (shown["status"], shown["winner"], shown["serves"]) == ("champion", None, False)
    assert {router.route("hello").agent for _ in range(30)} == {"analyst"}


def test_a_winner_waits_for_a_person_where_that_is_asked_for(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], shares=HALF, auto_promotion=False, **SOON)
    live(router, {"analyst": 0.2, "coder": 0.9})
    after(router, clock)
    shown = router.experiments.show("pair")
    assert (shown["status"], shown["winner"], shown["serves"]) == ("challenger", "other", False)
    assert router.route("hello").agent == "analyst"
    router.experiments.stop("pair", "other", reason="so be it")
    assert router.route("hello").agent == "coder"


def test_nobody_changes_who_is_compared_with_while_another_one_runs(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], shares=HALF, auto_promotion=False, **SOON)
    live(router, {"analyst": 0.2, "coder": 0.9})
    after(router, clock)
    router.experiments.start("next", [LAST], shares=HALF)
    with pytest.raises(ExperimentError, match="'next' serves challengers: stop it first"):
        router.experiments.stop("pair", "other", reason="so be it")
    shown = router.experiments.show("pair")
    assert (shown["status"], shown["serves"]) == ("challenger", False)
    router.experiments.stop("next", "other", reason="this one")
    with pytest.raises(ExperimentError, match="'next' lets the chain serve that won it"):
        router.experiments.stop("pair", "other", reason="so be it")


def test_who_stopped_one_is_not_contradicted(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], shares=HALF, min_duration_hours=48.0)
    live(router, {"analyst": 0.2, "coder": 0.9})
    after(router, clock, 40.0)
    clock.ahead_s += 40.0 * HOUR_S  # what was seen would decide it, and nobody looked
    router.experiments.stop("pair", reason="another plan")
    verdict = router.experiments.show("pair")["analysis"]["verdict"]
    assert (verdict["decided"], verdict["arm"], verdict["reason"]) == ("stopped", None, "another plan")


def test_a_verdict_stays_whatever_comes_later(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], shares=HALF, auto_promotion=False, **SOON)
    live(router, {"analyst": 0.2, "coder": 0.9})
    after(router, clock)
    before = router.experiments.show("pair")
    live(router, {"analyst": 0.9, "coder": 0.2}, seed=1)
    after(router, clock)
    assert router.experiments.show("pair") == before


def test_two_who_look_at_once_conclude_once(make, clock):
    one, other = make(), make()
    one.experiments.start("pair", [LAST], shares=HALF, **SOON)
    live(one, {"analyst": 0.2, "coder": 0.9})
    clock.ahead_s += 25 * HOUR_S
    threads = [threading.Thread(target=look, args=(router,)) for router in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    query = "SELECT kind FROM experiments ORDER BY seq"
    kinds = one._parts.store.reader.query(lambda connection: connection.execute(query).fetchall())
    assert [kind for (kind,) in kinds] == ["started", "ended"]
    look(one)
    look(other)
    assert {router.route("hello").agent for router in (one, other)} == {"coder"}


def test_a_rollout_goes_on_in_steps_while_nothing_speaks_against_it(make, clock):
    router = make()
    enough = 10.0  # of an improvement: so good that nothing speaks against it by chance, it never wins
    router.experiments.start("pair", [LAST], rollout=[0.2, 0.5, 0.8], min_units=20, min_improvement=enough)
    shares = []
    for seed in range(3):
        live(router, {"analyst": 0.5, "coder": 0.8}, count=200, seed=seed)
        after(router, clock)
        shares.append(router.experiments.list()[0].shares["other"])
    assert shares == pytest.approx([0.5, 0.8, 0.8])
    arms = [router.route(f"hello {number}").arm for number in range(300)]
    assert arms.count("pair/other") / 300 == pytest.approx(0.8, abs=0.1)


def test_shares_follow_what_arms_earn_where_that_is_asked_for(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], allocation="bandit", challenger_share=0.2, min_units=5_000)
    live(router, {"analyst": 0.3, "coder": 0.7}, count=400)
    after(router, clock)
    assert router.experiments.list()[0].shares["other"] > 0.6
    assert router.route("hello").arm_probability > 0.0


# -- versions


class Told:
    """Hears of promotions."""

    def __init__(self):
        self.promotions = []

    @hookimpl
    def on_promotion(self, strategy, version):
        self.promotions.append((strategy, version))


def with_two_versions(make, **settings):
    """The first version serves; the second one, which passed the gate, answers ``refund`` better."""
    router = make(["words", "first"], held_out=0.5, gate={"latency": False}, **settings)
    for agents in (["billing"], ["coder"]):
        for number in range(40):
            agent = agents[0] if number % 2 else "analyst"
            word = "refund" if number % 2 else "table"
            router.observe(f"{word} {number} {agents[0]}", agent, Outcome(correct_agent=agent))
        router.models.retrain("words", wait=True)
    router.models.rollback("words") if router.models.versions("words")[-1].aliases else None
    router.models.unpin("words")
    assert [one.passed for one in router.models.versions("words")] == [True, True]
    return router


def refunds(router, good, count=300):
    rng = np.random.default_rng(0)
    found = [router.route(f"refund {number}") for number in range(count)]
    for one in found:
        well = bool(rng.random() < good.get(one.agent, 0.0))
        router.record(one, Outcome(success=well, quality=float(well)))
    return found


CANDIDATE = Arm(name="second", version=("words", 2))


def test_a_version_that_is_better_serves_in_every_process(make, clock):
    told = Told()
    router = with_two_versions(make)
    router._parts.plugins.register(told, "told")
    other = make(["words", "first"])
    router.experiments.start("fit", [CANDIDATE], shares={"second": 0.5}, **SOON)
    found = refunds(router, {"billing": 0.3, "coder": 0.9})
    assert {(one.agent, one.strategy, one.model_version) for one in found} == {
        ("billing", "words", 1),
        ("coder", "words", 2),
    }
    after(router, clock)
    look(other)
    for one in (router, other):
        decision = one.route("refund now")
        told_of = (decision.agent, decision.model_version, decision.strategy, decision.arm)
        assert told_of == ("coder", 2, "words", None)
    champion = router.models.history("words")[0]
    assert champion.reason.startswith("won experiment fit: second is better")
    assert champion.actor == "experiment fit"
    assert not champion.pinned
    assert told.promotions == [("words", 2)]
    assert router.status()["experiments"] == []


def test_a_version_that_lost_is_in_quarantine_and_says_why(make, clock):
    router = with_two_versions(make)
    router.experiments.start("fit", [CANDIDATE], shares={"second": 0.5}, **SOON)
    refunds(router, {"billing": 0.9, "coder": 0.3})
    after(router, clock)
    assert router.experiments.show("fit")["status"] == "champion"
    assert {router.route("refund now").agent for _ in range(30)} == {"billing"}
    assert router.models.versions("words")[1].aliases == ("quarantined",)
    with pytest.raises(GateRefusedError, match="rolled back"):
        router.models.promote("words", 2)


def test_nothing_is_left_to_compare_once_something_else_serves(make, clock):
    router = with_two_versions(make)
    router.experiments.start("fit", [CANDIDATE], shares={"second": 0.5})
    router.models.promote("words", 2)
    look(router)
    shown = router.experiments.show("fit")
    assert shown["status"] == "stopped"
    assert "was changed" in shown["reason"]
    assert router.models.versions("words")[1].aliases == ("champion", "pinned")


def test_a_version_whose_files_are_damaged_is_no_winner(make, store_path):
    router = with_two_versions(make)
    router.experiments.start("duel", [CANDIDATE], challenger_share=0.5)
    folder = (
        store_path.with_name(f"{store_path.name}.artifacts") / "versions" / router.models.versions("words")[1].folder
    )
    (folder / "words.json").write_text("{}")
    with pytest.raises(CorruptArtifactError):
        router.experiments.stop("duel", "second", reason="I like it")
    assert router.experiments.show("duel")["status"] == "running"
    assert router.models.versions("words")[0].aliases[0] == "champion"
    router.experiments.stop("duel", reason="it cannot be")


def test_a_version_is_kept_as_long_as_an_arm_needs_it(make, clock):
    router = with_two_versions(make, keep_versions=1)
    router.experiments.start("fit", [CANDIDATE], shares={"second": 0.5})
    for _ in range(2):
        router.models.retrain("words", wait=True, mode="worse")
    assert [one.status for one in router.models.versions("words")][1] != "archived"
    again = make(["words", "first"])
    assert not again._parts.serving.behind


# -- promotion


def triggered(make, promotion):
    """A router that fits by itself: its first version serves, by the gate, and then comes a second one."""
    settings = {"retrain": True, "retrain_interval": 20, "min_examples": 20, "retrain_cooldown_seconds": 0.0}
    settings["experiment"] = {"challenger_share": 0.5}
    router = make(
        ["words", "first"],
        held_out=0.5,
        gate={"latency": False},
        promotion=promotion,
        watch={"enabled": False},
        **settings,
    )
    for wanted, agent in ((1, "billing"), (2, "coder")):
        for number in range(40):
            label = agent if number % 2 else "analyst"
            word = "refund" if number % 2 else "table"
            router.observe(f"{word} {number} {agent}", label, Outcome(correct_agent=label))
        router.flush()
        for _ in range(400):
            fit = router._parts.trainer.turns.newest
            if fit is not None and not fit.running and fit.version is not None and fit.version.version >= wanted:
                break
            router._parts.learner.submit(router._parts.trainer.consider).result()
            if fit is not None and fit.running:
                fit.wait(20)
    return router


def test_a_fit_that_passed_waits_for_a_person(make):
    router = triggered(make, "manual")
    assert router.models.versions("words")[0].aliases == ("champion",)
    assert "challenger" in router.models.versions("words")[-1].aliases
    look(router)
    assert router.experiments.list() == []
    number = router.models.versions("words")[-1].version
    router.models.promote("words", number)
    assert router.models.versions("words")[-1].aliases == ("champion", "pinned")
    assert router._parts.registry.challenger("words") is None


def test_a_fit_that_passed_is_compared_with_what_serves(make, clock):
    router = triggered(make, "experiment")
    assert [one.aliases for one in router.models.versions("words")] == [("champion",), ("challenger",)]
    look(router)
    (record,) = router.experiments.list()
    assert record.name == "words-2"
    assert record.arms[0]["version"] == ["words", 2]
    assert "experiment" in router.models.check_triggers("words")[0].waits
    (told,) = router.status()["experiments"]
    assert told["units_needed"] > 0
    live_refunds = {"billing": 0.2, "coder": 0.9}
    refunds(router, live_refunds, count=400)
    after(router, clock, hours=49)
    shown = router.experiments.show("words-2")
    assert shown["status"] == "challenger", shown["analysis"]["verdict"]
    assert router.models.versions("words")[1].aliases == ("champion",)
    assert router._parts.registry.challenger("words") is None


def test_a_name_that_was_used_keeps_none_from_beginning(make):
    router = triggered(make, "experiment")
    for used in ("words-2", "words-2-3"):
        router.experiments.start(used, [Arm(name="other", strategies=["last"], shadow=True)])
    look(router)
    assert router.experiments.list()[-1].name == "words-2-2"


def test_one_that_lost_is_given_up_and_no_other_begins_with_it(make, clock):
    router = triggered(make, "experiment")
    look(router)
    refunds(router, {"billing": 0.9, "coder": 0.1}, count=400)
    after(router, clock, hours=25)
    assert router.experiments.show("words-2")["status"] == "champion"
    assert router.models.versions("words")[1].aliases == ("quarantined",)
    look(router)
    assert len(router.experiments.list()) == 1


def test_a_fit_that_a_person_asked_for_is_judged_by_the_gate(make):
    router = with_two_versions(make, promotion="experiment")
    assert router._parts.registry.challenger("words") is None
    look(router)
    assert router.experiments.list() == []


def test_sessions_are_units(make, clock):
    router = make()
    router.experiments.start("pair", [LAST], shares=HALF)
    for number in range(60):
        router.record(router.route(Task("x", session_id=f"s{number // 6}")), Outcome(success=True))
    after(router, clock)
    assert sum(arm["closed"] for arm in router.experiments.show("pair")["analysis"]["arms"]) == 10
