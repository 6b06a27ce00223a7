"""The compose files and Dockerfiles say what they must; that they run is shown with a Docker engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from store.settings import Settings

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "compose.gpu.yml")
DOCKERFILES = ("api/Dockerfile", "worker/Dockerfile")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_compose_files_fit_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, *(ROOT / name for name in FILES)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_dependency_is_a_service(compose: dict[str, Any]) -> None:
    services = compose["services"]
    wanted = {name for service in services.values() for name in service.get("depends_on", {})}
    assert wanted and wanted <= set(services)


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_every_variable_of_ours_is_a_setting(compose: dict[str, Any]) -> None:
    given = {name for service in compose["services"].values() for name in service.get("environment", {})}
    ours = {name for name in given if name.startswith("AFTERPROP_")}
    known = {f"AFTERPROP_{name.upper()}" for name in Settings.model_fields}
    assert ours and ours <= known


def test_long_running_services_have_a_health_check(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert ("healthcheck" in service) == (name != "migrate"), name


def test_images_are_pinned_to_a_version(compose: dict[str, Any]) -> None:
    foreign = [s["image"] for s in compose["services"].values() if "build" not in s]
    bases = [re.findall(r"^FROM (\S+)", (ROOT / name).read_text(), re.MULTILINE) for name in DOCKERFILES]
    for image in foreign + [image for found in bases for image in found]:
        assert re.search(r":\d", image), image


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_run_as_an_ordinary_user(name: str) -> None:
    users = re.findall(r"^USER (\S+)", (ROOT / name).read_text(), re.MULTILINE)
    assert users and users[-1] not in ("root", "0")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_copied_files_exist(name: str) -> None:
    sources = re.findall(r"^COPY (\S+) ", (ROOT / name).read_text(), re.MULTILINE)
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source


def test_the_api_image_has_no_torch_and_its_lock_is_part_of_the_whole_lock() -> None:
    whole = set(re.findall(r"^(\S+==\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    for name in ("api", "worker"):
        part = set(re.findall(r"^(\S+==\S+)", (ROOT / f"deploy/{name}.lock").read_text(), re.MULTILINE))
        assert part and part <= whole, part - whole
        assert not any(line.startswith("torch==") for line in part)
    assert "torch" not in (ROOT / "api/Dockerfile").read_text().replace("without torch", "")
