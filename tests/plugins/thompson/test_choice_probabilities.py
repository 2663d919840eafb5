import pytest
from router_sdk_thompson.policy.proposal import choice_probabilities


@pytest.mark.parametrize("sampling", ["independent", "ucb", "greedy"])
def test_other_ways_of_exploring_follow_a_permutation_too(sampling):
    names, means, widths = ["a", "b", "c"], [0.5, 0.4, 0.5], [0.1, 0.3, 0.1]
    straight = choice_probabilities(sampling, names, means, widths, "seed")
    turned = choice_probabilities(sampling, names[::-1], means[::-1], widths[::-1], "seed")
    assert turned == straight[::-1]
    assert sum(straight) == pytest.approx(1.0)
