import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.posteriors.logistic import Logistic

from router_sdk.numerics.normal_gamma import NormalGamma
from router_sdk.plugin import Agent, AgentSet, Task
from router_sdk.testing import FixedContext, make_example, make_services, revise

ENCODERS = {TextFeatures.name: TextFeatures(TextFeatures.Config())}
WORDS = ["refund my card", "book a flight", "will it rain", "hotel in rome", "charged twice", "is it cold"]
MODES = {
    "types": lambda n: Task(task_type="abc"[n % 3]),
    "text": lambda n: Task(WORDS[n % len(WORDS)] + f" {n % 7}"),
    "features": lambda n: Task(features={"size": float(n % 13), "kind": "xyz"[n % 3], "flag": n % 2 == 0}),
    "both": lambda n: Task(WORDS[n % len(WORDS)], task_type="abc"[n % 3], features={"size": float(n % 13)}),
}


def gaussian():
    return NormalGamma(9, 0.3, 1.0, 5.0, 0.3)


def logistic():
    return Logistic(9, 0.3, 0.9)


def assert_sound(posterior):
    used = list(posterior.rows.values())
    for array in (posterior.mean, posterior.sigma, posterior.count, posterior.residual):
        assert np.isfinite(np.asarray(array)[used]).all()
    assert min(posterior.count) >= 0.0
    assert min(posterior.residual) >= 0.0
    for row in used:
        sigma = posterior.sigma[row]
        # BLAS kernels differ in where they fuse multiply and add, so equal factors give symmetry to rounding only.
        assert np.abs(sigma - sigma.T).max() <= 1e-12 * np.abs(sigma).max()
        assert np.linalg.eigvalsh(sigma).min() > 0.0


def hammer(posterior, updates, seed=0):
    """Updates with corrections, with what is taken back, fading, and agents that leave and come again."""
    rng = np.random.default_rng(seed)
    xs = np.column_stack([np.ones(512), rng.normal(size=(512, 8)) / 3.0])
    rewards, picks = rng.random(4_096), rng.integers(0, 512, 4_096)
    names = [f"agent-{n}" for n in range(5)]
    for n in range(updates):
        x, reward, name = xs[picks[n % 4_096]], rewards[n % 4_096], names[n % 5]
        row = posterior.row(name)
        posterior.observe(row, x, reward, 1.0)
        if n % 97 == 0:
            posterior.correct(row, x, reward, 1.0 - reward, 1.0)
        elif n % 89 == 0:
            posterior.observe(row, x, reward, -1.0)
        if n % 10_007 == 0:
            posterior.fade(list(posterior.rows), 0.5)
        if n % 33_331 == 0:
            posterior.forget([name])
    return posterior


@pytest.mark.parametrize(("make", "updates"), [(gaussian, 100_000), (logistic, 30_000)])
def test_very_many_updates_leave_the_posterior_sound(make, updates):
    assert_sound(hammer(make(), updates))


@pytest.mark.reliability
@pytest.mark.parametrize("make", [gaussian, logistic])
def test_a_million_updates_leave_the_posterior_sound(make):
    assert_sound(hammer(make(), 1_000_000))


@pytest.mark.reliability
@pytest.mark.parametrize("make", [gaussian, logistic])
def test_a_million_times_the_same_leaves_the_posterior_sound(make):
    posterior, x = make(), np.full(9, 1.0 / 3.0)
    row = posterior.row("a")
    for n in range(1_000_000):
        posterior.observe(row, x, float(n % 10 > 0), 1.0)
    assert_sound(posterior)
    assert posterior.expected(x)[row] == pytest.approx(0.9, abs=0.01)


def taught(mode, names, told, **fields):
    config = ThompsonConfig(min_evidence=0, min_context_evidence=0, **fields)
    made = ThompsonStrategy(config, make_services(encoders=ENCODERS))
    agents = AgentSet([Agent(name) for name in names])
    made.prepare(agents)
    for start in range(0, len(told), 64):
        made.learn(told[start : start + 64])
    return made, agents


def assert_all_sound(made, agents, mode):
    for n in range(4):
        task = MODES[mode](n)
        found = made.propose(task, agents, FixedContext(text=task.text, encoders=ENCODERS))
        if found is not None:
            assert np.isfinite(list(found.scores.values())).all()
            assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=1e-9)
            assert min(found.probabilities.values()) >= 0.0
    for name, told in made.report()["agents"].items():
        assert told["mass"] >= told["reward"] - 1e-9 >= -1e-9, name
    contexts = made._contexts
    assert_sound(contexts.dense.curved.posterior)
    assert_sound(contexts.dense.straight.posterior)
    evidence = contexts.text.evidence
    for array in (evidence.mean, evidence.precision, evidence.count):
        assert np.isfinite(array).all()
    assert (evidence.precision >= 0.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
@pytest.mark.parametrize("mode", MODES)
def test_a_thousand_corrections(mode, likelihood):
    rng, names = np.random.default_rng(1), ["a", "b", "c"]
    first = [
        make_example(names[n % 3], float(rng.random()), number=n, task=MODES[mode](n), eligible=names)
        for n in range(1, 1_001)
    ]
    fixed = [revise(each, float(rng.random())) for each in first]
    gone = [revise(each, None) for each in fixed[::3]]
    made, agents = taught(mode, names, [*first, *fixed, *gone], likelihood=likelihood, fourier_features=16)
    assert_all_sound(made, agents, mode)


@pytest.mark.reliability
@given(
    st.sampled_from(sorted(MODES)),
    st.lists(st.tuples(st.sampled_from(["learn", "add", "remove"]), st.integers(0, 99), st.floats(0, 1)), max_size=60),
)
@settings(max_examples=10)
def test_a_hundred_agents_come_and_go(mode, steps):
    names = [f"agent-{n}" for n in range(100)]
    made, agents = taught(mode, names[:2], [], fourier_features=16)
    present = set(names[:2])
    everyone = [*[("add", n, 0.0) for n in range(100)], *[("remove", n, 0.0) for n in range(98)]]
    for number, (what, which, reward) in enumerate([*steps, *everyone], 1):
        name = names[which]
        if what == "add":
            present.add(name)
        elif what == "remove" and len(present) > 2:
            present.discard(name)
            made.forget_agents([name])
        actor = sorted(present)[which % len(present)]
        made.learn([make_example(actor, reward, number=number, task=MODES[mode](number), eligible=sorted(present))])
        if number % 40 == 0:
            made.prepare(AgentSet([Agent(each) for each in sorted(present)]))
    agents = AgentSet([Agent(each) for each in sorted(present)])
    made.prepare(agents)
    assert_all_sound(made, agents, mode)
    assert len(agents) <= 100


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
@pytest.mark.parametrize("mode", MODES)
def test_the_same_log_gives_the_same_posterior_bit_by_bit(tmp_path, mode, likelihood):
    rng, names = np.random.default_rng(3), ["a", "b", "c"]
    told = [
        make_example(names[n % 3], float(rng.random() < 0.5), number=n, task=MODES[mode](n), eligible=names)
        for n in range(1, 301)
    ]
    told += [revise(each, 0.5) for each in told[::7]]
    files = []
    for place, size in enumerate((1, 17, 400)):
        made, _ = taught(mode, names, [], likelihood=likelihood, fourier_features=16)
        for start in range(0, len(told), size):
            made.learn(told[start : start + size])
        folder = tmp_path / str(place)
        folder.mkdir()
        made.save(folder)
        files.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert files[0] == files[1] == files[2]
