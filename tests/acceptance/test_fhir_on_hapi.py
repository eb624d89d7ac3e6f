"""The hospital's record, the delivery of results and the subscriptions, on real HAPI FHIR."""

from collections.abc import Iterator

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.hospitals import Hospital, ServerHospital
from tests.support.record_contract import RecordContract

pytestmark = pytest.mark.real_parts


@pytest.fixture
def client(hapi: FhirPeer) -> Iterator[FhirClient]:
    with FhirClient(hapi.base_url) as client:
        yield client


class TestRecord(RecordContract):
    @pytest.fixture
    def hospital(self, client: FhirClient) -> Hospital:
        return ServerHospital(client)
