"""Reading an order: our lazy reader against hl7apy, and python-hl7 where it is installed, in interleaved rounds of CPU time.

    python benchmarks/hl7v2_reading.py [--rounds 31]

The work: a 1 kB ORM^O01 is read from its bytes, and twelve values that an order needs are taken from it. Every reader must find the
same twelve. hl7apy runs with its defaults, as its users run it; segments it drops or moves are looked for by hand. The rounds alternate
the readers, because a machine changes its mind: compare the ratios, not the rates. The goal: 300 times hl7apy.

The second table is what each message costs on its way to its acknowledgement: header, content hash, acknowledgement.
"""

import argparse
import importlib.util
import json
import statistics
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hl7_listener.acknowledgement import Outcome, acknowledge
from hl7_listener.header import content_hash, read_header
from hl7_listener.message import Message

GOAL = 300
ORDER_BYTES = 1024
ROUND_SECONDS = 0.1
ORDER = "\r".join(
    (
        "MSH|^~\\&|RIS|BENCH|BRIDGE|AI|20260302093000||ORM^O01^ORM_O01|CANARY-1|P|2.3.1",
        "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA^Q||20210504|F",
        "PV1|1|I|WARD^12^1|||||||||||||||V1",
        "ORC|NW|P1^RIS|F1^RIS||SC||^^^20260302100000^^S",
        "OBR|1|P1^RIS|F1^RIS|XCH2^Chest \\T\\ ribs, 2 views^LOCAL|S|||||||||||||ACC1|RP1|SPS1||||DX",
        "ZDS|1.2.826.0.1.3680043.8.498.1^^Application^DICOM",
        "NTE|1||",
    )
)
RAW = (ORDER + "x" * (ORDER_BYTES - len(ORDER) - 1) + "\r").encode()
Keys = list[str]
READS = [
    *[("MSH", 10, 1), ("PID", 3, 1), ("PID", 5, 1), ("PID", 5, 2), ("PID", 7, 1), ("ORC", 1, 1), ("ORC", 2, 1)],
    *[("ORC", 3, 1), ("OBR", 4, 1), ("OBR", 4, 2), ("OBR", 18, 1), ("ZDS", 1, 1)],
]


def ours() -> Keys:
    """Every segment found, twelve values read."""
    first: dict[str, Any] = {}
    for segment in Message(RAW).segments:
        first.setdefault(segment.name, segment)
    return [first[name].value(field, component) for name, field, component in READS]


def hl7apy() -> Keys:
    """Its defaults drop ZDS, so this value is taken from the text."""
    from hl7apy.parser import parse_message

    text = RAW.decode("utf-8")
    message = parse_message(text)
    order = message.orm_o01_order
    detail = order.orm_o01_order_detail.orm_o01_choice.obr
    patient = message.orm_o01_patient.pid
    escaped = [
        message.msh.msh_10.to_er7(),
        patient.pid_3.cx_1.to_er7(),
        patient.pid_5.xpn_1.to_er7(),
        patient.pid_5.xpn_2.to_er7(),
        patient.pid_7.to_er7(),
        order.orc.orc_1.to_er7(),
        order.orc.orc_2.ei_1.to_er7(),
        order.orc.orc_3.ei_1.to_er7(),
        detail.obr_4.ce_1.to_er7(),
        detail.obr_4.ce_2.to_er7(),
        detail.obr_18.to_er7(),
        text[text.index("ZDS|") + 4 :].split("^", 1)[0],
    ]
    return [value.replace("\\T\\", "&") for value in escaped]


def python_hl7() -> Keys:
    """The `hl7` package, from PyPI."""
    import hl7

    message = hl7.parse(RAW)
    return [message.extract_field(name, 1, field, 1, component) for name, field, component in READS]


READERS: dict[str, Callable[[], Keys]] = {"ours": ours, "hl7apy": hl7apy}
if importlib.util.find_spec("hl7"):
    READERS["python-hl7"] = python_hl7


def microseconds(work: Callable[[], object], seconds: float) -> float:
    """CPU time of one call, over at least so much CPU time."""
    calls, start = 0, time.process_time()
    batch = 1
    while (spent := time.process_time() - start) < seconds:
        for _ in range(batch):
            work()
        calls += batch
        batch = min(2 * batch, 256)
    return 1e6 * spent / calls


def acknowledgement_path() -> dict[str, Callable[[], object]]:
    """What the door does with every message beside storing it."""
    header, taken, at = read_header(RAW), Outcome("AA"), datetime(2026, 3, 2, tzinfo=UTC)
    refused = Outcome("AE", 101, "PID-3", "patient identifier missing", "order.patient-missing")

    def answer(outcome: Outcome) -> bytes:
        return acknowledge(
            header, outcome, application="BRIDGE", facility="AI", control_id="0123456789abcdef0123", at=at
        )

    return {
        "read_header": lambda: read_header(RAW),
        "content_hash": lambda: content_hash(RAW),
        "acknowledge AA": lambda: answer(taken),
        "acknowledge AE": lambda: answer(refused),
    }


def main() -> None:
    """Read, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    found = {name: reader() for name, reader in READERS.items()}
    if any(keys != found["ours"] for keys in found.values()):
        raise SystemExit(f"the readers disagree: {found}")
    times: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name, reader in READERS.items():
            times[name].append(microseconds(reader, ROUND_SECONDS))
    result: dict[str, Any] = {"message_bytes": len(RAW), "reads": len(READS), "rounds": rounds}
    for name, values in times.items():
        ratios = [theirs / mine for theirs, mine in zip(times["hl7apy"], values, strict=True)]
        result[name] = {
            "microseconds": round(statistics.median(values), 1),
            "to_hl7apy": round(statistics.median(ratios), 1),
            "to_hl7apy_range": [round(min(ratios), 1), round(max(ratios), 1)],
        }
    result["goal"] = GOAL
    result["goal_met"] = result["ours"]["to_hl7apy"] >= GOAL
    path = acknowledgement_path()
    result["acknowledgement_path_microseconds"] = {
        name: round(min(microseconds(work, ROUND_SECONDS / 3) for _ in range(rounds)), 1) for name, work in path.items()
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
