"""Golden tasks are asked of what serves, whoever answers, and nobody notices."""

import pytest

from router_sdk import Outcome
from router_sdk.cli.commands.status import status_tables
from router_sdk.plugin import hookimpl

from ..doubles import Counting

GOLDEN = [
    {"text": "a refund", "task_type": "money", "agent": "billing"},
    {"text": "a bug", "task_type": "code", "agent": "coder"},
    {"text": "a table", "task_type": "code", "agent": "nobody here"},
]


class Told:
    def __init__(self):
        self.alerts = []

    @hookimpl
    def on_drift(self, alert):
        self.alerts.append((alert.name, alert.value))


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def router(make_router, told):
    return make_router([Counting], plugins=[told], gate={"golden": GOLDEN}, epsilon=0.0)


def teach(router, agent, task_type, success, times=5):
    for _ in range(times):
        router.observe({"text": "x", "task_type": task_type}, agent, Outcome(success=success))
    router.flush()


def test_without_golden_tasks_there_is_no_figure(make_router):
    router = make_router([Counting])
    assert router.status()["canary"] is None
    assert router.statistics()["canary_pass_rate"] is None


def test_what_serves_is_asked_and_told_of_once(router, told):
    parts = router._parts
    for agent, task_type in (("billing", "money"), ("coder", "code")):
        teach(router, agent, task_type, True)
    assert router.status()["canary"] == {"tasks": 2, "passed": 2, "missed": [], "unknown": 1, "share": 1.0}
    parts.alerts.look(now=True)
    assert ("golden_set", 1.0) not in told.alerts
    teach(router, "coder", "code", False, 30)
    assert router.status()["canary"]["missed"] == [2]
    assert router.statistics()["canary_pass_rate"] == 0.5
    assert [one["name"] for one in router.status()["alerts"] if one["name"] == "golden_set"]
    for _ in range(2):
        parts.alerts.look(now=True)
    assert told.alerts.count(("golden_set", 0.5)) == 1
    assert "number 2" in next(one["words"] for one in router.status()["alerts"] if one["name"] == "golden_set")
    assert list(status_tables(router.status(last=5)))
    router.remove_agent("analyst")
    teach(router, "billing", "code", False, 60)
    assert router.status()["canary"]["share"] == 1.0  # the episode is over
    assert not [one for one in router.status()["alerts"] if one["name"] == "golden_set"]


def test_it_draws_nothing_logs_nothing_and_changes_no_seeded_choice(make_router, tmp_path):
    plain = make_router([Counting], store=tmp_path / "a.db", epsilon=0.5)
    asked = make_router([Counting], store=tmp_path / "b.db", epsilon=0.5, gate={"golden": GOLDEN})
    choices = []
    for router in (plain, asked):
        found = []
        for number in range(40):
            router._parts.canary.look(now=True)
            found.append(router.route({"text": "x", "task_type": "code", "session_id": str(number % 3)}).agent)
        router.flush()
        choices.append(found)
        assert router.status()["store"]["decisions"] == 40
    assert choices[0] == choices[1]


def test_a_task_that_nobody_may_get_is_missed(make_router):
    golden = [{"text": "x", "requires": ["flying"], "agent": "coder"}]
    router = make_router([Counting], gate={"golden": golden})
    assert router.status()["canary"]["passed"] == 0


def test_whoever_answers_is_ready_before_it_is_asked(make_router):
    class Slow(Counting):
        name = "slow"
        ready = False

        def warm_up(self):
            self.ready = True

        def propose(self, task, agents, context):
            return super().propose(task, agents, context) if self.ready else None

    router = make_router([Slow], gate={"golden": GOLDEN[:1]}, epsilon=0.0)
    teach(router, "billing", "money", True)
    assert router.status()["canary"]["share"] == 1.0
