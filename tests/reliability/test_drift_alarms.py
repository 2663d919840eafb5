"""How often drift is called where there is none: at most as often as docs/drift.md says."""

import random
from collections import Counter

import pytest
from unit.learning.test_drift import ever, stream

from router_sdk.learning.residuals import AgentRecord
from router_sdk.loop_settings import DriftConfig

pytestmark = pytest.mark.reliability

STREAMS = 120
ALPHA = 0.05


def test_windows_of_streams_that_never_change():
    """Each stream is compared 19 times; by chance a twentieth of the streams may be called different, once."""
    said = Counter(
        flag
        for seed in range(STREAMS)
        for flag in ever(stream(2_000, seed=10_000 + seed), window=100, alpha=ALPHA, prediction_kl=0.0)
    )
    most = STREAMS * ALPHA + 2.0 * (STREAMS * ALPHA * (1.0 - ALPHA)) ** 0.5
    assert said["prediction_drift"] <= most
    assert said["input_drift"] <= most
    assert said["residual_change"] <= 2, "of 360 agents"


@pytest.mark.parametrize("chance", [0.03, 0.1, 0.5, 0.8, 0.9, 0.97])
def test_an_agent_that_stays_as_it_is(chance):
    config, rng = DriftConfig(), random.Random(chance)
    record = AgentRecord.new(config)
    for number in range(300_000):
        record.update(float(rng.random() < chance), float(number), config.residual_threshold, foretold=False)
    assert record.detector.alarms <= 3
