import pytest
from documents import blocks, run

from router_sdk import Router

README = "plugins/thompson/README.md"


def test_every_example_runs_and_its_settings_serve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    served = 0
    for example in blocks(README):
        settings = run(README, example).get("settings")
        if settings is not None:
            chain = [("thompson", settings), "heuristic"]
            with Router(agents=["small", "large"], strategies=chain, store=":memory:") as router:
                assert router.route({"text": "one and one", "task_type": "sums"}).agent in {"small", "large"}
            served += 1
    assert served >= 8


def test_the_table_of_the_example_answers_at_once():
    settings = {"priors": {"sums": {"small": {"rate": 0.8, "mass": 5}, "large": {"rate": 0.95, "mass": 5}}}}
    with Router(agents=["small", "large"], strategies=[("thompson", settings)], store=":memory:", seed=0) as router:
        decision = router.route({"text": "one and one", "task_type": "sums"})
        assert decision.strategy == "thompson"
        assert decision.ranking == ("large", "small")
        expected = {report.agent: report.expected for report in router.agent_performance()}
        assert expected["large"]["quality"] == pytest.approx(0.5)
