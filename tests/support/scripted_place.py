"""A scripted FHIR server as a destination: the hospital's own resources are put there past its traits."""

from typing import Any

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_credentials import bearer
from fhir_bridge.server_traits import ServerTraits
from tests.support.delivery_contract import ServerPlace
from tests.support.scripted_fhir import ScriptedFhir


class ScriptedPlace(ServerPlace):
    def __init__(self, server: ScriptedFhir, traits: ServerTraits) -> None:
        self.server = server
        credentials = bearer(server.traits.token or "none")
        super().__init__(FhirClient(server.base_url, credentials), traits, credentials)

    def store(self, *resources: dict[str, Any]) -> None:
        self.server.put(*resources)
