"""The order's Task and the Communication to who ordered it, where the site wants them."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_delivery import FhirDelivery
from fhir_bridge.errors import Uncertain
from fhir_bridge.server_traits import ServerTraits
from mappings.finding import Report
from tests.support.breaking_client import Breaking
from tests.support.edition_contract import COMPLETE, a_task, signed, taken_back
from tests.support.scripted_fhir import Traits, scripted_fhir
from tests.support.scripted_place import ScriptedPlace


@pytest.fixture(params=[True, False], ids=["at once", "one by one"])
def place(request: pytest.FixtureRequest) -> Iterator[ScriptedPlace]:
    with scripted_fhir(Traits(transactions=request.param)) as server:
        place = ScriptedPlace(server, ServerTraits(transactions=request.param))
        place.delivery = FhirDelivery(place.client, COMPLETE, traits=place.traits, update_tasks=True)
        with place.client:
            yield place


def ordered(place: ScriptedPlace, **task: Any) -> Report:
    report = replace(place.report(), task="Task/t")
    place.server.put(a_task(report, id="t", **task))
    return report


def test_the_task_is_completed_with_the_report_as_its_output_once(place: ScriptedPlace) -> None:
    report = ordered(place)
    for edition in (report, report, signed(report), taken_back(signed(report))):
        reference = place.delivery.deliver(edition).reference
    task = place.server.read("Task/t")
    assert (task["status"], task["meta"]["versionId"]) == ("completed", "2")
    assert [output["valueReference"] for output in task["output"]] == [{"reference": reference}]


@pytest.mark.parametrize("status", ["cancelled", "on-hold", "completed", "failed"])
def test_a_task_that_is_not_open_is_left_alone(place: ScriptedPlace, status: str) -> None:
    place.delivery.deliver(ordered(place, status=status))
    assert place.server.read("Task/t")["meta"]["versionId"] == "1"


def test_a_task_that_is_gone_keeps_no_report_back(place: ScriptedPlace) -> None:
    assert place.delivery.deliver(replace(place.report(), task="Task/gone")).detail == "created"


def test_a_task_that_changed_since_we_looked_is_looked_at_again(place: ScriptedPlace) -> None:
    report = ordered(place)
    with place.meanwhile(lambda: place.server.put(place.server.read("Task/t") | {"status": "cancelled"})) as client:
        FhirDelivery(client, COMPLETE, traits=place.traits, update_tasks=True).deliver(report)
    assert (place.server.read("Task/t")["status"], len(place.server.all_of("DiagnosticReport"))) == ("cancelled", 1)


def test_each_edition_is_told_once(place: ScriptedPlace) -> None:
    report = ordered(place)
    final = signed(report)
    for edition in (report, report, final, final, taken_back(final), taken_back(final)):
        place.delivery.deliver(edition)
    told = place.server.all_of("Communication")
    (kept,) = place.server.all_of("DiagnosticReport")
    assert [one["about"] for one in told] == [[{"reference": f"DiagnosticReport/{kept['id']}"}]] * 3


def test_what_is_told_after_a_cut_is_told_by_the_next_attempt() -> None:
    with scripted_fhir(Traits(transactions=False)) as server:
        place = ScriptedPlace(server, ServerTraits(transactions=False))
        report = ordered(place)
        for fails_at in range(1, 9):
            with Breaking(place, fails_at, done=False) as client:
                delivery = FhirDelivery(client, COMPLETE, traits=place.traits, update_tasks=True)
                with suppress(Uncertain):
                    delivery.deliver(report)
        assert (len(server.all_of("Communication")), server.read("Task/t")["status"]) == (1, "completed")
        assert len(server.all_of("Provenance")) == 1
        place.client.close()
