import pytest

from router_sdk.evaluation.fit_report import fit_report
from router_sdk.evaluation.held_out import held_out_evaluation
from router_sdk.plugin import Agent, AgentSet, Proposal, Signals, Task, TrainingData
from router_sdk.testing import make_example

from ..doubles import Fixed


class Scenario:
    """Held-out examples, and strategies that say what the tasks' metadata tell them to."""

    def __init__(self, names):
        self.agents = AgentSet([Agent(name) for name in names])
        self.examples = []

    def add(self, before, after, *, label="", acted=None, reward=None, propensity=0.5):
        """One example: its favourites before and after ("-" abstains), and its label or its reward."""
        signals = None if label == "" else Signals(correct_agent=label, no_agent_fits=label is None or None)
        task = Task("x", metadata={"before": before, "after": after})
        number = len(self.examples) + 1
        example = make_example(acted, reward, number=number, task=task, signals=signals, propensity=propensity)
        self.examples.append(example)

    def evaluated(self, when):
        def answer(task, agents, context):
            said = task.metadata[when]
            if said == "-":
                return None
            if said is None:
                return Proposal(dict.fromkeys(agents.names, 1 / len(agents)), no_agent_fits=True, confidence=0.6)
            rest = 0.2 / max(1, len(agents) - 1)
            return Proposal({name: 0.8 if name == said else rest for name in agents.names})

        return held_out_evaluation(Fixed(answer), self.examples, self.agents, {})

    def report(self, fresh_after=0, **fields):
        data = TrainingData(self.examples * 2, self.agents, 10**6, held_out=self.examples, fresh_after=fresh_after)
        before, after = self.evaluated("before"), self.evaluated("after")
        return fit_report("bert", data, before, after, duration_s=2.0, **fields)


@pytest.fixture
def scenario():
    return Scenario
