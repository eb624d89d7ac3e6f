"""`ports.ReportDelivery`: the twin and a real FHIR server answer alike. (HAPI does in tests/acceptance.)"""

from collections.abc import Iterator

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.in_memory.delivery import InMemoryDelivery
from fhir_bridge.errors import Unavailable
from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.delivery_contract import DeliveryContract, Place, ServerDeliveryContract, ServerPlace, TwinPlace
from tests.support.edition_contract import EditionContract, ServerEditionContract


class TestTwin(DeliveryContract, EditionContract):
    @pytest.fixture
    def place(self) -> Place:
        return TwinPlace()

    def test_an_outage_is_raised(self, place: Place) -> None:
        with pytest.raises(Unavailable):
            InMemoryDelivery(outage=Unavailable("fhir.unavailable")).deliver(place.report())


@pytest.mark.real_parts
class TestSekmet(DeliveryContract, ServerDeliveryContract, ServerEditionContract):
    @pytest.fixture
    def place(self, sekmet: FhirPeer) -> Iterator[Place]:
        with FhirClient(sekmet.base_url) as client:
            yield ServerPlace(client)
