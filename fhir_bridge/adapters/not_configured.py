"""Stands where no peer is configured: orders are taken and kept, and their jobs say what is missing."""

from collections.abc import Sequence
from typing import NoReturn

from fhir_bridge.errors import Refused
from fhir_bridge.study import ClinicalContext, Resource
from mappings.order import Identifier, Order, PatientIdentity


class NoFhirServer:
    """`ports.ClinicalRecord` without a server. Every call raises Refused `fhir.not-configured`: the job is held."""

    def read(self, reference: str) -> Resource:
        self._refuse()

    def find_patient(self, patient: PatientIdentity) -> Resource:
        self._refuse()

    def find_service_request(self, order: Order, patient: str) -> str:
        self._refuse()

    def find_imaging_study(self, study_instance_uid: str, patient: str, former: Sequence[Identifier] = ()) -> str:
        self._refuse()

    def find_orders_for(self, study: Resource, window_days: float) -> tuple[Resource, ...]:
        self._refuse()

    def context_of(self, patient: Resource, order: Order) -> ClinicalContext:
        self._refuse()

    @staticmethod
    def _refuse() -> NoReturn:
        raise Refused("fhir.not-configured", "fhir.base_url", "set fhir.base_url, then replay the job")
