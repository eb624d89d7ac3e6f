"""A client whose n-th write fails without saying whether it was done."""

from typing import Any

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.errors import Uncertain
from tests.support.delivery_contract import ServerPlace


class Breaking(FhirClient):
    """`done` says whether the write was done; 0 as the number: none fails."""

    def __init__(self, place: ServerPlace, fails_at: int, *, done: bool) -> None:
        super().__init__(place.client.base_url, place.credentials)
        self._left, self._done = fails_at, done

    def _write(self, write: Any) -> Any:
        self._left -= 1
        fails = self._left == 0
        result = write() if self._done or not fails else None
        if fails:
            raise Uncertain("fhir.uncertain", "test", "cut off")
        return result

    def transaction(self, bundle: dict[str, Any]) -> Any:
        return self._write(lambda: super(Breaking, self).transaction(bundle))

    def create_unless(self, resource: dict[str, Any], condition: str) -> Any:
        return self._write(lambda: super(Breaking, self).create_unless(resource, condition))

    def update(self, reference: str, resource: dict[str, Any], *, if_match: str = "") -> Any:
        return self._write(lambda: super(Breaking, self).update(reference, resource, if_match=if_match))
