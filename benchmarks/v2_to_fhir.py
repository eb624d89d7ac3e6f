"""Orders to FHIR Bundles: ours against PyPI hl7v2-fhir-bridge 0.1.0 on the same orders; CPU time, interleaved, and what each loses.

Both get the bytes of a message and make a Bundle (a dict), in a process of their own that has imported everything. A round converts all
orders that both can convert, ours and the peer's in turn; the ratio is the median over the rounds of the peer's CPU time by ours. A value
is lost where it stands in the message and nowhere in the Bundle outside Provenance (the peer keeps some segments there as they came).
Orders: tests/data/hl7v2, the golden messages, and the public corpus beside the repository where it is there.
`python benchmarks/v2_to_fhir.py [--rounds 9] [--repeat 5]` prints JSON. The peer (MIT) is installed into .work/peers by the first run.
"""

import argparse
import base64
import json
import statistics
import subprocess
import sys
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEER = "hl7v2-fhir-bridge==0.1.0"
PEER_HOME = ROOT / ".work" / "peers" / "hl7v2-fhir-bridge"
CORPUS = ROOT.parent / "shared" / "corpus" / "hl7v2"
ORDERS = (b"ORM", b"OMG", b"OMI")

# what an imaging order tells, and where it stands: segment, field, component
PROBES = {
    "Study Instance UID (ZDS-1, IPC-3)": (("ZDS", 1, 1), ("IPC", 3, 1)),
    "accession number (OBR-18, IPC-1)": (("OBR", 18, 1), ("IPC", 1, 1)),
    "requested procedure (OBR-19, IPC-2)": (("OBR", 19, 1), ("IPC", 2, 1)),
    "scheduled step (OBR-20, IPC-4)": (("OBR", 20, 1), ("IPC", 4, 1)),
    "placer number (ORC-2)": (("ORC", 2, 1),),
    "filler number (ORC-3)": (("ORC", 3, 1),),
    "group number (ORC-4)": (("ORC", 4, 1),),
    "procedure (OBR-4)": (("OBR", 4, 1),),
    "modality (OBR-24, IPC-5)": (("OBR", 24, 1), ("IPC", 5, 1)),
    "clinical information (OBR-13)": (("OBR", 13, 1),),
    "body site (OBR-15.4)": (("OBR", 15, 4),),
    "reason (OBR-31)": (("OBR", 31, 1), ("OBR", 31, 2)),
    "ordering provider (ORC-12, OBR-16)": (("ORC", 12, 1), ("OBR", 16, 1)),
    "note (NTE-3)": (("NTE", 3, 1),),
    "observation (OBX-5)": (("OBX", 5, 1),),
    "diagnosis (DG1-3)": (("DG1", 3, 1),),
    "allergy (AL1-3)": (("AL1", 3, 1), ("AL1", 3, 2)),
    "account (PID-18)": (("PID", 18, 1),),
    "visit number (PV1-19)": (("PV1", 19, 1),),
    "attending doctor (PV1-7)": (("PV1", 7, 1),),
}


def orders() -> list[bytes]:
    """Every order message once, with CR between its segments."""
    folders = [ROOT / "tests" / "data" / "hl7v2", ROOT / "tests" / "mappings" / "golden_bundles", CORPUS]
    files = sorted(path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file())
    found: dict[bytes, None] = {}
    for file in files:
        content = file.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r").strip(b"\r") + b"\r"
        header = content.split(b"\r", 1)[0].split(content[3:4])
        if content.startswith(b"MSH") and len(header) > 8 and header[8][:3] in ORDERS and content.count(b"\rMSH") == 0:
            found[content] = None
    return list(found)


def peer_python() -> Path:
    """The interpreter of the peer's environment, made where it is missing."""
    python = PEER_HOME / "bin" / "python"
    if not python.exists():
        venv.create(PEER_HOME, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)
    return python


class Converter:
    """One converter in a process of its own: a line in, a line out."""

    def __init__(self, name: str, python: Path) -> None:
        command = [str(python), str(Path(__file__).resolve()), "--worker", name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)


def work(name: str) -> None:
    """The other end of `Converter`. Answers with Bundles, or with the CPU seconds of converting."""
    convert = _ours() if name == "ours" else _peer()
    for line in sys.stdin:
        question = json.loads(line)
        messages = [base64.b64decode(text) for text in question["messages"]]
        if question["what"] == "bundles":
            answer: Any = [convert(message) for message in messages]
        else:
            start = time.process_time()
            for _ in range(question["repeat"]):
                for message in messages:
                    convert(message)
            answer = time.process_time() - start
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _ours() -> Callable[[bytes], Any]:
    sys.path.insert(0, str(ROOT))
    from hl7_listener.message import Message
    from hl7_listener.refusal import MessageRefused
    from mappings.hl7v2_bundle import bundle_from
    from mappings.hl7v2_order_keys import SenderPolicy
    from mappings.refusal import MappingRefused

    policy = SenderPolicy()

    def convert(raw: bytes) -> Any:
        try:
            return bundle_from(Message(raw), policy)
        except (MappingRefused, MessageRefused) as refused:
            return refused.code

    return convert


def _peer() -> Callable[[bytes], Any]:
    from v2fhir.config import Config
    from v2fhir.convert import convert as peer_convert
    from v2fhir.errors import MappingError, ParseError, RejectError
    from v2fhir.hl7.parser import parse_bytes

    config = Config(default_timezone="UTC", default_assigning_authority="HOSP")

    def convert(raw: bytes) -> Any:
        try:
            return peer_convert(parse_bytes(raw), config).bundle
        except (MappingError, ParseError, RejectError) as refused:
            return type(refused).__name__

    return convert


def values(message: bytes, places: tuple[tuple[str, int, int], ...]) -> Iterator[str]:
    """The values at these places that are long enough to be looked for."""
    field, component, repetition = (chr(message[3]), chr(message[4]), chr(message[5]))
    for line in message.decode("utf-8", "replace").split("\r"):
        cells = line.split(field)
        for name, position, part in places:
            if cells[0] == name and position < len(cells):
                for stated in cells[position].split(repetition):
                    parts = stated.split(component)
                    value = parts[part - 1].split("&")[0].strip() if len(parts) >= part else ""
                    if len(value) >= 2 and value != '""' and "\\" not in value:
                        yield value


def is_kept(value: str, texts: list[str]) -> bool:
    """As a text or number of its own, or inside a longer text."""
    return any(value == text or (len(value) >= 4 and value in text) or text == f"urn:oid:{value}" for text in texts)


def texts_of(value: Any) -> Iterator[str]:
    """Every text and number of a resource."""
    if isinstance(value, dict):
        for part in value.values():
            yield from texts_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts_of(part)
    elif isinstance(value, str | int | float):
        yield str(value)


def losses(messages: list[bytes], bundles: list[Any]) -> dict[str, str]:
    """For each kind of value: lost / present, over the orders that this converter takes."""
    lost, present = Counter[str](), Counter[str]()
    for message, bundle in zip(messages, bundles, strict=True):
        if isinstance(bundle, str):
            continue
        entries = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] != "Provenance"]
        texts = [text for entry in entries for part in ("request", "resource") for text in texts_of(entry[part])]
        for name, places in PROBES.items():
            for value in dict.fromkeys(values(message, places)):
                present[name] += 1
                lost[name] += not is_kept(value, texts)
    return {name: f"{lost[name]}/{present[name]}" for name in PROBES if present[name]}


def main() -> None:
    """Converts, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--worker", choices=("ours", "peer"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    messages = orders()
    encoded = [base64.b64encode(message).decode() for message in messages]
    converters = {"ours": Converter("ours", Path(sys.executable)), "peer": Converter("peer", peer_python())}
    bundles = {name: converter.ask(what="bundles", messages=encoded) for name, converter in converters.items()}
    both = [text for text, ours, peer in zip(encoded, bundles["ours"], bundles["peer"], strict=True)
            if not isinstance(ours, str) and not isinstance(peer, str)]  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in converters}
    for _ in range(arguments.rounds):
        for name, converter in converters.items():
            seconds[name].append(converter.ask(what="seconds", messages=both, repeat=arguments.repeat))
    for converter in converters.values():
        converter.close()
    print(json.dumps(_report(messages, bundles, seconds, len(both) * arguments.repeat), indent=2))


def _report(
    messages: list[bytes], bundles: dict[str, list[Any]], seconds: dict[str, list[float]], converted: int
) -> dict[str, Any]:
    ratios = [peer / ours for ours, peer in zip(seconds["ours"], seconds["peer"], strict=True)]
    return {
        "orders": len(messages),
        "outcomes": {
            name: dict(Counter(b if isinstance(b, str) else "bundle" for b in found)) for name, found in bundles.items()
        },
        "orders_per_cpu_second": {name: round(converted / statistics.median(times)) for name, times in seconds.items()},
        "ratio": {
            "median": round(statistics.median(ratios), 2),
            "lowest": round(min(ratios), 2),
            "highest": round(max(ratios), 2),
        },
        "lost/present": {name: losses(messages, found) for name, found in bundles.items()},
    }


if __name__ == "__main__":
    main()
