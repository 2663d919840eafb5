"""One process learns for the others: what they take over is what they would have learnt, and nothing waits for it."""

import hashlib
import os

import numpy as np
import pytest

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import CorruptArtifactError
from router_sdk.store import Store
from router_sdk.store.leadership import Mark

NEVER = 1_000_000
AGENTS = [Agent(f"agent-{number}") for number in range(3)]


def opened(path, *, strategies=("thompson",), **settings):
    """A router that learns where it is told to, and nowhere else."""
    return Router(AGENTS, strategies, path, batch_events=NEVER, batch_seconds=NEVER, seed=1, **settings)


def told(router, count, task=lambda number: Task(task_type=f"type-{number % 3}"), after=0):
    for number in range(after, after + count):
        decision = router.route(task(number))
        router.record(decision, Outcome(success=number % 3 > 0, cost_usd=0.25, latency_ms=40.0 + number))


def lead(router):
    """Lead, where nobody does."""
    return call(router, "look") or router.status()["learner"]["leads"]


def call(router, name, *arguments):
    """On the learner's thread."""
    learner = router._parts.learner
    return learner.submit(lambda: getattr(learner._following, name)(*arguments)).result()


def published(leader, follower):
    """The follower asks, and the leader publishes what it has learnt."""
    follower._parts.store.leadership.ask()
    leader._parts.learner._following._publish_at = 0.0
    call(leader, "publish")


def cheap(router):
    """Whatever taking over costs, it pays."""
    router._parts.learner._following._cost_s = 0.0


def states(router, folder):
    """What every fold has come to, to the last bit."""
    found = {}
    for fold in router._parts.learner.folding.folds:
        place = folder / f"{id(router)}-{fold.name}-{os.urandom(4).hex()}"
        place.mkdir()
        fold.state.save(place)
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.iterdir()}
        found[fold.name] = (fold.cursor, files)
    return found


@pytest.fixture
def two(tmp_path):
    """A leader and a follower, who has learnt a little by itself."""
    with opened(tmp_path / "router.db") as leader:
        assert lead(leader)
        with opened(tmp_path / "router.db") as follower:
            assert not lead(follower)
            told(leader, 30)
            leader.flush()
            follower.flush()
            cheap(follower)
            yield leader, follower


# -- who leads


def test_one_leads_and_another_takes_its_place_when_it_ends(tmp_path):
    first, second = Store(tmp_path / "router.db"), Store(tmp_path / "router.db")
    assert first.leadership.take()
    assert first.leadership.take()
    assert not second.leadership.take()
    first.close()
    assert second.leadership.take()
    second.close()


def test_a_process_that_is_alone_publishes_nothing(tmp_path):
    with opened(tmp_path / "router.db") as router:
        assert lead(router)
        told(router, 30)
        router.flush()
        call(router, "publish")
        assert router._parts.store.leadership.newest() is None


def test_who_only_looks_and_who_does_not_learn_never_leads(tmp_path):
    Router(AGENTS, ["thompson"], tmp_path / "router.db").close()
    for settings in ({"read_only": True}, {"learning": False}):
        with Router(None, ["thompson"], tmp_path / "router.db", **settings) as router:
            router._parts.learner.submit(router._parts.learner._meet).result()
            assert not router.status()["learner"]["leads"]


# -- what is taken over


@pytest.mark.parametrize(
    "task",
    [
        lambda number: Task(task_type=f"type-{number % 3}"),
        lambda number: Task(features={"a": float(np.sin(number)), "b": number % 5 / 5}),
        lambda number: Task(f"please look into case {number % 7} of {number % 3}"),
    ],
    ids=["types", "features", "texts"],
)
def test_it_is_to_the_last_bit_what_would_have_been_learnt(tmp_path, two, task):
    leader, follower = two
    told(leader, 100, task)
    told(follower, 100, task, after=100)
    leader.flush()
    published(leader, follower)
    assert call(follower, "take_over")
    assert states(follower, tmp_path) == states(leader, tmp_path)
    told(follower, 20, task, after=200)
    leader.flush()
    follower.flush()
    assert states(follower, tmp_path) == states(leader, tmp_path)
    with opened(tmp_path / "router.db") as third:  # which learns all of it from the log
        third.flush()
        assert states(third, tmp_path) == states(leader, tmp_path)


def test_what_came_after_it_is_learnt_from_the_log(tmp_path, two):
    leader, follower = two
    told(leader, 60)
    leader.flush()
    published(leader, follower)
    told(follower, 10, after=60)
    follower.flush()
    assert follower.status()["learner"]["lag"] == 0
    leader.flush()
    assert states(follower, tmp_path) == states(leader, tmp_path)


def test_an_agent_that_was_added_afresh_meanwhile_has_no_past(tmp_path, two):
    leader, follower = two
    late = [follower.route(Task(task_type="type-0")) for _ in range(12)]
    follower._parts.store.writer.flush()
    leader.remove_agent("agent-1")
    leader.add_agent(Agent("agent-1"), fresh=True)
    told(leader, 60)
    leader.flush()
    published(leader, follower)
    assert call(follower, "take_over")
    for decision in late:
        follower.record(decision, Outcome(success=True))
    follower.flush()
    leader.flush()
    assert states(follower, tmp_path) == states(leader, tmp_path)


def test_what_depends_on_other_settings_is_not_taken_over(tmp_path, two):
    leader, _ = two
    with opened(tmp_path / "router.db", strategies=[("thompson", {"prior_mass": 3.0})]) as other:
        other.flush()
        cheap(other)
        told(leader, 60)
        leader.flush()
        published(leader, other)
        before = other._parts.learner.folding["thompson"].cursor
        call(other, "take_over")
        assert other._parts.learner.folding["thompson"].cursor == before
        other.flush()
        assert other.status()["learner"]["lag"] == 0


def test_what_is_gone_or_damaged_is_learnt_instead(tmp_path, two):
    leader, follower = two
    told(leader, 60)
    leader.flush()
    published(leader, follower)
    folder = leader._parts.store.leadership._folder
    state = next(folder.glob("*/thompson/cells.json"))
    state.write_text(state.read_text().replace("1", "2"))
    leadership, empty = follower._parts.store.leadership, tmp_path / "empty"
    empty.mkdir()
    newest = leadership.newest()
    with pytest.raises(CorruptArtifactError):
        leadership.fetch(newest, empty)
    assert not call(follower, "take_over")
    follower.flush()
    assert states(follower, tmp_path) == states(leader, tmp_path)


# -- whom it pays for


def test_few_outcomes_are_learnt_by_each_and_many_are_left_to_the_leader(two):
    leader, follower = two
    following = follower._parts.learner._following
    following._cost_s = 0.01
    for fold in follower._parts.learner.folding.folds:
        fold.cost_s = 1e-5
    cursor = follower._parts.learner.folding.cursor
    following._abreast_at -= 0.5
    assert not call(follower, "left_to_leader", cursor + 20)
    assert not leader._parts.store.leadership.asked()
    assert call(follower, "left_to_leader", cursor + 5_000)
    assert leader._parts.store.leadership.asked()
    following._abreast_at -= 2.0
    assert not call(follower, "left_to_leader", cursor + 20_000)  # nobody publishes: it waited long enough


def test_the_leader_leaves_nothing_to_anybody(two):
    leader, _ = two
    for fold in leader._parts.learner.folding.folds:
        fold.cost_s = 1.0
    assert not call(leader, "left_to_leader", NEVER)


# -- what was forgotten


def test_nothing_is_published_that_holds_what_was_forgotten(tmp_path):
    with opened(tmp_path / "router.db") as router:
        assert lead(router)
        decision = router.route(Task("my name is Ada", session_id="one"))
        router.record(decision, Outcome(success=True))
        told(router, 20)
        router.flush()
        published(router, router)
        leadership = router._parts.store.leadership
        before = leadership.newest()
        assert (leadership._folder / before.name).is_dir()
        router.forget("one")
        assert not (leadership._folder / before.name).exists()

        def fill(folder):
            (folder / "thompson").mkdir()

        leadership.publish({"thompson": Mark(before.marks["thompson"].cursor, "")}, fill)
        assert leadership.newest() == before
        assert [path for path in leadership._folder.iterdir() if path.is_dir()] == []
