"""The twin of the FHIR server's read side: resources held in memory, under the same rules (`record_match`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fhir_bridge.adapters.record_context import TOPICS, context_from, part_of, references_of, referred
from fhir_bridge.adapters.record_match import (
    carries,
    merged_into,
    patient_of,
    reference_to,
    service_request_of,
    study_of,
    subject_of,
)
from fhir_bridge.adapters.record_orders import orders_for
from fhir_bridge.errors import BridgeError, Refused
from fhir_bridge.study import ClinicalContext, Resource
from mappings.code_system import DICOM_UID
from mappings.fhir_elements import local_reference
from mappings.order import Identifier, Order, PatientIdentity


@dataclass(slots=True)
class InMemoryRecord:
    """The port `ClinicalRecord` over resources given to `store`. Every call raises `outage` while it is set."""

    outage: BridgeError | None = None
    _stored: dict[str, Resource] = field(default_factory=dict, init=False, repr=False)

    def store(self, *resources: Resource) -> None:
        """As a server keeps them: under type and id, the later one in place of the earlier."""
        self._stored.update({reference_to(resource): resource for resource in resources})

    def remove(self, reference: str) -> None:
        del self._stored[reference]

    def read(self, reference: str) -> Resource:
        self._be_there()
        try:
            return self._stored[local_reference(reference)]
        except KeyError:
            raise Refused("fhir.not-found", f"GET {reference.partition('/')[0]}", "status 404") from None

    def find_patient(self, patient: PatientIdentity) -> Resource:
        return patient_of(patient, lambda identifier: self._with_identifier("Patient", identifier), self.read)

    def find_service_request(self, order: Order, patient: str) -> str:
        return service_request_of(
            order, patient, lambda identifier: self._with_identifier("ServiceRequest", identifier), self.read
        )

    def find_imaging_study(self, study_instance_uid: str, patient: str, former: Sequence[Identifier] = ()) -> str:
        identifier = Identifier(f"urn:oid:{study_instance_uid}", DICOM_UID)
        return study_of(patient, former, self._with_identifier("ImagingStudy", identifier), self.read)

    def find_orders_for(self, study: Resource, window_days: float) -> tuple[Resource, ...]:
        return orders_for(
            study,
            window_days,
            search=lambda identifier: self._with_identifier("ServiceRequest", identifier),
            of_patient=lambda patient: [r for r in self._of_type("ServiceRequest") if subject_of(r) == patient],
            read=self.read,
        )

    def context_of(self, patient: Resource, order: Order) -> ClinicalContext:
        about, whole = reference_to(patient), merged_into(patient, self.read)
        found = {
            topic.kind: [r for r in self._of_type(topic.kind) if subject_of(r) in whole.references] for topic in TOPICS
        }
        parts = [part_of(topic, found[topic.kind], whole, is_truncated=False) for topic in TOPICS]
        if order.service_request:
            parts.append(request := referred(order.service_request, about, order, self.read))
            references = [reference for resource in request.resources for reference in references_of(resource)]
            parts += [referred(reference, about, order, self.read) for reference in references]
        return context_from(patient, order, parts)

    def _with_identifier(self, kind: str, identifier: Identifier) -> Iterable[Resource]:
        return [resource for resource in self._of_type(kind) if carries(resource, identifier)]

    def _of_type(self, kind: str) -> list[Resource]:
        self._be_there()
        return [resource for resource in self._stored.values() if resource["resourceType"] == kind]

    def _be_there(self) -> None:
        if self.outage is not None:
            raise self.outage
