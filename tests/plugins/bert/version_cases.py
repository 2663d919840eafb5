"""A strategy that serves the tiny encoder of ``fit_cases``, and what its fits are given."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from fit_cases import NAMES, WORDS, checkpoint
from router_sdk_bert.config import BertConfig, EncoderSettings
from router_sdk_bert.encoding.export import export_encoder
from router_sdk_bert.strategy import BertStrategy

from router_sdk.plugin import Agent, AgentSet, FitContext, Signals, Task, TrainingData
from router_sdk.testing import FixedContext, make_example, make_services

AGENTS = AgentSet([Agent(name, examples=[" ".join(WORDS[name][:2])]) for name in NAMES])


@cache
def exported():
    folder = Path(mkdtemp(prefix="tiny-encoder-")) / "encoder"
    export_encoder(checkpoint(), folder, EncoderSettings(model=str(checkpoint()), backend="onnx"))
    return folder


def make_serving(*, services=None, **more):
    settings = {"backend": "onnx", "epochs": 4, "learning_rate": 2e-3, "wait_for_encoder": True, **more}
    made = BertStrategy(
        BertConfig(model=str(exported()), **settings), make_services() if services is None else services
    )
    made.prepare(AGENTS)
    return made


def with_config(served, **more):
    config = type(served.config)(**{**served.config.model_dump(exclude_unset=True), **more})
    made = type(served)(config, served.services)
    made.prepare(AGENTS)
    return made


def told(count, *, first=1, names=NAMES, words=WORDS, text=None, tag=None):
    rng = np.random.default_rng(first)
    found = []
    for number in range(first, first + count):
        name = names[number % len(names)]
        said = text if text is not None else " ".join(["the", *rng.choice(words[name], 3)])
        task = Task(said) if said else Task(task_type="no text")
        found.append(
            make_example(name, 1.0, number=number, task=task, signals=Signals(correct_agent=name), eligible=NAMES)
        )
    return found


def data(examples=None, held_out=(), **more):
    examples = told(60) if examples is None else examples
    upto = max((one.seq for one in [*examples, *held_out]), default=0)
    return TrainingData(examples, AGENTS, upto, held_out, **more)


def context(folder, **more):
    folder.mkdir(parents=True, exist_ok=True)
    return FitContext(folder, "cpu", **more)


def ask(strategy, text):
    return strategy.propose(Task(text), AGENTS, FixedContext(text=text))


def chosen(strategy, examples):
    """Share of examples that go to the right agent."""
    right = 0
    for example in examples:
        probabilities = ask(strategy, example.task.text).probabilities
        right += max(probabilities, key=probabilities.get) == example.label
    return right / len(examples)
