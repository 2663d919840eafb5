"""Sums that are left of logged decisions say what the decisions say; a log in pieces says what it says row by row."""

import numpy as np
import pytest

from router_sdk.evaluation.columnar import ColumnarEvaluation, Greedy, Piece, Table, Uniform, Vocabulary, _Sketched
from router_sdk.evaluation.moments import LOGGED, Moments, Rounds, columns
from router_sdk.evaluation.off_policy import ESTIMATORS, RoundsSoFar, logged_value, policy_value, sequence
from router_sdk.evaluation.reward_model import RewardModel
from router_sdk.records import Task
from router_sdk.testing import make_example

AGENTS = ["a", "b", "c"]


def some_rounds(count=700, sessions=None, seed=1):
    rng = np.random.default_rng(seed)
    logged, target = rng.dirichlet(np.ones(4), (2, count)) * 0.9 + 0.025
    session = None if sessions is None else rng.integers(0, sessions, count)
    reward = rng.random(count) if session is None else rng.random(sessions)[session] * 0.7 + 0.3 * rng.random(count)
    rounds = Rounds(
        reward, logged[:, 0], target[:, 0], *rng.random((2, count)), (target**2 / logged).sum(1), rng.random(count) / 99
    )
    return Rounds(*(getattr(rounds, name) for name in list(Rounds.__dataclass_fields__)[:-1]), session)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("sessions", [None, 40])
@pytest.mark.parametrize("beside", [False, True])
def test_they_say_what_the_sequence_comes_to(estimator, sessions, beside):
    rounds = some_rounds(sessions=sessions)
    mean, low, high = rounds.moments.estimate(estimator, 0.05, beside=beside)
    assert [low, high] == pytest.approx(sequence(rounds, estimator, beside=beside)[-1].tolist(), rel=1e-9)
    values = ESTIMATORS[estimator](rounds).values - beside * rounds.reward
    assert mean == pytest.approx(values.mean(), rel=1e-9)


def test_those_of_parts_add_up():
    rounds = some_rounds()
    parts = [rounds.where(np.arange(700) % 3 == part).moments for part in range(3)]
    whole, added = rounds.moments, parts[0] + parts[1] + parts[2]
    assert len(added) == 700
    for name in Moments.__dataclass_fields__:
        assert np.allclose(getattr(added, name), getattr(whole, name), rtol=1e-12)
    assert logged_value(added).mean == pytest.approx(rounds.reward.mean())
    assert policy_value(Moments()).insufficient.startswith("insufficient: the log is worth 0")


def test_a_sketch_of_sessions_is_within_some_percent_of_them():
    rounds = some_rounds(20_000, sessions=3_000)
    rng = np.random.default_rng(2)
    session = rng.integers(0, 1 << 63, 3_000, dtype=np.uint64)[rounds.session] * np.uint64(2)
    sketched, told = _Sketched(1 << 14), columns(rounds)
    for chosen in np.array_split(np.arange(20_000), 7):
        sketched.add(rounds.where(chosen), told[chosen], session[chosen], np.zeros(len(chosen), bool))
    for estimator in (*ESTIMATORS, LOGGED):
        exact, about = (one.estimate(estimator, 0.05) for one in (rounds.moments, sketched.moments))
        assert about.mean == pytest.approx(exact.mean, rel=1e-9)
        assert about.high - about.low == pytest.approx(exact.high - exact.low, rel=0.05)


def played(count, seed=3):
    """Examples of a fixed sampler over two or three agents, and the same as a piece."""
    rng = np.random.default_rng(seed)
    examples, rows = [], []
    for number in range(count):
        names = AGENTS[: 2 + number % 2]
        shares = rng.dirichlet(np.ones(len(names))) * 0.9 + 0.1 / len(names)
        place = int(rng.choice(len(names), p=shares))
        reward, kind = float(rng.random() < 0.3 + 0.2 * place), f"type-{number % 2}"
        examples.append(
            make_example(
                agent=names[place],
                reward=reward,
                number=number + 1,
                task=Task("x", task_type=kind),
                propensity=float(shares[place]),
                probabilities=dict(zip(names, shares.tolist(), strict=True)),
            )
        )
        rows.append((names, shares, place, reward, kind))
    return examples, rows


def piece_of(rows, start, agents, kinds):
    position = 2 * np.arange(start, start + len(rows)) + 1
    zeros = np.zeros(len(rows), np.intp)
    return Piece(
        position,
        position + 1,
        np.array([row[3] for row in rows]),
        np.array([row[1][row[2]] for row in rows]),
        agents.codes([row[0][row[2]] for row in rows]),
        kinds.codes([row[4] for row in rows]),
        zeros,
        zeros.astype(np.uint64),
        zeros == 0,
        np.concatenate([[0], np.cumsum([len(row[0]) for row in rows])]),
        agents.codes([name for row in rows for name in row[0]]),
        np.concatenate([row[1] for row in rows]),
    )


TABLE = {"type-0": {"c": 3.0, "b": 1.0}, "*": {"a": 1.0}}


def as_dictionaries(policy, kind, names, drawn, model):
    """What a policy does, row by row."""
    if policy == "uniform":
        return dict.fromkeys(names, 1 / len(names))
    if policy == "greedy":
        expected = model.expect(kind, names)
        best = expected >= expected.max()
        return dict(zip(names, (best / best.sum()).tolist(), strict=True))
    row = {name: TABLE.get(kind, TABLE["*"]).get(name, 0.0) for name in names}
    total = sum(row.values())
    return {name: share / total for name, share in row.items()} if total else drawn


@pytest.mark.parametrize("policy", ["uniform", "greedy", "table"])
def test_a_log_in_pieces_of_one_is_judged_as_row_by_row(policy):
    examples, rows = played(300)
    agents, kinds = Vocabulary([""]), Vocabulary()
    made = {"uniform": Uniform(), "greedy": Greedy(), "table": Table(TABLE, agents, kinds, "table")}[policy]
    kinds.codes(["type-0", "type-1"])
    agents.codes(AGENTS)
    evaluation = ColumnarEvaluation(made, agents, kinds, (kinds.codes(["type-1"]), np.zeros(0, np.intp)))
    so_far, model = RoundsSoFar(), RewardModel()
    for number, (example, row) in enumerate(zip(examples, rows, strict=True)):
        drawn = dict(example.probabilities)
        so_far.add(example, as_dictionaries(policy, row[4], row[0], drawn, model))
        model.learn(row[4], example.agent, example.reward)
        evaluation.add(piece_of([row], number, agents, kinds))
    for name in Moments.__dataclass_fields__:
        theirs, ours = (getattr(one, name) for one in (so_far.rounds.moments, evaluation.overall))
        assert np.allclose(ours, theirs, rtol=1e-6), name
    of_one = so_far.rounds.where(np.array([row[4] == "type-1" for row in rows]))
    assert np.allclose(evaluation.groups[0][kinds.names.index("type-1")].products, of_one.moments.products, rtol=1e-6)


def test_larger_pieces_estimate_the_same():
    _, rows = played(2_000)
    agents, kinds = Vocabulary(["", *AGENTS]), Vocabulary(["type-0", "type-1"])
    none = np.zeros(0, np.intp)
    found = []
    for size in (1, 250):
        evaluation = ColumnarEvaluation(Uniform(), agents, kinds, (none, none))
        for start in range(0, 2_000, size):
            evaluation.add(piece_of(rows[start : start + size], start, agents, kinds))
        found.append(evaluation.overall)
    fine, coarse = (policy_value(one) for one in found)
    assert coarse.mean == pytest.approx(fine.mean, abs=0.01)
    for name in ("inverse_propensity", "self_normalized"):  # no model is asked
        assert found[1].mean(name) == pytest.approx(found[0].mean(name), rel=1e-9)
