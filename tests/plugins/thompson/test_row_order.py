"""In which order agents came is no part of what is known of them: a replay answers as a program that never stopped."""

import shutil

import numpy as np
import pytest

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.numerics.linear_snapshot import LinearSnapshot

LAST_BITS = 1e-6
"""Products of float32 are summed row by row, in blocks: where a row stands moves their last bits, and 5e-8 was seen."""
WORDS = ["refund", "crash", "price", "login"]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_scores_do_not_depend_on_the_order_of_rows(alpha):
    rng = np.random.default_rng(3)
    width, names = 33, [f"agent-{number}" for number in range(7)]
    means, roots = rng.normal(size=(7, width)), rng.normal(size=(7, width, width))
    x, found = np.append(rng.normal(size=width), 0.0).astype(np.float32), []
    for order in (range(7), rng.permutation(7)):
        posterior = LinearSnapshot(width, 1.0, 0.5, 0.25, rows=7)
        for row, agent in enumerate(order):
            posterior.rows[names[agent]] = row
            posterior.mean[row], posterior.sigma[row] = means[agent], roots[agent] @ roots[agent].T / width
        found.append(posterior.scores(tuple(names), x, alpha))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5, abs=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
def test_after_a_fresh_start_and_a_restart_a_replay_answers_the_same(store_path, likelihood):
    rng, names = np.random.default_rng(8), ["b", "d", "a", "c"]

    def task():
        features = {"x": float(rng.normal()), "n": int(rng.integers(5))}
        return Task(" ".join(rng.choice(WORDS, 3)), features=features, task_type=f"kind-{rng.integers(2)}")

    def opened():
        settings = {"min_context_evidence": 5, "min_evidence": 1, "likelihood": likelihood}
        return Router(list(map(Agent, names)), [("thompson", settings)], store_path, seed=3, epsilon=0.0)

    def teach(router, known, count=20):
        for _ in range(count):
            router.observe(task(), str(rng.choice(known)), Outcome(quality=float(rng.random())))
        router.flush()

    def asked(router):
        router.flush()
        return [{one.agent: one.probability for one in router.rank(each)} for each in probes]

    with opened() as router:
        teach(router, names[1:])
        names.insert(1, "newcomer")
        router.add_agent("newcomer")
        teach(router, names)
        for name in ("d", "newcomer"):
            router.add_agent(name, fresh=True)
        teach(router, ["a", "d"])
    with opened() as router:
        teach(router, names)
        probes = [task() for _ in range(6)]
        live = asked(router)
    with opened() as router:
        restarted = asked(router)
    shutil.rmtree(store_path.with_name(store_path.name + ".artifacts") / "snapshots")
    with opened() as router:
        replayed = asked(router)
    for found in (restarted, replayed):
        for one, other in zip(live, found, strict=True):
            assert one == pytest.approx(other, abs=LAST_BITS)
