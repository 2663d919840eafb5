"""Each tenant's state is what that tenant's outcomes alone would have taught, whatever others were told in between."""

import json
from collections import OrderedDict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent, Task
from router_sdk.errors import CorruptArtifactError, InvalidConfigError
from router_sdk.learning.tenant_states import TenantStates
from router_sdk.records import AgentSet, Signals
from router_sdk.strategy import StrategyServices
from router_sdk.testing.examples import make_example, revise

from ..doubles import Counting

TENANTS = (None, "acme", "globex", "initech")


class Watched(Counting):
    """Knows for which agents it was prepared, which decisions it was told to forget, and whether it was closed."""

    def __init__(self, config, services):
        super().__init__(config, services)
        self.prepared, self.forgotten, self.closed = [], [], False

    def prepare(self, agents):
        self.prepared.append(agents)

    def forget_examples(self, decision_ids):
        self.forgotten += decision_ids

    def close(self):
        self.closed = True


class Closed(Watched):
    """Cannot be made from its configuration and services alone."""

    def __init__(self, config, services, secret):
        super().__init__(config, services)


def made(folder, kind=Watched):
    return kind(kind.Config(), StrategyServices(folder=folder))


@pytest.fixture
def make_states(tmp_path):
    return lambda most=100: TenantStates(made(tmp_path), most, alone=True)


def history(steps):
    """First outcomes, and corrections of what was said before, in log order: every step says which decision of whom.

    Some were decided long before, others right before their first outcome.
    """
    newest, found = OrderedDict(), []
    for place, (number, reward) in enumerate(steps, start=1):
        if number in newest:
            lesson = revise(newest[number], reward, seq=1_000 + 2 * place)
        else:
            task = Task("x", tenant=TENANTS[number % len(TENANTS)])
            lesson = make_example("a", reward, number=number, task=task)
            lesson.seq = 1_000 + 2 * place
            if number // len(TENANTS) % 2:
                lesson.decision_seq = lesson.seq - 1
        newest[number] = lesson
        found.append(lesson)
    return found


steps = st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0.0, 0.25, 1.0])), max_size=30)


def taught(states):
    """Whose state holds what, by when it was taught last."""
    return [
        (tenant, state.strategy.lessons, state.outcomes, state.born, state.early)
        for tenant, state in states._states.items()
    ]


@given(steps=steps)
def test_a_state_holds_what_its_tenants_outcomes_alone_teach(tmp_path_factory, steps):
    folder, lessons = tmp_path_factory.mktemp("states"), history(steps)
    states = TenantStates(made(folder), 100, alone=True)
    states.learn(lessons)
    for tenant in TENANTS:
        own = [one for one in lessons if one.task.tenant == tenant]
        alone = made(folder)
        alone.learn(own)
        state = states.of(tenant)
        assert (state.strategy.lessons if state else []) == alone.lessons
        assert (state.outcomes if state else 0) == len({one.decision_id for one in own})
    assert states.report() == {"known": len({one.task.tenant for one in lessons}), "given_up": 0}


@given(steps=steps, cuts=st.lists(st.integers(0, 30), max_size=5), most=st.integers(1, 4))
def test_it_depends_neither_on_batches_nor_on_restarts(tmp_path_factory, steps, cuts, most):
    """With fewer places than tenants, too: who goes, goes by the log alone."""
    folder, lessons = tmp_path_factory.mktemp("states"), history(steps)
    at_once, cut = (TenantStates(made(folder), most, alone=True) for _ in range(2))
    at_once.learn(lessons)
    edges = [0, *sorted(cuts), len(lessons)]
    for number, (start, end) in enumerate(pairwise(edges)):
        cut.learn(lessons[start:end])
        (saved := folder / str(number)).mkdir()
        cut.save(saved)
        cut = TenantStates(made(folder), most, alone=True)
        cut.load(saved)
    assert taught(cut) == taught(at_once)
    assert cut.report() == at_once.report()
    assert len(taught(cut)) <= most


@given(steps=steps, most=st.integers(1, 3))
def test_no_state_takes_back_what_it_was_not_taught(tmp_path_factory, steps, most):
    folder = tmp_path_factory.mktemp("states")
    states = TenantStates(made(folder), most, alone=True)
    for lesson in history(steps):
        states.learn([lesson])
        for state in states._states.values():
            known = {}
            for decision_id, _, reward, previous in state.strategy.lessons:
                assert previous == known.get(decision_id)
                known[decision_id] = reward
            assert state.outcomes == len(known)


def told(number, tenant, reward=1.0):
    return make_example("a", reward, number=number, task=Task("x", tenant=tenant))


def test_of_more_tenants_than_there_is_room_for_the_one_taught_longest_ago_goes(make_states):
    states = make_states(2)
    states.learn([told(1, "acme"), told(2, "globex")])
    oldest = states.of("acme").strategy
    states.learn([told(3, "acme", 0.0)])
    gone = states.of("globex").strategy
    states.learn([told(4, "initech")])
    assert states.of("globex") is None
    assert states.of("acme").strategy is oldest
    assert (gone.closed, oldest.closed) == (True, False)
    states.learn([told(5, "globex")])
    assert states.of("globex").outcomes == 1
    assert states.report() == {"known": 2, "given_up": 2}


def test_what_turns_out_to_be_another_agents_is_counted_once(make_states):
    first = told(1, "acme")
    withdrawn = revise(first, None)
    withdrawn.signals = Signals()
    assert withdrawn.withdrawn
    observed = make_example("b", 1.0, number=1, task=first.task)
    states = make_states(1)
    states.learn([first, withdrawn, observed])
    assert states.of("acme").outcomes == 1
    states.learn([told(2, "globex")])  # and acme's is given up
    states.learn([revise(told(3, "acme"), 0.5)])
    assert states.of("acme").strategy.lessons == [(told(3, "acme").decision_id, 0, 0.5, None)]
    states.learn([withdrawn])
    assert states.of("acme").outcomes == 1


def test_all_that_concerns_a_strategy_reaches_every_state(make_states, tmp_path):
    states, agents, later = make_states(), AgentSet([Agent("a")]), AgentSet([Agent("a"), Agent("b")])
    states.learn([told(1, "acme")])
    states.prepare(agents)
    states.learn([told(2, "globex")])
    states.prepare(later)
    assert [strategy.prepared for strategy in states.strategies()] == [[agents, later]] * 2
    states.forget_agents(["a"])
    states.forget_examples(["d"])
    assert [(strategy.cells, strategy.forgotten) for strategy in states.strategies()] == [({}, ["d"])] * 2
    states.save(tmp_path)
    replaced = list(states.strategies())
    states.load(tmp_path)
    assert [strategy.closed for strategy in replaced] == [True, True]
    assert [strategy.prepared for strategy in states.strategies()] == [[later]] * 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda known: known.pop("given_up"),
        lambda known: known.pop("tenants"),
        lambda known: known["tenants"][1].pop(),
        lambda known: known["tenants"][1].__setitem__(1, "many"),
        lambda known: known["tenants"][1].__setitem__(3, 7),
    ],
)
def test_states_that_are_not_valid_leave_all_as_it_was(make_states, tmp_path, damage):
    states = make_states()
    states.learn([told(1, "acme"), told(2, None)])
    states.save(tmp_path)
    before = taught(states)
    known = json.loads((tmp_path / "tenants.json").read_text())
    damage(known)
    (tmp_path / "tenants.json").write_text(json.dumps(known))
    with pytest.raises(CorruptArtifactError, match="malformed"):
        states.load(tmp_path)
    assert taught(states) == before
    assert not any(strategy.closed for strategy in states.strategies())


@pytest.mark.parametrize("alone", [False, True])
def test_states_are_made_after_a_strategy_that_is_taught_nothing(tmp_path, alone):
    strategy = made(tmp_path)
    if not alone:
        strategy.learn([told(1, "acme")])
    states = TenantStates(strategy, 2, alone=alone)
    assert (states.root is strategy) == alone
    assert (states.root.lessons, states.root.closed) == ([], False)
    states.root.untaught = lambda: made(tmp_path, kind=Counting)
    states.learn([told(2, "acme")])
    assert type(states.of("acme").strategy) is Counting


def test_a_strategy_that_cannot_be_made_twice_is_refused():
    with pytest.raises(InvalidConfigError, match=r"tenancy: .*made again"):
        TenantStates(Closed(Closed.Config(), None, "secret"), 1, alone=True)
