"""Strategies that break a promise on learning, storage or threads: one each and, as far as they can, no other."""

import pickle
import threading
from collections.abc import Sequence

import numpy as np

from router_sdk.plugin import Example, Proposal

from .sound_strategy import SoundStrategy


class AveragesBatches(SoundStrategy):
    """Each batch counts once, however long it is."""

    promise = "learns_alike_in_any_batches"

    def learn(self, examples):
        means = dict(self.means)
        for name in {example.agent for example in examples if example.agent is not None}:
            rewards = [e.reward for e in examples if e.agent == name and e.reward is not None]
            total, count = means.get(name, (0.0, 0.0))
            means[name] = (total + float(np.mean(rewards or [0.5])), count + 1.0)
        self.means = means


class HasNoUseForColumns(SoundStrategy):
    """What comes as columns teaches half of what comes as examples."""

    promise = "learns_alike_in_any_batches"

    def learn_columns(self, columns):
        self.learn(columns.examples[::2])


class SharesItsTable(SoundStrategy):
    """What one tenant teaches, the other knows."""

    promise = "keeps_tenants_apart"

    def untaught(self):
        other = super().untaught()
        other.means = self.means
        return other


class TeachesWhomItWasMadeAfter(SoundStrategy):
    """Empty at first, but its lessons reach the one that it was made after, too."""

    promise = "keeps_tenants_apart"

    def untaught(self):
        other = super().untaught()
        learn = other.learn

        def both(examples):
            learn(examples)
            self.learn(examples)

        other.learn = both
        return other


class LearnsFromChoices(SoundStrategy):
    """Whoever was used was right, whatever came of it."""

    promise = "leaves_an_agent_that_fails"

    def learn(self, examples):
        means = dict(self.means)
        for example in examples:
            if example.agent is not None and example.revision == 0:
                total, count = means.get(example.agent, (0.0, 0.0))
                means[example.agent] = (total + 1.0, count + 1.0)
        self.means = means


class StopsLearning(SoundStrategy):
    """Counts stop at a cap, so that it freezes."""

    promise = "leaves_an_agent_that_fails"

    def learn(self, examples):
        for example in examples:
            if sum(count for _, count in self.means.values()) < 30:
                super().learn([example])


class SavesNothing(SoundStrategy):
    promise = "comes_back_from_disk"

    def save(self, folder):
        pass

    def load(self, folder):
        pass


class SavesRounded(SoundStrategy):
    promise = "comes_back_from_disk"

    def load(self, folder):
        super().load(folder)
        self.means = {name: (round(total, 1), count) for name, (total, count) in self.means.items()}


class Pickles(SoundStrategy):
    promise = "saves_no_pickle"

    def save(self, folder):
        (folder / "state").write_bytes(pickle.dumps(self.means))

    def load(self, folder):
        self.means = pickle.loads((folder / "state").read_bytes())


class TakesAnything(SoundStrategy):
    promise = "refuses_a_corrupt_state"

    def load(self, folder):
        try:
            super().load(folder)
        except Exception:
            self.means = {}


class RaisesWhatComes(SoundStrategy):
    promise = "refuses_a_corrupt_state"

    def load(self, folder):
        try:
            super().load(folder)
        except Exception as error:
            raise RuntimeError("bad state") from error


class PublishesInSteps(SoundStrategy):
    """``learn`` changes what ``propose`` reads, a piece at a time."""

    promise = "publishes_in_one_step"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.shares: dict[str, float] = {}

    def prepare(self, agents):
        self.republish()

    def learn(self, examples: Sequence[Example]) -> None:
        super().learn(examples)
        self.republish()

    def load(self, folder):
        super().load(folder)
        self.republish()

    def forget_agents(self, names):
        super().forget_agents(names)
        self.republish()

    def republish(self) -> None:
        names = list(self.means)
        whole = sum(self.estimate(self.means, name) for name in names)
        self.shares.clear()
        for name in names:
            self.shares[name] = self.estimate(self.means, name) / whole

    def propose(self, task, agents, context):
        known = sum(self.shares.get(name, 0.0) for name in agents.names)
        if not known:
            return Proposal(dict.fromkeys(agents.names, 1.0 / len(agents)))
        return Proposal({name: self.shares.get(name, 0.0) / known for name in agents.names})


class PublishesInStepsAtLast(PublishesInSteps):
    """The same, at the end of a long loop."""

    def republish(self) -> None:
        for _ in range(300):
            self.rounds = _
        super().republish()


class WaitsForTheLearner(SoundStrategy):
    promise = "publishes_in_one_step"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.lock = threading.Lock()

    def learn(self, examples):
        with self.lock:
            super().learn(examples)

    def propose(self, task, agents, context):
        with self.lock:
            return super().propose(task, agents, context)


class KeepsTheRequestOnItself(SoundStrategy):
    promise = "keeps_requests_apart"

    def propose(self, task, agents, context):
        self.task = task
        scores = {name: self.estimate(self.means, name) for name in agents.names}
        return self.proposal({name: score ** (1 + len(self.task.text)) for name, score in scores.items()})


class BelongsToOneThread(SoundStrategy):
    promise = "answers_many_threads_at_once"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.local = threading.local()
        self.local.offset = 0.5

    def propose(self, task, agents, context):
        offset = self.local.offset
        return self.proposal({name: self.estimate(self.means, name) + offset for name in agents.names})
