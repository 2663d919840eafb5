"""Writes the stores of earlier releases that are checked in here, with what those releases had learnt from them.

    python tests/unit/store/old/make_old.py

Each release is taken out of git's history into a temporary folder, and runs this file there: it keeps a small log with
something in every table. ``schema_N.json`` says what the release made of it, ``schema_N.db.gz`` is the database as the
release left it, without the folder beside it. Ids and times are new each time; a run that changes nothing else is none
to check in.
"""

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.plugin import Proposal, Strategy, hookimpl

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[4]
RELEASES = {
    1: "58c167f^",
    2: "a2b2811^",
    3: "199b940",
    4: "184d903",
    5: "822e60d",
    6: "9778c8f",
    7: "cee0a3f",
    8: "2917f70^",
    9: "4d09914",
}
"""The last commit with each schema."""

AGENTS = [
    Agent("billing", description="invoices and refunds", examples=["I was charged twice"], capabilities={"refund"}),
    Agent("fraud", description="stolen cards", cost_usd=0.01),
    Agent("sales", latency_ms=40.0),
]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
STABLE = (
    *("total_examples", "label_distribution", "feedback_rate", "avg_quality_score", "positive_feedback_rate"),
    *("current_model_score", "improvement_rate"),
)
"""Figures whose meaning is the same in every release."""


class Tally(Strategy):
    """Counts rewards in thousandths, and remembers each revision that it learnt, and what it was told to forget."""

    name: ClassVar[str] = "tally"
    sees: ClassVar[str | None] = None
    """An encoder whose vectors are logged with the decisions."""

    def __init__(self, config, services):
        super().__init__(config, services)
        self.cells = {}
        self.lessons = []
        self.forgotten = []

    def propose(self, task, agents, context):
        if self.sees is not None and task.text:
            context.encode(self.sees)
        total = sum(range(1, len(agents) + 1))
        return Proposal({name: number / total for number, name in enumerate(agents.names, start=1)})

    def learn(self, examples):
        for one in examples:
            cell = self.cells.setdefault(f"{one.agent}/{one.task_type}", [0, 0])
            for reward, sign in ((one.previous_reward, -1), (one.reward, 1)):
                if reward is not None:
                    cell[0] += sign
                    cell[1] += sign * round(1_000 * reward)
            self.lessons.append([one.decision_id, one.revision, one.reward, one.previous_reward, one.label])

    def forget_agents(self, names):
        self.cells = {key: cell for key, cell in self.cells.items() if key.partition("/")[0] not in names}

    def forget_examples(self, decision_ids):
        self.forgotten += sorted(decision_ids)

    def save(self, folder):
        (folder / "tally.json").write_text(json.dumps(self.state))

    def load(self, folder):
        self.cells, self.lessons, self.forgotten = json.loads((folder / "tally.json").read_text()).values()

    @property
    def state(self):
        return {"cells": self.cells, "lessons": self.lessons, "forgotten": self.forgotten}


def learnt(router, tally):
    """What a release knows of its log, as JSON values."""
    router.flush()
    figures = router.statistics()
    if figures.pop("no_agent_fits", 0):  # once it stood among the labels, under None
        figures["label_distribution"]["null"] = 1
    reports = {report.agent: report.to_dict() for report in router.agent_performance()}
    for report in reports.values():
        del report["rank"]  # of agents that are there in this process
        report.pop("expected", None)
    return json.loads(
        json.dumps({"tally": tally.state, "statistics": {name: figures[name] for name in STABLE}, "reports": reports})
    )


# -- a small log with something in every table


def keep_a_log(path, schema):
    """What an earlier release is asked to do."""
    from router_sdk.testing import HashedWordsEncoder, make_services

    class Seeing(Tally):
        sees = HashedWordsEncoder.name

    class Brings:
        @hookimpl
        def register_encoders(self):
            return [HashedWordsEncoder]

    def chain():
        return [*fitted(schema), "thompson", Seeing(Seeing.Config(), make_services(path.with_name("services")))]

    options = {"seed": 7, "epsilon": 0.1, "batch_events": 5, "pending_ttl_seconds": 1e-6, "plugins": [Brings()]}
    if schema > 1:
        options |= {"retrain": False, "fit_executor": "thread", "held_out": 0.5}
    with Router(AGENTS, chain(), path, **options) as router:
        everyday_life(router, path)
        if schema > 1:
            fits(router)
        if schema > 6:
            router.models.quarantine("thompson", from_seq=10, to_seq=20, reason="a judge went wild")
        if schema > 7:
            router.experiments.start("calm", [{"name": "calm", "strategies": ["thompson"]}])
            router.experiments.stop("calm", reason="never mind")
    with Router(AGENTS, chain(), path, **options) as router:  # now it hears of the outcome whose decision never came
        router.record(router.route("refund at last"), Outcome(success=True))
        told = learnt(router, router._parts.chain.stages[-1].strategy)
    if schema > 2:
        leave_things_begun(path)
    if schema > 8:
        with closing(sqlite3.connect(path)) as connection, connection:
            key = "INSERT INTO access_keys (key_id, hash, name, scopes, at) VALUES ('k', 'h', 'ada', 'admin', 1.0)"
            connection.execute(key)
    return told


def everyday_life(router, path):
    """Decisions, outcomes whole and in parts, labels, agents that come and go, a session that is forgotten."""
    for number in range(16):
        for word, agent in RIGHT.items():
            task = Task(
                f"{word} number {number}",
                task_type="account" if number % 2 else "default",
                session_id=f"thread-{number}",
                features={"seats": number, "plan": "pro"},
                metadata={"channel": "mail"},
            )
            decision = router.route(task)
            router.record(decision, Outcome(success=decision.agent == agent, latency_ms=10.0 * number, cost_usd=0.01))
            router.record(decision.decision_id, Outcome(quality=number / 15, tokens=7, metrics={"mape": 0.5}))
            if number > 4:
                words = {"feedback_text": "thank you", "response": "done", "feedback": 0.5}
                router.record(decision, Outcome(correct_agent=agent, **words), outcome_id=f"{word}-{number}")
    router.route("nobody ever said how it went")
    router.route(Task("refund for acme", tenant="acme"), exclude={"sales"}, idempotency_key="once")
    router.observe("something else entirely", agent=None, outcome=Outcome(no_agent_fits=True))
    router.observe("stolen again", agent="fraud", outcome=Outcome(quality=0.25, error="TimeoutError"))
    router.record("f" * 32, Outcome(success=True))  # its decision never came
    router.add_agent(Agent("support", description="everything else"))
    router.record(router.route("offer"), Outcome(correct_agent="support"))
    router.remove_agent("support")
    router.add_agent(AGENTS[2], fresh=True)
    router.record(router.route("offer, once more"), Outcome(success=True))
    assert router.forget("thread-2") == 3
    bad = path.with_name("bad.jsonl")
    bad.write_text('{"text": "no agent"}\n{"text": "refund by file", "agent": "billing", "success": true}\nnot JSON\n')
    router.examples.import_from(bad)
    router.dead_letter("line", "an offset that nobody knows", body="{}")


def fitted(schema):
    """A strategy with a fit, where the release has such a thing: that of its own tests."""
    if schema == 1:
        return []
    from fitted_strategy import Words

    return [Words]


def fits(router):
    """A version that serves, one that the gate refused, one that a person let serve; a failure and a stop."""
    from router_sdk.errors import FitError

    first = router.models.retrain("words", wait=True)
    assert first.state == "promoted", first.words
    assert router.models.retrain("words", wait=True, mode="worse").state == "refused"
    try:
        router.models.retrain("words", wait=True, mode="raise")
    except FitError:
        router.models.promote("words", 2, force=True)
    router.models.rollback("words")
    hanging = router.models.retrain("words", mode="hang")
    while hanging.share < 0.4:
        assert hanging.running
    hanging.stop()
    assert hanging.wait(10).state == "stopped"


def leave_things_begun(path):
    """What a process leaves that is killed in the midst of an import, and after a pre-training."""
    body = {"key": "f" * 32, "path": "/gone.jsonl", "bytes": 1, "changed_ns": 1, "mapping": None}
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO intents (at, kind, body) VALUES (1.0, 'import', ?)", (json.dumps(body),))
        connection.execute("INSERT INTO consumers VALUES ('tally', ?, 1, 1.0)", ("e" * 32,))
        connection.execute(
            "INSERT INTO pretraining (decision_id, session_id, context_hash) VALUES (?, 'thread-1', 'about')",
            ("d" * 32,),
        )


# -- both sides of the run


def make(schema, commit, root):
    """Let a release keep its log, and put the result beside this file."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    release, work = root / f"release_{schema}", root / f"work_{schema}"
    for folder in (release, work):
        folder.mkdir()
    subprocess.run(["tar", "x", "-C", release], input=archive, check=True)
    places = [release, release / "tests", *sorted((release / "plugins").iterdir())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, __file__, str(schema), "router.db"]
    told = subprocess.run(command, cwd=work, env=environment, stdout=subprocess.PIPE, check=True).stdout
    (HERE / f"schema_{schema}.json").write_text(json.dumps(json.loads(told), sort_keys=True) + "\n")
    (HERE / f"schema_{schema}.db.gz").write_bytes(gzip.compress((work / "router.db").read_bytes(), mtime=0))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        json.dump(keep_a_log(Path(sys.argv[2]).absolute(), int(sys.argv[1])), sys.stdout)
    else:
        with tempfile.TemporaryDirectory() as folder:
            for number, where in RELEASES.items():
                make(number, where, Path(folder))
