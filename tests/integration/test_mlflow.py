"""A version in MLflow, with the real one on a folder of files."""

import sys

import pytest
from fitted_strategy import Words

from router_sdk import Agent, Outcome, Router
from router_sdk.errors import InvalidConfigError, InvalidInputError, UnknownVersionError
from router_sdk.store.artifacts import check_artifact


@pytest.fixture
def router(store_path):
    settings = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0}
    with Router([Agent("billing"), Agent("fraud")], [Words], store_path, **settings) as made:
        for number in range(40):
            agent = ("billing", "fraud")[number % 2]
            made.observe(f"{agent} number {number}", agent=agent, outcome=Outcome(correct_agent=agent))
        made.models.retrain(wait=True)
        made.models.retrain(wait=True, mode="worse")
        yield made


@pytest.fixture
def tracking(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'router-sdk[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "runs").as_uri()


def test_without_mlflow_it_says_what_to_install(router, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InvalidConfigError, match=r"router-sdk\[mlflow\]"):
        router.models.log_to_mlflow("words", 1)
    with pytest.raises(UnknownVersionError):
        router.models.log_to_mlflow("words", 9)


def test_a_version_is_a_run_and_a_version_of_a_registered_model(router, tracking, tmp_path):
    from mlflow import MlflowClient

    first = router.models.log_to_mlflow("words", 1, tracking_uri=tracking)
    second = router.models.log_to_mlflow("words", 2, tracking_uri=tracking, experiment="tried")
    assert (first.experiment, first.model_name, first.model_version) == ("router_sdk", "router-words", 1)
    assert (second.experiment, second.model_version) == ("tried", 2)
    client = MlflowClient(tracking, tracking)
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    version = router.models.versions("words")[0]
    assert run.data.metrics["after.value"] == version.metrics["after"]["value"]
    assert run.data.metrics["curve.loss"] == 0.5
    assert run.data.params == {"samples": str(version.samples)}
    assert run.data.tags["router_sdk.passed"] == "True"
    assert client.get_run(second.run_id).data.params["mode"] == "worse"
    assert client.get_run(second.run_id).data.tags["router_sdk.passed"] == "False"
    folder = client.download_artifacts(first.run_id, "model", str(tmp_path))
    check_artifact(tmp_path / "model")
    assert {"version.json", "report.json", "manifest.json"} <= {path.name for path in (tmp_path / "model").iterdir()}
    assert folder
    assert client.get_model_version_by_alias("router-words", "champion").version == 1
    alone = router.models.log_to_mlflow("words", 1, tracking_uri=tracking, register=False)
    assert alone.model_name is None
    assert len(client.search_model_versions("name='router-words'")) == 2


def test_what_mlflow_says_is_handed_on(router, tracking):
    with pytest.raises(InvalidInputError, match="MLflow"):
        router.models.log_to_mlflow("words", 1, tracking_uri="gopher://nowhere")
