"""Peers that are slow, down, or answer nonsense, between the bridge and the real ones: the result comes late, once, and whole."""

import threading
from collections.abc import Callable, Iterator

import pytest
import requests

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.bridge import Bridge, a_story, frozen_model_process, running_bridge
from tests.support.film_bytes import film_of
from tests.support.orthanc import Orthanc
from tests.support.proxy import Proxy, hung_up, no_trouble, proxy_for
from tests.support.scripted_http import Asked, Scripted

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

SILENCE_SECONDS = 6  # of the FHIR server, until the bridge gives the call up
SIGN_IN_PAGE = Scripted(200, b"<html>Please sign in</html>", {"Content-Type": "text/html"})


@pytest.fixture(scope="module")
def fhir_proxy(hapi: FhirPeer) -> Iterator[Proxy]:
    with proxy_for(hapi.base_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def pacs_proxy(orthanc: Orthanc) -> Iterator[Proxy]:
    with proxy_for(orthanc.dicomweb_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def troubled_bridge(
    hapi: FhirPeer, orthanc: Orthanc, fhir_proxy: Proxy, pacs_proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bridge]:
    """A bridge of its own whose peers are behind the proxies; the tests ask the FHIR server itself."""
    settings = {
        "fhir.base_url": fhir_proxy.url,
        "fhir.timeout_seconds": str(SILENCE_SECONDS),
        "archive.kind": "dicomweb",
        "archive.dicomweb_url": pacs_proxy.url,
    }
    secrets = f'[archive]\nusername = "{orthanc.auth[0]}"\npassword = "{orthanc.auth[1]}"\n'
    data_dir = tmp_path_factory.mktemp("slow-peers") / "bridge"
    with FhirClient(hapi.base_url) as fhir, running_bridge(data_dir, fhir, settings, secrets) as bridge:
        yield bridge


@pytest.fixture(autouse=True)
def peace_after(fhir_proxy: Proxy, pacs_proxy: Proxy) -> Iterator[None]:
    yield
    fhir_proxy.trouble = pacs_proxy.trouble = no_trouble


class Times:
    """Makes the trouble so many times, for what it concerns; then all is well."""

    def __init__(self, times: int, trouble: Callable[[Asked], Scripted], concerns: Callable[[Asked], bool]) -> None:
        self.left = times
        self._trouble, self._concerns = trouble, concerns

    def __call__(self, asked: Asked) -> Scripted | None:
        if not self.left or not self._concerns(asked):
            return None
        self.left -= 1
        return self._trouble(asked)


class Held:
    """Keeps the requests it concerns waiting until `go`; `arrived` is set by the first."""

    def __init__(self, concerns: Callable[[Asked], bool]) -> None:
        self.arrived, self.go = threading.Event(), threading.Event()
        self._concerns = concerns

    def __call__(self, asked: Asked) -> None:
        if self._concerns(asked):
            self.arrived.set()
            self.go.wait(60)


def everything(asked: Asked) -> bool:
    """All that the job asks; not what the bridge asks beside it, of changes and of its Subscriptions."""
    beside = ("_lastUpdated", "_history", "_summary=count", "/Subscription")
    return not any(words in asked.path for words in beside)


def transaction(asked: Asked) -> bool:
    return asked.method == "POST"


def study_retrieval(asked: Asked) -> bool:
    return "/studies/" in asked.path and "?" not in asked.path


@pytest.mark.parametrize(
    ("trouble", "codes"),
    [
        (lambda _: Scripted(500, b"{}"), {"fhir.unavailable"}),
        (lambda _: Scripted(429, headers={"Retry-After": "1"}), set()),  # waited for within the step
        (lambda _: SIGN_IN_PAGE, {"fhir.not-fhir"}),
        (hung_up, set()),
    ],
    ids=["error-500", "busy-429", "sign-in-page", "hangs-up"],
)
def test_a_fhir_server_in_trouble_is_asked_again_until_it_recovers(
    troubled_bridge: Bridge,
    orthanc: Orthanc,
    fhir_proxy: Proxy,
    trouble: Callable[[Asked], Scripted],
    codes: set[str],
) -> None:
    story = a_story("fhir-trouble")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    fhir_proxy.trouble = times = Times(2, trouble, everything)
    troubled_bridge.send(story)
    job = troubled_bridge.await_status(story, "done", "held", "failed")
    waits = {reason for event, reason in troubled_bridge.timeline(story) if event == "wait"}
    assert (times.left, job.status) == (0, "done")
    assert codes <= waits
    assert len(troubled_bridge.reports_of(job)) == 1


@pytest.mark.parametrize("loses", ["the request", "the answer"])
def test_a_result_whose_delivery_was_cut_off_is_there_once(
    troubled_bridge: Bridge, orthanc: Orthanc, fhir_proxy: Proxy, loses: str
) -> None:
    """Cut off before the server had it, or after: only looking tells."""

    def cut(asked: Asked) -> Scripted:
        if loses == "the answer":
            fhir_proxy.forward(asked)
        return hung_up(asked)

    story = a_story("cut-off")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    fhir_proxy.trouble = times = Times(1, cut, transaction)
    troubled_bridge.send(story)
    job = troubled_bridge.await_status(story, "done", "held", "failed")
    assert (times.left, job.status) == (0, "done")
    assert troubled_bridge.report_of(job)["meta"]["versionId"] == "1"


def test_a_result_that_the_fhir_server_took_in_silence_is_there_once(
    troubled_bridge: Bridge, orthanc: Orthanc, fhir_proxy: Proxy
) -> None:
    """The server did it and says so only when nobody listens any more."""
    story = a_story("silent")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    over = threading.Event()

    def silent(asked: Asked) -> Scripted:
        answer = fhir_proxy.forward(asked)
        over.wait(60)
        return answer

    fhir_proxy.trouble = Times(1, silent, transaction)
    troubled_bridge.send(story)
    job = troubled_bridge.await_status(story, "done", "held", "failed")
    over.set()
    assert job.status == "done"
    assert troubled_bridge.report_of(job)["meta"]["versionId"] == "1"


def test_a_result_waits_for_a_fhir_server_that_is_down(
    troubled_bridge: Bridge, orthanc: Orthanc, fhir_proxy: Proxy
) -> None:
    story = a_story("fhir-down")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    with frozen_model_process(troubled_bridge):
        troubled_bridge.send(story)
        troubled_bridge.await_status(story, "running", stage="analyse")
        fhir_proxy.stop()
    try:
        waiting = troubled_bridge.await_status(story, "waiting", "failed", stage="report")
    finally:
        fhir_proxy.start()
    job = troubled_bridge.await_status(story, "done", "held", "failed")
    (delivery,) = troubled_bridge.store.deliveries(job.id)
    assert (waiting.status, waiting.reason, job.status) == ("waiting", "fhir.unavailable", "done")
    assert waiting.attempts >= 1
    assert delivery.reference == f"DiagnosticReport/{troubled_bridge.report_of(job)['id']}"


def test_readiness_says_now_that_the_fhir_server_is_away_and_that_it_is_back(
    troubled_bridge: Bridge, fhir_proxy: Proxy
) -> None:
    seen = [readiness(troubled_bridge)]
    fhir_proxy.stop()
    try:
        seen.append(readiness(troubled_bridge))
    finally:
        fhir_proxy.start()
    seen.append(readiness(troubled_bridge))
    assert seen == [(200, "ready", "answers"), (200, "degraded", "fhir.unavailable"), (200, "ready", "answers")]


def readiness(bridge: Bridge) -> tuple[int, str, str]:
    answer = requests.get(f"{bridge.process.url}/health/ready", timeout=30)
    return answer.status_code, answer.json()["status"], answer.json()["checks"]["fhir"]["detail"]


def test_an_order_waits_for_a_pacs_that_is_down(troubled_bridge: Bridge, orthanc: Orthanc, pacs_proxy: Proxy) -> None:
    story = a_story("pacs-down")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    pacs_proxy.stop()
    try:
        answer = troubled_bridge.send(story)
        waiting = troubled_bridge.await_status(story, "waiting", "held", "failed")
    finally:
        pacs_proxy.start()
    job = troubled_bridge.await_status(story, "done", "held", "failed")
    assert (answer, waiting.reason, job.status) == ("AA", "archive.unavailable", "done")


def test_a_study_that_breaks_off_is_fetched_again_and_never_analysed_half(
    troubled_bridge: Bridge, orthanc: Orthanc, pacs_proxy: Proxy
) -> None:
    def half(asked: Asked) -> Scripted:
        whole = pacs_proxy.forward(asked)
        return Scripted(whole.status, whole.body[: len(whole.body) // 2], whole.headers, length=len(whole.body))

    story = a_story("truncated")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    pacs_proxy.trouble = times = Times(2, half, study_retrieval)
    troubled_bridge.send(story)
    job = troubled_bridge.await_status(story, "done", "held", "failed")
    broken = [entry for entry in troubled_bridge.store.history(job.id) if entry.reason == "archive.truncated"]
    assert (times.left, job.status) == (0, "done")
    assert [(entry.event, entry.stage) for entry in broken] == [("wait", "study")] * 2


def test_a_cancel_reaches_a_job_while_the_fhir_server_is_slow(
    troubled_bridge: Bridge, orthanc: Orthanc, fhir_proxy: Proxy
) -> None:
    story = a_story("cancelled-while-slow")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    fhir_proxy.trouble = held = Held(everything)
    troubled_bridge.send(story)
    assert held.arrived.wait(60)
    answer = troubled_bridge.send(story, "CA")
    cancelled = troubled_bridge.job_of(story)
    held.go.set()
    play_another(troubled_bridge, orthanc)
    assert (answer, cancelled.status, troubled_bridge.job_of(story).status) == ("AA", "cancelled", "cancelled")
    assert troubled_bridge.results_about(story) == ()


def test_a_result_that_never_went_out_can_still_be_cancelled(
    troubled_bridge: Bridge, orthanc: Orthanc, fhir_proxy: Proxy
) -> None:
    story = a_story("cancelled-before-delivery")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    fhir_proxy.trouble = lambda asked: Scripted(503, b"{}") if transaction(asked) else None
    troubled_bridge.send(story)
    troubled_bridge.await_status(story, "waiting", stage="deliver")
    answer = troubled_bridge.send(story, "CA")
    cancelled = troubled_bridge.job_of(story)
    fhir_proxy.trouble = no_trouble
    play_another(troubled_bridge, orthanc)
    assert (answer, cancelled.status, troubled_bridge.job_of(story).status) == ("AA", "cancelled", "cancelled")
    assert troubled_bridge.results_about(story) == ()


def test_a_cancel_while_the_result_is_on_its_way_comes_too_late(
    troubled_bridge: Bridge, orthanc: Orthanc, fhir_proxy: Proxy
) -> None:
    story = a_story("cancelled-while-sending")
    troubled_bridge.admit(story)
    orthanc.store(film_of(story))
    fhir_proxy.trouble = held = Held(transaction)
    troubled_bridge.send(story)
    assert held.arrived.wait(60)
    answer = troubled_bridge.send(story, "CA")
    held.go.set()
    job = troubled_bridge.await_status(story, "done", "held", "cancelled")
    assert (answer, job.status) == ("AA", "done")
    assert ("cancel-ignored", "order.running") in troubled_bridge.timeline(story)
    assert len(troubled_bridge.reports_of(job)) == 1


def play_another(bridge: Bridge, orthanc: Orthanc) -> None:
    """One order to its end: by then the bridge has noticed what became of those before it."""
    story = a_story("another")
    bridge.admit(story)
    orthanc.store(film_of(story))
    bridge.send(story)
    bridge.await_status(story, "done")
