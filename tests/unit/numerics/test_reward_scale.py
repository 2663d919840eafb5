"""How large rewards are, and how far apart."""

import pytest

from router_sdk.numerics.reward_scale import RewardScale


def test_the_scale_takes_corrections_back():
    scale, plain = RewardScale(), RewardScale()
    for reward in (0.2, 0.9, 0.4):
        scale.note(None, reward, 1.0)
        plain.note(None, reward, 1.0)
    scale.note(None, 1.0, 1.0)
    scale.note(1.0, None, 1.0)
    assert scale.current == pytest.approx(plain.current)
    assert RewardScale.restored(scale.state()).current == scale.current
    with pytest.raises(ValueError, match="finite"):
        RewardScale.restored([1.0, float("nan"), 0.0])
