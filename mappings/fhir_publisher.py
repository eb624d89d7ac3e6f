"""Who publishes our results, and under which identifiers they are found again."""

from dataclasses import dataclass

from mappings.fhir_elements import Json, business_identifier
from mappings.order import Identifier


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who publishes: the Organization that answers for the results, and the identifier systems under which we know our resources.

    `ai_label` puts the security label AIAST on what the AI asserts. It is younger than R4: HAPI stores it, but its `$validate` and a
    server that checks codes on writing call it unknown. `communications`: a Communication to the requester goes with each edition.
    """

    organization_name: str
    organization_identifier: Identifier
    job_system: str = "urn:fhir-bridge:job"
    observation_system: str = "urn:fhir-bridge:observation"
    model_system: str = "urn:fhir-bridge:model"
    digest_system: str = "urn:fhir-bridge:sha-256"
    communication_system: str = "urn:fhir-bridge:communication"
    ai_label: bool = True
    communications: bool = False

    def reference(self) -> Json:
        """The Organization by identifier and name: it need not exist on the server."""
        return {
            "type": "Organization",
            "identifier": business_identifier(self.organization_identifier),
            "display": self.organization_name,
        }
