import re
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from router_sdk.demo.marketing_mix import (
    BUSINESS_ANALYST,
    DATA_SCIENTIST,
    MAX_ITERATIONS,
    STAKEHOLDER,
    Analyst,
    MarketingMixSession,
    SessionState,
    generate_turns,
    marketing_mix_stream,
)
from router_sdk.demo.stream import Phase, Stream, StreamItem


@pytest.fixture(scope="module")
def stream() -> Stream:
    return marketing_mix_stream(900, seed=3)


def rules_of_day_one(item: StreamItem) -> str:
    features = item.task.features
    if features["mape"] > 15:
        return DATA_SCIENTIST
    return BUSINESS_ANALYST if features["business_flags"] >= 2 else STAKEHOLDER


def mean_reward(phase: Phase, choices: list[str | None]) -> float:
    return float(np.mean([item.reward(choice) for item, choice in zip(phase.items, choices, strict=True)]))


def best_per_type(phase: Phase) -> float:
    by_type: dict[str, list[StreamItem]] = defaultdict(list)
    for item in phase.items:
        by_type[item.task.task_type].append(item)
    names = list(phase.items[0].rewards)
    return sum(max(sum(item.rewards[name] for item in items) for name in names) for items in by_type.values()) / len(
        phase.items
    )


def test_the_state_reads_as_an_agent_would_see_it() -> None:
    session = MarketingMixSession("s-1", Analyst(), np.random.default_rng(1))
    turn = session.turn()
    session.advance(turn.wanted, turn.outcomes[turn.wanted])
    task = session.state.task()
    assert re.fullmatch(
        r"Iteration 2: MAPE=\d+\.\d%, R2=0\.\d\d, MAE=\d+\. Last 3 agents: \w+\. Business flags: \d\. "
        r"Hyperparameters: tv_adstock_decay=0\.\d\d\. Industry: \w+\.",
        task.text,
    )
    assert task.features["mape"] == pytest.approx(session.state.mape, abs=0.01)
    assert task.history == (turn.wanted,)
    assert task.session_id == "s-1"


def test_the_same_seed_gives_the_same_stream() -> None:
    first, second, other = (marketing_mix_stream(20, seed=seed) for seed in (5, 5, 6))
    assert first == second
    assert [item.task.text for item in first.items] != [item.task.text for item in other.items]


def test_sessions_end(stream: Stream) -> None:
    lengths: dict[str | None, int] = defaultdict(int)
    for item in stream.items:
        lengths[item.task.session_id] += 1
    assert len(lengths) == 900
    assert max(lengths.values()) == MAX_ITERATIONS
    assert 2 < np.mean(list(lengths.values())) < MAX_ITERATIONS


def test_every_agent_is_wanted_by_both_analysts() -> None:
    for strictness in (0.0, 1.0):
        wanted = [turn.wanted for turn in generate_turns(200, strictness=strictness, seed=1)]
        shares = {name: wanted.count(name) / len(wanted) for name in set(wanted)}
        assert min(shares.values()) > 0.08
        assert len(shares) == 3


def test_rules_are_decent_until_the_analyst_gets_stricter(stream: Stream) -> None:
    for phase, low, high in zip(stream.phases, (0.58, 0.20, 0.38), (0.66, 0.45, 0.47), strict=True):
        assert low < mean_reward(phase, [rules_of_day_one(item) for item in phase.items]) < high


def test_the_task_type_is_enough_to_beat_the_rules_and_the_features_have_more(stream: Stream) -> None:
    for phase, lead, margin in zip(stream.phases, (0.0, 0.15, 0.15), (0.1, 0.08, 0.1), strict=True):
        rules = mean_reward(phase, [rules_of_day_one(item) for item in phase.items])
        per_type = best_per_type(phase)
        single = max(mean_reward(phase, [name] * len(phase.items)) for name in phase.items[0].rewards)
        oracle = mean_reward(phase, [item.best for item in phase.items])
        assert per_type > rules + lead
        assert per_type > single + margin
        assert oracle > per_type + 0.03


def test_a_refresh_says_of_itself_what_it_is_and_wants_others(stream: Stream) -> None:
    first, refreshes, stricter = stream.phases
    assert first.contradicts == refreshes.contradicts == ()
    assert stricter.contradicts == (first.name,)
    assert all(item.task.features["refresh"] == (phase is refreshes) for phase in stream.phases for item in phase.items)
    assert not {item.task.task_type for item in first.items} & {item.task.task_type for item in refreshes.items}
    state = SessionState("s", 1, 16.0, 0.7, 1_200.0, 0, 0.5, "CPG")
    wanted = Analyst().preferences(state), Analyst().preferences(replace(state, refresh=True))
    assert [max(each, key=each.__getitem__) for each in wanted] == [DATA_SCIENTIST, STAKEHOLDER]
    assert replace(state, refresh=True).text == f"Refresh of a model in use. {state.text}"


def test_an_analyst_who_is_no_stricter_contradicts_nothing() -> None:
    assert marketing_mix_stream(30, strictness=0.0).phases[-1].contradicts == ()


def test_an_outcome_carries_success_quality_latency_and_cost(stream: Stream) -> None:
    outcome = stream.items[0].outcome(DATA_SCIENTIST)
    assert outcome.success is not None
    assert outcome.correct_agent is None
    assert all(value is not None for value in (outcome.quality, outcome.latency_ms, outcome.cost_usd))
