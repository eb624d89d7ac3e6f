"""The hospital's FHIR server as `ports.ClinicalRecord`: the patient, the order, and the clinical context, by identifier (DESIGN §4a, §6)."""

from collections.abc import Sequence

from fhir_bridge.adapters.fhir_client import FhirClient, Params, token
from fhir_bridge.adapters.fhir_context import ContextReader, of_own_patient
from fhir_bridge.adapters.record_match import patient_of, service_request_of, study_of
from fhir_bridge.adapters.record_orders import orders_for
from fhir_bridge.study import ClinicalContext, Resource
from mappings.code_system import DICOM_UID
from mappings.order import Identifier, Order, PatientIdentity

MAX_ACTIVE_REQUESTS = 200  # of one patient
_MAX_MATCHES = 10  # of an identifier: more than one is too many already


class FhirServerRecord:
    """Reads past the server's search cache, for a stale answer is a wrong patient or a second order. Errors: see the port and `Transport`."""

    def __init__(self, client: FhirClient) -> None:
        self._client = client
        self._context = ContextReader(client)

    def read(self, reference: str) -> Resource:
        return of_own_patient(self._client.read(reference), self._client)

    def find_patient(self, patient: PatientIdentity) -> Resource:
        return patient_of(patient, lambda identifier: self._with_identifier("Patient", identifier), self.read)

    def find_service_request(self, order: Order, patient: str) -> str:
        return service_request_of(
            order, patient, lambda identifier: self._with_identifier("ServiceRequest", identifier), self.read
        )

    def find_imaging_study(self, study_instance_uid: str, patient: str, former: Sequence[Identifier] = ()) -> str:
        """By the identifier that R4 §5.6 prescribes: system `urn:dicom:uid`, value `urn:oid:` and the UID."""
        identifier = Identifier(f"urn:oid:{study_instance_uid}", DICOM_UID)
        return study_of(patient, former, self._with_identifier("ImagingStudy", identifier), self.read)

    def find_orders_for(self, study: Resource, window_days: float) -> tuple[Resource, ...]:
        return orders_for(
            study,
            window_days,
            search=lambda identifier: self._with_identifier("ServiceRequest", identifier),
            of_patient=self._active_requests,
            read=self.read,
        )

    def context_of(self, patient: Resource, order: Order) -> ClinicalContext:
        return self._context.context_of(patient, order)

    def _active_requests(self, patient: str) -> tuple[Resource, ...]:
        """The newest first, where the server can sort; none where it cannot search by patient."""
        offered = self._client.search_parameters().get("ServiceRequest", frozenset())
        about = next((name for name in ("patient", "subject") if name in offered), "")
        if not about:
            return ()
        params: Params = ((about, patient),)
        if "status" in offered:
            params = (*params, ("status", "active"))
        if "authored" in offered:
            params = (*params, ("_sort", "-authored"))
        found = self._client.search("ServiceRequest", params, limit=MAX_ACTIVE_REQUESTS)
        return tuple(of_own_patient(request, self._client) for request in found)

    def _with_identifier(self, kind: str, identifier: Identifier) -> tuple[Resource, ...]:
        params = (("identifier", token(identifier.value, identifier.system)),)
        found = self._client.search(kind, params, limit=_MAX_MATCHES)
        return tuple(of_own_patient(resource, self._client) for resource in found)
