"""The deployment files, as far as an engine is not needed.

They are checked one by one, and by hand.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from kdsearch.cli.main import cli

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
KUBERAY: dict[str, Any] = yaml.safe_load((ROOT / "docker/kuberay.yaml").read_text())
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
BIN = Path(sys.executable).parent


def commands() -> list[str]:
    composed = [service["command"] for service in SERVICES.values() if "command" in service]
    return [*composed, KUBERAY["spec"]["entrypoint"]]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_its_program_takes(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "kdsearch":
        found = cli.commands[words[0]].make_parser(ctx := click.Context(cli.commands[words[0]]))
        values, _, _ = found.parse_args(words[1:])
        assert ctx.command.name == words[0]
        assert values
        return
    assert program == "ray"
    from ray.scripts.scripts import start

    known = {name for option in start.params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_what_services_depend_on_and_mount_is_there() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in SERVICES[name]
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        assert "healthcheck" in service


def test_secrets_come_from_the_environment_alone() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    offered = dict(
        line.split("=", 1)
        for line in (ROOT / ".env.example").read_text().splitlines()
        if "=" in line and line[0] != "#"
    )
    assert asked == set(offered)
    assert set(offered.values()) == {""}, "the example holds no secret that someone may keep"
    assert all(f"${{{name}:?" in text for name in asked), "a missing secret is refused"
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_ports_are_open_to_this_machine_alone() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_image_runs_as_a_plain_user_on_pinned_packages() -> None:
    instructions = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]
    users = [what for instruction, what in instructions if instruction == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert all(":" in what and "latest" not in what for kind, what in instructions if kind == "FROM")
    for instruction, what in instructions:
        if instruction == "COPY":
            sources = [word for word in shlex.split(what)[:-1] if not word.startswith("--")]
            assert all((ROOT / source).exists() for source in sources)
    assert "--no-deps ." in DOCKERFILE


def test_the_lock_holds_what_the_package_needs_within_its_ranges() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "docker/requirements.lock").read_text().split())
    for text in (*project["dependencies"], *project["optional-dependencies"]["postgres"]):
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[requirement.name]), text


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("POSTGRES_PASSWORD=a\nRAY_AUTH_TOKEN=b\nKDSEARCH_TOKEN=c\n")
    config = [
        "docker-compose",
        "--env-file",
        str(tmp_path / "env"),
        "-f",
        str(ROOT / "docker-compose.yml"),
        "config",
    ]
    subprocess.run(config, check=True, capture_output=True)


def test_kuberay_workers_share_the_heads_image_and_artifacts() -> None:
    cluster = KUBERAY["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    containers = [pod["containers"][0] for pod in pods]
    assert {container["image"] for container in containers} == {SERVICES["head"]["image"]}
    for pod, container in zip(pods, containers, strict=True):
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted["artifacts"] == "/artifacts"
        assert set(mounted) == {volume["name"] for volume in pod["volumes"]}


TRAINER = """
def train(trial, report):
    return {"val_accuracy": 0.5 + 0.01 * min(trial.params["objective.temperature"], 8)}
"""
SPEC = """
name: composed
trainer: composed_trainer:train
setup: {optimizer.name: [sgd]}
tune: {objective.temperature: {low: 1, high: 40, log: true}}
search: {trials: 4, pack: 2, sampler: qmc}
"""


@pytest.mark.ray
@pytest.mark.postgres
@pytest.mark.slow
def test_the_composed_processes_work_together(
    tmp_path: Path, postgres_url: str, short_folder: str, free_ports: Any, running: Any
) -> None:
    """What compose would start works on this machine's loopback.

    Each is started by its own command, with tokens.
    """
    gcs, dashboard, web = free_ports(3)
    places = {"head:6379": f"127.0.0.1:{gcs}", "6379": str(gcs), "0.0.0.0": "127.0.0.1", "8080": str(web)}
    (tmp_path / "composed_trainer.py").write_text(TRAINER)
    (tmp_path / "study.yaml").write_text(SPEC)
    environment = {
        **os.environ,
        "KDSEARCH_STORAGE": postgres_url,
        "KDSEARCH_TOKEN": "t" * 32,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "r" * 32,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
    }

    def composed(service: str, *more: str) -> list[str]:
        command = SERVICES[service]["command"]
        for place, here in places.items():
            command = command.replace(place, here)
        return [*shlex.split(command), *more]

    head = composed("head", f"--temp-dir={short_folder}", f"--dashboard-port={dashboard}")
    with running(head, environment), running(composed("service"), environment):
        await_success(["ray", "health-check", "--address", f"127.0.0.1:{gcs}"], environment)
        with running(composed("worker", "--num-cpus=1"), environment):
            launch = ["kdsearch", "launch", f"{tmp_path}/study.yaml", "--address", f"127.0.0.1:{gcs}"]
            await_success(launch, environment)  # refused while the worker has not joined
            asked = urllib.request.Request(
                f"http://127.0.0.1:{web}/kdsearch/v1/studies/composed/trials",
                headers={"Authorization": "Bearer " + environment["KDSEARCH_TOKEN"]},
            )
            with urllib.request.urlopen(asked, timeout=30) as answer:
                assert answer.read().count(b'"complete"') == 4


def await_success(command: list[str], environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 90
    while subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, command
        time.sleep(0.5)
