"""What tenants share of what is learnt, through the whole router: all, nothing, or where each of them starts."""

import json
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
from fitted_strategy import Words

from router_sdk import Outcome, Router, RouterConfig, Task
from router_sdk.errors import InvalidConfigError, NotTrainableError
from router_sdk.plugin import Proposal, Strategy
from router_sdk.store import Store

NAMES = ["analyst", "billing", "coder"]


class Tally(Strategy):
    """Chooses whoever was rewarded most, and remembers the text of every decision that it learnt from."""

    name: ClassVar[str] = "tally"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.sums, self.texts = {}, {}

    def propose(self, task, agents, context):
        scores = {name: 1.0 + self.sums.get(name, 0.0) for name in agents.names}
        whole = sum(scores.values())
        return Proposal({name: score / whole for name, score in scores.items()}, scores=scores)

    def learn(self, examples):
        sums = dict(self.sums)
        for one in examples:
            sums[one.agent] = sums.get(one.agent, 0.0) + (one.reward or 0.0) - (one.previous_reward or 0.0)
            self.texts[one.decision_id] = one.task.text
        self.sums = sums

    def forget_agents(self, names):
        self.sums = {name: total for name, total in self.sums.items() if name not in names}

    def forget_examples(self, decision_ids):
        self.texts = {key: text for key, text in self.texts.items() if key not in decision_ids}

    def save(self, folder):
        (folder / "tally.json").write_text(json.dumps([self.sums, self.texts]))

    def load(self, folder):
        self.sums, self.texts = json.loads((folder / "tally.json").read_text())


class Closed(Tally):
    """Cannot be made from its configuration and services alone."""

    def __init__(self, config, services, secret):
        super().__init__(config, services)


def tell(router, tenant, agent, count=1, **outcome):
    told = Outcome(**(outcome or {"success": True}))
    tasks = [Task(f"{tenant} said {number}", session_id="1", tenant=tenant) for number in range(count)]
    router.observe_batch([(task, agent, told) for task in tasks])
    router.flush()


def chances(router, *tenants):
    drawn = [router.route(Task("x", tenant=tenant)).distribution for tenant in tenants]
    return [[round(weight, 6) for weight in one.weights] for one in drawn]


def states(router, name="tally"):
    return router._parts.chain.stage(name).tenants.states


@pytest.fixture
def open_router(make_router):
    """A router of which only ``Tally`` proposes, without an exploration floor."""
    return lambda tenancy, **settings: make_router([Tally], tenancy=tenancy, epsilon=0.0, **settings)


def test_shared_is_one_state_for_all(open_router):
    router = open_router("shared")
    assert RouterConfig().tenancy == "shared"
    tell(router, "acme", "billing", 3)
    assert chances(router, "acme", "globex", None) == [[0.166667, 0.666667, 0.166667]] * 3
    assert router._parts.chain.stage("tally").tenants is None


def test_separate_tenants_teach_themselves_alone(open_router):
    router = open_router("separate")
    tell(router, "acme", "billing", 2)
    alone = chances(router, "acme")
    tell(router, "globex", "coder", 7)
    tell(router, None, "analyst", 7)
    tell(router, "globex", "billing", 5, success=False)
    mine, theirs, nobodys, new = chances(router, "acme", "globex", None, "initech")
    assert [mine] == alone == [[0.2, 0.6, 0.2]]
    assert theirs == [0.1, 0.1, 0.8]
    assert nobodys == [0.8, 0.1, 0.1]
    assert new == [0.333333] * 3
    batch = router.route_batch([Task("x", tenant=tenant) for tenant in ("initech", "globex", "acme", None)])
    assert [[round(one, 6) for one in decision.distribution.weights] for decision in batch] == [
        new,
        theirs,
        mine,
        nobodys,
    ]
    assert states(router).report() == {"known": 3, "given_up": 0}


@pytest.mark.parametrize("saved", [False, True])
def test_what_each_has_taught_outlasts_a_restart(open_router, saved):
    router = open_router("separate")
    tell(router, "acme", "billing", 2)
    if saved:
        router.snapshot()
        tell(router, "globex", "coder")
    router.close()
    if not saved:  # then it is replayed
        with closing(Store(router.config.store)) as store:
            store.snapshots.discard(store.snapshots.before(2**62))
    router = open_router("separate")
    assert chances(router, "acme", "new") == [[0.2, 0.6, 0.2], [0.333333] * 3]
    if saved:
        assert chances(router, "globex") == [[0.25, 0.25, 0.5]]
    assert set(router.status()["learner"]["cursors"]) == {"tally.tenants", "performance", "calibration", "drift"}


def test_a_prior_is_where_everybody_starts_and_own_outcomes_take_over(open_router):
    router = open_router("prior")
    tell(router, "acme", "billing", 27)
    all_of_them, none = chances(router, "new", None)
    assert all_of_them == none == [0.033333, 0.933333, 0.033333]
    tell(router, "globex", "coder", 10)
    (shared,), (early,) = chances(router, "new"), chances(router, "globex")
    own = [1 / 13, 1 / 13, 11 / 13]
    assert early == pytest.approx(
        [0.25 * mine + 0.75 * theirs for mine, theirs in zip(own, shared, strict=True)], abs=1e-5
    )
    tell(router, "globex", "coder", 290)
    tell(router, "acme", "billing", 600)
    assert chances(router, "globex")[0][2] > 0.9 > 0.4 > chances(router, "new")[0][2]
    evidence = router.route(Task("x", tenant="globex")).explain()["evidence"]
    assert evidence["weight_of_own"] == round(300 / 330, 6)


@pytest.mark.parametrize("tenancy", ["separate", "prior"])
def test_there_is_room_for_so_many(open_router, tenancy):
    router = open_router(tenancy, most_tenants=2)
    for number in range(20):
        tell(router, f"t{number}", "billing")
    assert states(router).report() == {"known": 2, "given_up": 18}
    assert router.status()["strategies"][0]["tenants"] == {"known": 2, "given_up": 18}
    (gone,), (kept,), (unknown,) = (chances(router, tenant) for tenant in ("t0", "t19", "never"))
    assert gone == unknown != kept
    if tenancy == "separate":
        assert unknown == [0.333333] * 3


@pytest.mark.parametrize("tenancy", ["separate", "prior"])
def test_what_is_forgotten_is_in_no_state(open_router, tenancy):
    router = open_router(tenancy)
    tell(router, "acme", "billing", 2)
    tell(router, "globex", "coder", 2)
    router.snapshot()
    router.forget("1", tenant="acme")
    assert [len(strategy.texts) for strategy in states(router).strategies()] == [0, 2]
    left = b"".join(path.read_bytes() for path in Path(router.config.store).parent.rglob("*.json"))
    assert b"acme said" not in left
    assert b"globex said" in left


@pytest.mark.parametrize("tenancy", ["separate", "prior"])
def test_an_agent_added_afresh_begins_again_with_everybody(open_router, tenancy):
    router = open_router(tenancy)
    for tenant in ("acme", "globex"):
        tell(router, tenant, "billing", 3)
    router.add_agent("billing", fresh=True)
    router.flush()
    assert [strategy.sums for strategy in states(router).strategies()] == [{}, {}]


# -- fits


def examples(router, tenant):
    observed = [
        (Task(f"{word} {number}", tenant=tenant), agent, Outcome(correct_agent=agent))
        for number in range(20)
        for word, agent in (("refund", "billing"), ("chart", "analyst"))
    ]
    router.observe_batch(observed)
    router.flush()


def test_where_tenants_are_separate_nothing_is_fitted_and_no_version_serves(make_router):
    shared = make_router([Words], retrain=False, held_out=0.5, fit_executor="thread")
    examples(shared, "acme")
    assert shared.models.retrain(wait=True).state == "promoted"
    shared.close()
    router = make_router([Words], tenancy="separate", retrain_interval=1)
    assert router._parts.chain.stage("words").model_version is None
    assert router.strategy("words").table == {}, "a version was made of everybody's examples"
    calls = [
        lambda: router.models.retrain(),
        lambda: router.models.pretrain(["refund"], ["billing"]),
        lambda: router.models.promote("words", 1),
        lambda: router.models.rollback("words"),
    ]
    for call in calls:
        with pytest.raises(NotTrainableError, match="tenancy='separate'"):
            call()
    examples(router, "globex")
    router._parts.trainer.consider()
    router._parts.promoter.follow()
    assert (router.models.newest_fit, router.statistics()["next_retrain_in"]) == (None, None)
    assert router._parts.chain.stage("words").model_version is None
    router.close()
    assert make_router([Words], retrain=False)._parts.chain.stage("words").model_version == 1


def test_a_prior_may_be_fitted(make_router):
    router = make_router([Words], tenancy="prior", retrain=False, held_out=0.5, epsilon=0.0, fit_executor="thread")
    examples(router, "acme")
    states = router._parts.chain.stage("words").tenants.states
    assert router.models.retrain(wait=True).state == "promoted"
    stage = router._parts.chain.stage("words")
    assert (stage.model_version, stage.tenants.states) == (1, states)
    assert stage.strategy.table
    decisions = [router.route(Task("refund me", tenant=tenant)) for tenant in ("acme", "globex")]
    assert [(one.agent, one.model_version) for one in decisions] == [("billing", 1)] * 2


# -- what else there is


@pytest.mark.parametrize("tenancy", ["separate", "prior"])
def test_the_strategies_that_are_installed_keep_tenants_apart(make_router, tenancy):
    router = make_router(["thompson", "heuristic"], tenancy=tenancy, epsilon=0.0)
    observed = [
        (Task(f"number {number}", task_type="work", tenant=tenant), agent, Outcome(success=agent == right))
        for number in range(40)
        for tenant, right in (("acme", "coder"), ("globex", "analyst"))
        for agent in ("coder", "analyst")
    ]
    router.observe_batch(observed)
    router.flush()
    chosen = {tenant: router.route(Task("work", task_type="work", tenant=tenant)) for tenant in ("acme", "globex")}
    assert {tenant: one.ranking[0] for tenant, one in chosen.items()} == {"acme": "coder", "globex": "analyst"}
    new = router.route(Task("I was charged twice", tenant="initech"))
    assert new.strategy == ("heuristic" if tenancy == "separate" else "thompson")
    assert router._parts.chain.stage("heuristic").tenants is None, "it never learns"
    assert router.route(Task("I was charged twice", tenant="initech"), exclude={"analyst"}).agent != "analyst"


@pytest.mark.parametrize("tenancy", ["", "seperate", None, "Prior"])
def test_what_is_no_tenancy_is_refused(store_path, tenancy):
    with pytest.raises(InvalidConfigError, match="tenancy"):
        Router(NAMES, [Tally], store_path, tenancy=tenancy)
    with pytest.raises(InvalidConfigError, match="most_tenants"):
        Router(NAMES, [Tally], store_path, most_tenants=0)


def test_a_strategy_that_cannot_be_made_again_is_refused(store_path, tmp_path):
    from router_sdk.testing import make_services

    strategy = Closed(Closed.Config(), make_services(tmp_path), "secret")
    with pytest.raises(InvalidConfigError, match="made again from its configuration"):
        Router(NAMES, [strategy], store_path, tenancy="separate")
    Router(NAMES, [strategy], store_path).close()


def test_a_setting_may_come_from_the_environment(store_path, monkeypatch):
    monkeypatch.setenv("ROUTER_TENANCY", "prior")
    with Router(NAMES, [Tally], store_path) as router:
        assert router.config.tenancy == "prior"
        assert states(router).most == router.config.most_tenants == 100
