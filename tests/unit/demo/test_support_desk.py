from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from router_sdk.demo.stream import Phase, Stream
from router_sdk.demo.support_desk import (
    FALTERING,
    FOR_NOBODY,
    HANDED_OVER,
    MOST_MESSAGES,
    NOBODY,
    STANDS_IN,
    WORLDS,
    generate_messages,
    intents,
    support_desk_agents,
    support_desk_stream,
)

AGENTS = [agent.name for agent in support_desk_agents()]


@pytest.fixture(scope="module")
def stream() -> Stream:
    return support_desk_stream(1_500, seed=3)


def test_the_same_seed_gives_the_same_stream_and_another_one_of_the_same_length() -> None:
    one, again, other = (support_desk_stream(60, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert [item.task.text for item in one.items] != [item.task.text for item in other.items]
    assert [len(phase.items) for phase in one.phases] == [len(phase.items) for phase in other.phases] == [60] * 4
    assert not {item.task.session_id for item in one.items} & {item.task.session_id for item in other.items}


def test_every_subject_names_agents_that_there_are_and_has_words_for_both_times() -> None:
    assert len({intent.name for intent in intents()}) == len(intents())
    assert intents()[-1].name == NOBODY
    for intent in intents():
        assert {intent.agent, intent.moves_to, *intent.near} - {None} <= set(AGENTS)
        assert len(intent.usual) >= 4
        assert len(intent.other) >= 4
        assert not set(intent.usual) & set(intent.other)
    assert set(Counter(intent.agent for intent in intents())) == {None, *AGENTS}


def test_texts_are_filled_in_varied_and_belong_to_sessions(stream: Stream) -> None:
    texts = [item.task.text for item in stream.items]
    assert not [text for text in texts if "{" in text or not text.strip()]
    assert len(set(texts)) > 0.85 * len(texts)
    sessions = Counter(item.task.session_id for item in stream.items)
    assert max(sessions.values()) == MOST_MESSAGES
    assert 1.5 < np.mean(list(sessions.values())) < 2.5


def test_words_of_every_agent_stand_in_texts_of_the_others(stream: Stream) -> None:
    """A bag of words does not solve it at once."""
    by_agent: dict[str, set[str]] = defaultdict(set)
    for item in stream.phases[0].items:
        if item.best is not None:
            by_agent[item.best] |= set(item.task.text.lower().split())
    for name in AGENTS:
        others = set().union(*(words for other, words in by_agent.items() if other != name))
        assert len(by_agent[name] & others) > 0.4 * len(by_agent[name])


def test_the_words_change_and_some_stay(stream: Stream) -> None:
    def share_in_other_words(phase: Phase) -> float:
        other = [phrase.split("{")[0].strip().lower() for intent in intents() for phrase in intent.other]
        openings = tuple(opening for opening in other if len(opening) > 12)
        return float(np.mean([any(one in item.task.text.lower() for one in openings) for item in phase.items]))

    first, second, *_ = map(share_in_other_words, stream.phases)
    assert first < 0.02
    assert second > 0.3


def test_what_holds_in_each_phase() -> None:
    for world in WORLDS:
        for intent in intents():
            chances = world.chances(intent, AGENTS)
            owner = world.owner(intent)
            if owner is None:
                assert set(chances.values()) == {0.0}
            elif world.falters and owner == FALTERING:
                assert max(chances, key=chances.__getitem__) == STANDS_IN
            else:
                assert max(chances, key=chances.__getitem__) == owner
    moved = [intent for intent in intents() if WORLDS[2].owner(intent) != WORLDS[1].owner(intent)]
    assert len(moved) == 4
    assert all(WORLDS[3].owner(intent) == intent.moves_to for intent in moved)


def test_outcomes_follow_the_chances_and_some_failures_are_handed_over(stream: Stream) -> None:
    items = stream.phases[0].items
    right = [item.rewards[item.best] for item in items if item.best is not None]
    wrong = [np.mean([item.rewards[name] for name in AGENTS if name != item.best]) for item in items]
    assert np.mean(right) == pytest.approx(0.93, abs=0.02)
    assert 0.04 < np.mean(wrong) < 0.14
    failures = [
        (item, outcome)
        for item in items
        for name, outcome in item.outcomes.items()
        if not outcome.success and name != item.best
    ]
    named = [(item, outcome) for item, outcome in failures if outcome.correct_agent or outcome.no_agent_fits]
    assert len(named) / len(failures) == pytest.approx(HANDED_OVER, abs=0.04)
    assert all(outcome.correct_agent == item.best for item, outcome in named if item.best is not None)
    assert all(outcome.no_agent_fits for item, outcome in named if item.best is None)


def test_some_sessions_are_for_nobody_and_saying_so_is_right(stream: Stream) -> None:
    nobody = [item for item in stream.items if item.best is None]
    sessions = {item.task.session_id for item in stream.items}
    assert len({item.task.session_id for item in nobody}) / len(sessions) == pytest.approx(FOR_NOBODY, abs=0.02)
    assert all(item.reward(None) == 1.0 and not any(item.rewards.values()) for item in nobody)


def test_probes_are_not_in_the_stream() -> None:
    stream = support_desk_stream(60, seed=1)
    sessions = {item.task.session_id for item in stream.items}
    for probes in stream.probes.values():
        assert not {task.session_id for task, _ in probes} & sessions


def test_a_careless_customer_mistypes_more_where_the_world_says_so() -> None:
    tidy = {word for intent in intents() for phrase in (*intent.usual, *intent.other) for word in phrase.split()}
    strange = [
        np.mean(
            [
                word.strip(".,?").lower() not in tidy
                for one in islice(generate_messages(world, seed=5), 400)
                for word in one.task.text.split()
            ]
        )
        for world in WORLDS[:2]
    ]
    assert strange[1] > strange[0]
