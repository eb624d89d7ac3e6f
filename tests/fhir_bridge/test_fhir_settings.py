"""`[fhir]`: what does not fit together is refused by its name, before anything is sent."""

from pathlib import Path

import pytest

from fhir_bridge.settings import SettingsRefused, load

SECRETS = '[fhir]\npassword = "CANARY"\ntoken = "CANARY token"\n'
FAR = "fhir.base_url=http://fhir.example/r4"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "fhir-bridge.toml"
    file.write_text(SECRETS)
    return file


@pytest.mark.parametrize(
    ("assignments", "problem"),
    [
        (("fhir.auth=basic",), "fhir.username: needed with fhir.auth=basic"),
        (("fhir.auth=basic", "fhir.username=a:b"), "fhir.username: Basic sign-in has no names with a colon"),
        (("fhir.auth=bearer",), "fhir.token: it has characters that no header has"),
        (("fhir.auth=smart",), "fhir.smart.client_id: needed with fhir.auth=smart"),
        (("fhir.client_key=/key.pem",), "fhir.client_key: needs fhir.client_certificate"),
        (("fhir.auth=basic", "fhir.username=a", FAR), "fhir.base_url: credentials off loopback without TLS"),
        (("fhir.auth=smart", "fhir.smart.client_id=a", FAR), "fhir.base_url: credentials off loopback without TLS"),
        (("fhir.smart.token_url=http://login.example/token",), "fhir.smart.token_url: off loopback without TLS"),
        (("fhir.base_url=https://fhir.example:port/r4",), "fhir.base_url: "),
        (("fhir.base_url=https://:CANARY@fhir.example/r4",), "fhir.base_url: "),
        (("fhir.profile=epi",), "fhir.profile: "),
        (("fhir.server.page_size=0",), "fhir.server.page_size: "),
        (("fhir.server.not_written=Provenance,DiagnosticReport",), "fhir.server.not_written: "),
        (("fhir.server.not_written=Provenence",), "fhir.server.not_written: "),
        (("fhir.server.required=Observation.encounter,Obsrvation.issued",), "fhir.server.required: "),
        (("fhir.server.required=Observation",), "fhir.server.required: "),
        (("fhir.circuit_failures=0",), "fhir.circuit_failures: "),
    ],
)
def test_what_does_not_fit_is_named(file: Path, assignments: tuple[str, ...], problem: str) -> None:
    with pytest.raises(SettingsRefused) as refused:
        load(None, assignments, file)
    assert [found for found in refused.value.problems if found.startswith(problem)] != []
    assert "CANARY" not in " ".join(refused.value.problems)


def test_a_bearer_needs_its_token() -> None:
    with pytest.raises(SettingsRefused) as refused:
        load(None, ("fhir.auth=bearer",))
    assert refused.value.problems == ("fhir.token: needed with fhir.auth=bearer",)


@pytest.mark.parametrize(
    "assignments",
    [
        (FAR,),
        ("fhir.auth=basic", "fhir.username=a", FAR, "fhir.allow_plaintext=true"),
        ("fhir.auth=basic", "fhir.username=a", "fhir.base_url=https://fhir.example/r4"),
        ("fhir.auth=basic", "fhir.username=a", "fhir.base_url=http://127.0.0.1:8080/fhir"),
        ("fhir.smart.token_url=http://localhost:8080/token",),
        ("fhir.server.not_written=Device,Provenance", "fhir.server.required=DiagnosticReport.encounter"),
    ],
)
def test_what_fits_is_taken(file: Path, assignments: tuple[str, ...]) -> None:
    assert load(None, assignments, file).fhir
