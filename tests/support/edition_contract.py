"""The life of a report at a destination: what a person decides takes the place of what is there, once, and nothing undoes it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fhir_bridge.decisions import editions_of
from fhir_bridge.errors import Refused
from mappings.finding import SIGNED, Decision, Report, ReportStatus
from tests.support.delivery_contract import PERSON, PUBLISHER, Place, ServerPlace, run_again

BY = f"Practitioner/{PERSON['id']}"
HOUR = timedelta(hours=1)
COMPLETE = replace(PUBLISHER, communications=True)


def signed(report: Report, status: ReportStatus = ReportStatus.FINAL) -> Report:
    """A person's signature, an hour after what was there."""
    at = report.act_at + HOUR
    return replace(report, issued=at, decision=Decision(status, BY, at), earlier=editions_of([report]))


def taken_back(report: Report) -> Report:
    """The retraction an hour later; nothing else changes."""
    decision = Decision(ReportStatus.RETRACTED, BY, report.act_at + HOUR, "wrong-patient")
    return replace(report, decision=decision, earlier=editions_of([report]))


def new_run(report: Report) -> Report:
    """The job was run again, by somebody who knows what is out."""
    again = run_again(report, decision=None, earlier=editions_of([report]))
    return replace(again, issued=report.act_at + HOUR)


def a_task(report: Report, **elements: object) -> dict[str, object]:
    """The Task that placed the order."""
    return {
        "resourceType": "Task",
        "status": "in-progress",
        "intent": "order",
        "focus": {"reference": report.service_request},
        "for": {"reference": report.patient},
        **elements,
    }


class EditionContract:
    def test_a_signature_takes_the_place_of_the_preliminary_report(self, place: Place) -> None:
        report = place.report()
        first = place.delivery.deliver(report)
        final = signed(report)
        receipts = [place.delivery.deliver(final) for _ in range(2)]
        assert [r.reference for r in receipts] == [first.reference] * 2
        assert ([r.detail for r in receipts], place.statuses(final)) == (["updated", "unchanged"], ["final"])

    @pytest.mark.parametrize("status", [ReportStatus.AMENDED, ReportStatus.CORRECTED])
    def test_what_was_signed_with_us_is_amended_or_corrected_by_a_later_decision(
        self, place: Place, status: ReportStatus
    ) -> None:
        report = place.report()
        editions = [report, signed(report)]
        editions.append(signed(new_run(editions[1]), status))
        for edition in editions:
            place.delivery.deliver(edition)
        assert place.statuses(report) == [status]

    def test_a_later_run_does_not_write_over_a_signature_by_itself(self, place: Place) -> None:
        report = place.report()
        for edition in (report, signed(report)):
            place.delivery.deliver(edition)
        with pytest.raises(Refused) as caught:
            place.delivery.deliver(run_again(report))
        assert (caught.value.code, place.statuses(report)) == ("fhir.report-signed", ["final"])

    @pytest.mark.parametrize("was", [ReportStatus.PRELIMINARY, *SIGNED])
    def test_what_is_out_is_taken_back_once(self, place: Place, was: ReportStatus) -> None:
        report = place.report()
        first = place.delivery.deliver(report)
        out = report if was is ReportStatus.PRELIMINARY else signed(report, was)
        place.delivery.deliver(out)
        receipts = [place.delivery.deliver(taken_back(out)) for _ in range(2)]
        assert [r.reference for r in receipts] == [first.reference] * 2
        assert ([r.detail for r in receipts], place.statuses(out)) == (["updated", "unchanged"], ["entered-in-error"])

    @pytest.mark.parametrize("known", [True, False])
    def test_after_a_retraction_only_a_run_that_knows_of_it_comes_back(self, place: Place, known: bool) -> None:
        report = place.report()
        back = taken_back(report)
        for edition in (report, back):
            place.delivery.deliver(edition)
        if known:
            place.delivery.deliver(new_run(back))
        else:
            with pytest.raises(Refused):
                place.delivery.deliver(run_again(report))
        assert place.statuses(report) == ["preliminary" if known else "entered-in-error"]

    def test_what_was_taken_back_as_it_went_comes_back_with_a_run_that_knows_of_it(self, place: Place) -> None:
        """The signature never got there: its retraction is one of the preliminary report."""
        report = place.report()
        back = taken_back(signed(report))
        for edition in (report, replace(report, decision=back.decision, earlier=back.earlier), new_run(back)):
            place.delivery.deliver(edition)
        assert place.statuses(report) == ["preliminary"]

    def test_a_late_retraction_does_not_take_back_a_later_run(self, place: Place) -> None:
        report = place.report()
        back = taken_back(report)
        place.delivery.deliver(report)
        place.delivery.deliver(new_run(back))
        assert (place.delivery.deliver(back).detail, place.statuses(report)) == ("superseded", ["preliminary"])

    def test_a_retraction_of_what_never_arrived_keeps_a_late_copy_away(self, place: Place) -> None:
        report = place.report()
        place.delivery.deliver(taken_back(report))
        with pytest.raises(Refused):
            place.delivery.deliver(report)
        assert place.statuses(report) == ["entered-in-error"]


class ServerEditionContract(EditionContract):
    """What only a server with Observations can show."""

    @pytest.fixture
    def place(self) -> ServerPlace:
        raise NotImplementedError

    def results(self, place: ServerPlace, report: Report) -> set[str]:
        return {r["status"] for r in place.resources(report) if r["resourceType"] == "Observation"}

    def the(self, place: ServerPlace, report: Report, kind: str) -> dict[str, object]:
        (found,) = [r for r in place.resources(report) if r["resourceType"] == kind]
        return found

    @pytest.mark.parametrize("status", SIGNED)
    def test_a_decision_reaches_every_result(self, place: ServerPlace, status: ReportStatus) -> None:
        report = place.report()
        place.delivery.deliver(report)
        place.delivery.deliver(signed(report, status))
        assert self.results(place, report) == {status}

    def test_who_signed_is_the_interpreter_and_stands_in_a_provenance_of_the_signature(
        self, place: ServerPlace
    ) -> None:
        report = place.report()
        place.delivery.deliver(report)
        final = signed(report)
        place.delivery.deliver(final)
        assert self.the(place, report, "DiagnosticReport")["resultsInterpreter"] == [{"reference": BY}]
        provenance = self.the(place, final, "Provenance")
        agents = [(a["type"]["coding"][0]["code"], a["who"].get("reference", "")) for a in provenance["agent"]]  # type: ignore[attr-defined]
        assert [(code, who) for code, who in agents if code == "verifier"] == [("verifier", BY)]
        assert [code for code, _ in agents] == ["author", "verifier"]

    @pytest.mark.parametrize("was", [ReportStatus.PRELIMINARY, ReportStatus.FINAL])
    def test_a_retraction_reaches_every_result_and_changes_nothing_but_the_status(
        self, place: ServerPlace, was: ReportStatus
    ) -> None:
        report = place.report()
        out = report if was is ReportStatus.PRELIMINARY else signed(report, was)
        place.delivery.deliver(out)
        before = self.the(place, report, "DiagnosticReport")
        back = taken_back(out)
        place.delivery.deliver(back)
        after = self.the(place, report, "DiagnosticReport")
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        assert (changed - {"meta", "text"}, self.results(place, report)) == ({"status"}, {"entered-in-error"})
        assert self.the(place, back, "Provenance")["reason"] == [{"text": "wrong-patient"}]

    def test_images_and_model_stay_when_a_result_is_taken_back(self, place: ServerPlace) -> None:
        report = place.report()
        place.delivery.deliver(report)
        study = self.the(place, report, "ImagingStudy")
        place.delivery.deliver(taken_back(report))
        assert self.the(place, report, "ImagingStudy") == study

    def test_what_a_person_signed_on_the_server_is_taken_back_when_a_person_orders_it(self, place: ServerPlace) -> None:
        report = place.report()
        place.delivery.deliver(report)
        for kept in place.resources(report):
            if kept["resourceType"] in ("DiagnosticReport", "Observation"):
                theirs = kept | {"status": "final"}
                place.client.update(f"{kept['resourceType']}/{kept['id']}", theirs)
        place.delivery.deliver(taken_back(report))
        assert (place.statuses(report), self.results(place, report)) == (["entered-in-error"], {"entered-in-error"})

    def test_what_a_person_changed_after_signing_with_us_is_theirs(self, place: ServerPlace) -> None:
        report = place.report()
        final = signed(report)
        for edition in (report, final):
            place.delivery.deliver(edition)
        kept = self.the(place, report, "DiagnosticReport")
        place.client.update(f"DiagnosticReport/{kept['id']}", kept | {"conclusion": "Read by a person."})
        with pytest.raises(Refused) as caught:
            place.delivery.deliver(signed(final, ReportStatus.AMENDED))
        assert caught.value.code == "fhir.report-signed"

    def test_what_a_person_withdrew_on_the_server_is_not_brought_back_because_we_had_taken_back_another(
        self, place: ServerPlace
    ) -> None:
        report = place.report()
        second = new_run(taken_back(report))
        for edition in (report, taken_back(report), second):
            place.delivery.deliver(edition)
        kept = self.the(place, report, "DiagnosticReport")
        place.client.update(f"DiagnosticReport/{kept['id']}", kept | {"status": "entered-in-error"})
        with pytest.raises(Refused) as caught:
            place.delivery.deliver(new_run(second))
        assert (caught.value.code, place.statuses(report)) == ("fhir.report-signed", ["entered-in-error"])

    def test_each_act_has_a_provenance_of_its_own_that_no_later_act_changes(self, place: ServerPlace) -> None:
        report = place.report()
        acts = [report, signed(report), signed(signed(report), ReportStatus.AMENDED)]
        for act in acts:
            place.delivery.deliver(act)
        for act in reversed(acts[:2]):  # late copies
            with pytest.raises(Refused):
                place.delivery.deliver(act)
        kept = [self.the(place, act, "Provenance") for act in acts]
        assert [one["meta"]["versionId"] for one in kept] == ["1"] * 3  # type: ignore[index]
