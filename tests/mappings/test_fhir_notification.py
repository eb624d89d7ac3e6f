"""What the bodies of REST hooks tell: the standard's examples, HAPI's requests, and whatever else may come."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.fhir_notification import MOST_TOLD, Notice, Told, read_notice, reference_of

DATA = Path(__file__).resolve().parent.parent / "data" / "fhir"
KINDS = ("ServiceRequest", "ImagingStudy", "Task")
ENCOUNTER = Told("Encounter", "86009987-eabe-42bf-8c02-b112b18cb616")
JSON = "application/fhir+json"

EVENT = {"kind": "event-notification", "numbers": (2,), "events": 2, "status": "active"}
STANDARD = {
    "handshake": Notice(kind="handshake", events=0, status="requested"),
    "heartbeat": Notice(kind="heartbeat", events=2, status="active"),
    "empty": Notice(is_whole=False, **EVENT),
    "id-only": Notice((ENCOUNTER,), **EVENT),
    "full-resource": Notice((ENCOUNTER,), **EVENT),
    "multi-resource": Notice((ENCOUNTER,), **EVENT),  # the Patient is context
    "error": Notice(kind="query-status", events=3, status="error"),
}


@pytest.mark.parametrize("dialect", ["r4", "r4b"])
@pytest.mark.parametrize(("name", "expected"), STANDARD.items())
def test_the_examples_of_the_backport_guide(dialect: str, name: str, expected: Notice) -> None:
    body = (DATA / "standard" / f"{dialect}-{name}.json").read_bytes()
    assert read_notice(body, JSON, KINDS) == expected


R5 = {
    "r5-empty.json": Notice(is_whole=False, **EVENT),
    "r5-id-only.json": Notice((Told("Encounter", "2"),), **EVENT),
    "r5-id-only.xml": Notice((Told("Encounter", "2"),), **EVENT),
    "r5-query-status.json": Notice(kind="query-status", events=310, status="active"),
    "r5-heartbeat.json": Notice(kind="heartbeat", events=310, status="active"),
}


@pytest.mark.parametrize(("name", "expected"), R5.items())
def test_the_examples_of_r5(name: str, expected: Notice) -> None:
    body = (DATA / "standard" / name).read_bytes()
    assert read_notice(body, f"application/fhir+{name.rpartition('.')[2]}", KINDS) == expected


def hapi(capture: str, number: int) -> bytes:
    found = json.loads((DATA / "hapi" / capture).read_text())["requests"][number]["body"]
    return str(found).encode()


ORDER = Told("ServiceRequest", "1009", "1")
OF_HAPI = {
    "a resource in JSON": ("01-create-hooks.json", 0, Notice((ORDER,))),
    "a resource in XML": ("01-create-hooks.json", 1, Notice((ORDER,))),
    "a resource without its version": ("01-create-hooks.json", 3, Notice((Told("ServiceRequest", "1009"),))),
    "no body": ("01-create-hooks.json", 6, Notice(is_whole=False)),
    "a study": ("05-transaction-imagingstudy-hook.json", 0, Notice((Told("ImagingStudy", "1057", "1"),))),
    "a transaction of what a search found": (
        "06-payload-search-criteria-bundle.json",
        0,
        Notice((Told("ServiceRequest", "1077", "1"), Told("Patient", "1046", "1"))),
    ),
    "a topic, full resource": (
        "07-topic-notifications-create.json",
        0,
        Notice(
            (Told("ServiceRequest", "3879", "1"),), kind="event-notification", numbers=(1,), events=1, status="active"
        ),
    ),
    "a topic, id only": (
        "07-topic-notifications-create.json",
        1,
        Notice(
            (Told("ServiceRequest", "3879", "1"),), kind="event-notification", numbers=(1,), events=1, status="active"
        ),
    ),
    "a topic, empty, with a whole Patient": (
        "07-topic-notifications-create.json",
        2,
        Notice(is_whole=False, kind="event-notification", numbers=(1,), events=1, status="active"),
    ),
    "a topic, the fourth version": (
        "08-topic-notification-on-hold-to-active.json",
        0,
        Notice((Told("ServiceRequest", "3862", "4"),), **EVENT),
    ),
}


@pytest.mark.parametrize(("capture", "number", "expected"), OF_HAPI.values(), ids=OF_HAPI.keys())
def test_what_hapi_sends(capture: str, number: int, expected: Notice) -> None:
    content_type = "" if b"<ServiceRequest" in hapi(capture, number) else JSON
    assert read_notice(hapi(capture, number), content_type, KINDS) == expected


def a_status(*events: dict[str, Any], **elements: Any) -> dict[str, Any]:
    return {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": "event-notification",
        "eventsSinceSubscriptionStart": "9",
        "notificationEvent": list(events),
    } | elements


def an_event(number: Any, reference: str = "") -> dict[str, Any]:
    return {"eventNumber": number} | ({"focus": {"reference": reference}} if reference else {})


def a_bundle(status: dict[str, Any], *entries: dict[str, Any]) -> bytes:
    return json.dumps({"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}, *entries]}).encode()


def told(body: bytes) -> tuple[Told, ...]:
    return read_notice(body, JSON, KINDS).told


def test_several_events_of_one_bundle_are_all_told() -> None:
    status = a_status(an_event("8", "ServiceRequest/1"), an_event("9", "ServiceRequest/2/_history/3"))
    notice = read_notice(a_bundle(status), JSON, KINDS)
    assert (notice.told, notice.numbers) == ((Told("ServiceRequest", "1"), Told("ServiceRequest", "2", "3")), (8, 9))


def test_two_events_of_one_resource_are_one_to_read() -> None:
    assert told(a_bundle(a_status(an_event(8, "Task/1"), an_event(9, "Task/1")))) == (Told("Task", "1"),)


def test_an_event_among_others_that_names_nothing_is_said() -> None:
    notice = read_notice(a_bundle(a_status(an_event(8, "Task/1"), an_event(9))), JSON, KINDS)
    assert (notice.told, notice.is_whole) == ((Told("Task", "1"),), False)


def test_a_focus_that_is_a_urn_is_found_by_the_full_url_of_its_entry() -> None:
    entry = {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Task", "id": "5", "meta": {"versionId": "2"}}}
    assert told(a_bundle(a_status(an_event(9, "urn:uuid:1")), entry)) == (Told("Task", "5", "2"),)


WITHOUT_FOCUS = {
    "by its resource": {"resource": {"resourceType": "ServiceRequest", "id": "5"}},
    "by its full URL": {"fullUrl": "https://fhir.example/r4/ServiceRequest/5"},
    "by its request": {"request": {"method": "PUT", "url": "ServiceRequest/5"}},
}


@pytest.mark.parametrize("entry", WITHOUT_FOCUS.values(), ids=WITHOUT_FOCUS.keys())
def test_without_a_focus_the_entry_names_it(entry: dict[str, Any]) -> None:
    included = {"resource": {"resourceType": "Patient", "id": "1"}}
    notice = read_notice(a_bundle(a_status(an_event(9)), entry, included), JSON, KINDS)
    assert (notice.told, notice.is_whole) == ((Told("ServiceRequest", "5"),), True)


def test_a_deletion_is_known_by_the_request_of_the_entry() -> None:
    entry = {"fullUrl": "ServiceRequest/5", "request": {"method": "DELETE", "url": "ServiceRequest/5"}}
    assert told(a_bundle(a_status(an_event(9, "ServiceRequest/5")), entry)) == (
        Told("ServiceRequest", "5", is_deleted=True),
    )


@pytest.mark.parametrize("kind", ["valueString", "valueInteger", "valueInteger64", "valueUnsignedInt"])
def test_numbers_of_an_r4_status_come_in_any_type(kind: str) -> None:
    value: Any = "7" if kind in ("valueString", "valueInteger64") else 7
    event = {"name": "notification-event", "part": [{"name": "event-number", kind: value}]}
    parameters = [event, {"name": "events-since-subscription-start", kind: value}]
    notice = read_notice(a_bundle({"resourceType": "Parameters", "parameter": parameters}), JSON, KINDS)
    assert (notice.numbers, notice.events) == ((7,), 7)


def test_a_status_alone_is_taken_like_one_in_a_bundle() -> None:
    status = json.dumps(a_status(type="heartbeat", notificationEvent=None)).encode()
    assert read_notice(status, JSON, KINDS) == Notice(kind="heartbeat", events=9, status="active")


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", 1.5, True, None, [], {}, -1, "9" * 40, 10**40, "²"])
def test_what_is_no_number_counts_nothing(number: Any) -> None:
    status = a_status(an_event(number, "Task/1"), eventsSinceSubscriptionStart=number)
    notice = read_notice(a_bundle(status), JSON, KINDS)
    assert (notice.numbers, notice.events, notice.told) == ((), None, (Told("Task", "1"),))


def test_more_resources_than_are_read_one_by_one_are_left_to_be_asked_for() -> None:
    events = [an_event(number, f"Task/{number}") for number in range(1, MOST_TOLD + 2)]
    notice = read_notice(a_bundle(a_status(*events)), JSON, KINDS)
    assert (len(notice.told), notice.is_whole) == (MOST_TOLD, False)


REFERENCES = {
    "ServiceRequest/5": Told("ServiceRequest", "5"),
    "https://fhir.example/r4/ServiceRequest/5": Told("ServiceRequest", "5"),
    "ServiceRequest/5/_history/2": Told("ServiceRequest", "5", "2"),
    "ServiceRequest": None,
    "ServiceRequest/": None,
    "ServiceRequest/a_b": None,
    "serviceRequest/5": None,
    "#contained": None,
    "urn:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427": None,
    "PatientFlag?patient=1": None,
    "https://fhir.example/Composition/1/$document": None,
    "ServiceRequest/5\n": None,
    "x/" * 2000 + "ServiceRequest/5": None,
}


@pytest.mark.parametrize(("text", "expected"), REFERENCES.items())
def test_literal_references(text: str, expected: Told | None) -> None:
    assert reference_of(text) == expected


UNUSABLE = {
    "no FHIR": (b"MSH|^~\\&|", "", "hook.unreadable"),
    "a list": (b"[1]", JSON, "hook.unreadable"),
    "HTML": (b"<html><body>hello</body></html>", "", "hook.nothing-named"),
    "cut off": (b'{"resourceType":"ServiceRequest","id":"5"', JSON, "hook.unreadable"),
    "nested without end": (b"[" * 100_000, JSON, "hook.unreadable"),
    "objects nested without end": (b'{"a":' * 100_000, JSON, "hook.unreadable"),
    "a number of a million digits": (b'{"a":' + b"1" * 1_000_000 + b"}", JSON, "hook.unreadable"),
    "no charset": (b'{"a":"\xff"}', JSON, "hook.unreadable"),
    "a name twice": (b'{"resourceType":"ServiceRequest","id":"5","id":"6"}', JSON, "hook.unreadable"),
    "no id": (b'{"resourceType":"ServiceRequest"}', JSON, "hook.nothing-named"),
    "an id that is a number": (b'{"resourceType":"ServiceRequest","id":5}', JSON, "hook.nothing-named"),
    "a type that is a list": (b'{"resourceType":["ServiceRequest"],"id":"5"}', JSON, "hook.nothing-named"),
    "an unusual type of content": (b"{}", "text/html; charset=utf-8", "hook.content-type"),
    "XML of another kind": (
        b"<ServiceRequest><id value='5'/></ServiceRequest>",
        "application/xml",
        "hook.nothing-named",
    ),
    "XML cut off": (b"<ServiceRequest xmlns='http://hl7.org/fhir'><id", "application/xml", "hook.unreadable"),
    "XML with an id twice": (
        b"<ServiceRequest xmlns='http://hl7.org/fhir'><id value='5'/><id value='6'/></ServiceRequest>",
        "application/fhir+xml",
        "hook.nothing-named",
    ),
    "XML with a DTD": (
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><ServiceRequest xmlns='http://hl7.org/fhir'><id value='&b;'/></ServiceRequest>",
        "application/fhir+xml",
        "hook.unreadable",
    ),
    "XML in a charset that nobody knows": (
        b"<?xml version='1.0' encoding='x-none'?><a/>",
        "text/xml",
        "hook.unreadable",
    ),
    "JSON as XML": (b"{}", "application/fhir+xml", "hook.unreadable"),
}


@pytest.mark.parametrize(("body", "content_type", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_cannot_be_read_is_said_and_not_raised(body: bytes, content_type: str, reason: str) -> None:
    assert read_notice(body, content_type, KINDS) == Notice(reason=reason, is_whole=False)


def test_xml_nested_without_end_is_read_to_its_depth() -> None:
    deep = b"<extension>" * 100_000 + b"</extension>" * 100_000
    body = b"<Task xmlns='http://hl7.org/fhir'><id value='5'/>" + deep + b"</Task>"
    assert read_notice(body, "application/fhir+xml", KINDS).told == (Told("Task", "5"),)


@pytest.mark.parametrize("content_type", [JSON, "text/xml"])
def test_fifty_mebibytes_are_read(content_type: str) -> None:
    big = b"a" * (50 << 20)
    xml = b"<Task xmlns='http://hl7.org/fhir'><text value='" + big + b"'/><id value='5'/></Task>"
    body = xml if content_type == "text/xml" else b'{"resourceType":"Task","text":"' + big + b'","id":"5"}'
    assert read_notice(body, content_type, KINDS).told == (Told("Task", "5"),)


def test_as_many_events_as_entries_take_no_longer_than_their_sum() -> None:
    """A hundred million pairs would take minutes."""
    events = [an_event(number, f"Task/{number}") for number in range(1, 10_001)]
    entries = [{"resource": {"resourceType": "Task", "id": str(number)}} for number in range(10_001)]
    assert read_notice(a_bundle(a_status(*events), *entries), JSON, KINDS).numbers[-1] == 10_000


@pytest.mark.parametrize(
    "content_type", ["", "application/json; charset=UTF-8", "APPLICATION/FHIR+JSON", "application/json+fhir"]
)
def test_json_has_many_names(content_type: str) -> None:
    assert read_notice(b'{"resourceType":"Task","id":"5"}', content_type, KINDS).told == (Told("Task", "5"),)


WORDS = st.sampled_from(
    ["resourceType", "Bundle", "entry", "resource", "Parameters", "SubscriptionStatus", "parameter", "part", "name", "type",
     "notification-event", "notificationEvent", "focus", "reference", "Task/1", "event-number", "valueString", "id", "meta",
     "versionId", "request", "method", "url", "fullUrl", "heartbeat", "status", "eventsSinceSubscriptionStart"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=6),
    max_leaves=40,
)


@given(st.binary(), st.sampled_from(["", JSON, "application/fhir+xml", "text/plain"]))
def test_any_bytes_have_an_answer(body: bytes, content_type: str) -> None:
    assert isinstance(read_notice(body, content_type, KINDS), Notice)


@given(ANY_JSON, st.sampled_from(["Bundle", "Parameters", "SubscriptionStatus", "Task"]))
def test_any_json_has_an_answer(value: Any, kind: str) -> None:
    elements = value if isinstance(value, dict) else {"entry": value, "parameter": value, "notificationEvent": value}
    body = json.dumps(elements | {"resourceType": kind}).encode()
    assert isinstance(read_notice(body, JSON, KINDS), Notice)


@given(ANY_JSON)
def test_any_status_in_a_bundle_has_an_answer(value: Any) -> None:
    body = a_bundle(a_status(notificationEvent=value, type=value, status=value, eventsSinceSubscriptionStart=value))
    assert isinstance(read_notice(body, JSON, KINDS), Notice)
