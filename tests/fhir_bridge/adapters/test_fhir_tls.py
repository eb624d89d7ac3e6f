"""TLS with a FHIR server: whose certificate is taken, which one we show, and that connections are kept."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_credentials import bearer
from fhir_bridge.adapters.fhir_session import Tls
from fhir_bridge.errors import BridgeError, Refused, Unavailable, Uncertain
from hl7_listener.tls import server_context
from tests.support.certificates import Authority
from tests.support.scripted_http import ScriptedServer, fhir, in_turn, scripted_server
from tests.support.waiting_time import WaitingTime

PATIENT = {"resourceType": "Patient", "id": "1"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[ScriptedServer]:
    with scripted_server(in_turn(fhir(PATIENT)), context) as server:
        yield server


def client_of(server: ScriptedServer, tls: Tls) -> FhirClient:
    return FhirClient(f"{server.url}/fhir", bearer("secret"), tls=tls, timing=WaitingTime().timing())


def test_a_certificate_of_our_own_authority_is_taken(authority: Authority) -> None:
    with (
        serving(server_context(*authority.sign("localhost"))) as server,
        client_of(server, Tls(authority.ca_file)) as client,
    ):
        assert client.read("Patient/1") == PATIENT


def test_no_other_authority_counts_beside_our_own(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    with (
        serving(server_context(*authority.sign("localhost"))) as server,
        client_of(server, Tls(other.ca_file)) as client,
        pytest.raises(Unavailable) as caught,
    ):
        client.read("Patient/1")
    assert caught.value.code == "fhir.unavailable"
    assert "fhir.ca_file" in caught.value.explanation
    assert server.asked == []  # the token did not leave


@pytest.mark.parametrize(("name", "days_ago"), [("localhost", 2), ("elsewhere.example", 0)], ids=["expired", "name"])
def test_an_expired_certificate_and_one_of_another_name_are_not(authority: Authority, name: str, days_ago: int) -> None:
    files = authority.sign(name, days_ago=days_ago)
    with (
        serving(server_context(*files)) as server,
        client_of(server, Tls(authority.ca_file)) as client,
        pytest.raises(Unavailable) as caught,
    ):
        client.read("Patient/1")
    assert (caught.value.code, server.asked) == ("fhir.unavailable", [])


def test_an_unknown_authority_is_not_taken_without_a_ca_file(authority: Authority) -> None:
    with (
        serving(server_context(*authority.sign("localhost"))) as server,
        client_of(server, Tls()) as client,
        pytest.raises(Unavailable),
    ):
        client.read("Patient/1")


@pytest.mark.parametrize("one_file", [False, True])
def test_our_certificate_is_shown_where_the_server_asks_for_it(
    authority: Authority, tmp_path: Path, one_file: bool
) -> None:
    certificate, key = authority.sign("bridge")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    tls = Tls(authority.ca_file, both) if one_file else Tls(authority.ca_file, certificate, key)
    context = server_context(*authority.sign("localhost"), authority.ca_file)
    with serving(context) as server, client_of(server, tls) as client:
        assert client.read("Patient/1") == PATIENT


def test_without_a_certificate_such_a_server_is_not_reached(authority: Authority) -> None:
    context = server_context(*authority.sign("localhost"), authority.ca_file)
    with (
        serving(context) as server,
        client_of(server, Tls(authority.ca_file)) as client,
        pytest.raises(Unavailable) as caught,
    ):
        client.read("Patient/1")
    assert (caught.value.code, server.asked) == ("fhir.unavailable", [])


def test_a_renewed_certificate_of_ours_needs_no_restart(authority: Authority, tmp_path: Path) -> None:
    stranger, mine = Authority(tmp_path / "stranger").sign("bridge"), tmp_path / "mine.pem"
    mine.write_bytes(stranger[0].read_bytes() + stranger[1].read_bytes())
    context = server_context(*authority.sign("localhost"), authority.ca_file)
    with serving(context) as server, client_of(server, Tls(authority.ca_file, mine)) as client:
        with pytest.raises(Unavailable):
            client.read("Patient/1")
        renewed = authority.sign("renewed")
        mine.write_bytes(renewed[0].read_bytes() + renewed[1].read_bytes() + b"\n")
        assert client.read("Patient/1") == PATIENT


def unusable(authority: Authority, folder: Path) -> dict[str, tuple[Tls, str]]:
    certificate, key = authority.sign("bridge")
    text, missing = folder / "text.pem", folder / "missing.pem"
    text.write_text("CANARY")
    locked = authority.sign("locked", b"passphrase")
    return {
        "no authority file": (Tls(missing), "fhir.ca_file"),
        "no authority": (Tls(text), "fhir.ca_file"),
        "no certificate file": (Tls(certificate=missing, key=key), "fhir.client_certificate"),
        "no certificate": (Tls(certificate=text), "fhir.client_certificate"),
        "no key file": (Tls(certificate=certificate, key=missing), "fhir.client_key"),
        "no key": (Tls(certificate=certificate, key=text), "fhir.client_key"),
        "no pair": (Tls(certificate=certificate, key=locked[1].with_name("other.key")), "fhir.client_key"),
        "encrypted": (Tls(certificate=locked[0], key=locked[1]), "fhir.client_key"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "no authority file",
        "no authority",
        "no certificate file",
        "no certificate",
        "no key file",
        "no key",
        "no pair",
        "encrypted",
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_setting(
    authority: Authority, tmp_path: Path, case: str
) -> None:
    authority.sign("other")
    tls, setting = unusable(authority, tmp_path)[case]
    with pytest.raises(Refused) as caught:
        FhirClient("https://fhir.example/r4", tls=tls)
    assert (caught.value.code, caught.value.where) == ("fhir.certificate-unusable", setting)
    assert "CANARY" not in str(caught.value)


def test_connections_are_kept_from_call_to_call(authority: Authority) -> None:
    with (
        serving(server_context(*authority.sign("localhost"))) as server,
        client_of(server, Tls(authority.ca_file)) as client,
    ):
        for _ in range(20):
            client.read("Patient/1")
    assert (len(server.asked), server.connections) == (20, 1)


@pytest.mark.parametrize("writes", [False, True])
def test_tls_that_breaks_after_a_write_was_sent_leaves_it_in_doubt(authority: Authority, writes: bool) -> None:
    context = server_context(*authority.sign("localhost"))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take_and_break() -> None:
            plain, _ = listening.accept()
            with context.wrap_socket(plain.dup(), True) as connection:
                connection.recv(65536)
                plain.sendall(b"\x17\x03\x03\x00\x10" + bytes(16))  # a record that no key opens
                plain.close()

        thread = threading.Thread(target=take_and_break, daemon=True)
        thread.start()
        url = f"https://localhost:{listening.getsockname()[1]}/fhir"
        with FhirClient(url, tls=Tls(authority.ca_file)) as client, pytest.raises(BridgeError) as raised:
            client.transaction({"resourceType": "Bundle"}) if writes else client.read("Patient/1")
        thread.join(5)
    assert type(raised.value) is (Uncertain if writes else Unavailable)
