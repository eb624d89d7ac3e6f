"""The receiver contract of the FHIR door, on what HAPI and other servers really send."""

import gzip
import json
import zlib

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.errors import Unavailable
from fhir_bridge.hook_intake import HookCall
from fhir_bridge.hook_token import token_for
from fhir_bridge.ports import Notification

SECRET, PREVIOUS = "a-long-random-word", "the-one-before"
LIMIT = 4096
BEARER = {"Authorization": f"Bearer {token_for(SECRET, 'orders')}"}
HAPI = BEARER | {"If-Match": 'W/"2"', "Content-Type": "application/fhir+json; charset=UTF-8"}
ORDER = {"resourceType": "ServiceRequest", "id": "9", "meta": {"versionId": "2"}}
TEXT = json.dumps(ORDER).encode()


class Inbox:
    """The durable inbox of a test: keeps what it is given, or cannot."""

    def __init__(self) -> None:
        self.kept: list[HookCall] = []
        self.counted: list[str] = []
        self.full = False

    def receive(self, call: HookCall) -> None:
        if self.full:
            raise Unavailable("store.unavailable", "inbox", "no space")
        self.kept.append(call)

    @property
    def last(self) -> Notification:
        return self.kept[-1].notifications[0]

    def named(self) -> tuple[str, str, str]:
        return self.last.resource_type, self.last.resource_id, self.last.version_id


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def client(inbox: Inbox) -> FlaskClient:
    app = Flask("door")
    app.register_blueprint(hooks(inbox.receive, SECRET, LIMIT, inbox.counted.append, PREVIOUS))
    return app.test_client()


def test_an_update_by_hapi_is_kept_before_it_is_answered_204_without_a_body(client: FlaskClient, inbox: Inbox) -> None:
    answer = client.put("/hooks/fhir/orders/ServiceRequest/9", headers=HAPI, data=TEXT)
    assert (answer.status_code, answer.data, answer.content_type) == (204, b"", None)
    kept = (Notification(0, "orders", "PUT", "ServiceRequest", "9", "2", "ready"),)
    assert inbox.kept == [HookCall(kept, TEXT, ("orders",))]


def test_a_delete_names_its_resource_by_the_path(client: FlaskClient, inbox: Inbox) -> None:
    assert client.delete("/hooks/fhir/orders/ServiceRequest/9", headers=BEARER).status_code == 204
    assert (inbox.last.method, *inbox.named()) == ("DELETE", "ServiceRequest", "9", "")


def test_a_version_comes_from_the_body_where_the_header_has_none(client: FlaskClient, inbox: Inbox) -> None:
    client.put("/hooks/fhir/orders/ServiceRequest/9", headers=BEARER, data=TEXT)
    assert inbox.last.version_id == "2"


@pytest.mark.parametrize("if_match", ['W/"3"', '"3"', "3"])
def test_a_version_comes_from_the_header_in_any_form(client: FlaskClient, inbox: Inbox, if_match: str) -> None:
    client.put("/hooks/fhir/orders/ServiceRequest/9", headers=BEARER | {"If-Match": if_match}, data=b"")
    assert inbox.last.version_id == "3"


NAMED_BY = {
    "its path, in XML": ("PUT", "/ServiceRequest/9", b"<ServiceRequest xmlns='http://hl7.org/fhir'/>", ("ServiceRequest", "9", "")),
    "its body": ("POST", "", TEXT, ("ServiceRequest", "9", "2")),
    "its body, by PUT": ("PUT", "/", TEXT, ("ServiceRequest", "9", "2")),
    "the tail of a query, as HAPI does it": ("PUT", "?x=1/ServiceRequest/9", TEXT, ("ServiceRequest", "9", "2")),
    "a path with a slash at its end": ("PUT", "/ServiceRequest/9/", TEXT, ("ServiceRequest", "9", "2")),
    "a path with two slashes": ("PUT", "//ServiceRequest/9", TEXT, ("ServiceRequest", "9", "2")),
    "a path with a version": ("PUT", "/ServiceRequest/9/_history/4", b"", ("ServiceRequest", "9", "4")),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "named"), NAMED_BY.values(), ids=NAMED_BY.keys())
def test_a_resource_is_named_by(
    client: FlaskClient, inbox: Inbox, method: str, path: str, body: bytes, named: tuple[str, str, str]
) -> None:
    assert client.open(f"/hooks/fhir/orders{path}", method=method, headers=BEARER, data=body).status_code == 204
    assert (inbox.last.status, inbox.named()) == ("ready", named)


UNUSABLE = {
    "another id in the body": ("PUT", "/ServiceRequest/8", TEXT, "hook.body-mismatch"),
    "another type in the body": ("PUT", "/Patient/9", TEXT, "hook.body-mismatch"),
    "a bundle about another": ("PUT", "/Task/1", b'{"resourceType":"Bundle","entry":[{"fullUrl":"Task/2"}]}', "hook.body-mismatch"),
    "a path that is no type": ("PUT", "/service request/9", b"", "hook.path-unusable"),
    "a path that is no id": ("PUT", "/ServiceRequest/a_b", b"", "hook.path-unusable"),
    "a path that is too short": ("PUT", "/ServiceRequest", b"", "hook.path-unusable"),
    "a path that is too long": ("PUT", "/a/ServiceRequest/9", b"", "hook.path-unusable"),
    "a delete of nothing": ("DELETE", "", b"", "hook.nothing-named"),
    "a body that is no JSON": ("POST", "", b"MSH|^~\\&|", "hook.unreadable"),
    "a body without an id": ("POST", "", b'{"resourceType":"ServiceRequest"}', "hook.nothing-named"),
    "a body nested without end": ("POST", "", b"[" * 4000, "hook.unreadable"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_we_cannot_use_is_kept_aside_and_still_answered_204(
    client: FlaskClient, inbox: Inbox, method: str, path: str, body: bytes, reason: str
) -> None:
    answer = client.open(f"/hooks/fhir/orders{path}", method=method, headers=BEARER, data=body)
    assert (answer.status_code, answer.data) == (204, b"")
    assert (inbox.last.status, inbox.last.reason, inbox.kept[-1].body) == ("quarantined", reason, body)


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream", "multipart/form-data", "nonsense"])
def test_another_type_of_content_is_kept_aside(client: FlaskClient, inbox: Inbox, content_type: str) -> None:
    headers = BEARER | {"Content-Type": content_type}
    assert client.put("/hooks/fhir/orders/ServiceRequest/9", headers=headers, data=TEXT).status_code == 204
    assert (inbox.last.status, inbox.last.reason) == ("quarantined", "hook.content-type")


def test_an_empty_call_has_any_type_of_content(client: FlaskClient, inbox: Inbox) -> None:
    client.post("/hooks/fhir/orders", headers=BEARER | {"Content-Type": "text/plain"})
    assert (inbox.last.status, inbox.last.reason) == ("done", "hook.empty")


@pytest.mark.parametrize("compress", [gzip.compress, lambda body: gzip.compress(body, 0)])
def test_a_compressed_body_is_kept_inflated(client: FlaskClient, inbox: Inbox, compress: object) -> None:
    headers = BEARER | {"Content-Encoding": "gzip"}
    client.post("/hooks/fhir/orders", headers=headers, data=compress(TEXT))  # type: ignore[operator]
    assert (inbox.named(), inbox.kept[-1].body) == (("ServiceRequest", "9", "2"), TEXT)


NO_GZIP = {
    "cut off": gzip.compress(TEXT)[:-5],
    "none at all": TEXT[1:],
    "another format": zlib.compress(TEXT),
    "two members": gzip.compress(TEXT) * 2,
}


@pytest.mark.parametrize("body", NO_GZIP.values(), ids=NO_GZIP.keys())
def test_a_body_that_cannot_be_inflated_is_kept_as_it_came(client: FlaskClient, inbox: Inbox, body: bytes) -> None:
    assert (
        client.post("/hooks/fhir/orders", headers=BEARER | {"Content-Encoding": "gzip"}, data=body).status_code == 204
    )
    assert (inbox.last.reason, inbox.kept[-1].body) == ("hook.unreadable", body)


@pytest.mark.parametrize("size", [LIMIT + 1, 2_000_000])
def test_the_limit_holds_for_the_inflated_body(client: FlaskClient, inbox: Inbox, size: int) -> None:
    body = gzip.compress(b" " * size)
    answer = client.post("/hooks/fhir/orders", headers=BEARER | {"Content-Encoding": "gzip"}, data=body)
    assert (len(body) < LIMIT, answer.status_code, inbox.kept) == (True, 413, [])


OPENS = {
    "the token of this hook": token_for(SECRET, "orders"),
    "the secret itself": SECRET,
    "the token of this hook by the secret before": token_for(PREVIOUS, "orders"),
    "the secret before": PREVIOUS,
}


@pytest.mark.parametrize("token", OPENS.values(), ids=OPENS.keys())
def test_what_opens_the_hook(client: FlaskClient, token: str) -> None:
    assert client.post("/hooks/fhir/orders", headers={"Authorization": f"bearer {token}"}).status_code == 204


WRONG = {
    "none": "",
    "a scheme alone": "Bearer",
    "an empty one": "Bearer ",
    "another scheme": f"Basic {SECRET}",
    "a longer one": f"Bearer {SECRET}x",
    "a shorter one": f"Bearer {SECRET[:-1]}",
    "no ASCII": "Bearer \xe4\xf6",
    "no scheme": SECRET,
    "the token of another hook": f"Bearer {token_for(SECRET, 'studies')}",
    "a token of the empty secret": f"Bearer {token_for('', 'orders')}",
}


@pytest.mark.parametrize("authorization", WRONG.values(), ids=WRONG.keys())
def test_without_the_token_nothing_is_kept(client: FlaskClient, inbox: Inbox, authorization: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = client.put("/hooks/fhir/orders/ServiceRequest/9", headers=headers, data=TEXT)
    assert (answer.status_code, answer.data, inbox.kept) == (401, b"", [])


def test_a_body_over_the_limit_is_413_and_not_kept(client: FlaskClient, inbox: Inbox) -> None:
    answer = client.post("/hooks/fhir/orders", headers=BEARER, data=b" " * (LIMIT + 1))
    assert (answer.status_code, answer.data, inbox.kept) == (413, b"", [])


def test_a_body_at_the_limit_is_kept(client: FlaskClient, inbox: Inbox) -> None:
    assert client.post("/hooks/fhir/orders", headers=BEARER, data=b" " * LIMIT).status_code == 204


def test_a_store_that_cannot_keep_it_is_503(client: FlaskClient, inbox: Inbox) -> None:
    inbox.full = True
    answer = client.put("/hooks/fhir/orders/ServiceRequest/9", headers=HAPI, data=TEXT)
    assert (answer.status_code, answer.data) == (503, b"")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["", "/ServiceRequest/9"])
def test_a_hook_only_writes(client: FlaskClient, method: str, path: str) -> None:
    assert client.open(f"/hooks/fhir/orders{path}", method=method, headers=BEARER).status_code == 405


def test_each_outcome_is_counted(client: FlaskClient, inbox: Inbox) -> None:
    client.post("/hooks/fhir/orders")
    client.post("/hooks/fhir/orders", headers=BEARER)
    client.post("/hooks/fhir/orders", headers=BEARER, data=b'{"resourceType":"Patient","id":"7"}')
    client.post("/hooks/fhir/orders", headers=BEARER, data=b"?")
    client.post("/hooks/fhir/orders", headers=BEARER, data=b" " * 5000)
    inbox.full = True
    client.post("/hooks/fhir/orders", headers=BEARER)
    assert inbox.counted == ["unauthorized", "received", "ignored", "quarantined", "too-large", "unavailable"]


def test_there_is_no_hook_without_a_token(inbox: Inbox) -> None:
    with pytest.raises(ValueError, match="bearer"):
        hooks(inbox.receive, "", max_body_bytes=1)


PIECES = st.text(alphabet="AZaz09/-._~ %?\xe4", max_size=30)


@pytest.mark.parametrize("path", ["%0A", "a%0Ab", "ServiceRequest/9%0A", "%0D%0A/x"])
def test_a_path_with_a_line_break_is_kept_as_one_that_cannot_be_used(
    client: FlaskClient, inbox: Inbox, path: str
) -> None:
    assert client.post(f"/hooks/fhir/orders/{path}", headers=BEARER).status_code == 204
    assert (inbox.last.status, inbox.last.reason) == ("quarantined", "hook.path-unusable")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["POST", "PUT", "DELETE"]),
    PIECES,
    st.binary(max_size=LIMIT + 8),
    st.sampled_from(["", "application/fhir+json", "application/fhir+xml", "text/csv"]),
    st.sampled_from(["", "gzip", "br"]),
)
def test_no_call_ever_breaks_the_door(
    client: FlaskClient, method: str, path: str, body: bytes, content_type: str, encoding: str
) -> None:
    headers = BEARER | {"Content-Type": content_type, "Content-Encoding": encoding}
    answer = client.open(f"/hooks/fhir/orders/{path}", method=method, headers=headers, data=body)
    assert answer.status_code in ((204,) if len(body) <= LIMIT else (413,))
