"""The message inspector. The canary guard reads every answer here: all identifiers are canaries."""

import pytest
from flask.testing import FlaskClient

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.intake import Intake, IntakePolicy
from fhir_bridge.judgement import take
from fhir_bridge.senders import SenderRules, Senders
from fhir_bridge.web.app import make_app
from fhir_bridge.web.message_pages import message_pages, peers_of, segments_of
from fhir_bridge.web.pages import only_this_machine, pages
from hl7_listener.connection import Received
from hl7_listener.header import read_header
from hl7_listener.traffic import Traffic
from tests.support.er7_orders import an_order
from tests.support.frozen_clock import FrozenClock
from tests.support.shown_jobs import ShownJobs

NAMES = {("PID", 3): "Patient identifier list", ("ORC", 1): "Order control"}


def name_of(_version: str, segment: str, position: int) -> str:
    return NAMES.get((segment, position), "")


@pytest.fixture
def client(clock: FrozenClock) -> FlaskClient:
    """An order, one that was refused at the door, and one that intake refused: it names the first one's patient otherwise."""
    journal, store, senders = InMemoryJournal(clock), InMemoryStore(clock), Senders(SenderRules())
    another_patient = an_order("M3", control="CA").replace("CANARY-1^^^HOSP", "CANARY-2^^^HOSP")
    for text in (an_order("M1"), an_order("M2", control="QQ"), another_patient):
        with journal.transaction() as page:
            take(Received("mllp", "192.0.2.1:5", text.encode(), read_header(text.encode())), page, senders)
    Intake(journal, store, IntakePolicy(senders), clock, lambda _: None).apply_next()
    shown = ShownJobs()
    blueprints = (
        pages(shown, shown, clock, shown.job_counts),  # type: ignore[arg-type]
        message_pages(journal, store, clock, name_of, only_this_machine),
    )
    return make_app(blueprints).test_client()


def read(client: FlaskClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_the_list_shows_answer_and_reason_of_every_message(client: FlaskClient) -> None:
    page = read(client, "/messages")
    for words in ("ORM^O01", "order.control-unknown", "ORC^1^1", "order.patient-conflict"):
        assert words in page


@pytest.mark.parametrize(
    ("state", "shown", "hidden"),
    [
        ("refused", "/messages/2", "/messages/1"),
        ("dead-letter", "/messages/3", "/messages/2"),
        ("accepted", "/messages/1", "/messages/2"),
    ],
)
def test_the_list_can_be_narrowed(client: FlaskClient, state: str, shown: str, hidden: str) -> None:
    page = read(client, f"/messages?state={state}")
    assert (f'"{shown}"' in page, f'"{hidden}"' in page) == (True, False)


def test_a_message_shows_which_element_came_from_which_field(client: FlaskClient) -> None:
    page = read(client, "/messages/1")
    assert "OBR^1^18" in page
    assert "Patient identifier list" in page


def test_a_message_without_effect_says_why(client: FlaskClient) -> None:
    assert "order.patient-conflict" in read(client, "/messages/3")


@pytest.mark.parametrize("path", ["/messages/99", f"/messages/{2**63}", "/messages?state=lost"])
def test_what_is_not_there_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_pages_are_for_this_machine(client: FlaskClient) -> None:
    assert client.get("/messages", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 403


def test_fields_are_named_and_counted_but_never_shown() -> None:
    raw = b'MSH|^~\\&|RIS||||||ORM^O01|M1|P|2.5\rPID|1||CANARY-1~CANARY-2||""\r'
    pid = segments_of(raw, name_of)[1]
    assert [(field.where, field.name, field.holds) for field in pid.fields] == [
        ("PID^1^1", "", "a value"),
        ("PID^1^3", "Patient identifier list", "2 repetitions"),
        ("PID^1^5", "", "null: delete"),
    ]


def test_a_message_is_taken_apart_without_its_senders_character_set() -> None:
    assert [each.name for each in segments_of(b"MSH|^~\\&|RIS\rPID|1||CANARY-\xe4\r", name_of)] == ["MSH", "PID"]


def test_what_cannot_be_read_has_no_segments() -> None:
    assert segments_of(b"CANARY", name_of) == ()


def test_what_could_not_be_framed_is_shown_for_each_peer() -> None:
    quiet, noisy = Traffic(), Traffic()
    quiet.of("192.0.2.1").note_message((), oversize=False)
    noisy.of("192.0.2.2").discarded["no-start"] = 17
    noisy.of("192.0.2.2").note_message(("lf-segments",), oversize=False)
    shown = peers_of({"mllp": quiet.statistics(0, 0, 0, 0), "emr": noisy.statistics(0, 0, 0, 0)})
    assert [(peer.listener, peer.address, peer.messages, peer.tolerated, peer.discarded) for peer in shown] == [
        ("emr", "192.0.2.2", 1, "lf-segments 1", "no-start 17"),
        ("mllp", "192.0.2.1", 1, "", ""),
    ]
