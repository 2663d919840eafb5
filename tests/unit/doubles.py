"""Small deterministic strategies: the real router, log and learner run around them."""

import json
import threading
from typing import ClassVar

from router_sdk.plugin import Proposal, Strategy, StrategyConfig, StrategyServices


class Counting(Strategy):
    """Counts rewards per agent and task type in thousandths, and remembers every revision that it learnt from."""

    name: ClassVar[str] = "counting"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.cells = {}
        self.lessons = []
        self.batches = []

    def propose(self, task, agents, context):
        cells = self.cells
        scores = {}
        for name in agents.names:
            count, total = cells.get((name, task.task_type), (0, 0))
            scores[name] = (total + 500) / (count * 1_000 + 1_000)
        whole = sum(scores.values())
        return Proposal({name: score / whole for name, score in scores.items()}, scores=scores)

    def learn(self, examples):
        cells = dict(self.cells)
        for example in examples:
            count, total = cells.get((example.agent, example.task_type), (0, 0))
            if example.previous_reward is not None:
                count, total = count - 1, total - round(example.previous_reward * 1_000)
            if example.reward is not None:
                count, total = count + 1, total + round(example.reward * 1_000)
            cells[example.agent, example.task_type] = (count, total)
        self.cells = cells
        self.lessons += [(e.decision_id, e.revision, e.reward, e.previous_reward) for e in examples]
        self.batches.append(len(examples))

    def forget_agents(self, names):
        self.cells = {key: cell for key, cell in self.cells.items() if key[0] not in names}

    def save(self, folder):
        cells = [[*key, *cell] for key, cell in self.cells.items()]
        (folder / "cells.json").write_text(json.dumps({"cells": cells, "lessons": self.lessons}))

    def load(self, folder):
        state = json.loads((folder / "cells.json").read_text())
        self.cells = {(agent, kind): (count, total) for agent, kind, count, total in state["cells"]}
        self.lessons = [tuple(lesson) for lesson in state["lessons"]]

    @property
    def state(self):
        """What it learnt, without empty cells."""
        return {key: cell for key, cell in self.cells.items() if cell != (0, 0)}


class Fixed(Strategy):
    """Answers every task alike: with a mapping of probabilities, a proposal, an error to raise, or None."""

    name: ClassVar[str] = "fixed"

    def __init__(self, answer, name="fixed", threshold=0.0):
        super().__init__(StrategyConfig(confidence_threshold=threshold), None)
        self.answer = answer
        self.name = name

    def propose(self, task, agents, context):
        answer = self.answer(task, agents, context) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, dict):
            return Proposal({name: answer.get(name, 0.0) for name in agents.names})
        return answer


class Stubborn(Counting):
    """Waits in ``learn`` until it is let go."""

    name: ClassVar[str] = "stubborn"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.learning = threading.Event()
        self.let_go = threading.Event()

    def learn(self, examples):
        self.learning.set()
        assert self.let_go.wait(20)
        super().learn(examples)


def build(kind, folder):
    """A strategy object with its default configuration."""
    return kind(kind.Config(), StrategyServices(folder=folder))
