"""The receiver contract of the FHIR door, on what HAPI and other servers really send."""

import json
import random

import pytest
from flask import Flask
from flask.testing import FlaskClient

from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.errors import Unavailable
from fhir_bridge.ports import Notification

TOKEN = "a-long-random-word"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HAPI = BEARER | {"If-Match": 'W/"2"', "Content-Type": "application/fhir+json; charset=UTF-8"}
ORDER = {"resourceType": "ServiceRequest", "id": "9", "meta": {"versionId": "2"}}


class Inbox:
    """The durable inbox of a test: keeps what it is given, or cannot."""

    def __init__(self) -> None:
        self.kept: list[tuple[Notification, bytes]] = []
        self.counted: list[str] = []
        self.full = False

    def receive(self, notification: Notification, body: bytes) -> None:
        if self.full:
            raise Unavailable("store.unavailable", "inbox", "no space")
        self.kept.append((notification, body))

    @property
    def last(self) -> Notification:
        return self.kept[-1][0]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def client(inbox: Inbox) -> FlaskClient:
    app = Flask("door")
    app.register_blueprint(hooks(inbox.receive, TOKEN, max_body_bytes=4096, count=inbox.counted.append))
    return app.test_client()


def test_an_update_by_hapi_is_kept_before_it_is_answered_204_without_a_body(client: FlaskClient, inbox: Inbox) -> None:
    answer = client.put("/hooks/fhir/orders/ServiceRequest/9", headers=HAPI, data=json.dumps(ORDER))
    assert (answer.status_code, answer.data, answer.content_type) == (204, b"", None)
    assert inbox.kept == [
        (Notification(0, "orders", "PUT", "ServiceRequest", "9", "2", "ready"), json.dumps(ORDER).encode())
    ]


def test_a_delete_names_its_resource_by_the_path(client: FlaskClient, inbox: Inbox) -> None:
    assert client.delete("/hooks/fhir/orders/ServiceRequest/9", headers=BEARER).status_code == 204
    assert (inbox.last.method, inbox.last.resource_type, inbox.last.resource_id) == ("DELETE", "ServiceRequest", "9")


def test_a_version_comes_from_the_body_where_the_header_has_none(client: FlaskClient, inbox: Inbox) -> None:
    client.put("/hooks/fhir/orders/ServiceRequest/9", headers=BEARER, data=json.dumps(ORDER))
    assert inbox.last.version_id == "2"


def test_xml_is_named_by_its_path(client: FlaskClient, inbox: Inbox) -> None:
    client.put("/hooks/fhir/orders/ServiceRequest/9", headers=BEARER, data=b"<ServiceRequest/>")
    assert (inbox.last.resource_id, inbox.last.status) == ("9", "ready")


def test_a_resource_posted_without_a_path_is_named_by_its_body(client: FlaskClient, inbox: Inbox) -> None:
    client.post("/hooks/fhir/orders/", headers=BEARER, data=json.dumps(ORDER))
    assert (inbox.last.resource_type, inbox.last.resource_id, inbox.last.version_id) == ("ServiceRequest", "9", "2")


LOOK_AT_EVERYTHING = {
    "an empty POST": b"",
    "an R4 backport bundle": b'{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"Parameters"}}]}',
    "a transaction bundle": b'{"resourceType":"Bundle","type":"transaction","entry":[]}',
    "an R5 bundle": b'{"resourceType":"Bundle","type":"subscription-notification"}',
}


@pytest.mark.parametrize("body", LOOK_AT_EVERYTHING.values(), ids=LOOK_AT_EVERYTHING.keys())
def test_a_call_that_names_no_single_resource_means_look_at_everything(
    client: FlaskClient, inbox: Inbox, body: bytes
) -> None:
    assert client.post("/hooks/fhir/orders", headers=BEARER, data=body).status_code == 204
    assert (inbox.last.resource_type, inbox.last.resource_id, inbox.last.status) == ("", "", "ready")


UNUSABLE = {
    "another id in the body": ("PUT", "/ServiceRequest/8", json.dumps(ORDER).encode(), "hook.body-mismatch"),
    "another type in the body": ("PUT", "/Patient/9", json.dumps(ORDER).encode(), "hook.body-mismatch"),
    "a path that is no type": ("PUT", "/service request/9", b"", "hook.path-unusable"),
    "a path that is no id": ("PUT", "/ServiceRequest/a_b", b"", "hook.path-unusable"),
    "a delete of nothing": ("DELETE", "", b"", "hook.nothing-named"),
    "a body that is no JSON": ("POST", "", b"MSH|^~\\&|", "hook.nothing-named"),
    "a body that is a list": ("POST", "", b"[1]", "hook.nothing-named"),
    "a body without an id": ("POST", "", b'{"resourceType":"ServiceRequest"}', "hook.nothing-named"),
    "a body nested without end": ("POST", "", b"[" * 4000, "hook.nothing-named"),
    "a body in no known charset": ("POST", "", b'{"a":"\xff"}', "hook.nothing-named"),
}


@pytest.mark.parametrize(("method", "path", "body", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_we_cannot_use_is_kept_aside_and_still_answered_204(
    client: FlaskClient, inbox: Inbox, method: str, path: str, body: bytes, reason: str
) -> None:
    answer = client.open(f"/hooks/fhir/orders{path}", method=method, headers=BEARER, data=body)
    assert (answer.status_code, answer.data) == (204, b"")
    assert (inbox.last.status, inbox.last.reason) == ("quarantined", reason)
    assert inbox.kept[-1][1] == body


WRONG = [
    "",
    "Bearer",
    "Bearer ",
    f"Basic {TOKEN}",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    "Bearer \xe4\xf6",
    TOKEN,
]


@pytest.mark.parametrize("authorization", WRONG)
def test_without_the_token_nothing_is_kept(client: FlaskClient, inbox: Inbox, authorization: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = client.put("/hooks/fhir/orders/ServiceRequest/9", headers=headers, data=json.dumps(ORDER))
    assert (answer.status_code, answer.data, inbox.kept) == (401, b"", [])


def test_the_scheme_is_read_in_any_case(client: FlaskClient) -> None:
    assert client.post("/hooks/fhir/orders", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 204


def test_a_body_over_the_limit_is_413_and_not_kept(client: FlaskClient, inbox: Inbox) -> None:
    answer = client.post("/hooks/fhir/orders", headers=BEARER, data=b" " * 4097)
    assert (answer.status_code, answer.data, inbox.kept) == (413, b"", [])


def test_a_body_at_the_limit_is_kept(client: FlaskClient, inbox: Inbox) -> None:
    assert client.post("/hooks/fhir/orders", headers=BEARER, data=b" " * 4096).status_code == 204


def test_a_store_that_cannot_keep_it_is_503(client: FlaskClient, inbox: Inbox) -> None:
    inbox.full = True
    answer = client.put("/hooks/fhir/orders/ServiceRequest/9", headers=HAPI, data=json.dumps(ORDER))
    assert (answer.status_code, answer.data) == (503, b"")


def test_a_hook_only_writes(client: FlaskClient) -> None:
    assert client.get("/hooks/fhir/orders", headers=BEARER).status_code == 405


def test_each_outcome_is_counted(client: FlaskClient, inbox: Inbox) -> None:
    client.post("/hooks/fhir/orders")
    client.post("/hooks/fhir/orders", headers=BEARER)
    client.post("/hooks/fhir/orders", headers=BEARER, data=b"?")
    client.post("/hooks/fhir/orders", headers=BEARER, data=b" " * 5000)
    inbox.full = True
    client.post("/hooks/fhir/orders", headers=BEARER)
    assert inbox.counted == ["unauthorized", "received", "quarantined", "too-large", "unavailable"]


def test_there_is_no_hook_without_a_token(inbox: Inbox) -> None:
    with pytest.raises(ValueError, match="bearer"):
        hooks(inbox.receive, "", max_body_bytes=1)


def test_random_bytes_never_break_the_door(client: FlaskClient, inbox: Inbox) -> None:
    dice = random.Random(7)
    bodies = [dice.randbytes(dice.randrange(1, 200)) for _ in range(200)]
    statuses = {client.post("/hooks/fhir/orders", headers=BEARER, data=body).status_code for body in bodies}
    assert (statuses, len(inbox.kept)) == ({204}, 200)
