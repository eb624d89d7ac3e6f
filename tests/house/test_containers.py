"""Dockerfile, docker-compose.yml and nginx.conf fit each other and the code. The containers themselves are not run here."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.api.health import health
from fhir_bridge.settings import Settings, load
from fhir_bridge.web.app import make_app
from tests.support.source_tree import PACKAGES, ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
NGINX = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that the bridge of docker-compose.yml starts with; an unknown key or a bad value is an error."""
    for name, value in SERVICES["bridge"]["environment"].items():
        monkeypatch.setenv(name, str(value))
    return load(None)


def test_every_setting_of_the_bridge_is_one_that_it_has(composed: Settings) -> None:
    known = {
        f"FHIR_BRIDGE_{section}__{key}".upper()
        for section, field in Settings.model_fields.items()
        for key in getattr(type(field.default), "model_fields", {})
    }
    assert set(SERVICES["bridge"]["environment"]) - known == set()


def test_every_address_names_a_service_of_this_file(composed: Settings) -> None:
    urls = (composed.http.public_url, composed.fhir.base_url, composed.archive.dicomweb_url)
    assert [urlsplit(url).hostname for url in urls] == ["bridge", "hapi", "orthanc"]


def test_the_bridge_is_reached_on_the_port_it_listens_on(composed: Settings) -> None:
    assert urlsplit(composed.http.public_url).port == composed.http.port
    assert {int(port) for port in re.search(r"EXPOSE (.*)", DOCKERFILE)[1].split()} == {
        composed.mllp.port,
        composed.http.port,
    }
    assert f"127.0.0.1:{composed.http.port}/health/live" in DOCKERFILE


def test_only_nginx_is_published_beyond_this_host() -> None:
    open_to_all = [
        name
        for name, service in SERVICES.items()
        if any(not port.startswith("127.0.0.1:") for port in service["ports"])
    ]
    assert open_to_all == ["nginx"]


def test_everything_copied_or_mounted_is_in_the_repository() -> None:
    copied = [path for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE) for path in line.split()[:-1]]
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())]
    mounted = [mount for mount in mounts if mount.startswith(".")]
    assert [path for path in (*copied, *mounted) if not (ROOT / path).exists()] == []
    assert set(mounts) - set(mounted) == set(COMPOSE["volumes"])
    assert set(PACKAGES) <= set(copied)


def test_the_python_of_the_image_fits() -> None:
    wanted = re.search(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    minor = re.search(r"^FROM python:3\.(\d+)-", DOCKERFILE, re.MULTILINE)
    assert wanted
    assert minor
    assert int(wanted[1]) <= int(minor[1]) < int(wanted[2])


def test_the_data_folder_of_the_image_is_the_mounted_one() -> None:
    folder = re.search(r"FHIR_BRIDGE_DATA_DIR=(\S+)", DOCKERFILE)
    assert folder
    assert f"bridge-data:{folder[1]}" in SERVICES["bridge"]["volumes"]


def test_nginx_forwards_only_paths_that_we_answer_to_the_bridge(composed: Settings) -> None:
    app = make_app([hooks(lambda call: None, "token", 1), health({})])
    rules = [rule.rule for rule in app.url_map.iter_rules()]
    forwarded = re.findall(r"location (/\S+) \{\s+proxy_pass (\S+);\s+proxy_set_header Host (\S+);", NGINX)
    assert [path for path, _, _ in forwarded] == ["/hooks/fhir/", "/health/"]
    assert all(any(rule.startswith(path) for rule in rules) for path, _, _ in forwarded)
    assert {(target, host) for _, target, host in forwarded} == {
        (composed.http.public_url, urlsplit(composed.http.public_url).netloc)
    }


def test_nginx_finds_its_certificate_where_it_is_mounted_and_listens_where_it_is_published() -> None:
    folders = {path.rpartition("/")[0] for path in re.findall(r"ssl_certificate(?:_key)? (\S+);", NGINX)}
    assert folders <= {mount.split(":")[1] for mount in SERVICES["nginx"]["volumes"]}
    port = re.search(r"listen (\d+) ssl", NGINX)
    assert port
    assert [published.split(":")[-1] for published in SERVICES["nginx"]["ports"]] == [port[1]]


def test_nginx_takes_the_bodies_that_the_bridge_takes(composed: Settings) -> None:
    assert f"client_max_body_size {composed.http.max_body_mebibytes:g}m;" in NGINX
