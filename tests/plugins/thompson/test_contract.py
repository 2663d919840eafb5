import pytest
from router_sdk_thompson import TextFeatures, ThompsonConfig, ThompsonStrategy

from router_sdk.testing import HashedWordsEncoder, check_strategy


def check(config, **more):
    check_strategy(lambda services: ThompsonStrategy(config, services), **more)


def encoders(*classes):
    return {each.name: each(each.Config()) for each in classes}


def test_the_default_keeps_the_contract():
    check_strategy(ThompsonStrategy, must_answer=False)


@pytest.mark.parametrize("sampling", ["shared", "independent", "ucb", "greedy"])
def test_every_sampling_keeps_the_contract(sampling):
    check(ThompsonConfig(sampling=sampling, min_context_evidence=1), encoders=encoders(TextFeatures))


@pytest.mark.parametrize("labels", ["exclusive", "independent", "ignore"])
def test_every_reading_of_labels_keeps_the_contract(labels):
    check(ThompsonConfig(labels=labels, half_life_s=None, min_evidence=0, min_context_evidence=0))


def test_a_dense_encoder_keeps_the_contract():
    check(
        ThompsonConfig(encoder=HashedWordsEncoder.name, min_context_evidence=1), encoders=encoders(HashedWordsEncoder)
    )


def test_task_types_alone_keep_the_contract():
    check(ThompsonConfig(contextual=False, min_evidence=1, half_life_s=100.0))
