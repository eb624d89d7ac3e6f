"""Servers that differ (facts §6): one by one, without conditional create, without some types, with elements beyond R4, without guards."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_delivery import FhirDelivery
from fhir_bridge.adapters.fhir_transport import Timing
from fhir_bridge.errors import Refused, Uncertain
from fhir_bridge.server_traits import PROFILES, ServerTraits
from mappings.finding import Report
from tests.support.breaking_client import Breaking
from tests.support.delivery_contract import PUBLISHER, DeliveryContract, ServerDeliveryContract, run_again
from tests.support.edition_contract import EditionContract, ServerEditionContract, new_run, signed, taken_back
from tests.support.scripted_fhir import AZURE_LIKE, EPIC_LIKE, GOOGLE_LIKE, Traits, scripted_fhir
from tests.support.scripted_place import ScriptedPlace

ONE_BY_ONE = Traits(transactions=False)
ALL_AT_ONCE = Traits()
NO_CONDITIONS = Traits(transactions=False, conditional_create=False, answers="location")
KINDS = {
    "azure": (replace(AZURE_LIKE, throttled_every=0), PROFILES["azure"]),
    "google": (GOOGLE_LIKE, PROFILES["google"]),
    "one by one": (ONE_BY_ONE, ServerTraits(transactions=False)),
    "no conditions": (NO_CONDITIONS, ServerTraits(transactions=False, conditional_create=False)),
    "no guard": (ONE_BY_ONE, ServerTraits(transactions=False, version_guard=False)),
    "no guard, at once": (ALL_AT_ONCE, ServerTraits(version_guard=False)),
}
EPIC = (replace(EPIC_LIKE, throttled_every=0), PROFILES["epic"])


def place_at(traits: Traits, ours: ServerTraits) -> Iterator[ScriptedPlace]:
    with scripted_fhir(traits) as server:
        place = ScriptedPlace(server, ours)
        with place.client:
            yield place


class TestServers(DeliveryContract, ServerDeliveryContract, ServerEditionContract):
    @pytest.fixture(params=[name for name in KINDS if name != "no conditions"])
    def place(self, request: pytest.FixtureRequest) -> Iterator[ScriptedPlace]:
        yield from place_at(*KINDS[request.param])


class TestWithoutConditions(ServerEditionContract):
    """Where two deliveries at the same time may make two reports: that is found out, see below."""

    @pytest.fixture
    def place(self) -> Iterator[ScriptedPlace]:
        yield from place_at(*KINDS["no conditions"])


class TestEpicLike(EditionContract):
    """Two types, one by one, no condition heard, no body answered, elements demanded."""

    @pytest.fixture
    def place(self) -> Iterator[ScriptedPlace]:
        yield from place_at(*EPIC)

    def test_nothing_is_sent_but_what_it_takes_and_the_rest_is_named_by_identifier(self, place: ScriptedPlace) -> None:
        report = place.report()
        place.delivery.deliver(report)
        written = [(a.method, a.path.removeprefix("/fhir/")) for a in place.server.asked if a.method != "GET"]
        assert written == [("POST", "Observation"), ("POST", "DiagnosticReport")]
        (result,), (kept,) = place.server.all_of("Observation"), place.server.all_of("DiagnosticReport")
        assert result["device"]["identifier"]["system"] == "urn:fhir-bridge:model"
        assert kept["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{report.study_instance_uid}"
        assert "reference" not in {*result["device"], *kept["imagingStudy"][0]}
        assert kept["result"] == [{"reference": f"Observation/{result['id']}"}]

    def test_no_label_is_sent_that_it_does_not_take_but_always_our_tag(self, place: ScriptedPlace) -> None:
        publisher = replace(place.delivery._planner.publisher, ai_label=False)
        FhirDelivery(place.client, publisher, traits=place.traits).deliver(place.report())
        (kept,) = place.server.all_of("DiagnosticReport")
        assert (kept["meta"].get("security"), kept["meta"]["tag"][0]["code"]) == (None, "ai-result")

    @pytest.mark.parametrize(
        ("lacks", "where"),
        [({"encounter": ""}, "Observation.encounter"), ({"started": ""}, "Observation.effectiveDateTime")],
    )
    def test_what_lacks_a_demanded_element_is_refused_before_anything_is_sent(
        self, place: ScriptedPlace, lacks: dict[str, Any], where: str
    ) -> None:
        with pytest.raises(Refused) as caught:
            place.delivery.deliver(replace(place.report(), **lacks))
        assert (caught.value.code, caught.value.where, place.server.asked) == ("fhir.required-missing", where, [])


def a_report_of_two(place: ScriptedPlace) -> Report:
    """With two results, so that there is something in between."""
    report = place.report()
    return replace(report, findings=(replace(report.findings[0], output="a"), replace(report.findings[0], output="b")))


def kept(place: ScriptedPlace, kind: str) -> list[str]:
    return [one["status"] for one in place.server.all_of(kind)]


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("fails_at", range(1, 7))
@pytest.mark.parametrize("kind", ["one by one", "no conditions"])
def test_wherever_a_delivery_is_cut_off_the_next_one_goes_on_from_there(kind: str, fails_at: int, done: bool) -> None:
    """facts §4.1: look first. Device, ImagingStudy, two Observations, DiagnosticReport, Provenance: six writes."""
    for place in place_at(*KINDS[kind]):
        report = a_report_of_two(place)
        with Breaking(place, fails_at, done=done) as broken, suppress(Uncertain):
            place.delivery_by(broken).deliver(report)
        for _ in range(2):
            place.delivery.deliver(report)
        made = {
            k: len(place.server.all_of(k))
            for k in ("Device", "ImagingStudy", "Observation", "DiagnosticReport", "Provenance")
        }
        assert made == {"Device": 1, "ImagingStudy": 1, "Observation": 2, "DiagnosticReport": 1, "Provenance": 1}
        changed = [v for k in made for v in place.server.shelf.history_of(k) if v.number > 1]
        assert changed == []  # nothing was written twice


@pytest.mark.parametrize("fails_at", range(1, 6))
def test_the_report_never_appears_before_its_results(fails_at: int) -> None:
    for place in place_at(*KINDS["one by one"]):
        report = a_report_of_two(place)
        with Breaking(place, fails_at, done=False) as broken, pytest.raises(Uncertain):
            place.delivery_by(broken).deliver(report)
        assert len(kept(place, "DiagnosticReport")) == 0


@pytest.mark.parametrize("fails_at", range(1, 5))
@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("kind", ["one by one"])
@pytest.mark.parametrize("act", [signed, taken_back, new_run])
def test_a_decision_that_is_cut_off_is_carried_out_by_the_next_attempt(
    act: Any, kind: str, done: bool, fails_at: int
) -> None:
    for place in place_at(*KINDS[kind]):
        report = a_report_of_two(place)
        place.delivery.deliver(report)
        later = act(report)
        with Breaking(place, fails_at, done=done) as broken, suppress(Uncertain):
            place.delivery_by(broken).deliver(later)
        place.delivery.deliver(later)
        assert {*kept(place, "DiagnosticReport"), *kept(place, "Observation")} == {later.status}
        assert len(place.server.all_of("Provenance")) == 2


@pytest.mark.parametrize("done", [True, False])
def test_a_transaction_that_is_cut_off_is_looked_for(done: bool) -> None:
    for place in place_at(ALL_AT_ONCE, ServerTraits()):
        report = place.report()
        with Breaking(place, 1, done=done) as broken:
            if done:
                assert place.delivery_by(broken).deliver(report).detail == "unchanged"
            else:
                with pytest.raises(Uncertain):
                    place.delivery_by(broken).deliver(report)
        assert len(kept(place, "DiagnosticReport")) == int(done)


@pytest.mark.parametrize("kind", ["Device", "ImagingStudy"])
@pytest.mark.parametrize("server", ["one by one", "no conditions", "azure"])
def test_what_the_server_has_twice_is_for_a_person(server: str, kind: str) -> None:
    for place in place_at(*KINDS[server]):
        report = place.report()
        place.delivery.deliver(report)
        (one,) = place.server.all_of(kind)
        place.server.put(one | {"id": "double"})
        other = replace(report, job=f"{report.job}x")
        at_once = FhirDelivery(place.client, PUBLISHER, traits=place.traits, timing=Timing(sleep=lambda _: None))
        with pytest.raises(Refused) as caught:
            at_once.deliver(other)
        assert (caught.value.code, caught.value.where) == ("fhir.report-doubled", kind)
        assert len(kept(place, "DiagnosticReport")) == 1


def test_two_that_made_a_report_at_once_are_found_out_where_no_condition_is_heard() -> None:
    """Search, POST, search again: two are there, and a person must choose."""
    for place in place_at(*KINDS["no conditions"]):
        report = place.report()

        def overtaken(place: ScriptedPlace = place, report: Report = report) -> None:
            place.delivery.deliver(report)

        with place.meanwhile(overtaken) as client, pytest.raises(Refused) as caught:
            place.delivery_by(client).deliver(report)
        assert caught.value.code == "fhir.report-doubled"


def test_without_a_guard_the_version_is_read_right_before_it_is_written() -> None:
    for place in place_at(*KINDS["no guard"]):
        report = place.report()
        place.delivery.deliver(report)
        del place.server.asked[:]
        place.delivery.deliver(signed(report))
        calls = [(a.method, a.path.removeprefix("/fhir/").partition("?")[0]) for a in place.server.asked]
        puts = [n for n, (method, path) in enumerate(calls) if method == "PUT" and not path.startswith("Provenance")]
        assert [calls[n - 1] for n in puts] == [("GET", calls[n][1]) for n in puts]
        assert [calls[n + 1] for n in puts] == [("GET", calls[n][1]) for n in puts]  # and read back


def test_a_late_copy_of_a_run_that_was_overtaken_leaves_no_result_behind() -> None:
    """Its transaction made a result that the later run does not have: who finds the run superseded takes it back."""
    for place in place_at(ALL_AT_ONCE, ServerTraits()):
        report = a_report_of_two(place)
        newer = run_again(report, findings=report.findings[:1])
        with place.meanwhile(lambda newer=newer, place=place: place.delivery.deliver(newer)) as client:  # type: ignore[misc]
            assert place.delivery_by(client).deliver(report).detail == "superseded"
        (result,) = place.server.all_of("DiagnosticReport")[0]["result"]
        standing = [o["id"] for o in place.server.all_of("Observation") if o["status"] == "preliminary"]
        assert standing == [result["reference"].removeprefix("Observation/")]
