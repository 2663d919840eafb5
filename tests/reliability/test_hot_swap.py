"""Versions change between two requests: while eight threads route, no request fails, and none sees half a version."""

import statistics
import threading
import time

import numpy as np
import pytest

from router_sdk import Agent, Outcome, Router
from router_sdk.plugin import Proposal, Strategy

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
THREADS = 8


class Stamped(Strategy):
    """Three parts, each of which knows of which version it is; a request reads one after the other."""

    name = "stamped"

    def __init__(self, config, services):
        super().__init__(config, services)
        self.parts = {"encoder": 0, "head": 0, "calibrator": 0}
        self.heard = 0

    def propose(self, task, agents, context):
        evidence = {}
        for part in self.parts:
            evidence[part] = self.parts[part]
            time.sleep(0)  # whoever would swap now may
        return Proposal(dict.fromkeys(agents.names, 1.0 / len(agents)), evidence=evidence)

    def learn(self, examples):
        self.heard += len(examples)

    def fit(self, data, context):
        fitted = Stamped(self.config, self.services)
        number = 1 + self.parts["head"]
        fitted.parts = dict.fromkeys(self.parts, number)
        return fitted

    def save(self, folder):
        (folder / "parts.txt").write_text(f"{self.parts['head']} {self.heard}")

    def load(self, folder):
        number, self.heard = map(int, (folder / "parts.txt").read_text().split())
        self.parts = dict.fromkeys(self.parts, number)


def swap_under_load(path, swaps):
    """Route in eight threads, at rest and while versions change; all decisions, and both times' latencies."""
    options = {"retrain": False, "fit_executor": "thread", "store": path, "watch": {"enabled": False}}
    with Router(agents=AGENTS, strategies=[Stamped], **options) as router:
        for number in range(40):
            router.observe(f"task {number}", agent="billing", outcome=Outcome(correct_agent="billing"))
        for number in range(2):
            fit = router.models.retrain(wait=True)
            assert fit.version is not None, fit.words
            router.models.promote("stamped", fit.version.version, force=True)
            router.observe(f"one more {number}", agent="fraud", outcome=Outcome(correct_agent="fraud"))
        stop = threading.Event()
        found = [([], []) for _ in range(THREADS)]

        def work(decisions, times):
            while not stop.is_set():
                began = time.perf_counter()
                decision = router.route("a task")
                times.append((began, time.perf_counter() - began))
                decisions.append((decision.strategy, decision.model_version, decision.explain()["evidence"]))

        threads = [threading.Thread(target=work, args=mine) for mine in found]
        for thread in threads:
            thread.start()
        began = time.perf_counter()
        for number in range(swaps):
            router.models.promote("stamped", 1 + number % 2, force=True)
        swapped = time.perf_counter() - began
        threading.Event().wait(min(max(swapped, 0.5), 10.0))  # as long again, at rest
        stop.set()
        for thread in threads:
            thread.join()
    decisions = [decision for mine, _ in found for decision in mine]
    times = [one for _, mine in found for one in mine]
    busy = [took for start, took in times if start < began + swapped]
    rest = [took for start, took in times if start >= began + swapped]
    return decisions, busy, rest


def check(decisions):
    assert {strategy for strategy, _, _ in decisions} == {"stamped"}, "no request fell through to nobody"
    assert {version for _, version, _ in decisions} == {1, 2}
    for _, version, evidence in decisions:
        assert evidence == dict.fromkeys(("encoder", "head", "calibrator"), version)


def test_a_few_swaps(tmp_path):
    decisions, _, _ = swap_under_load(tmp_path / "r.db", 20)
    check(decisions)


@pytest.mark.reliability
def test_a_thousand_swaps(tmp_path, record_property):
    decisions, busy, rest = swap_under_load(tmp_path / "r.db", 1_000)
    check(decisions)
    p99 = {name: float(np.quantile(times, 0.99)) for name, times in (("swapping", busy), ("at rest", rest))}
    record_property("p99", p99)
    print(f"\n{len(decisions)} requests, p99 while swapping / at rest: {p99['swapping'] / p99['at rest']:.2f},")
    print(f"medians {statistics.median(busy) * 1e6:.0f} and {statistics.median(rest) * 1e6:.0f} µs")
    assert p99["swapping"] <= 2.0 * p99["at rest"]
