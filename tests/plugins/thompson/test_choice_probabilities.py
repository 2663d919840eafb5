import pytest
from router_sdk_thompson.chances import chances


@pytest.mark.parametrize("sampling", ["independent", "ucb", "greedy"])
def test_other_ways_of_exploring_follow_a_permutation_too(sampling):
    names, means, widths = ["a", "b", "c"], [0.5, 0.4, 0.5], [0.1, 0.3, 0.1]
    straight = chances(sampling, names, means, widths, "seed")
    turned = chances(sampling, names[::-1], means[::-1], widths[::-1], "seed")
    assert turned == straight[::-1]
    assert sum(straight) == pytest.approx(1.0)
