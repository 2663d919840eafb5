"""A golden log: 2,000 events as an orchestrator and its users cause them, and the decisions that follow from them.

``events.jsonl`` holds the events, one JSON object a line, in the order in which they happen. ``decisions.jsonl`` holds
what the router decided at each ``route``: the agent, the strategy that answered, and the probabilities. Whoever changes
how the router is built proves with it that nothing else changed; whoever changes what is learnt writes the decisions
anew, in a commit that says why:

    python tests/golden/play.py --write

The ninth digit depends on the order in which a processor's kernels add up (OpenBLAS 0.3.31: 2e-8 between AVX2 and
AVX-512), so one kernel is asked for.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path
from unittest import mock

if platform.machine() == "x86_64":
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")

import numpy as np

from router_sdk import Agent, Outcome, Router, Task

FOLDER = Path(__file__).parent
EVENTS, DECISIONS = FOLDER / "events.jsonl", FOLDER / "decisions.jsonl"
START = 1_700_000_000.0
AGENTS = [
    Agent("billing", description="invoices and refunds", examples=["I was charged twice"], cost_usd=0.002),
    Agent("technical", description="errors and crashes", examples=["the app crashes"], cost_usd=0.004),
    Agent("sales", description="prices and upgrades", examples=["how much is the pro plan"], cost_usd=0.001),
    Agent("forecaster", description="demand forecasts", capabilities={"forecasting"}, cost_usd=0.01),
]
WORDS = {
    "billing": ["invoice", "refund", "charged", "money", "twice", "payment", "receipt", "account"],
    "technical": ["crash", "error", "login", "bug", "upload", "broken", "screen", "slow"],
    "sales": ["price", "plan", "upgrade", "discount", "offer", "team", "seats", "yearly"],
    "forecaster": ["forecast", "demand", "season", "series", "trend", "horizon", "error", "plan"],
}
CHANGES = [
    (500, {"restart": True}),
    (700, {"add": {"name": "newcomer", "cost_usd": 0.003}}),
    (1_000, {"remove": "sales"}),
    (1_300, {"add": {"name": "latecomer"}}),
    (1_500, {"restart": True}),
]


# -- the events


def make_events(count=2_000, seed=20_261_129):
    """Tasks with a text, with features, with a type alone; outcomes at once, late, in parts, corrected, labelled."""
    rng = np.random.default_rng(seed)
    events, late, changes, at, routed = [], [], list(CHANGES), START, 0
    while len(events) < count:
        at = round(at + float(rng.exponential(40.0)), 3)
        if late and rng.random() < 0.5:
            events.append({"at": at, **late.pop(int(rng.integers(len(late))))})
            continue
        if changes and len(events) >= changes[0][0]:
            events.append({"at": at, **changes.pop(0)[1]})
        elif rng.random() < 0.05:
            task, right = make_task(rng)
            events.append({"at": at, "observe": task, "agent": right, "outcome": {"success": bool(rng.random() < 0.9)}})
        else:
            task, right = make_task(rng)
            events.append({"at": at, "route": task})
            late += outcomes_of(rng, routed, right, drifted=len(events) > 1_200)
            routed += 1
    return events


def make_task(rng):
    right = str(rng.choice(list(WORDS)))
    kind = rng.random()
    if kind < 0.3:
        return {"task_type": f"about-{right}"}, right
    if kind < 0.6:
        mape = float(np.round(rng.normal(list(WORDS).index(right), 0.4), 4))
        return {"features": {"mape": mape, "rows": int(rng.integers(1, 500)), "night": bool(rng.random() < 0.3)}}, right
    task = {"text": " ".join(rng.choice(WORDS[right], size=4)), "session_id": f"session-{int(rng.integers(60))}"}
    return task | ({"requires": ["forecasting"]} if kind > 0.97 else {}), right


def outcomes_of(rng, decision, right, *, drifted):
    """What is said of a decision; whether its agent was right is known only when it was drawn, see ``judged``."""
    noise, kind = float(np.round(rng.random(), 4)), rng.random()
    judged = {"record": decision, "right": right, "noise": noise, "drifted": drifted}
    if kind < 0.1:
        return []
    if kind < 0.2:
        return [judged | {"parts": ["latency"]}, judged | {"parts": ["success", "quality"]}]
    if kind < 0.3:
        return [judged | {"parts": ["success"]}, judged | {"parts": ["label"]}]
    if kind < 0.4:
        return [judged | {"parts": ["feedback"]}, judged | {"parts": ["feedback", "wrong way round"]}]
    return [judged | {"parts": ["success", "latency"]}]


# -- the decisions


def outcome_for(event, agent):
    fits = (agent == event["right"]) != (event["drifted"] and agent == "technical")
    good = event["noise"] < (0.85 if fits else 0.2)
    said = {
        "success": {"success": good},
        "quality": {"quality": round(0.5 * good + 0.5 * event["noise"], 4)},
        "latency": {"latency_ms": 200.0 + 1_000.0 * event["noise"], "cost_usd": 0.001 + 0.01 * event["noise"]},
        "feedback": {"feedback": 1.0 if good else -1.0},
        "wrong way round": {"feedback": -1.0 if good else 1.0},
        "label": {"correct_agent": event["right"]},
    }
    fields = {}
    for part in event["parts"]:
        fields |= said[part]
    return Outcome(**fields)


def play(events, store):
    """What the router decides, as JSON-ready objects."""
    clock, decided = mock.Mock(return_value=START), []

    def opened(agents):
        return Router(agents, ["thompson", "heuristic"], store, seed=len(decided), learn_now=True)

    with mock.patch("time.time", clock):
        router, ids = opened(AGENTS), []
        try:
            for event in events:
                clock.return_value = event["at"]
                match event:
                    case {"route": task}:
                        decision = router.route(Task(**task))
                        ids.append((decision.decision_id, decision.agent))
                        decided.append(
                            {
                                "agent": decision.agent,
                                "strategy": decision.strategy,
                                "probabilities": dict(decision.probabilities),
                            }
                        )
                    case {"record": number}:
                        decision_id, agent = ids[number]
                        router.record(decision_id, outcome_for(event, agent))
                    case {"observe": task, "agent": agent, "outcome": outcome}:
                        router.observe(Task(**task), agent, Outcome(**outcome))
                    case {"add": agent}:
                        router.add_agent(Agent(**agent))
                    case {"remove": name}:
                        router.remove_agent(name)
                    case {"restart": _}:
                        agents = router.agents
                        router.close()
                        router = opened(agents)
        finally:
            router.close()
    return decided


def lines(path):
    """The objects of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, objects):
    """One object a line."""
    path.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in objects))


if __name__ == "__main__":
    import tempfile

    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write(EVENTS, make_events())
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write(DECISIONS, play(lines(EVENTS), Path(folder) / "golden.db"))
    print(f"{len(lines(DECISIONS))} decisions in {time.perf_counter() - started:.1f} s")
