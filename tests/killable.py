"""A router in a process of its own that does what it is told, and can be killed at any step that leaves a trace.

The processes are forked from a server that has imported everything, so that one takes hundredths of a second.
"""

import gc
import gzip
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import fitted_strategy

from router_sdk import Outcome, Router, Task, erasing
from router_sdk.errors import RouterError
from router_sdk.store.sqlite import SQLiteWriting
from router_sdk.store.transaction import Committer

AGENTS = ("billing", "fraud", "sales")
WORDS = {"billing": "refund my invoice", "fraud": "a stolen card", "sales": "an offer please"}
LIMIT_S = 60.0
PRELOADED = ["killable", "router_sdk.config", "router_sdk_bert.strategy", "router_sdk_thompson", "router_sdk_heuristic"]
PRELOADED += ["router_sdk_bert.hooks", "router_sdk_thompson.hooks", "router_sdk_heuristic.hooks"]
PRELOADED += ["onnxruntime", "tokenizers", "scipy.linalg", "scipy.optimize", "sqlite_utils", "threadpoolctl"]
"""What the server imports once, so that none of the processes has to."""
assert hasattr(erasing, "_KILLED_S")
erasing._KILLED_S = 1.0  # so that no test waits a minute until what was half written is nobody's


# -- in the process


class Points:
    """Steps at which a process could end: it ends at one, or something else happens there.

    Attributes:
        left: Steps until it does; None never.
        happen: What does; by default the end of the process, without a word.
    """

    def __init__(self, folder):
        self.folder, self.left, self.count = str(folder), None, 0
        self.happen = lambda where: os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, where):
        self.count += 1
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.left = None
                self.happen(where)

    def install(self):
        """Count every change of the file system below the folder, and every transaction."""
        for name in ("rename", "replace", "unlink", "rmdir", "link", "mkdir", "fsync", "truncate"):
            if hasattr(os, name):
                setattr(os, name, self._counting(name, getattr(os, name)))
        transact, scrub = Committer.transact, SQLiteWriting.scrub

        def counted(committer, work, deadline):
            def inside(connection, seq):
                self("begun")
                result = work(connection, seq)
                self("not committed yet")
                return result

            result = transact(committer, inside, deadline)
            self("committed")
            return result

        def emptied(writing, deadline):
            self("checkpoint")
            return scrub(writing, deadline)

        Committer.transact, SQLiteWriting.scrub = counted, emptied

    def _counting(self, name, function):
        def call(path, *more, **options):
            if (
                not isinstance(path, (str, bytes, os.PathLike))
                or str(path).startswith(self.folder)
                or "dir_fd" in options
            ):
                self(name)
            return function(path, *more, **options)

        return call


class Told:
    """What a router can be told to do; whatever is acknowledged is written to ``acknowledged`` at once."""

    def __init__(self, router, acknowledged):
        self.router, self._acknowledged = router, acknowledged

    def _say(self, decision_id, session):
        os.write(self._acknowledged, f"{decision_id} {session}\n".encode())

    def record(self, session, secret, count, seed):
        chance = random.Random(seed)
        for _ in range(count):
            agent = chance.choice(AGENTS)
            text = f"{WORDS[agent]} {secret} {chance.randrange(10**6)}"
            decision = self.router.route(
                Task(text, session_id=session, features={secret: 1.0, "size": chance.random()})
            )
            whole = chance.random() < 0.7
            if not whole:
                self.router.flush()
            outcome = Outcome(correct_agent=agent, response=f"said {secret}", success=decision.agent == agent)
            self.router.record(decision if whole else decision.decision_id, outcome)
            self._say(decision.decision_id, session)
            if chance.random() < 0.3:
                self.router.record(decision.decision_id, Outcome(feedback=-1.0, feedback_text=f"late {secret}"))

    def observe(self, session, secret, agent):
        decision = self.router.observe(
            Task(f"{WORDS[agent]} {secret}", session_id=session), agent, Outcome(quality=0.8)
        )
        self._say(decision.decision_id, session)

    def fit(self, name):
        fit = self.router.models.retrain(name, wait=False)
        try:
            fit.wait(LIMIT_S)
        except RouterError as error:
            return [fit.state, str(error)]
        return [fit.state, fit.words]

    def fit_when(self, name, folder, count):
        """Fit, and go on once so many files lie in a folder; one of them says that this process has been asked."""

        def wait(strategy):
            while len(os.listdir(folder)) < count:
                time.sleep(0.005)

        fitted_strategy.Words.before_fit = wait
        fit = self.router.models.retrain(name)
        (Path(folder) / str(os.getpid())).touch()
        fit.wait(LIMIT_S)
        return [fit.state, fit.words, None if fit.version is None else fit.version.version]

    def promote_when(self, name, gone_on):
        """Fit, and promote what came of it once a file is there; another one beside it says that it waits."""
        promote = self.router._parts.promoter.promote_fitted

        def wait(*given, **named):
            Path(f"{gone_on}-waits").touch()
            while not os.path.exists(gone_on):
                time.sleep(0.005)
            promote(*given, **named)

        self.router._parts.promoter.promote_fitted = wait
        return self.fit(name)

    def fits(self, name):
        """Of each attempt, oldest first: its status, how far it reached, and its version."""
        return [[one["status"], one["cursor"], one["model_version"]] for one in self.router.models.fits(name)[::-1]]

    def idle(self):
        """Once no trigger has anything to start any more."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            self.router.flush()
            self.router._parts.learner.submit(self.router._parts.trainer.consider).result()
            fit = self.router.models.newest_fit
            if (fit is None or not fit.running) and self.router.models.check_triggers()[0].due is None:
                return
            self.router._parts.trainer._not_before = 0.0
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def pretrain(self, name, session, secret):
        tasks = [
            Task(f"{WORDS[agent]} {secret if n % 2 else ''} {n}", session_id=session if n % 2 else None)
            for n in range(10)
            for agent in AGENTS
        ]
        return self.router.models.pretrain(tasks, [agent for _ in range(10) for agent in AGENTS], name).state

    def promote(self, name, number):
        self.router.models.promote(name, number, force=True)

    def rollback(self, name):
        return self.router.models.rollback(name)

    def pin(self, name):
        return self.router.models.pin(name)

    def unpin(self, name):
        self.router.models.unpin(name)

    def forget(self, session):
        return self.router.forget(session)

    def archive(self):
        return self.router.archive(time.time() + 1.0)

    def bring(self, path):
        return self.router.examples.import_from(path).imported

    def export(self, path):
        return self.router.examples.export(path)

    def snapshot(self):
        self.router.snapshot()

    def quarantine(self, name, begin, end=None):
        return self.router.models.quarantine(name, from_seq=begin, to_seq=end, reason="suspect")

    def lift(self, number):
        self.router.models.lift(number)

    def compare(self, experiment, name, number):
        """Let a version challenge what serves."""
        self.router.experiments.start(experiment, [{"name": "other", "version": [name, number]}], challenger_share=0.5)

    def conclude(self, experiment):
        self.router.experiments.stop(experiment, "other", reason="enough")

    def compared(self, experiment, name):
        """How an experiment stands: by the log, which version serves here, and whether it takes part in requests."""
        parts = self.router._parts
        self.settled()
        parts.learner.submit(parts.serving.follow).result()
        (told,) = self.router.experiments.list()
        assert told.name == experiment
        verdict = None if told.open else told.verdict
        return [verdict, parts.chain.stage(name).model_version, parts.decider.assignment is not None]

    def learnt(self, name):
        """What a strategy has learnt by now, file by file."""
        with tempfile.TemporaryDirectory() as folder:
            with self.router._parts.learner.folding.lock:
                self.router.strategy(name).save(Path(folder))
            return {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}

    def settled(self):
        """Once all recorded is learnt, and nothing that was begun is unfinished: what was counted, and what serves."""
        router, deadline = self.router, time.monotonic() + LIMIT_S
        while router.status()["upkeep"]["unfinished"]:
            assert time.monotonic() < deadline, router.status()["upkeep"]
            router._parts.upkeep._work(False)
            time.sleep(0.01)
        router.flush()
        router._parts.promoter._again_at = 0.0
        router._parts.learner.submit(router._parts.promoter.follow).result()
        status = router.status()
        return {
            "examples": router.statistics()["total_examples"],
            "executions": sum(one.executions for one in router.agent_performance()),
            "serving": {one["name"]: one["model_version"] for one in status["strategies"]},
            "behind": {one["name"]: one["behind"] for one in status["strategies"] if one["behind"]},
            "broken": status["learner"]["broken"],
        }

    def versions(self, name):
        return [[one.version, one.pruned_at is None] for one in self.router.models.versions(name)]


def _serve(orders, acknowledged, store, chain, settings):
    gc.freeze()  # a collection would go through all that the server has imported, and copy it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    points = Points(Path(store).parent)
    points.install()
    points.left = settings.pop("kill_at", None)
    strategies = [fitted_strategy.Words if name == "words" else name for name in chain]
    with Router(AGENTS, strategies, store, **settings) as router:
        router.warm_up()
        told = Told(router, acknowledged.fileno())
        points.left = None
        orders.send(["done", None, points.count])
        while (order := orders.recv())[0] != "close":
            name, arguments, points.left = order
            points.count = 0
            try:
                answer = ["done", getattr(told, name)(*arguments)]
            except RouterError as error:
                answer = ["refused", f"{type(error).__name__}: {error}"]
            points.left = None
            orders.send([*answer, points.count])
        points.left, points.count = order[2], 0
    orders.send(["done", None, points.count])


# -- told from outside


class KilledError(Exception):
    """The process ended before it answered."""


class Living:
    """One such process.

    Args:
        store: The database file.
        chain: Names of strategies, or names with settings; ``words`` is the one that the tests bring.
        kill_at: A step while it starts at which it is killed.
        **settings: Of the router.

    Attributes:
        acknowledged: Decision ids of recorded outcomes, with their session.
        steps: At how many steps the last order could have been cut off.
    """

    def __init__(self, store, chain, *, kill_at=None, **settings):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._orders, theirs = context.Pipe()
        self._reading, writing = context.Pipe(duplex=False)
        options = {
            "retrain": False,
            "fit_executor": "thread",
            "batch_events": 3,
            "seed": 1,
            "kill_at": kill_at,
            **settings,
        }
        self._process = context.Process(target=_serve, args=(theirs, writing, str(store), chain, options))
        self._process.start()
        theirs.close()
        writing.close()
        self.acknowledged = {}
        self._rest = b""
        os.set_blocking(self._reading.fileno(), False)
        self.steps = 0
        self._answer()

    def _answer(self):
        try:
            if not self._orders.poll(LIMIT_S):
                raise AssertionError(f"no answer in {LIMIT_S} s")
            kind, value, self.steps = self._orders.recv()
            return value if kind == "done" else RouterError(value)
        except (EOFError, ConnectionError):
            self.end()
            raise KilledError from None
        finally:
            self._read()

    def _read(self):
        """Take down what was acknowledged since, also by who was killed."""
        while True:
            try:
                some = os.read(self._reading.fileno(), 1 << 16)
            except (BlockingIOError, OSError):
                return
            if not some:
                return
            *lines, self._rest = (self._rest + some).split(b"\n")
            self.acknowledged |= dict(line.decode().split() for line in lines)

    def tell(self, name, *arguments, kill_at=None):
        """Have it do something; what it answers.

        Raises:
            KilledError: if it was killed.
        """
        self.begin(name, *arguments, kill_at=kill_at)
        return self.end_of()

    def begin(self, name, *arguments, kill_at=None):
        """Have it do something meanwhile, see ``end_of``."""
        self._orders.send([name, arguments, kill_at])

    def end_of(self):
        """What it answers to what it was begun with.

        Raises:
            KilledError: if it was killed.
        """
        return self._answer()

    def close(self, kill_at=None):
        """Have it close its router, and end."""
        self.tell("close", kill_at=kill_at)
        self._process.join(LIMIT_S)
        assert self._process.exitcode == 0
        self.end()

    def kill(self):
        """End it without a word."""
        self._process.kill()
        self._read()
        self.end()

    def end(self):
        """Let go of it."""
        self._process.kill()
        self._process.join(LIMIT_S)
        self._read()
        self._orders.close()


# -- what is on disk


def archived(store):
    """Rows of all archives beside a store."""
    for path in sorted((store.with_name(store.name + ".artifacts") / "archive").glob("*.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            yield json.loads(line)


def logged(store):
    """Ids of the decisions that have an outcome, in the log or an archive."""
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = [
            decision_id
            for (decision_id,) in connection.execute(
                "SELECT decision_id FROM decisions WHERE decision_id IN (SELECT decision_id FROM outcomes)"
            )
        ]
    rows = list(archived(store))
    told = {row["decision_id"] for row in rows if row["table"] == "outcomes"}
    found += [row["decision_id"] for row in rows if row["table"] == "decisions" and row["decision_id"] in told]
    assert len(set(found)) == len(found), "a decision is in the log and in an archive, or twice in one"
    return set(found)


def champions(store):
    """What the log says serves."""
    with closing(sqlite3.connect(store)) as connection:
        return dict(connection.execute("SELECT strategy, version FROM alias_history ORDER BY token"))


def bytes_beside(folder):
    """Every file below a folder, with archives unpacked."""
    for path in folder.rglob("*"):
        try:
            content = path.read_bytes() if path.is_file() else b""
            yield path, gzip.decompress(content) if path.suffix == ".gz" else content
        except (FileNotFoundError, EOFError, gzip.BadGzipFile):
            continue  # it went, or is being written
