"""What another router would have earned: which decisions of a real log judge it, and what it knows when it is asked."""

from dataclasses import replace
from datetime import timedelta

import pytest
from router_sdk_thompson import ThompsonStrategy

from router_sdk import Outcome, Router, Task
from router_sdk.config import RouterConfig
from router_sdk.errors import (
    InvalidInputError,
    StrategyError,
    UnknownStrategyError,
    UnknownVersionError,
)
from router_sdk.plugin import Proposal, Strategy, StrategyConfig, StrategyServices
from router_sdk.store.identity import new_id
from router_sdk.store.quarantine import add_quarantine
from router_sdk.store.rows import Entry
from router_sdk.strategy import Restriction


class First(Strategy):
    """Chooses the first agent most of the time."""

    name = "first"
    heard = 0
    asked = []  # of each task: its text, how many outcomes were known, among whom, who had acted before

    def propose(self, task, agents, context):
        type(self).asked.append((task.text, self.heard, agents.names, tuple(context.history)))
        rest = 0.5 / len(agents)
        return Proposal({name: 0.5 * (place == 0) + rest for place, name in enumerate(agents.names)}, confidence=0.6)

    def learn(self, examples):
        self.heard += len(examples)

    def save(self, folder):
        (folder / "heard").write_text(str(self.heard))

    def load(self, folder):
        self.heard = int((folder / "heard").read_text())

    def fit(self, data, context):
        return type(self)(self.config, self.services)


class Last(First):
    """Chooses the last one."""

    name = "last"
    asked = []

    def propose(self, task, agents, context):
        type(self).asked.append((task.text, self.heard, agents.names, tuple(context.history)))
        return Proposal({name: float(name == agents.names[-1]) for name in agents.names})


class Ruled(Last):
    """Lets nobody but ``a`` have urgent tasks."""

    name = "ruled"

    def restrict(self, task, agents, context):
        return Restriction(["a"], "urgent") if task.text.startswith("urgent") else None


@pytest.fixture(autouse=True)
def unheard():
    First.asked, Last.asked = [], []


@pytest.fixture
def opened(tmp_path):
    routers = []

    def make(agents=("a", "b"), strategies=None, **settings):
        chain = [First(StrategyConfig(), StrategyServices(tmp_path))] if strategies is None else strategies
        settings = {"seed": 1, "learn_now": True, "retrain": False, "fit_executor": "thread", **settings}
        routers.append(Router(list(agents), chain, tmp_path / "log.db", **settings))
        return routers[-1]

    yield make
    for router in routers:
        router.close()


def follow(router, count, reward=lambda decision: float(decision.agent == "b"), **task):
    for number in range(count):
        decision = router.route(Task(f"task {number}", **task))
        router.record(decision, Outcome(quality=reward(decision)))


def value(router, chain=(Last,), **options):
    return router.experiments.off_policy_value(list(chain), **{"since": None, **options})


# -- the answer


def test_who_always_chooses_the_better_agent_would_have_earned_more(opened):
    router = opened()
    follow(router, 400, lambda decision: 0.9 if decision.agent == "b" else 0.3)
    told = value(router).overall
    assert told.verdict == "better"
    assert told.value.mean == pytest.approx(0.9 - 0.6 * 0.01, abs=0.02)  # with its own floor of .02
    assert told.difference.mean == pytest.approx(told.value.mean - told.logged.mean)
    assert told.value.ess > 100
    assert (told.more_for_ess, told.more_to_separate) == (0, 0)
    same = router.experiments.off_policy_value(since=None)
    assert same.policy == "what is configured"
    assert same.overall.verdict == "not told apart"
    assert same.estimates["inverse_propensity"].mean == pytest.approx(same.overall.logged.mean)
    assert same.answered == {"first": 1.0}


def test_of_another_chain_whose_strategies_learn_the_one_that_earns_more_is_asked_first(opened):
    class Mistaken(First):
        name = "mistaken"

        def propose(self, task, agents, context):
            return Proposal({name: float(name == "a") for name in agents.names})

    router = opened()
    follow(router, 400)
    told = value(router, [Mistaken, Last])
    assert told.answered["last"] > 0.7
    assert told.overall.verdict == "better"


def test_a_log_that_hardly_explores_answers_insufficient_and_how_much_more_it_takes(opened):
    router = opened(strategies=[Last])
    follow(router, 400)
    told = value(router, [First])
    assert told.overall.verdict == "insufficient"
    assert told.overall.value.insufficient.startswith("insufficient: the log is worth")
    assert told.overall.more_for_ess > 0
    assert value(router, [First], least_ess=0).overall.verdict != "insufficient"


def test_the_reward_and_the_groups_are_those_of_tenants_and_task_types(opened):
    router = opened()
    follow(router, 120, task_type="x", tenant="acme")
    follow(router, 80, lambda decision: 0.5, task_type="y")
    told = value(router)
    assert {(one.task_type, one.value.decisions) for one in told.task_types} == {("x", 120), ("y", 80)}
    assert {(one.tenant, one.value.decisions) for one in told.tenants} == {("acme", 120), ("", 80)}
    alone = value(router, task_type="y")
    assert alone.overall.value.mean == pytest.approx(0.5)
    assert alone.overall.value.decisions == 80
    assert value(router, tenant="acme").overall.value.decisions == 120
    assert value(router, tenant="").overall.value.decisions == 80
    assert len(value(router, tenant="nobody").task_types) == 0


def test_what_is_not_understood_is_refused(opened):
    router = opened()
    with pytest.raises(InvalidInputError, match="holds no decision"):
        value(router)
    follow(router, 5)
    for wrong in ({"estimator": "best"}, {"least_ess": -1.0}, {"least_ess": float("nan")}, {"since": -3}):
        with pytest.raises(InvalidInputError):
            value(router, **wrong)
    with pytest.raises(InvalidInputError, match="no decision"):
        value(router, upto=1)
    with pytest.raises(UnknownStrategyError):
        value(router, ["nobody"])
    with pytest.raises(UnknownStrategyError, match="versions"):
        value(router, versions={"first": 1})
    with pytest.raises(UnknownVersionError):
        router.experiments.off_policy_value(versions={"first": 3}, since=None)


# -- what it knows when it is asked


def test_it_begins_as_the_log_taught_it_and_is_asked_before_it_learns(opened):
    router = opened()
    follow(router, 100)
    router.snapshot()
    (before,) = router.examples[-1:]
    follow(router, 100)
    told = value(router, since=before.seq)
    assert told.overall.value.decisions == 100
    known = [heard for _, heard, *_ in Last.asked]
    assert known[0] == 100  # all of what came before, of which nothing judges
    assert all(100 <= heard <= 100 + number for number, heard in enumerate(known))  # nothing of its own, or later
    assert known[-1] > 180  # and it learns what others' choices came to


def test_its_state_at_the_window_s_start_is_its_own_snapshot_where_there_is_one(opened):
    router = opened()
    follow(router, 60)
    router.snapshot()
    (before,) = router.examples[-1:]
    follow(router, 60)
    First.asked = []
    router.experiments.off_policy_value(since=before.seq)
    assert First.asked[0][1] == 60
    First.asked = []
    router.experiments.off_policy_value(since=before.seq - 40)  # before the snapshot: nothing beyond may be known
    assert First.asked[0][1] == 40


def test_it_is_asked_over_those_who_could_have_been_chosen(opened):
    router = opened(["a", "b", "c"])
    for number in range(40):
        decision = router.route(f"task {number}", exclude={"c"} if number % 2 else ())
        router.record(decision, Outcome(success=True))
    told = value(router)
    assert {agents for *_, agents, _ in Last.asked} == {("a", "b"), ("a", "b", "c")}
    assert told.overall.unsupported == 0.0


def test_it_sees_who_had_acted_in_the_session(opened):
    router = opened()
    acted = []
    for number in range(3):
        decision = router.route(Task(f"step {number}", session_id="s"))
        router.record(decision, Outcome(success=True))
        acted.append(decision.agent)
    value(router)
    assert [history for *_, history in Last.asked] == [(), (acted[0],), tuple(acted[:2])]


def test_its_own_threshold_and_floor_count(opened):
    router = opened()
    follow(router, 100, lambda decision: 0.5)
    chain = [("thompson", {"min_context_evidence": 1e6}), "heuristic"]
    told = value(router, chain)  # nobody has an answer: everybody alike
    assert told.answered == {"uniform": 1.0}
    config = RouterConfig.of(epsilon=1.0, strategies=["thompson"])
    told = router.experiments.off_policy_value(config=config, since=None)
    assert told.policy == "other settings"
    assert told.overall.value.mean == pytest.approx(0.5, abs=0.01)
    sure = [("thompson", {"confidence_threshold": 1.0, "min_context_evidence": 0.0}), Last]
    assert value(router, sure).answered["last"] > 0.9


class Learning(Last):
    """Keeps the rewards that it was taught."""

    name = "learning"
    rewards = []

    def learn(self, examples):
        type(self).rewards += [example.reward for example in examples]


def test_it_learns_the_reward_of_the_router_that_asks_unless_its_settings_name_another(opened):
    router = opened(reward=lambda signals, agent: 0.25)
    follow(router, 20)
    for config, taught in ((None, {0.25}), (RouterConfig.of(), {0.25})):
        Learning.rewards = []
        told = value(router, [Learning], config=config)
        assert set(Learning.rewards) == taught
        assert told.overall.logged.mean == pytest.approx(0.25)
    goals = {"mape": {"goal": "min", "low": 5.0, "high": 30.0, "weight": 1.0}}
    Learning.rewards = []
    told = value(router, [Learning], config=RouterConfig.of(reward_metrics=goals))
    assert set(Learning.rewards) == {0.0, 1.0}  # what the quality says
    assert told.overall.logged.mean == pytest.approx(0.25)  # which judges nobody


# -- which decisions judge


def log(router, decision, **fields):
    """Write a decision as another part of the product would have."""
    written = replace(decision, decision_id=new_id(), durable=False, **fields)
    router._parts.store.writer.append((Entry(decision=written),))
    return written


def test_kept_shadow_observed_and_unanswered_decisions_judge_nobody(opened):
    router = opened()
    follow(router, 50)
    decision = router.route("once more")
    router.record(log(router, decision, source="kept"), Outcome(success=True))
    log(router, decision, source="shadow")  # of which the log takes no outcome
    router.observe("seen", agent="a", outcome=Outcome(success=True))
    for ran_by_itself in (True, False):
        made = router.route("a task")
        other = "b" if made.agent == "a" else "a"
        router.record(made, Outcome(success=True, agent=made.agent if ran_by_itself else other))
    told = value(router)
    assert told.left_out == {"kept": 1, "shadow": 1, "observed": 2, "no outcome": 1}
    assert told.overall.value.decisions == 51
    assert len(Last.asked) == 51
    assert told.notes == ()


def test_the_arm_of_an_experiment_changes_nothing_for_propensities_are_given_it(opened):
    router = opened()
    follow(router, 30)
    decision = router.route("in an arm")
    router.record(log(router, decision, arm="challenger", arm_probability=0.1), Outcome(quality=1.0))
    assert value(router).overall.value.decisions == 31


def test_forgotten_decisions_judge_nobody(opened):
    router = opened()
    follow(router, 30)
    for number in range(5):
        decision = router.route(Task(f"secret {number}", session_id="gone"))
        router.record(decision, Outcome(success=True))
    router.forget("gone")
    told = value(router)
    assert told.left_out == {"forgotten": 5}
    assert all(not text.startswith("secret") for text, *_ in Last.asked)


def test_the_last_word_on_an_outcome_counts(opened):
    router = opened()
    decisions = [router.route(f"task {number}") for number in range(40)]
    for decision in decisions:
        router.record(decision, Outcome(quality=0.2))
    assert value(router).overall.logged.mean == pytest.approx(0.2)
    for decision in decisions:
        router.record(decision, Outcome(quality=0.8))
    assert value(router).overall.logged.mean == pytest.approx(0.8)


def test_what_is_quarantined_judges_and_teaches_nothing(opened):
    router = opened()
    follow(router, 40)
    (before,) = router.examples[-1:]
    follow(router, 40)
    add_quarantine(router._parts.store.writer, None, before.seq, None, "a bad sensor", None)
    follow(router, 40)
    told = value(router)
    assert told.overall.value.decisions == 120
    assert max(heard for _, heard, *_ in Last.asked) <= 80


def test_hard_rules_have_a_propensity_of_one_and_its_own_narrow_further(opened):
    router = opened(strategies=[Ruled])
    for number in range(60):
        router.record(router.route(f"urgent {number}"), Outcome(quality=0.7))
    told = value(router, [Last])
    assert told.overall.value.ess == pytest.approx(60)  # nobody else could have been chosen
    assert told.overall.value.mean == pytest.approx(0.7)
    other = opened(strategies=[Last])
    for number in range(40):
        other.record(other.route(f"urgent {number + 60}"), Outcome(quality=0.9))
    (since,) = other.examples[60:61]
    told = value(other, [Ruled], since=since.seq)
    assert told.overall.value.ess < 10  # its rule gives them to a, whom the log hardly chose


def test_without_a_floor_what_could_not_happen_is_not_guessed(opened):
    router = opened(strategies=[Last], epsilon=0.0)
    follow(router, 300)
    told = value(router, [First])
    assert told.overall.unsupported == pytest.approx(0.75, abs=0.02)
    assert told.overall.verdict == "insufficient"


@pytest.mark.parametrize("tenancy", ["separate", "prior"])
def test_each_tenant_s_own_state_answers_where_tenants_learn_apart(opened, tenancy):
    router = opened(strategies=[ThompsonStrategy], tenancy=tenancy, epsilon=0.5)
    for number in range(240):
        tenant = ("acme", "globex")[number % 2]
        decision = router.route(Task(task_type="x", tenant=tenant))
        router.record(decision, Outcome(success=(decision.agent == "b") == (tenant == "acme")))
    told = router.experiments.off_policy_value(since=None, config=RouterConfig.of(tenancy=tenancy, epsilon=0.0))
    apart = {one.tenant: one.value.mean for one in told.tenants}
    assert min(apart.values()) > (0.85 if tenancy == "separate" else 0.6)
    together = router.experiments.off_policy_value(since=None, config=RouterConfig.of(epsilon=0.0))
    assert together.overall.value.mean < told.overall.value.mean - 0.1


# -- versions


def test_a_version_is_judged_by_what_lies_behind_its_fit_alone(opened):
    router = opened()
    follow(router, 120)
    router.models.retrain(wait=True)
    (version,) = router.models.versions()
    with pytest.raises(InvalidInputError, match="nothing behind it judges it"):
        router.experiments.off_policy_value(versions={"first": 1}, since=None)
    follow(router, 150)
    told = router.experiments.off_policy_value(versions={"first": 1}, since=None)
    assert told.policy == "what is configured, version 1 of first"
    assert told.since == version.upto
    assert told.overall.value.decisions == 150
    assert "only what lies behind that judges it" in told.notes[0]
    unfitted = router.experiments.off_policy_value(versions={"first": 0}, since=None)
    assert unfitted.overall.value.decisions == 270
    assert unfitted.notes == ()


# -- beside a router that serves


def test_it_only_reads_and_works_beside_a_router_that_serves(opened, tmp_path):
    router = opened(strategies=[ThompsonStrategy])
    follow(router, 80)
    with Router(["a", "b"], ["thompson"], tmp_path / "log.db", read_only=True) as beside:
        before = beside.status()["learner"]["head"]
        told = beside.experiments.off_policy_value(since=timedelta(days=1))
        assert told.overall.value.decisions == 80
        assert beside.status()["learner"]["head"] == before
    follow(router, 1)


def test_progress_is_told_and_a_strategy_that_cannot_learn_ends_it(opened):
    router = opened()
    follow(router, 40)
    shares = []
    value(router, progress=lambda words, done: shares.append(done))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    class Choking(Last):
        name = "choking"

        def learn(self, examples):
            raise ValueError("no")

    with pytest.raises(StrategyError, match="cannot learn from this log"):
        value(router, [Choking])


def test_a_strategy_that_fails_is_told_beside_the_figures(opened):
    class Broken(Last):
        name = "broken"

        def propose(self, task, agents, context):
            raise RuntimeError("no model")

    router = opened()
    follow(router, 40)
    told = value(router, (Broken, Last), least_ess=0)
    assert told.notes == ("broken failed 40 times; see the process's own log",)


@pytest.mark.parametrize("ago", ["1h", "7d", "999999999w", timedelta.max])
def test_how_long_ago_may_reach_before_all_time(opened, ago):
    router = opened()
    follow(router, 10)
    assert value(router, since=ago, least_ess=0).overall == value(router, since=None, least_ess=0).overall


def test_an_age_of_another_kind_is_refused_in_words(opened):
    router = opened()
    follow(router, 3)
    with pytest.raises(InvalidInputError, match="since: expected a position"):
        value(router, since="9999999999d")
