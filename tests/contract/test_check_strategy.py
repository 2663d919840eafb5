import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from router_sdk.plugin import Agent, AgentSet, Strategy
from router_sdk.testing import HashedWordsEncoder, check_strategy, sample_agents, sample_tasks
from router_sdk.testing.checks import CHECKS
from router_sdk.testing.trial import Trial

from .broken_strategies import BROKEN
from .sound_strategy import SoundStrategy


def trial_of(kind, folder):
    return Trial(
        factory=lambda services: kind(kind.Config(), services),
        agents=AgentSet(sample_agents()),
        tasks=sample_tasks(),
        encoders={},
        folder=Path(tempfile.mkdtemp(dir=folder)),
    )


def test_a_sound_strategy_passes():
    check_strategy(SoundStrategy)


def test_a_factory_serves_as_well_as_a_class():
    check_strategy(lambda services: SoundStrategy(SoundStrategy.Config(confidence_threshold=0.5), services), seed=7)


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_strategy_is_refused(broken):
    with pytest.raises(AssertionError, match=f"^{broken.__name__} breaks the promise that it "):
        check_strategy(broken)


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
def test_each_promise_is_held_by_its_own_check(broken, tmp_path):
    (check,) = [check for check in CHECKS if check.__name__ == broken.promise]
    check(trial_of(SoundStrategy, tmp_path))
    with pytest.raises(Exception):
        check(trial_of(broken, tmp_path))


def test_every_check_has_a_strategy_that_it_catches():
    assert {check.__name__ for check in CHECKS} == {broken.promise for broken in BROKEN}


def test_an_exception_becomes_a_readable_failure():
    class Crashes(SoundStrategy):
        def propose(self, task, agents, context):
            raise KeyError("no such thing")

    with pytest.raises(AssertionError, match=r"Crashes breaks the promise that .*: KeyError: 'no such thing'"):
        check_strategy(Crashes)


def test_something_else_than_a_strategy_is_refused():
    with pytest.raises(AssertionError, match="is no Strategy"):
        check_strategy(lambda services: object())


def test_abstaining_is_fine_where_it_was_agreed():
    class Waits(Strategy):
        name = "waits"

        def propose(self, task, agents, context):
            return None

    check_strategy(Waits, must_answer=False)


def test_one_that_only_keeps_examples_need_not_move():
    class Keeps(SoundStrategy):
        def learn(self, examples):
            self.kept = tuple(examples)

    with pytest.raises(AssertionError, match="leaves an agent that fails"):
        check_strategy(Keeps)
    check_strategy(Keeps, learns=False)


def test_encoders_reach_the_request_and_the_examples():
    tags = set()

    class Embeds(SoundStrategy):
        def propose(self, task, agents, context):
            assert context.encode("hashed-words").shape == (64,)
            return super().propose(task, agents, context)

        def learn(self, examples):
            for example in examples:
                tags.update(example.vectors)
            super().learn(examples)

    check_strategy(Embeds, encoders={"hashed-words": HashedWordsEncoder()})
    assert tags == {"hashed-words:fp32"}


def test_agents_and_tasks_of_ones_own():
    check_strategy(SoundStrategy, agents=[Agent("a"), Agent("b")], tasks=["one", "two"])
    with pytest.raises(ValueError, match="at least two agents"):
        check_strategy(SoundStrategy, agents=[Agent("a")])


def test_the_kit_needs_no_test_framework():
    code = "import sys, router_sdk.testing as t; sys.exit(int('pytest' in sys.modules or 'hypothesis' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
