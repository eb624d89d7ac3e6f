"""The client of the hospital's FHIR server, and the server as a destination, built from `[fhir]`."""

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_credentials import NOBODY, Credentials, basic, bearer
from fhir_bridge.adapters.fhir_delivery import FhirDelivery
from fhir_bridge.adapters.fhir_session import Tls
from fhir_bridge.adapters.fhir_transport import Limits
from fhir_bridge.adapters.smart_backend import Registration, SmartBackend
from fhir_bridge.adapters.smart_keys import SmartKeys
from fhir_bridge.fhir_sections import Fhir
from fhir_bridge.server_traits import ServerTraits
from mappings.fhir_publisher import Publisher
from mappings.order import Identifier


def client_of(fhir: Fhir, traits: ServerTraits, keys: SmartKeys) -> FhirClient:
    """Raises Refused `fhir.certificate-unusable`, and with `smart` `fhir.key-missing`, `fhir.key-unusable`."""
    limits = Limits(
        timeout_seconds=fhir.timeout_seconds,
        deadline_seconds=fhir.deadline_seconds,
        max_body_bytes=int(fhir.max_answer_mebibytes * 2**20),
        circuit_failures=fhir.circuit_failures,
        circuit_seconds=fhir.circuit_seconds,
    )
    tls = Tls(fhir.ca_file, fhir.client_certificate, fhir.client_key)
    credentials = _credentials(fhir, tls, keys)
    return FhirClient(fhir.base_url, credentials, tls=tls, limits=limits, page_size=traits.page_size)


def _credentials(fhir: Fhir, tls: Tls, keys: SmartKeys) -> Credentials:
    match fhir.auth:
        case "basic":
            return basic(fhir.username, fhir.password.get_secret_value())
        case "bearer":
            return bearer(fhir.token.get_secret_value())
        case "smart":
            smart = fhir.smart
            keys.signing(smart.key_id)  # so that its lack is said now
            registration = Registration(smart.client_id, smart.scopes, smart.token_url, smart.key_id, smart.jwks_url)
            return SmartBackend(fhir.base_url, registration, keys, tls=tls, timeout_seconds=fhir.timeout_seconds)
    return NOBODY


def delivery_of(fhir: Fhir, client: FhirClient, traits: ServerTraits) -> FhirDelivery:
    """The server as a destination of results."""
    publisher = Publisher(
        fhir.organization_name,
        Identifier(fhir.organization_value, fhir.organization_system),
        ai_label=traits.ai_label,
        communications=fhir.communications,
    )
    return FhirDelivery(client, publisher, traits=traits, update_tasks=fhir.update_tasks)
