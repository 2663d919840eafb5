import re
from pathlib import Path

import pytest

from router_sdk import Router

README = Path(__file__).resolve().parents[3] / "plugins" / "thompson" / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_every_example_runs_and_its_settings_serve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, served = {}, 0
    try:
        for example in EXAMPLES:
            names.pop("settings", None)
            exec(example, names)
            if "settings" in names:
                chain = [("thompson", names["settings"]), "heuristic"]
                with Router(agents=["small", "large"], strategies=chain, store=":memory:") as router:
                    assert router.route({"text": "one and one", "task_type": "sums"}).agent in {"small", "large"}
                served += 1
    finally:
        for name in ("router", "tenant"):
            if name in names:
                names[name].close()
    assert served >= 8


def test_the_table_of_the_example_answers_at_once():
    settings = {"priors": {"sums": {"small": {"rate": 0.8, "mass": 5}, "large": {"rate": 0.95, "mass": 5}}}}
    with Router(agents=["small", "large"], strategies=[("thompson", settings)], store=":memory:", seed=0) as router:
        decision = router.route({"text": "one and one", "task_type": "sums"})
        assert decision.strategy == "thompson"
        assert decision.ranking == ("large", "small")
        expected = {report.agent: report.expected for report in router.agent_performance()}
        assert expected["large"]["quality"] == pytest.approx(0.5)
