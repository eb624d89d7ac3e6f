"""What `[destinations.NAME]` becomes: deliveries of results, the way back for application acknowledgements."""

from dataclasses import replace
from pathlib import Path

import pytest

from fhir_bridge.compose import Parts
from fhir_bridge.errors import Refused
from fhir_bridge.settings import load
from tests.support.builders import a_patient
from tests.support.mllp_receiver import MllpReceiver, acknowledgement
from tests.support.reports import a_report

REPORT = replace(a_report(), patient_identity=a_patient())


def parts_of(data_dir: Path, *assignments: str, ris: MllpReceiver) -> Parts:
    host, port = ris.address
    own = (f"destinations.ris.host={host}", f"destinations.ris.port={port}")
    return Parts(load(data_dir, (*own, *assignments)))


def test_a_destination_of_results_is_one_more_delivery(data_dir: Path) -> None:
    with MllpReceiver() as ris:
        parts = parts_of(data_dir, "destinations.ris.results=true", "fhir.base_url=http://127.0.0.1:1/fhir", ris=ris)
        assert [delivery.destination for delivery in parts.deliveries] == ["fhir", "hl7:ris"]
        parts.close()


def test_one_of_acknowledgements_alone_gets_no_results(data_dir: Path) -> None:
    with MllpReceiver() as ris:
        parts = parts_of(data_dir, ris=ris)
        assert (parts.deliveries, list(parts.mllp_destinations)) == ((), ["ris"])
        parts.close()


def test_a_result_is_written_as_the_settings_say(data_dir: Path) -> None:
    assignments = (
        "destinations.ris.results=true", "destinations.ris.application=RIS", "destinations.ris.facility=HOSP",
        "destinations.ris.version=2.4", "destinations.ris.charset=8859/1", "sender.time_zone=Europe/Berlin",
        "mllp.application=AI", "mllp.facility=RAD", "authority.MAIN.system=urn:oid:1.2.3.4",
    )  # fmt: skip
    with MllpReceiver() as ris:
        parts = parts_of(data_dir, *assignments, ris=ris)
        parts.deliveries[0].deliver(REPORT)
        parts.close()
    msh, pid = (line.split(b"|") for line in ris.received[0].split(b"\r")[:2])
    assert msh[2:7] == [b"AI", b"RAD", b"RIS", b"HOSP", b"20260115093005+0100"]
    assert (msh[11], msh[17], pid[3]) == (b"2.4", b"8859/1", b"CANARY-1^^^MAIN^MR")


@pytest.mark.parametrize("policy", ["hold", "skip"])
def test_a_refusal_is_treated_as_the_settings_say(data_dir: Path, policy: str) -> None:
    with MllpReceiver(lambda message: acknowledgement(message, "AE")) as ris:
        parts = parts_of(data_dir, "destinations.ris.results=true", f"destinations.ris.refused={policy}", ris=ris)
        (delivery,) = parts.deliveries
        if policy == "hold":
            with pytest.raises(Refused):
                delivery.deliver(REPORT)
        else:
            assert not delivery.deliver(REPORT).is_accepted
        parts.close()
