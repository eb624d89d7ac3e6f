"""One look at the FHIR server, by several readers: all of them see the same version of each resource."""

import threading
from typing import Protocol

from fhir_bridge.study import Resource
from mappings.fhir_reading import reference_to


class OrderSource(Protocol):
    """What the inbox needs of the FHIR server: see `ports.ClinicalRecord`."""

    def read(self, reference: str) -> Resource: ...

    def find_orders_for(self, study: Resource, window_days: float) -> tuple[Resource, ...]: ...


class OneLook:
    """Each resource is read once, by whichever reader: else one could read a version that another one, who reads it later, overtakes."""

    def __init__(self, source: OrderSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._found: dict[str, Resource] = {}

    def read(self, reference: str) -> Resource:
        with self._lock:
            turn = self._turns.setdefault(reference, threading.Lock())
        with turn:
            if reference not in self._found:
                self._found[reference] = self._source.read(reference)
            return self._found[reference]

    def find_orders_for(self, study: Resource, window_days: float) -> tuple[Resource, ...]:
        """As read, not as found: a search may lag behind."""
        found = self._source.find_orders_for(study, window_days)
        return tuple(self.read(reference_to(request, "ServiceRequest")) for request in found)
