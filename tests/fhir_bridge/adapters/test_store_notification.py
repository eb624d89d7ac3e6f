"""One notification by its number, in every store."""

from fhir_bridge.ports import Notification
from tests.support.store_house import House


def test_a_notification_is_found_by_its_number(house: House) -> None:
    told = Notification(0, "orders", "PUT", "ServiceRequest", "1", "2", "quarantined", reason="hook.path-unusable")
    with house.store.transaction() as ledger:
        ledger.add_notification(told, b"")
    (kept,) = house.store.notifications()
    assert house.store.notification(kept.id) == kept


def test_a_number_that_nobody_has_finds_nothing(house: House) -> None:
    assert house.store.notification(17) is None
