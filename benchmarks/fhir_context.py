"""The clinical context of a Synthea patient from a real HAPI: the same reads one after the other, `Patient/$everything`, and ours.

Loads three Synthea patients (../shared/corpus/deid/synthea_r4: 0.5 to 0.6 MB, 168 to 212 entries each) with their hospitals. A round
takes each patient by each way, in turn, every search past HAPI's cache. One after the other: our reads with one worker. Everything: what
a client gets that asks for all of the patient, 50 a page. Ours: as `fhir_bridge` does it, six at a time. Seconds are those of the whole
call; requests and bytes are counted where they leave the session. The CapabilityStatement is asked for before, as in a server that runs.
Once on the loopback as it is, and once with 20 ms before each request, as of a hospital's network (slept, not sent).
`python benchmarks/fhir_context.py [--rounds 15] [--base-url URL]` prints a JSON object for each; with a URL no HAPI is started.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT.parent / "shared" / "corpus" / "deid" / "synthea_r4"
sys.path.insert(0, str(ROOT))

from fhir_bridge.adapters.fhir_client import FhirClient  # noqa: E402
from fhir_bridge.adapters.fhir_context import ContextReader  # noqa: E402
from fhir_bridge.adapters.fhir_transport import Limits  # noqa: E402
from fhir_bridge.practice.fhir_peer import start_fhir_peer  # noqa: E402
from mappings.order import Order, OrderControl, PatientIdentity  # noqa: E402

ORDER = Order(OrderControl.NEW, PatientIdentity())
Way = Callable[[dict[str, Any]], int]


class Counted:
    """Counts what goes over a client's session: answers and their bytes. Each takes `latency_seconds` longer: a hospital's network."""

    def __init__(self, client: FhirClient) -> None:
        session = client._transport._session
        send, lock = session.send, threading.Lock()
        self.requests = self.bytes = 0
        self.latency_seconds = 0.0

        def counting(*arguments: Any) -> Any:
            time.sleep(self.latency_seconds)
            reply = send(*arguments)
            with lock:
                self.requests += 1
                self.bytes += len(reply.body)
            return reply

        session.send = counting

    def since(self, before: tuple[int, int]) -> tuple[int, int]:
        return self.requests - before[0], self.bytes - before[1]


@contextmanager
def hapi(url: str) -> Iterator[str]:
    """The base URL of one that runs, or of one of our own."""
    if url:
        yield url
        return
    with start_fhir_peer("hapi", ROOT / ".work" / "hapi") as peer:
        yield peer.base_url


def load(client: FhirClient) -> list[dict[str, Any]]:
    """The Patient resources, as the server keeps them."""
    hospital, practitioners, *patients = (
        json.loads(path.read_text())
        for path in sorted(CORPUS.glob("*.json"), key=lambda path: (path.name[0].isupper(), path.name))
    )
    client.transaction({**hospital, "entry": [*hospital["entry"], *practitioners["entry"]]})
    kept = []
    for bundle in patients:
        answer = client.transaction(bundle)
        locations = (entry["response"].get("location", "") for entry in answer["entry"])
        kept.append(client.read(next(location for location in locations if "Patient/" in location)))
    return kept


def everything(client: FhirClient, patient: dict[str, Any]) -> int:
    """How many resources came."""
    pages = client.pages(f"Patient/{patient['id']}/$everything", (("_count", "50"),))
    return sum(len(page.bundle.get("entry", ())) for page in pages)


def context(reader: ContextReader) -> Way:
    """How many resources came, of all types."""
    return lambda patient: sum(len(kept) for kept in reader.context_of(patient, ORDER).others.values())


def measure(
    client: FhirClient, counted: Counted, patients: list[dict[str, Any]], rounds: int, latency_ms: float
) -> dict[str, Any]:
    """By way: what a patient costs."""
    counted.latency_seconds = latency_ms / 1000
    ways: dict[str, Way] = {
        "one after the other": context(ContextReader(client, parallel=1)),
        "everything": lambda patient: everything(client, patient),
        "ours": context(ContextReader(client)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cost: dict[str, tuple[float, float, float]] = {}
    for turn in range(rounds + 2):
        names = list(ways)[turn % 3 :] + list(ways)[: turn % 3]
        for name in names:
            before, started = (counted.requests, counted.bytes), time.perf_counter()
            resources = sum(ways[name](patient) for patient in patients)
            spent = (time.perf_counter() - started) / len(patients)
            if turn >= 2:  # HAPI warms up
                seconds[name].append(spent)
            requests, volume = counted.since(before)
            cost[name] = (requests / len(patients), volume / len(patients), resources / len(patients))
    return {
        "network, ms": latency_ms,
        **{name: figures(seconds[name], *cost[name]) for name in ways},
        "one after the other by ours, median of the rounds": ratio(seconds["one after the other"], seconds["ours"]),
        "everything by ours, median of the rounds": ratio(seconds["everything"], seconds["ours"]),
    }


def figures(seconds: list[float], requests: float, volume: float, resources: float) -> dict[str, Any]:
    """Per patient."""
    return {
        "ms, median": round(1000 * statistics.median(seconds), 1),
        "ms, range": [round(1000 * min(seconds), 1), round(1000 * max(seconds), 1)],
        "round trips": round(requests, 1),
        "kB": round(volume / 1000),
        "resources": round(resources, 1),
    }


def ratio(those: list[float], ours: list[float]) -> float:
    """Of the same rounds."""
    return round(statistics.median(that / our for that, our in zip(those, ours, strict=True)), 2)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--base-url", default="")
    chosen = parser.parse_args()
    if not CORPUS.is_dir():
        print(f"not measured: no Synthea patients at {CORPUS}", file=sys.stderr)
        return
    limits = Limits(timeout_seconds=120, deadline_seconds=240)
    with hapi(chosen.base_url) as url, FhirClient(url, limits=limits) as client:
        counted, patients = Counted(client), load(client)
        client.search_parameters()
        for latency_ms in (0.0, 20.0):
            print(json.dumps(measure(client, counted, patients, chosen.rounds, latency_ms), indent=1), flush=True)


if __name__ == "__main__":
    main()
