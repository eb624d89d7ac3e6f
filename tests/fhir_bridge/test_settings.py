from pathlib import Path

import pytest

from fhir_bridge.settings import SettingsRefused, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fhir-bridge.toml"
    path.write_text('[mllp]\nport = 1001\n[study]\nquiet_seconds = 7\n[authority.HOSP]\noid = "1.2.3"\n')
    return path


def test_every_setting_has_a_default() -> None:
    assert load(None).mllp.port == 2575


def test_the_command_line_beats_the_environment_beats_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_BRIDGE_MLLP__PORT", "1002")
    monkeypatch.setenv("FHIR_BRIDGE_HTTP__PORT", "1002")
    settings = load(None, ("mllp.port=1003",), file)
    assert (settings.mllp.port, settings.http.port, settings.study.quiet_seconds) == (1003, 1002, 7)


def test_an_authority_needs_no_file() -> None:
    assert load(None, ("authority.HOSP.system=urn:oid:1.2.3",)).authority["HOSP"].system == "urn:oid:1.2.3"


def test_a_list_is_written_with_commas_on_the_command_line() -> None:
    assert load(None, ("models.enabled=a, b",)).models.enabled == ("a", "b")


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("mllp.prot=1", "mllp.prot"),
        ("mlp.port=1", "mlp"),
        ("mllp.port=many", "mllp.port"),
        ("mllp.port=70000", "mllp.port"),
        ("http.host=0.0.0.0", "http.host"),
        ("mllp.host=0.0.0.0", "mllp.host"),
        ("archive.kind=scp", "archive.kind"),
        ("archive.kind=dimse", "archive.host"),
        ("archive.called_ae_title=SEVENTEEN_LETTERS", "archive.called_ae_title"),
        ("dicom.ae_title=A\\B", "dicom.ae_title"),
        ("dicom.ae_title=", "dicom.ae_title"),
        ("archive.client_certificate=our.pem", "archive.tls"),
        ("archive.client_key=our.pem", "archive.client_certificate"),
        ("archive.tls=true", "archive.kind=dimse"),
        ("archive.kind=dicomweb", "archive.dicomweb_url"),
        ("store.url=postgresql://db", "store.url"),
        ("fhir.token=secret", "fhir.token"),
        ("fhir.base_url=localhost:8080/fhir", "fhir.base_url"),
        ("archive.dicomweb_url=pacs", "archive.dicomweb_url"),
        ("sender.time_zone=Mars/X", "sender.time_zone"),
        ("models.enabled=", "models.enabled"),
        ("nonsense", "section.key=value"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(assignment: str, named: str) -> None:
    with pytest.raises(SettingsRefused) as caught:
        load(None, (assignment,))
    problems = " ".join(caught.value.problems)
    assert named in problems
    assert "secret" not in problems.replace("a secret comes", "")


def test_an_unknown_key_of_the_file_is_refused_with_its_path(file: Path) -> None:
    file.write_text("[mllp]\nprot = 1\n")
    with pytest.raises(SettingsRefused) as caught:
        load(None, (), file)
    assert caught.value.problems[0].startswith("mllp.prot")


def test_a_file_that_is_no_toml_is_refused(file: Path) -> None:
    file.write_text("mllp: port\n")
    with pytest.raises(SettingsRefused) as caught:
        load(None, (), file)
    assert "TOMLDecodeError" in caught.value.problems[0]


def test_a_secret_may_come_from_the_environment_and_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_BRIDGE_FHIR__TOKEN", "canary-token")
    settings = load(None)
    assert settings.fhir.token.get_secret_value() == "canary-token"
    assert "canary-token" not in repr(settings)


def test_a_value_cannot_be_a_table_too() -> None:
    with pytest.raises(SettingsRefused):
        load(None, ("mllp.port=1", "mllp.port.x=2"))


@pytest.mark.parametrize(
    ("assignments", "problem"),
    [
        (("sender.charset=klingon",), "sender.charset: Value error, not a known character set"),
        (
            ("sender.accession_sources=OBR-18,CANARY",),
            "sender.accession_sources: Value error, expected fields such as OBR-18",
        ),
        (("sender.unknown_orders=refuse",), "sender.unknown_orders: refuse needs wait_for_intake"),
        (("sender.reply_to=RIS",), "sender.reply_to: there is no [destinations.RIS]"),
        (("senders.RIS.answer=enhanced",), "senders.RIS: needs application, facility or listener"),
        (("senders.RIS.listener=emr",), "senders.RIS.listener: there is no listener of this name"),
        (("listeners.emr.port=2575",), "listeners.emr.port: mllp has it already"),
        (("listeners.emr.port=2576", "listeners.emr.host=192.0.2.1"), "listeners.emr.host: off loopback without TLS"),
        (("listeners.mllp.port=2576",), "listeners.mllp: this name is that of [mllp]"),
        (("mllp.allowed_peers=10.0.0.0/40",), "mllp.allowed_peers: 10.0.0.0/40 is no network"),
        (("mllp.tls.client_ca=/ca.pem",), "mllp.tls.client_ca: needs mllp.tls.certificate"),
        (
            ("destinations.RIS.host=192.0.2.1", "destinations.RIS.port=2575"),
            "destinations.RIS.host: off loopback without TLS",
        ),
    ],
)
def test_listeners_senders_and_destinations_must_fit_together(assignments: tuple[str, ...], problem: str) -> None:
    with pytest.raises(SettingsRefused) as refused:
        load(None, assignments)
    assert [found for found in refused.value.problems if found.startswith(problem)] != []


def test_a_problem_never_shows_the_value() -> None:
    with pytest.raises(SettingsRefused) as refused:
        load(None, ("sender.accession_sources=CANARY", "sender.charset=CANARY"))
    assert "CANARY" not in str(refused.value)
