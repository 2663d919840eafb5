import numpy as np
import pytest
from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy
from router_sdk_thompson.policy.comparison import POLICIES, TRUST

from router_sdk.numerics.policy_comparison import PolicyComparison
from router_sdk.plugin import Agent, AgentSet, CorruptArtifactError, Task
from router_sdk.testing import FixedContext, make_example, make_services

ENCODERS = {TextFeatures.name: TextFeatures(TextFeatures.Config())}
AGENTS = AgentSet([Agent("short"), Agent("long")])
WORDS = {"short": ["refund my card", "charged twice"], "long": ["book a flight", "hotel in rome"]}


def strategy(**fields):
    made = ThompsonStrategy(ThompsonConfig(min_context_evidence=0, **fields), make_services(encoders=ENCODERS))
    made.prepare(AGENTS)
    return made


def ask(made, task):
    return made.propose(task, AGENTS, FixedContext(text=task.text, encoders=ENCODERS))


def tasks(count, kind, by_words, seed=0):
    """Who is right is told by the words, or by a number that stands in the text as well, like any other token."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        size = float(rng.normal(0.0, 1.0))
        if by_words:
            right = AGENTS.names[rng.integers(2)]
            text = str(rng.choice(WORDS[right]))
        else:
            right = "short" if abs(size) < 0.7 else "long"
            text = f"size {size:.4f}, code {rng.integers(10_000)}"
        yield Task(text, task_type=kind, features={"size": size}), right


def live(made, stream, first=1):
    rng, earned = np.random.default_rng(first), []
    for number, (task, right) in enumerate(stream, first):
        found = ask(made, task)
        shares = np.array([1.0, 1.0] if found is None else list(found.probabilities.values())) + 0.02
        place = int(rng.choice(2, p=shares / shares.sum()))
        agent, chance = AGENTS.names[place], float((shares / shares.sum())[place])
        reward = float(rng.random() < (0.9 if agent == right else 0.15))
        earned.append(agent == right)
        lesson = make_example(agent, reward, number=number, task=task, eligible=AGENTS.names, propensity=chance)
        made.learn([lesson])
    return np.array(earned)


@pytest.mark.slow
def test_the_posterior_whose_favourites_earn_more_answers_by_task_type():
    led = []
    for seed in range(3):
        made = strategy()
        numbers = live(made, tasks(900, "numbers", by_words=False, seed=seed))
        assert numbers[-300:].mean() > 0.85
        ((task, _),) = tasks(1, "numbers", by_words=False, seed=5)
        told = ask(made, task).evidence()
        led.append(told["mode"])
        assert sum(told["policies"].values()) == pytest.approx(1.0)
    assert led.count("features") >= 2
    words = live(made, tasks(700, "words", by_words=True), first=901)
    assert words[-300:].mean() > 0.9
    ((task, _),) = tasks(1, "words", by_words=True, seed=5)
    assert ask(made, task).evidence()["mode"] == "text"


def test_with_both_it_does_about_as_well_as_with_the_better_one_alone():
    alone, both = strategy(), strategy()
    bare = [
        (Task(features=task.features, task_type="numbers"), right) for task, right in tasks(800, "x", by_words=False)
    ]
    features = live(alone, bare)
    assert live(both, tasks(800, "numbers", by_words=False)).mean() > features.mean() - 0.05


def test_the_choice_is_the_same_in_batches_and_after_a_restart(tmp_path):
    whole, parts, again = strategy(), strategy(), strategy()
    lessons = [
        make_example(
            AGENTS.names[n % 2], float(AGENTS.names[n % 2] == right), number=n, task=task, eligible=AGENTS.names
        )
        for n, (task, right) in enumerate([*tasks(150, "numbers", False), *tasks(100, "words", True)], 1)
    ]
    whole.learn(lessons)
    for lesson in lessons:
        parts.learn([lesson])
    whole.save(tmp_path)
    again.load(tmp_path)
    for task, _ in [
        *tasks(5, "numbers", False, seed=7),
        *tasks(5, "words", True, seed=7),
        *tasks(5, "new", True, seed=7),
    ]:
        assert ask(whole, task).scores == ask(parts, task).scores == ask(again, task).scores
        assert ask(whole, task).evidence()["mode"] == ask(again, task).evidence()["mode"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"selection": {}, "scale": [0, 0, 0], "seen": 0, "together": null}'])
def test_a_broken_comparison_is_refused(tmp_path, content):
    made = strategy()
    made.save(tmp_path)
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(CorruptArtifactError):
        strategy().load(tmp_path)


def test_a_comparison_is_restored_as_it_was():
    made = strategy()
    live(made, tasks(60, "words", by_words=True))
    made.learn([make_example("short", 1.0, number=99, task=Task("refund"), eligible=AGENTS.names, propensity=None)])
    again = PolicyComparison(POLICIES, TRUST)
    again.restore(made._contexts.comparison.state())
    assert again.state() == made._contexts.comparison.state()
    assert again.observing
