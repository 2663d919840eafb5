"""A strategy with a fit, small enough to see through: the right agent for each first word of a text."""

import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from router_sdk.plugin import (
    AgentSet,
    Example,
    FitContext,
    FitError,
    FitStoppedError,
    Proposal,
    RouteContext,
    Strategy,
    StrategyConfig,
    Task,
    TrainingData,
    hookimpl,
)


class WordsConfig(StrategyConfig):
    mode: str = "learn"
    """``learn``, ``worse``, ``raise``, ``hang`` until it is stopped, or ``die``."""


class Words(Strategy):
    name = "words"
    Config = WordsConfig
    config: WordsConfig

    def __init__(self, config, services):
        super().__init__(config, services)
        self.table: dict[str, str] = {}
        self.memory: dict[str, tuple[str, str]] = {}

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        favourite = self.table.get(task.text.split()[0])
        if favourite not in agents.positions:
            return None
        return Proposal({name: float(name == favourite) for name in agents.names})

    def learn(self, examples: Sequence[Example]) -> None:
        for example in examples:
            if example.label is not None and example.task.text:
                self.memory[example.decision_id] = (example.task.text.split()[0], example.label)

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        for decision_id in decision_ids:
            self.memory.pop(decision_id, None)

    def before_fit(self) -> None:
        """A test may wait here."""

    def fit(self, data: TrainingData, context: FitContext) -> Strategy:
        context.progress(0.5, "counting words")
        self.before_fit()
        context.note({"epoch": 1, "loss": 0.5})
        if self.config.mode == "raise":
            raise FitError("the loss is not finite")
        if self.config.mode == "die":
            import os

            os._exit(7)
        if self.config.mode == "hang":
            assert context.checkpoints is not None
            attempts = len(list(context.checkpoints.iterdir()))
            (context.checkpoints / str(attempts)).write_text("here I was")
            while attempts == 0:
                if context.stopped():
                    raise FitStoppedError("stopped at a checkpoint")
                time.sleep(0.01)
        fitted = Words(self.config, self.services)
        fitted.memory = dict(self.memory)
        for example in data.examples:
            if example.label is not None:
                fitted.table[example.task.text.split()[0]] = example.label
        if self.config.mode == "worse":
            fitted.table = dict.fromkeys(fitted.table, data.agents.names[0])
        return fitted

    def save(self, folder: Path) -> None:
        (folder / "words.json").write_text(json.dumps([self.table, self.memory]))

    def load(self, folder: Path) -> None:
        table, memory = json.loads((folder / "words.json").read_text())
        self.table, self.memory = table, {key: (word, label) for key, (word, label) in memory.items()}


@hookimpl
def register_strategies():
    return [Words]
