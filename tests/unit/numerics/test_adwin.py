import json

import numpy as np
import pytest

from router_sdk.numerics.change_detection import MOST, AdwinDetector, river_installed

needs_river = pytest.mark.skipif(not river_installed(), reason="river is an extra")


@needs_river
def test_a_window_is_the_same_after_its_residuals_were_replayed():
    rng, live = np.random.default_rng(0), AdwinDetector(0.01)
    residuals = [float(each) for each in rng.normal(size=MOST + 300)]
    for each in residuals:
        assert not live.update(each, 0.0)
    again = AdwinDetector.restored(0.01, json.loads(json.dumps(live.state())))
    shifted = [float(each) for each in rng.normal(-1.5, 1.0, size=60)]
    found = [(live.update(each, 0.0), again.update(each, 0.0)) for each in shifted]
    assert all(one == other for one, other in found)
    assert any(one for one, _ in found)
    assert len(live.state()[0]) < MOST


@needs_river
def test_a_change_that_only_the_shorter_window_finds_is_an_alarm():
    rng, live = np.random.default_rng(4), AdwinDetector(0.01)
    restless, calm, fallen = rng.normal(0.0, 3.0, 500), rng.normal(0.0, 1.0, 430), rng.normal(-1.1, 1.0, 70)
    found = [live.update(float(each), 0.0) for each in (*restless, *calm, *fallen)]
    assert (found.index(True), live.alarms) == (MOST - 1, 1)
    again = AdwinDetector.restored(0.01, json.loads(json.dumps(live.state())))
    assert (again.state(), len(live.state()[0])) == (live.state(), 34)
    for each in rng.normal(-1.1, 1.0, 100):  # What it is now is the new calm.
        assert not live.update(float(each), 0.0)
    assert live.alarms == 1
