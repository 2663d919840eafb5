"""What is checked of the files in ``deploy`` at each run; ``.ci/image`` lints them and runs the image's steps."""

import re
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE = {path.name: yaml.safe_load(path.read_text()) for path in DEPLOY.glob("compose*.yaml")}
RUNBOOK = (DEPLOY / "README.md").read_text()
IMAGE = runpy.run_path(str(ROOT / ".ci" / "image"))
TARGETS = ("serve", "fit")


@pytest.mark.parametrize("target", TARGETS)
def test_the_image_is_no_root_and_copies_what_there_is(target):
    assert IMAGE["whole"](target, "USER")[-1] == "10001"
    assert IMAGE["whole"](target, "ENTRYPOINT") == ['["sh", "/usr/local/bin/entrypoint.sh"]']
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for stage in (target, {"serve": "build", "fit": "build-fit"}[target]):
        for step in IMAGE["whole"](stage, "COPY"):
            *names, _ = step.split()
            for name in names:
                if step.startswith("--from="):
                    continue
                assert (ROOT / name).exists()
                assert name in let_in


def test_what_was_tried_together_is_what_is_installed(tmp_path):
    (steps,) = IMAGE["whole"]("build", "RUN")
    (writes,) = [step for step in steps.split(" && ") if "constraints.txt" in step and "pip" not in step]
    subprocess.run(["sh", "-c", writes.replace("requirements", f"{ROOT}/requirements")], cwd=tmp_path, check=True)
    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    assert len(lines) > 20
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


def test_torch_is_in_the_one_image_alone():
    assert "bert" not in " ".join([*IMAGE["whole"]("build", "RUN"), *IMAGE["whole"]("build", "ARG")])
    assert "bert[fit,offline]" in IMAGE["whole"]("build-fit", "RUN")[-1]


def test_what_the_health_check_asks_is_open(client):
    for target in TARGETS:
        (check,) = IMAGE["whole"](target, "HEALTHCHECK")
        (path,) = re.findall(r"http://127.0.0.1:8000(/\w+)", check)
        assert client.get(path, headers={"host": "10.0.0.1"}).status_code in (200, 503)
    (production,) = [str(one["services"]["router"]["healthcheck"]) for name, one in COMPOSE.items() if "prod" in name]
    assert path in production


def test_compose_builds_a_target_and_names_what_it_mounts():
    for told in COMPOSE.values():
        for service in told["services"].values():
            build = service.get("build", {})
            assert build.get("target", "serve") in TARGETS
            for plugin in build.get("args", {}).get("PLUGINS", "").split():
                assert plugin in {"heuristic", "thompson", "server", "postgres", "bert"}
            assert set(service.get("secrets", ())) <= set(told.get("secrets", ()))
            named = {volume.partition(":")[0] for volume in service.get("volumes", ())}
            assert named <= set(told.get("volumes", ()))
            for port in service.get("ports", ()):
                assert port.startswith("127.0.0.1:")


def test_production_has_limits_and_its_secrets_from_files():
    told = COMPOSE["compose.production.yaml"]
    router = told["services"]["router"]
    assert router["read_only"]
    assert router["restart"] == "unless-stopped"
    assert {"cpus", "memory"} <= router["deploy"]["resources"]["limits"].keys()
    every = {name for one in COMPOSE.values() for name in one.get("secrets", {})}
    assert every == {"openai_api_key", "database_password"}
    for one in COMPOSE.values():
        for secret in one.get("secrets", {}).values():
            assert secret["file"].startswith("./secrets/")
        for service in one["services"].values():
            for name, value in service.get("environment", {}).items():
                assert name.endswith("_FILE") or not re.search("KEY|PASSWORD|SECRET", name), value
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text()


def test_the_command_of_production_is_one_that_serves():
    from router_sdk_server.commands import serve

    options = {f"--{name.replace('_', '-')}" for name in serve.__annotations__} | {"--json"}
    for told in (COMPOSE["compose.production.yaml"]["services"]["router"]["command"],):
        assert told[0] == "serve"
        assert {word for word in told if word.startswith("--")} <= options


def test_the_runbook_knows_every_alert_and_command():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "router.rules.yml").read_text())["groups"][0]["rules"]
    assert set(re.findall(r"`(Router[A-Z]\w+)`", RUNBOOK)) == {rule["alert"] for rule in rules}
    for name in re.findall(r"\]\(([\w./]+)\)", RUNBOOK):
        assert (DEPLOY / name).exists(), name
