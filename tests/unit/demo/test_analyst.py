from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from router_sdk.demo.marketing_mix import (
    AGENT_NAMES,
    BUSINESS_ANALYST,
    DATA_SCIENTIST,
    INDUSTRIES,
    STAKEHOLDER,
    Analyst,
    SessionState,
)

GOOD = SessionState("s", 4, 10.0, 0.85, 900.0, 0, 0.5, "CPG", (DATA_SCIENTIST,))

states = st.builds(
    SessionState,
    session_id=st.just("s"),
    iteration=st.integers(1, 9),
    mape=st.floats(2.5, 40.0),
    r2=st.floats(0.05, 0.99),
    mae=st.floats(0.0, 4000.0),
    business_flags=st.integers(0, 4),
    tv_adstock_decay=st.floats(0.05, 0.95),
    industry=st.sampled_from(sorted(INDUSTRIES)),
    history=st.lists(st.sampled_from(AGENT_NAMES), max_size=6).map(tuple),
)


def favourite(state: SessionState, strictness: float) -> str:
    found = Analyst(strictness).preferences(state)
    return max(found, key=found.__getitem__)


@given(states, st.floats(0.0, 1.0))
def test_preferences_are_a_distribution(state: SessionState, strictness: float) -> None:
    found = Analyst(strictness).preferences(state)
    assert tuple(found) == AGENT_NAMES
    assert abs(sum(found.values()) - 1.0) < 1e-9
    assert min(found.values()) >= 0.0


@given(states, st.floats(0.0, 1.0))
def test_a_stricter_analyst_never_wants_the_stakeholder_more(state: SessionState, strictness: float) -> None:
    assert Analyst(1.0).preferences(state)[STAKEHOLDER] <= Analyst(strictness).preferences(state)[STAKEHOLDER] + 1e-9


def test_each_agent_has_states_of_its_own() -> None:
    assert favourite(GOOD, 0.0) == STAKEHOLDER
    assert favourite(replace(GOOD, mape=25.0), 0.0) == DATA_SCIENTIST
    assert favourite(replace(GOOD, business_flags=3), 0.0) == BUSINESS_ANALYST


def test_strictness_moves_the_boundaries() -> None:
    assert favourite(GOOD, 1.0) == DATA_SCIENTIST
    assert favourite(replace(GOOD, mape=6.0), 1.0) == STAKEHOLDER
    assert favourite(replace(GOOD, mape=6.0, business_flags=1), 0.0) == STAKEHOLDER
    assert favourite(replace(GOOD, mape=6.0, business_flags=1), 1.0) == BUSINESS_ANALYST


def test_the_same_agent_twice_is_wanted_less() -> None:
    once = replace(GOOD, mape=14.0)
    twice = replace(once, history=(DATA_SCIENTIST, DATA_SCIENTIST))
    assert Analyst().preferences(twice)[DATA_SCIENTIST] < Analyst().preferences(once)[DATA_SCIENTIST]
