"""Strategies that break a promise on requests: one each and, as far as they can, no other."""

import numpy as np

from router_sdk.plugin import AgentSet, Proposal

from .sound_strategy import SoundStrategy


class DefaultArgument(SoundStrategy):
    promise = "declares_what_the_router_calls"

    def propose(self, task, agents, context=None):
        return super().propose(task, agents, context)


class Nameless(SoundStrategy):
    promise = "declares_what_the_router_calls"
    name = "../up"


class SumsToMore(SoundStrategy):
    promise = "proposes_distributions"

    @staticmethod
    def proposal(scores):
        return Proposal({name: 1.01 / len(scores) for name in scores})


class NotANumber(SoundStrategy):
    promise = "proposes_distributions"

    @staticmethod
    def proposal(scores):
        return Proposal({name: float("nan") for name in scores})


class Negative(SoundStrategy):
    promise = "proposes_distributions"

    @staticmethod
    def proposal(scores):
        first, *others = scores
        return Proposal({first: 1.5, **{name: -0.5 / len(others) for name in others}} if others else {first: 1.0})


class RemembersPreparedAgents(SoundStrategy):
    """Answers for the agents of ``prepare``, whoever is eligible."""

    promise = "proposes_distributions"

    def prepare(self, agents):
        self.prepared = agents

    def propose(self, task, agents, context):
        return super().propose(task, self.prepared, context)


class OverConfident(SoundStrategy):
    promise = "proposes_distributions"

    @staticmethod
    def proposal(scores):
        return Proposal(SoundStrategy.proposal(scores).probabilities, confidence=1.2)


class Silent(SoundStrategy):
    promise = "answers_at_all"

    def propose(self, task, agents, context):
        return None


class TiesGoFirst(SoundStrategy):
    """The first of the agents takes what rounding down leaves over."""

    promise = "ignores_the_order_of_agents"

    def propose(self, task, agents, context):
        fair = super().propose(task, agents, context).probabilities
        rounded = {name: np.floor(share * 20) / 20 for name, share in fair.items()}
        rounded[agents.names[0]] += 1.0 - sum(rounded.values())
        return Proposal(rounded)


class FreshEntropy(SoundStrategy):
    promise = "repeats_itself_from_one_seed"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.noise = np.random.default_rng().random()

    def propose(self, task, agents, context):
        scores = {name: self.estimate(self.means, name) + self.noise for name in agents.names}
        return self.proposal(scores)


class OneAnswerForTheBatch(SoundStrategy):
    promise = "answers_batches_like_single_requests"

    def propose(self, task, agents, context):
        scores = {name: self.estimate(self.means, name) ** (1 + len(task.text)) for name in agents.names}
        return self.proposal(scores)

    def propose_batch(self, tasks, agents, contexts):
        return [self.propose(tasks[0], agents, contexts[0])] * len(tasks) if tasks else []


class WritesOnTheTask(SoundStrategy):
    promise = "leaves_its_arguments_alone"

    def propose(self, task, agents, context):
        task.metadata["seen"] = True
        return super().propose(task, agents, context)


class KeepsTheConversation(SoundStrategy):
    """The caller's history stays on the strategy, and shows in the next caller's answer."""

    promise = "keeps_requests_apart"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.acted: set[str] = set()

    def propose(self, task, agents, context):
        if task.tenant is not None:
            self.acted |= set(context.history[:1])
        return self.proposal({name: self.estimate(self.means, name) + (name in self.acted) for name in agents.names})


class ForgetsWhoIsAway(SoundStrategy):
    """What was learnt of an agent is gone once it was absent from one ``prepare``."""

    promise = "copes_as_agents_come_and_go"

    def prepare(self, agents):
        self.means = {name: mean for name, mean in self.means.items() if name in agents.positions}


class OnlyThePrepared(SoundStrategy):
    promise = "copes_as_agents_come_and_go"

    def prepare(self, agents: AgentSet) -> None:
        self.known = dict.fromkeys(agents.names)

    def propose(self, task, agents, context):
        for name in agents.names:
            self.known[name]
        return super().propose(task, agents, context)
