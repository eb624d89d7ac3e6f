"""`changes.ChangeFeed`: the twin and a real FHIR server answer alike. (HAPI does in tests/acceptance.)"""

from collections.abc import Iterator

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.errors import Unavailable
from fhir_bridge.practice.fhir_peer import FhirPeer
from fhir_bridge.server_traits import ServerTraits
from tests.support.changes_contract import ChangesContract, ServerSite, Site, TwinSite
from tests.support.frozen_clock import FrozenClock


class TestTwin(ChangesContract):
    @pytest.fixture
    def site(self, clock: FrozenClock) -> Site:
        return TwinSite(clock, page_size=3)

    def test_an_outage_is_raised(self, clock: FrozenClock) -> None:
        site = TwinSite(clock)
        site.changes.outage = Unavailable("fhir.unavailable")
        with pytest.raises(Unavailable):
            list(site.changes.changed_since("ServiceRequest", clock.now()))


@pytest.mark.real_parts
class TestSekmet(ChangesContract):
    @pytest.fixture
    def site(self, sekmet: FhirPeer) -> Iterator[Site]:
        with FhirClient(sekmet.base_url) as client:
            yield ServerSite(client, ServerTraits(page_size=3))
