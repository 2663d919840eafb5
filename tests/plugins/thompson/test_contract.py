"""The contract with settings of its own; with the default ones every installed strategy is held to it."""

import pytest
from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy

from router_sdk.testing import HashedWordsEncoder, check_strategy


def check(config, **more):
    check_strategy(lambda services: ThompsonStrategy(config, services), **more)


def encoders(*classes):
    return {each.name: each(each.Config()) for each in classes}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampling", "labels", "needs_evidence"),
    [
        ("shared", "exclusive", False),
        pytest.param("independent", "independent", True, marks=pytest.mark.reliability),
        pytest.param("ucb", "ignore", True, marks=pytest.mark.reliability),
        pytest.param("greedy", "exclusive", False, marks=pytest.mark.reliability),
    ],
)
def test_every_sampling_and_every_reading_of_labels_keep_the_contract(sampling, labels, needs_evidence):
    """Each once; each with each of the others behind the flag."""
    none = {"half_life_s": None, "min_evidence": 0, "min_context_evidence": 0}
    more = {"min_context_evidence": 1} if needs_evidence else none
    check(ThompsonConfig(sampling=sampling, labels=labels, **more), encoders=encoders(TextFeatures))


@pytest.mark.reliability
@pytest.mark.parametrize("labels", ["exclusive", "independent", "ignore"])
@pytest.mark.parametrize("sampling", ["shared", "independent", "ucb", "greedy"])
def test_each_sampling_with_each_reading_of_labels_keeps_the_contract(sampling, labels):
    check(ThompsonConfig(sampling=sampling, labels=labels, min_context_evidence=1), encoders=encoders(TextFeatures))
    check(ThompsonConfig(sampling=sampling, labels=labels, half_life_s=None, min_evidence=0, min_context_evidence=0))


@pytest.mark.slow
def test_a_dense_encoder_keeps_the_contract():
    check(
        ThompsonConfig(encoder=HashedWordsEncoder.name, min_context_evidence=1), encoders=encoders(HashedWordsEncoder)
    )


def test_task_types_alone_keep_the_contract():
    check(ThompsonConfig(contextual=False, min_evidence=1, half_life_s=100.0))
