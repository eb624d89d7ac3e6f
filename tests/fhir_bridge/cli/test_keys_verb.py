"""`fhir-bridge keys`, and what `check` and `serve` say where the FHIR server cannot be signed in to."""

import json
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result

from fhir_bridge.cli.root import main
from fhir_bridge.cli.setup import checks_of
from fhir_bridge.compose import Parts
from fhir_bridge.errors import attempt
from fhir_bridge.settings import load
from tests.support.scripted_http import fhir, in_turn, scripted_server
from tests.support.sign_in import sign_in

STATEMENT = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "4.0.1",
    "rest": [{"mode": "server", "interaction": [{"code": "batch"}]}],
}


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data-dir", str(folder / "data")])


def listed(folder: Path, *more: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run(folder, "keys", "list", "--json", *more).output.splitlines()]


def test_a_key_is_made_listed_and_published(tmp_path: Path) -> None:
    kid = run(tmp_path, "keys", "new", "--algorithm", "ES384").output.strip()
    (row,) = listed(tmp_path)
    assert (row["kid"], row["algorithm"], row["signs"]) == (kid, "ES384", True)
    published = jwt.PyJWKSet.from_json(run(tmp_path, "keys", "jwks").output)
    assert [key.key_id for key in published.keys] == [kid]


def test_the_key_that_the_settings_name_is_shown_as_the_one_that_signs(tmp_path: Path) -> None:
    kids = [run(tmp_path, "keys", "new", "--algorithm", "ES384").output.strip() for _ in range(2)]
    named = listed(tmp_path, "--set", f"fhir.smart.key_id={kids[1]}")
    assert {row["kid"]: row["signs"] for row in named} == {kids[0]: False, kids[1]: True}


def test_a_retired_key_is_gone(tmp_path: Path) -> None:
    kids = [run(tmp_path, "keys", "new", "--algorithm", "ES384").output.strip() for _ in range(2)]
    done = run(tmp_path, "keys", "retire", kids[0])
    assert (done.exit_code, [row["kid"] for row in listed(tmp_path)]) == (0, [kids[1]])


@pytest.mark.parametrize("kid", ["unknown", "-unknown"])
def test_a_key_that_is_not_there_cannot_be_retired(tmp_path: Path, kid: str) -> None:
    done = run(tmp_path, "keys", "retire", kid)
    assert (done.exit_code, "fhir.key-missing" in done.output) == (2, True)


def test_neither_the_only_key_nor_the_one_that_is_named_can_be_retired(tmp_path: Path) -> None:
    only = run(tmp_path, "keys", "new", "--algorithm", "ES384").output.strip()
    assert run(tmp_path, "keys", "retire", only).exit_code == 2
    run(tmp_path, "keys", "new", "--algorithm", "ES384")
    assert run(tmp_path, "keys", "retire", only, "--set", f"fhir.smart.key_id={only}").exit_code == 2
    assert len(listed(tmp_path)) == 2


def checked(folder: Path, *assignments: str) -> tuple[str, str]:
    """What `check` says of the FHIR server: its words; or the code of what is wrong, and where."""
    parts = Parts(load(folder / "data", assignments))
    try:
        tried = attempt(checks_of(parts)["fhir"])
    finally:
        parts.close()
    return (tried.error.code, tried.error.where) if tried.error else (str(tried.value), "")


def test_check_tells_the_profile_what_is_set_otherwise_and_what_the_server_contradicts(tmp_path: Path) -> None:
    with scripted_server(in_turn(fhir(STATEMENT))) as server:
        url = f"{server.url}/fhir"
        words, _ = checked(tmp_path, f"fhir.base_url={url}", "fhir.profile=hapi", "fhir.server.page_size=20")
    assert words == (
        f"{url}, 0 resource types, auth none, profile hapi page_size=20, "
        "WARNING: fhir.server.transactions is true, the server says false"
    )


def test_check_signs_in_as_it_is_configured(tmp_path: Path) -> None:
    run(tmp_path, "keys", "new", "--algorithm", "ES384")
    with sign_in() as server:
        words, _ = checked(tmp_path, f"fhir.base_url={server.base_url}", "fhir.auth=smart", "fhir.smart.client_id=us")
        assert (server.given, [claims["iss"] for claims in server.claims]) == (1, ["us"])
    assert "auth smart" in words


def test_check_says_where_a_server_does_not_say_what_it_can_do(tmp_path: Path) -> None:
    with scripted_server(in_turn(fhir({"resourceType": "OperationOutcome"}, 404))) as server:
        words, _ = checked(tmp_path, f"fhir.base_url={server.url}/fhir")
    assert words == f"{server.url}/fhir, does not say what it can do, auth none, profile generic"


@pytest.mark.parametrize(
    ("assignments", "found"),
    [
        (("fhir.auth=smart", "fhir.smart.client_id=us"), ("fhir.key-missing", "secrets/smart")),
        (("fhir.client_certificate=/nowhere.pem",), ("fhir.certificate-unusable", "fhir.client_certificate")),
    ],
)
def test_check_names_what_of_the_sign_in_is_missing(
    tmp_path: Path, assignments: tuple[str, ...], found: tuple[str, str]
) -> None:
    assert checked(tmp_path, "fhir.base_url=http://127.0.0.1:1/fhir", *assignments) == found


@pytest.mark.parametrize("setting", ["fhir.ca_file", "fhir.client_certificate"])
def test_nothing_starts_with_a_certificate_that_cannot_be_used(tmp_path: Path, setting: str) -> None:
    done = run(tmp_path, "work", "--set", "fhir.base_url=https://fhir.example/r4", "--set", f"{setting}=/nowhere.pem")
    assert (done.exit_code, f"fhir.certificate-unusable at {setting}" in done.output) == (2, True)
