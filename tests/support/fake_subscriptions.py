"""The port `watchdog.Subscriptions`, filled by hand."""

from collections.abc import Collection
from dataclasses import replace

from fhir_bridge.errors import BridgeError
from fhir_bridge.watchdog import SubscriptionState, Survey


class FakeSubscriptions:
    """A server that makes what is asked for, and has it `requested` until a test says otherwise."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.states = {name: SubscriptionState(name, "missing") for name in names}
        self.leftovers: list[str] = []
        self.looks = 0
        self.mended: list[str] = []
        self.away: BridgeError | None = None
        self.refusal: BridgeError | None = None  # of what is written
        self.keeps_headers = True
        self.hides_headers = False  # from who reads, not from who writes

    def stands(self, name: str, status: str = "active", **changes: object) -> None:
        reference = f"Subscription/{name}"
        self.states[name] = replace(SubscriptionState(name, status, reference), **changes)  # type: ignore[arg-type]

    def look(self, names: Collection[str]) -> Survey:
        self.looks += 1
        if self.away is not None:
            raise self.away
        hidden = {"differs": ("channel.header",)} if self.hides_headers else {}
        return Survey(tuple(replace(self.states[name], **hidden) for name in names), tuple(self.leftovers))

    def mend(self, name: str) -> SubscriptionState:
        if self.refusal is not None:
            raise self.refusal
        self.mended.append(name)
        before = self.states[name]
        status = "active" if before.status == "active" else "requested"
        differs = () if self.keeps_headers else ("channel.header",)
        self.stands(name, status, differs=differs)
        return replace(self.states[name], action="created" if before.status == "missing" else "changed")

    def remove(self, reference: str) -> None:
        self.leftovers.remove(reference)
