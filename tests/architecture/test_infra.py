"""The compose file and the images, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from selfheal.settings import Settings

DOCKERFILES = ("infra/scoring.Dockerfile", "infra/worker.Dockerfile")
SERVICES = {"postgres", "mlflow", "prefect", "worker", "scoring"}


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load((root / "infra/compose.yaml").read_text())["services"])


def test_compose_is_valid(root: Path) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, "infra/compose.yaml"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfile_passes_its_linter(name: str, root: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("no hadolint wheel for this platform")
    done = subprocess.run([hadolint, "--no-color", name], cwd=root, capture_output=True, text=True, check=False)
    assert not done.stdout + done.stderr
    assert done.returncode == 0


def test_alert_rules_pass_prometheus_linter(root: Path) -> None:
    rules = yaml.safe_load((root / "infra/prometheus/selfheal.rules.yaml").read_text())["groups"][0]["rules"]
    assert {rule["labels"]["severity"] for rule in rules} <= {"critical", "warning"}
    assert len({rule["alert"] for rule in rules}) == len(rules) and all(
        rule["annotations"]["summary"] for rule in rules
    )
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, which comes with Prometheus, is not here")
    check = [promtool, "check", "rules", "--lint=all", "--lint-fatal", "infra/prometheus/selfheal.rules.yaml"]
    done = subprocess.run(check, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", DOCKERFILES)
def test_image_is_pinned_hashed_and_unprivileged(name: str, root: Path) -> None:
    text = (root / name).read_text()
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert len(bases) == 1
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert "--require-hashes" in text
    assert re.findall(r"^USER (\d+)", text, re.MULTILINE)[-1] != "0"
    assert "HEALTHCHECK" in text
    copied = [p for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for p in line.split()]
    assert copied
    assert all((root / p).exists() for p in copied)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_image_installs_what_the_makefile_installs(name: str, root: Path) -> None:
    makefile, text = (root / "Makefile").read_text(), (root / name).read_text()
    for what in ("UV_VERSION", "TORCH_VERSION"):
        ours = re.search(rf"^{what} := (\S+)$", makefile, re.MULTILINE)
        theirs = re.search(rf"^ARG {what}=(\S+)$", text, re.MULTILINE)
        assert ours, what
        assert theirs, what
        assert ours[1] == theirs[1]


def test_what_the_images_copy_is_in_the_build_context(root: Path) -> None:
    """The context is closed by default; .dockerignore opens it for what is installed and nothing else."""
    opened = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        p
        for name in DOCKERFILES
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", (root / name).read_text(), re.MULTILINE)
        for p in line.split()
    }
    assert opened == copied


def test_every_service_is_there_healthy_and_restarted(services: dict[str, dict[str, Any]], root: Path) -> None:
    assert set(services) == SERVICES
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        if name != "scoring":  # its image says how
            assert service["healthcheck"]["test"], name
        assert ":" in service["image"], name
        assert not service["image"].endswith(":latest"), name
        if "build" in service:
            assert service["build"]["dockerfile"] in DOCKERFILES
        for other, condition in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert condition == {"condition": "service_healthy"}
        for published in service.get("ports", ()):
            assert published.startswith("127.0.0.1:"), f"{name} would be open to the network"


def test_compose_sets_only_places_that_selfheal_reads(services: dict[str, dict[str, Any]]) -> None:
    for name in ("worker", "scoring"):
        given = {
            k: v for k, v in services[name]["environment"].items() if k not in ("SELFHEAL_AUTH", "SELFHEAL_API_KEYS")
        }
        read = Settings.from_env({**given, "SELFHEAL_HOME": "state"}).environ()
        assert {key: read[key] for key in given} == given


def test_no_password_is_written_down(root: Path) -> None:
    text = (root / "infra/compose.yaml").read_text()
    assert text.count("POSTGRES_PASSWORD:?") == text.count("PASSWORD:?")
    assert not re.search(r"://selfheal:(?!\$\{POSTGRES_PASSWORD)", text)


def test_what_the_containers_run_exists(services: dict[str, dict[str, Any]], root: Path) -> None:
    from selfheal.cli import main

    name, *arguments = services["scoring"]["command"]
    command = main.get_command(click.Context(main), name)
    assert command is not None
    asked = command.make_context(name, arguments).params
    image = (root / "infra/scoring.Dockerfile").read_text()
    assert asked["host"] == "0.0.0.0"
    assert f"EXPOSE {asked['port']}" in image
    assert f"127.0.0.1:{asked['port']}/ping" in image
    assert services["worker"]["command"][:2] == ["python", "-m"]
    assert (root / services["worker"]["command"][2].replace(".", "/")).with_suffix(".py").exists()
