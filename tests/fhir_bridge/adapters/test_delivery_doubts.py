"""An error after a write: what is on the server all the same must not be taken for not sent, or nobody could take it back."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from fhir_bridge.adapters.fhir_delivery import FhirDelivery
from fhir_bridge.decisions import editions_of
from fhir_bridge.errors import BridgeError, Refused, Unavailable, Uncertain
from fhir_bridge.server_traits import ServerTraits
from mappings.finding import Report
from tests.support.breaking_client import Breaking
from tests.support.delivery_contract import NOT_ANALYSED
from tests.support.edition_contract import HOUR
from tests.support.hospitals import Resource
from tests.support.scripted_fhir import Traits, scripted_fhir
from tests.support.scripted_place import ScriptedPlace

AWAY = Unavailable("test.away", "peer")


@pytest.fixture(params=[True, False], ids=["at once", "one by one"])
def place(request: pytest.FixtureRequest) -> Iterator[ScriptedPlace]:
    with scripted_fhir(Traits(transactions=request.param)) as server:
        place = ScriptedPlace(server, ServerTraits(transactions=request.param))
        with place.client:
            yield place


class Failing(Breaking):
    """Its n-th write is refused, or not taken now; what came before is done."""

    def __init__(self, place: ScriptedPlace, fails_at: int, error: BridgeError) -> None:
        super().__init__(place, 0, done=False)
        self._until, self._error = fails_at, error

    def _write(self, write: object) -> object:
        self._until -= 1
        if self._until == 0:
            raise self._error
        return super()._write(write)


def failure(delivery: FhirDelivery, report: Report) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        delivery.deliver(report)
    return caught.value


@pytest.mark.parametrize("error", [Refused("test.refused", "peer"), AWAY], ids=["refused", "unavailable"])
@pytest.mark.parametrize(("fails_at", "there"), [(1, False), (2, False), (3, False), (4, True), (5, True)])
def test_what_fails_after_a_result_was_written_says_that_something_is_there(
    error: BridgeError, fails_at: int, there: bool
) -> None:
    """Device, ImagingStudy, Observation, DiagnosticReport, Provenance; a Device alone is no result."""
    error = type(error)(error.code, error.where)
    with scripted_fhir(Traits(transactions=False)) as server:
        place = ScriptedPlace(server, ServerTraits(transactions=False))
        with place.client, Failing(place, fails_at, error) as client:
            assert failure(place.delivery_by(client), place.report()).may_be_done is there


class Blind(Breaking):
    """Does the write and does not say so, and then answers no look."""

    def search(self, *args: object, **options: object) -> tuple[Resource, ...]:
        if self._left < 1:
            raise Unavailable("test.away", "peer")
        return super().search(*args, **options)  # type: ignore[arg-type]


def test_a_lost_answer_stays_in_doubt_where_nobody_can_look(place: ScriptedPlace) -> None:
    fails_at = 1 if place.traits and place.traits.transactions else 4
    with Blind(place, fails_at, done=True) as client:
        assert isinstance(failure(place.delivery_by(client), place.report()), Uncertain)


def test_a_report_that_the_server_keeps_otherwise_is_there(place: ScriptedPlace) -> None:
    with Forgetting(place, 0, done=False) as client:
        error = failure(place.delivery_by(client), place.report())
    assert (error.code, error.may_be_done) == ("fhir.not-kept", True)


class Forgetting(Breaking):
    """A server that drops the conclusion of reports."""

    def search(self, *args: object, **options: object) -> tuple[Resource, ...]:
        found = super().search(*args, **options)  # type: ignore[arg-type]
        return tuple({name: value for name, value in one.items() if name != "conclusion"} for one in found)


def test_what_is_refused_before_anything_is_written_is_not_there(place: ScriptedPlace) -> None:
    with Failing(place, 1, Refused("test.refused", "peer")) as client:
        assert failure(place.delivery_by(client), place.report()).may_be_done is False


@pytest.mark.parametrize("report_is_there", [True, False])
def test_a_result_of_a_run_that_did_not_get_to_its_report_is_withdrawn_by_the_next_run(report_is_there: bool) -> None:
    """One by one, no report names it; by what the run before may have written it is found all the same."""
    with scripted_fhir(Traits(transactions=False)) as server:
        place = ScriptedPlace(server, ServerTraits(transactions=False))
        with place.client:
            report = place.report()
            runs = [replace(report, findings=(replace(report.findings[0], output=name),)) for name in ("a", "b")]
            if report_is_there:
                place.delivery.deliver(runs[0])
            cut = replace(runs[1], issued=report.issued + HOUR)
            with Breaking(place, 2 if report_is_there else 4, done=False) as client, suppress(Uncertain):
                place.delivery_by(client).deliver(cut)
            earlier = editions_of([*([runs[0]] if report_is_there else []), cut])
            last = replace(report, **NOT_ANALYSED, issued=report.issued + 2 * HOUR, earlier=earlier)
            place.delivery.deliver(last)
        standing = [o for o in server.all_of("Observation") if o["status"] == "preliminary"]
        assert [o["identifier"][0]["value"] for o in standing] == [f"{report.job}/not-analysed"]
        assert len(server.all_of("Observation")) == 2 + report_is_there
