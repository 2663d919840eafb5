import pytest

from router_sdk import Agent, Task
from router_sdk.errors import InvalidAgentError, NoEligibleAgentError
from router_sdk.plugin import Restriction
from router_sdk.routing.chain import Stage
from router_sdk.routing.eligibility import Roster, eligible

from ..doubles import Fixed

AGENTS = [
    Agent("alpha", capabilities={"sql", "python"}),
    Agent("alp", capabilities={"sql"}),
    Agent("beta"),
    Agent("off", enabled=False, capabilities={"sql"}),
]
ALL = ("alpha", "alp", "beta")


def who(task=None, exclude=(), filters=(), rules=(), roster=None):
    named = [(f"p{i}", one) for i, one in enumerate(filters)]
    found, notes = eligible(
        roster or Roster(AGENTS), task or Task("x"), exclude, named, [Stage(rule) for rule in rules], None
    )
    return found.names, [note.reason for note in notes]


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


@pytest.mark.parametrize("exclude", ["alpha", {"alpha"}, ["alpha"], ("alpha", "stranger"), ["alpha", 5]])
def test_who_is_excluded_is_left_out_by_whole_name(exclude):
    assert who(exclude=exclude)[0] == ("alp", "beta")


def test_excluding_everybody_says_so():
    with pytest.raises(NoEligibleAgentError, match="exclude"):
        who(exclude=[*ALL, 5])


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


def test_nobody_enabled_is_an_error_of_its_own():
    with pytest.raises(NoEligibleAgentError, match="enabled"):
        who(roster=Roster([Agent("off", enabled=False)]))


def test_two_agents_of_one_name_are_refused():
    with pytest.raises(InvalidAgentError):
        Roster([Agent("a"), Agent("a")])
