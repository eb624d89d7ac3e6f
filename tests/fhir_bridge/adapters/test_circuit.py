"""A server that answers nothing is left alone, then tried by one call (R4 says nothing of it: the settings `fhir.circuit_*` do)."""

import threading
from dataclasses import replace

import pytest

from fhir_bridge.adapters.circuit import Circuit
from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_transport import Limits
from fhir_bridge.errors import BridgeError, Unavailable
from tests.support.scripted_http import Scripted, ScriptedServer, fhir, in_turn, scripted_server
from tests.support.waiting_time import WaitingTime

PATIENT = {"resourceType": "Patient", "id": "1"}
LIMITS = Limits(timeout_seconds=1, deadline_seconds=0.2, circuit_failures=3, circuit_seconds=30)  # one attempt a call
HTML = {"Content-Type": "text/html"}


def client_of(server: ScriptedServer, waiting: WaitingTime) -> FhirClient:
    return FhirClient(f"{server.url}/fhir", limits=LIMITS, timing=waiting.timing())


def code_of(client: FhirClient) -> str:
    try:
        client.read("Patient/1")
    except BridgeError as error:
        return error.code
    return ""


@pytest.mark.parametrize("status", [502, 503, 504])
def test_after_so_many_calls_without_an_answer_the_server_is_left_alone(waiting: WaitingTime, status: int) -> None:
    with scripted_server(in_turn(Scripted(status, b"", HTML))) as server, client_of(server, waiting) as client:
        codes = [code_of(client) for _ in range(5)]
        assert codes == ["fhir.unavailable"] * 3 + ["fhir.circuit-open"] * 2
        assert len(server.asked) == 3


def test_nobody_there_opens_the_circuit(waiting: WaitingTime) -> None:
    with scripted_server(in_turn(fhir(PATIENT))) as server:
        client = client_of(server, waiting)
    assert [code_of(client) for _ in range(4)][-1] == "fhir.circuit-open"


def test_a_call_that_is_not_made_says_when_to_come_again(waiting: WaitingTime) -> None:
    with scripted_server(in_turn(Scripted(503, b"", HTML))) as server, client_of(server, waiting) as client:
        for _ in range(3):
            code_of(client)
        waiting.now += 10
        with pytest.raises(Unavailable) as caught:
            client.read("Patient/1")
    assert caught.value.retry_after == 20


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 412, 422, 429, 500])
def test_refusals_are_answers_and_open_nothing(waiting: WaitingTime, status: int) -> None:
    refusal = fhir({"resourceType": "OperationOutcome"}, status)
    with scripted_server(in_turn(refusal)) as server, client_of(server, waiting) as client:
        for _ in range(6):
            code_of(client)
        assert len(server.asked) == 6


def test_answers_that_are_too_large_are_answers_and_open_nothing(waiting: WaitingTime) -> None:
    limits = replace(LIMITS, max_body_bytes=9)
    with scripted_server(in_turn(fhir(PATIENT))) as server:
        client = FhirClient(f"{server.url}/fhir", limits=limits, timing=waiting.timing())
        assert [code_of(client) for _ in range(5)] == ["fhir.too-large"] * 5
        client.close()


def test_an_answer_in_between_begins_the_count_anew(waiting: WaitingTime) -> None:
    away, here = Scripted(503, b"", HTML), fhir(PATIENT)
    answers = in_turn(away, away, here, away, away, here)
    with scripted_server(answers) as server, client_of(server, waiting) as client:
        assert [code_of(client) for _ in range(6)].count("fhir.circuit-open") == 0


def test_a_call_with_all_its_retries_counts_once(waiting: WaitingTime) -> None:
    limits = Limits(circuit_failures=2)
    with (
        scripted_server(in_turn(Scripted(503, b"", HTML))) as server,
        FhirClient(f"{server.url}/fhir", limits=limits, timing=waiting.timing()) as client,
    ):
        assert [code_of(client) for _ in range(3)] == ["fhir.unavailable", "fhir.unavailable", "fhir.circuit-open"]
        assert len(server.asked) == 10


def test_the_call_that_tries_closes_the_circuit(waiting: WaitingTime) -> None:
    away = Scripted(503, b"", HTML)
    with scripted_server(in_turn(away, away, away, fhir(PATIENT))) as server, client_of(server, waiting) as client:
        for _ in range(3):
            code_of(client)
        waiting.now += 30
        assert [code_of(client), code_of(client)] == ["", ""]


def test_the_call_that_tries_is_made_once_and_opens_the_circuit_again(waiting: WaitingTime) -> None:
    limits = Limits(circuit_failures=1, circuit_seconds=30)
    with (
        scripted_server(in_turn(Scripted(503, b"", HTML))) as server,
        FhirClient(f"{server.url}/fhir", limits=limits, timing=waiting.timing()) as client,
    ):
        code_of(client)
        waiting.now += 30
        asked = len(server.asked)
        assert [code_of(client), code_of(client)] == ["fhir.unavailable", "fhir.circuit-open"]
        assert len(server.asked) == asked + 1


def test_while_one_call_tries_all_others_fail_at_once(waiting: WaitingTime) -> None:
    circuit = Circuit(1, 30, lambda: waiting.now)
    with circuit.call("GET Patient") as passage:
        passage.heard = False
    waiting.now += 31
    with circuit.call("GET Patient") as trial:
        assert trial.tries
        with pytest.raises(Unavailable) as caught, circuit.call("GET Patient"):
            pass
        trial.heard = True
    assert caught.value.code == "fhir.circuit-open"
    with circuit.call("GET Patient") as after:
        assert not after.tries


def test_a_trial_that_never_reached_the_server_leaves_the_next_call_to_try(waiting: WaitingTime) -> None:
    circuit = Circuit(1, 30, lambda: waiting.now)
    with circuit.call("GET Patient") as passage:
        passage.heard = False
    waiting.now += 31
    with circuit.call("GET Patient"):
        pass  # no token, say
    with circuit.call("GET Patient") as trial:
        assert trial.tries


def test_ping_passes_the_circuit_by(waiting: WaitingTime) -> None:
    statement = fhir({"resourceType": "CapabilityStatement"})
    away = Scripted(503, b"", HTML)
    with scripted_server(in_turn(away, away, away, statement)) as server, client_of(server, waiting) as client:
        for _ in range(3):
            code_of(client)
        client.ping()
        assert code_of(client) == "fhir.circuit-open"


def test_calls_do_not_wait_for_one_another(waiting: WaitingTime) -> None:
    """What PyPI's pybreaker would not give: its lock is held during the call."""
    circuit, both = Circuit(5, 30, lambda: waiting.now), threading.Barrier(2, timeout=10)

    def call() -> None:
        with circuit.call("GET Patient") as passage:
            both.wait()  # breaks where the other one is not inside
            passage.heard = True

    other = threading.Thread(target=call)
    other.start()
    call()
    other.join()
