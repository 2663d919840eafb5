import math
import pickle
from array import array
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent
from router_sdk.records import AgentSet, Distribution

weights = st.lists(st.just(0.0) | st.floats(0.001, 1), min_size=1, max_size=12).filter(any)


def drawn_from(values, scores=None, evidence=None):
    agents = AgentSet([Agent(f"a{i}") for i in range(len(values))])
    return Distribution(agents, tuple(values), 0, 0.5, scores, evidence, "s", None, 0.0)


@given(weights, st.floats(0, 1, exclude_max=True) | st.just(math.nextafter(1, 0)))
def test_a_draw_never_falls_on_an_agent_without_weight(values, draw):
    total = math.fsum(values)
    found = drawn_from([value / total for value in values])
    assert found.weights[bisect_right(found.cumulative, draw)] > 0


def test_rounding_of_many_equal_shares_leaves_the_last_agent_out():
    found = drawn_from([0.1] * 10 + [0.0])
    assert bisect_right(found.cumulative, math.nextafter(1, 0)) == 9


def test_probabilities_are_read_only_and_the_blob_holds_them_as_float32():
    found = drawn_from([0.25, 0.75])
    assert found.probabilities == {"a0": 0.25, "a1": 0.75}
    with pytest.raises(TypeError):
        found.probabilities["a0"] = 1.0
    assert array("f", found.blob).tolist() == [0.25, 0.75]


def test_the_ranking_goes_by_score_where_there_are_scores():
    assert drawn_from([0.2, 0.5, 0.3]).ranking == ("a1", "a2", "a0")
    assert drawn_from([0.2, 0.5, 0.3], scores={"a0": 9.0, "a2": 1.0}).ranking == ("a0", "a2", "a1")


def test_without_weights_there_are_no_probabilities():
    nobody = Distribution(AgentSet([Agent("a"), Agent("b")]), (), -1, None, None, None, "observed", None, 0.0)
    assert nobody.probabilities == {}
    assert nobody.blob == b""
    assert set(nobody.ranking) == {"a", "b"}
    assert "observed" in repr(nobody)


def test_evidence_is_computed_only_when_asked_for_and_survives_a_pickle():
    asked = []

    def evidence():
        asked.append(1)
        return {"rule": "refund"}

    found = drawn_from([1.0], evidence=evidence)
    assert not asked
    assert found.explain() == {"rule": "refund"}
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.weights, copy.explain(), copy.strategy) == (found.weights, {"rule": "refund"}, "s")
