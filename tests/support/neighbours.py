"""A bridge between real HL7 v2 neighbours: Camel sends it orders and takes its results, HAPI takes the same results and checks them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.compose import SystemClock
from tests.support.bridge import Bridge, running_bridge, until
from tests.support.hl7_engine import Address, Engine, HapiReceiver, free_port
from tests.support.java_tls import JavaTls, java_tls
from tests.support.mllp_relay import MllpRelay
from tests.support.neighbour_orders import NeighbourOrder

SENDERS = {
    "senders.enhanced.application": "ENHANCED",
    "senders.enhanced.answer": "enhanced",
    "senders.enhanced.reply_to": "engine",
    "senders.responses.application": "RESPONSES",
    "senders.responses.order_responses": "true",
    "senders.short.application": "SHORT",
    "senders.short.acknowledgement_type": "short",
    "senders.western.application": "WESTERN",
    "senders.western.charset": "cp1252",
}


@dataclass(frozen=True)
class Neighbours:
    """`engine` sends by way of `relay`; both it and `receiver` are given every result. `secure` is a second listener, with `tls`."""

    bridge: Bridge
    engine: Engine
    receiver: HapiReceiver
    relay: MllpRelay
    secure: Address
    tls: JavaTls
    pacs: Path

    def jobs_of(self, order: NeighbourOrder) -> int:
        """How many jobs the order has, once it has one."""

        def look() -> int:
            found = (job.order.placer for job in self.bridge.store.jobs(limit=1000))
            return sum(placer is not None and placer.value == order.placer for placer in found)

        return until(look, "a job of the order")

    def everything_kept(self) -> set[bytes]:
        """All messages of the bridge's journal, byte for byte."""
        with _journal(self.bridge) as journal:
            newest = journal.messages(1)
            found = (journal.message(number) for number in range(1, newest[0].id + 1))
            return {each.entry.raw for each in found if each}

    def kept(self, control_id: str) -> bytes:
        """The newest message of the journal with this MSH-10, byte for byte."""
        with _journal(self.bridge) as journal:
            (newest, *_) = (each.id for each in journal.messages(20) if each.entry.key.control_id == control_id)
            found = journal.message(newest)
            assert found
            return found.entry.raw


@contextmanager
def _journal(bridge: Bridge) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(bridge.data_dir / "phi" / "journal.db", SystemClock())
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def running_neighbours(folder: Path, fhir: FhirClient) -> Iterator[Neighbours]:
    """All of them until the end; the PACS is the folder `pacs` beside the bridge's data."""
    port = free_port()
    with ExitStack() as stack:
        relay = stack.enter_context(MllpRelay(("127.0.0.1", port)))
        engine = stack.enter_context(Engine(folder / "engine", relay.address, ["--as-is", "--retry-delay", "300"]))
        receiver = stack.enter_context(HapiReceiver(folder / "receiver", ["--strict"]))
        tls, secure, pacs = java_tls(folder), ("127.0.0.1", free_port()), folder / "pacs"
        pacs.mkdir()
        settings = SENDERS | {
            "mllp.port": str(port),
            "listeners.secure.port": str(secure[1]),
            "listeners.secure.tls.certificate": str(tls.pem),
            "archive.folder": str(pacs),
        }
        for name, address in (("engine", engine.inbound), ("receiver", receiver.address)):
            settings |= {
                f"destinations.{name}.host": address[0],
                f"destinations.{name}.port": str(address[1]),
                f"destinations.{name}.results": "true",
                f"destinations.{name}.timeout_seconds": "2",
            }
        bridge = stack.enter_context(running_bridge(folder / "bridge", fhir, settings))
        for program in (engine, receiver):
            program.wait_until_ready()
        yield Neighbours(bridge, engine, receiver, relay, secure, tls, pacs)
