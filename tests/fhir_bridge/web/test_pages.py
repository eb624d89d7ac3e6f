"""The worklist and the page of a job. The canary guard reads every answer here: all identifiers are canaries."""

from html.parser import HTMLParser

import pytest
from flask.testing import FlaskClient

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.job import Stage, Status
from fhir_bridge.web.app import make_app
from fhir_bridge.web.message_pages import message_pages
from fhir_bridge.web.pages import MASK, ago, only_this_machine, pages, steps_of
from fhir_bridge.web.subscription_pages import subscription_pages
from mappings.finding import ReportOutcome
from mappings.order import Priority
from tests.support.frozen_clock import FrozenClock
from tests.support.shown_jobs import AT, ShownJobs, a_job, a_picture, a_report


class Outline(HTMLParser):
    """Whether tags are closed in order, and what a page refers to."""

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.targets: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name == "style" or name.startswith("on")], (
            "the policy forbids inline styles and scripts"
        )
        assert tag not in ("script", "style")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


JOBS = (
    a_job("job-1"),
    a_job("job-2", status=Status.HELD, stage=Stage.CONTEXT, reason="patient.not-found", priority=Priority.STAT),
    a_job("job-3", status=Status.WAITING, stage=Stage.STUDY, reason="study.not-there-yet", source="fhir"),
)


@pytest.fixture
def store() -> ShownJobs:
    store = ShownJobs(*JOBS)
    store.reports["job-1"] = a_report()
    return store


@pytest.fixture
def client(store: ShownJobs) -> FlaskClient:
    clock = FrozenClock(AT)
    clock.advance(120)
    messages = message_pages(InMemoryJournal(clock), InMemoryStore(clock), clock, lambda *_: "", only_this_machine)
    feeds = subscription_pages(InMemoryStore(clock), clock, tuple, only_this_machine)
    blueprints = [pages(store, store, clock, store.job_counts), messages, feeds]  # type: ignore[arg-type]
    return make_app(blueprints).test_client()


def read(client: FlaskClient, path: str) -> Outline:
    answer = client.get(path)
    assert answer.status_code == 200
    return Outline(answer.get_data(as_text=True))


def test_the_worklist_shows_every_job_with_its_state_and_reason(client: FlaskClient) -> None:
    page = read(client, "/")
    assert page.open == []
    for words in (
        "job-1 done",
        "job-2 held context stat DX XR-CHEST-PA HL7 v2 patient.not-found 2 min ago",
        "job-3 waiting study",
    ):
        assert words in page.text


def test_the_worklist_of_one_status_has_no_other(client: FlaskClient) -> None:
    page = read(client, "/?status=held")
    assert ("/jobs/job-2" in page.targets, "/jobs/job-1" in page.targets) == (True, False)


def test_the_counts_are_of_all_jobs(client: FlaskClient) -> None:
    assert (
        "3 all 0 ready 0 running 1 waiting 1 held 0 on-hold 1 done 0 cancelled 0 failed"
        in read(client, "/?status=held").text
    )


def test_an_empty_worklist_says_so() -> None:
    store = ShownJobs()
    app = make_app([pages(store, store, FrozenClock(), store.job_counts)])  # type: ignore[arg-type]
    assert "No order has come in yet." in read(app.test_client(), "/").text


def test_a_job_shows_its_result_deliveries_and_history(client: FlaskClient) -> None:
    page = read(client, "/jobs/job-1")
    assert page.open == []
    for words in (
        "Pneumonia Present",
        "0.934 · present from 0.412",
        "fhir delivered 1 DiagnosticReport/17",
        "study.not-there-yet",
    ):
        assert words in page.text


def test_identifiers_are_masked_where_there_are_some(client: FlaskClient) -> None:
    text = read(client, "/jobs/job-1").text
    for words in (
        f"Patient {MASK}",
        f"Placer order number {MASK}",
        "Filler order number none",
        f"Accession number {MASK}",
    ):
        assert words in text


def test_the_explanation_is_the_picture_of_the_report(client: FlaskClient) -> None:
    assert "/jobs/job-1/explanation.png" in read(client, "/jobs/job-1").targets
    answer = client.get("/jobs/job-1/explanation.png")
    assert (answer.mimetype, answer.data) == ("image/png", a_picture())


def test_a_study_that_was_not_analysed_says_why(client: FlaskClient, store: ShownJobs) -> None:
    store.reports["job-1"] = a_report(
        outcome=ReportOutcome.NOT_ANALYSED,
        findings=(),
        explanation_png=None,
        reason="scope.age",
        reason_text="the patient is an adult",
    )
    assert "Not analysed: the patient is an adult scope.age" in read(client, "/jobs/job-1").text


def test_a_job_without_a_report_has_no_picture(client: FlaskClient) -> None:
    assert client.get("/jobs/job-2/explanation.png").status_code == 404


@pytest.mark.parametrize(
    "path", ["/jobs/no-such-job", "/jobs/no-such-job/explanation.png", "/?status=CANARY", "/nowhere"]
)
def test_what_is_not_there_is_a_plain_404(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, Outline(answer.get_data(as_text=True)).open) == (404, [])


def test_a_damaged_report_does_not_hide_its_job(client: FlaskClient, store: ShownJobs) -> None:
    store.damaged = True
    text = read(client, "/jobs/job-1").text
    assert "The stored report cannot be shown: store.artifact-damaged" in text
    assert "DiagnosticReport/17" in text


def test_a_damaged_picture_is_said_with_its_code(client: FlaskClient, store: ShownJobs) -> None:
    store.damaged = True
    answer = client.get("/jobs/job-1/explanation.png")
    assert (answer.status_code, b"store.artifact-damaged at report" in answer.data) == (500, True)


def test_every_link_of_both_pages_leads_somewhere(client: FlaskClient) -> None:
    targets = {target for path in ("/", "/jobs/job-1", "/jobs/job-2") for target in read(client, path).targets}
    assert {target: client.get(target, buffered=True).status_code for target in targets if target.startswith("/")} == {
        target: 200 for target in targets if target.startswith("/")
    }
    assert [target for target in targets if not target.startswith(("/", "#"))] == []


def test_the_live_view_is_asked_for(client: FlaskClient) -> None:
    seen = [
        b'http-equiv="refresh"' in client.get(path).data
        for path in ("/", "/?live=1", "/jobs/job-1", "/jobs/job-1?live=1")
    ]
    assert seen == [False, True, False, True]


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_the_pages_only_read(client: FlaskClient, method: str) -> None:
    assert getattr(client, method)("/jobs/job-1").status_code == 405


OUTSIDERS = {
    "another machine": {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}},
    "another machine, IPv6": {"environ_base": {"REMOTE_ADDR": "2001:db8::7"}},
    "no address": {"environ_base": {"REMOTE_ADDR": ""}},
    "a proxy on this machine": {"headers": {"X-Forwarded-For": "127.0.0.1"}},
    "another proxy": {"headers": {"Forwarded": "for=127.0.0.1"}},
}


@pytest.mark.parametrize("how", OUTSIDERS.values(), ids=OUTSIDERS.keys())
def test_without_a_sign_in_only_this_machine_sees_the_pages(
    client: FlaskClient, how: dict[str, dict[str, str]]
) -> None:
    assert client.get("/", **how).status_code == 403  # type: ignore[arg-type]


def test_a_store_that_is_away_is_said_with_its_code(client: FlaskClient, store: ShownJobs) -> None:
    store.down = True
    answer = client.get("/")
    assert (answer.status_code, b"store.unavailable" in answer.data) == (503, True)


def test_the_timeline_leads_to_the_job_that_was_replaced(client: FlaskClient) -> None:
    assert b'href="/jobs/job-2"' in client.get("/jobs/job-1").data


STEPS = {
    Status.DONE: "done done done done done done",
    Status.RUNNING: "done done now ahead ahead ahead",
    Status.WAITING: "done done now ahead ahead ahead",
    Status.HELD: "done done stopped ahead ahead ahead",
    Status.ON_HOLD: "done done stopped ahead ahead ahead",
    Status.CANCELLED: "done done stopped ahead ahead ahead",
}


@pytest.mark.parametrize(("status", "states"), STEPS.items())
def test_the_steps_say_how_far_a_job_is(status: Status, states: str) -> None:
    stage = Stage.DELIVER if status is Status.DONE else Stage.DEIDENTIFY
    assert " ".join(step.state for step in steps_of(a_job(status=status, stage=stage))) == states


@pytest.mark.parametrize(
    ("seconds", "words"), [(-5, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7199, "1 h ago"), (200000, "2 d ago")]
)
def test_ages_use_the_largest_unit_that_fits(seconds: int, words: str) -> None:
    clock = FrozenClock(AT)
    assert ago(AT, clock.advance(seconds)) == words
