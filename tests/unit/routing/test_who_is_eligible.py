import time

import pytest

from router_sdk import Agent, Task
from router_sdk.errors import InvalidAgentError, NoEligibleAgentError
from router_sdk.plugin import Restriction
from router_sdk.routing.agents import LEAST_SETS, Roster, eligible
from router_sdk.routing.chain import Stage
from router_sdk.routing.limits import Limits

from ..doubles import Fixed

AGENTS = [
    Agent("alpha", capabilities={"sql", "python"}),
    Agent("alp", capabilities={"sql"}),
    Agent("beta"),
    Agent("off", enabled=False, capabilities={"sql"}),
]
ALL = ("alpha", "alp", "beta")


def unmeasured(agent, figure):
    return None


def narrow(task=None, exclude=(), filters=(), rules=(), roster=None, measured=unmeasured):
    named = [(f"p{i}", one) for i, one in enumerate(filters)]
    stages = [Stage(rule) for rule in rules]
    return eligible(
        roster or Roster(AGENTS), task or Task("x"), frozenset(exclude), Limits(measured), named, stages, None
    )


def who(*args, **more):
    found = narrow(*args, **more)
    return found.agents.names, [note.reason for note in found.notes]


class Ruled(Fixed):
    def restrict(self, task, agents, context):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_disabled_agent_is_known_and_gets_nothing():
    assert who()[0] == ALL
    assert Roster(AGENTS).everyone.names == (*ALL, "off")


def test_requirements_must_all_be_met():
    assert who(Task("x", requires={"sql"}))[0] == ("alpha", "alp")
    assert who(Task("x", requires={"sql", "python"}))[0] == ("alpha",)
    with pytest.raises(NoEligibleAgentError, match="cobol"):
        who(Task("x", requires={"cobol"}))


def test_who_is_excluded_is_left_out_by_whole_name():
    assert who(exclude={"alpha"})[0] == ("alp", "beta")


def test_excluding_everybody_says_so():
    with pytest.raises(NoEligibleAgentError, match="exclude"):
        who(exclude=ALL)


def test_everybody_who_is_left_out_is_named_with_the_first_reason():
    agents = [*AGENTS, Agent("ill", capabilities={"sql"}), Agent("dear", capabilities={"sql"}, cost_usd=5.0)]
    roster = Roster(agents, {"ill": time.time() + 60})
    task = Task("x", requires={"sql"}, max_cost_usd=1.0)
    found = narrow(
        task, {"alp", "beta"}, [lambda task, agents: {"alpha"}], [Ruled(Restriction("alpha", "sums"))], roster
    )
    assert found.agents.names == ("alpha",)
    assert found.excluded == {
        "off": "disabled",
        "ill": "unhealthy",
        "beta": "lacks what the task requires",
        "alp": "excluded by the caller",
        "dear": "beyond max_cost_usd",
    }
    assert narrow(filters=[lambda task, agents: {"alpha", "alp"}]).excluded["beta"] == "filter_agents of plugin 'p0'"
    assert narrow(rules=[Ruled(Restriction(["alp"], "sums"))]).excluded["beta"] == "hard rule: sums"
    assert narrow().excluded == {"off": "disabled"}


PRICED = [Agent("free", cost_usd=0.0), Agent("cheap", cost_usd=0.01), Agent("dear", cost_usd=5.0), Agent("new")]


@pytest.mark.parametrize(
    ("agents", "limit", "measured", "expected"),
    [
        (PRICED, 1.0, {}, ("free", "cheap")),
        (PRICED, 0.01, {}, ("free", "cheap")),
        (PRICED, 0.0, {}, ("free",)),
        (PRICED, 9.0, {}, ("free", "cheap", "dear")),
        (PRICED, 1.0, {"new": 0.5}, ("free", "cheap", "new")),
        (PRICED, 1.0, {"new": 1.5, "cheap": 9.0}, ("free", "cheap")),
        (PRICED[2:], 1.0, {}, ("new",)),
        (PRICED[3:], 1.0, {}, ("new",)),
    ],
)
@pytest.mark.parametrize(("name", "figure"), [("max_cost_usd", "cost_usd"), ("max_latency_ms", "latency_ms")])
def test_a_limit_is_kept_by_what_is_stated_or_else_measured(agents, limit, measured, expected, name, figure):
    agents = [Agent(agent.name, **{figure: agent.cost_usd}) for agent in agents]
    found = narrow(
        Task("x", **{name: limit}),
        roster=Roster(agents),
        measured=lambda agent, asked: measured.get(agent) if asked == figure else None,
    )
    assert found.agents.names == expected
    assert set(found.excluded) == {agent.name for agent in agents} - set(expected)


def test_reasons_tell_the_unknown_from_the_dear_and_the_stated_from_the_measured():
    said = narrow(
        Task("x", max_cost_usd=1.0),
        roster=Roster([*PRICED, Agent("found out")]),
        measured=lambda agent, figure: 7.0 if agent == "found out" else None,
    ).excluded
    assert said == {
        "dear": "beyond max_cost_usd",
        "found out": "beyond max_cost_usd, as measured",
        "new": "cost_usd is not known, and others keep max_cost_usd",
    }


def test_a_limit_that_leaves_nobody_says_what_would_do():
    with pytest.raises(NoEligibleAgentError, match=r"max_latency_ms=5 leaves nobody: the least is 80, of 'quick'"):
        who(
            Task("x", max_latency_ms=5.0),
            roster=Roster([Agent("slow", latency_ms=900.0), Agent("quick", latency_ms=80.0)]),
        )


def test_both_limits_bind_after_requirements_and_before_filters():
    agents = [
        Agent("a", cost_usd=1.0, latency_ms=10.0),
        Agent("b", cost_usd=1.0, latency_ms=900.0),
        Agent("c", cost_usd=9.0, latency_ms=10.0),
        Agent("d", capabilities={"sql"}, cost_usd=2.0, latency_ms=20.0),
    ]
    asked = []

    def look(task, agents):
        asked.append(agents.names)

    limits = {"max_cost_usd": 2.0, "max_latency_ms": 100.0}
    assert who(Task("x", **limits), filters=[look], roster=Roster(agents))[0] == ("a", "d")
    assert who(Task("x", requires={"sql"}, **limits), roster=Roster(agents))[0] == ("d",)
    assert asked == [("a", "d")]


def test_a_limit_that_can_bind_nobody_is_logged_once(caplog):
    limits = Limits(unmeasured)
    for _ in range(3):
        assert eligible(Roster(AGENTS), Task("x", max_cost_usd=1.0), (), limits, (), (), None).agents.names == ALL
    assert [record.getMessage() for record in caplog.records] == [
        "max_cost_usd binds nobody: state cost_usd of the agents, or record it with outcomes"
    ]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([None], ALL),
        ([{"alpha", "beta"}, {"beta", "alp"}], ("beta",)),
        ([["beta", "stranger"]], ("beta",)),
        (["beta"], ("beta",)),
        ([5], ALL),
        ([[["unhashable"]]], ALL),
    ],
)
def test_filters_intersect_and_nonsense_has_no_say(answers, expected):
    filters = [lambda task, agents, answer=answer: answer for answer in answers]
    assert who(filters=filters)[0] == expected


def test_a_filter_that_raises_has_no_say():
    def broken(task, agents):
        raise RuntimeError

    assert who(filters=[broken, lambda task, agents: {"beta"}])[0] == ("beta",)


def test_a_filter_that_leaves_nobody_is_named():
    with pytest.raises(NoEligibleAgentError, match="'p0'"):
        who(filters=[lambda task, agents: set()])


@pytest.mark.parametrize(
    ("answer", "expected", "reasons"),
    [
        (None, ALL, []),
        (Restriction(["beta"], "refunds"), ("beta",), ["hard rule: refunds"]),
        (Restriction("beta", "refunds"), ("beta",), ["hard rule: refunds"]),
        (RuntimeError("x"), ALL, ["failed: RuntimeError"]),
        ("nonsense", ALL, ["failed: ValueError"]),
        (Restriction(5, "refunds"), ALL, ["failed: TypeError"]),
    ],
)
def test_a_hard_rule_narrows_and_says_why(answer, expected, reasons):
    assert who(rules=[Ruled(answer)]) == (expected, reasons)


def test_a_hard_rule_that_leaves_nobody_is_quoted():
    with pytest.raises(NoEligibleAgentError, match="refunds"):
        who(rules=[Ruled(Restriction(["stranger"], "refunds"))])


def test_equal_selections_are_one_object_in_the_rosters_order():
    roster = Roster(AGENTS)
    assert roster.intern(["alpha", "beta"]) is roster.narrowed(roster.available, {"beta", "alpha"})
    assert roster.narrowed(roster.available, {*ALL, "more"}) is roster.available


def test_sets_that_nobody_asks_for_any_more_are_let_go():
    roster = Roster([Agent(f"a{number}") for number in range(5_000)])
    names = roster.everyone.names
    asked, forgotten = roster.intern(names[:1]), roster.intern(names[:2])
    for first in range(2 * LEAST_SETS):
        roster.intern(names[first : first + 3])
        assert roster.intern(names[:1]) is asked
    assert roster.intern(names[:2]) is not forgotten
    assert roster._interned.cache_info().currsize == LEAST_SETS


def test_nobody_enabled_is_an_error_of_its_own():
    with pytest.raises(NoEligibleAgentError, match="enabled"):
        who(roster=Roster([Agent("off", enabled=False)]))


def test_two_agents_of_one_name_are_refused():
    with pytest.raises(InvalidAgentError):
        Roster([Agent("a"), Agent("a")])
