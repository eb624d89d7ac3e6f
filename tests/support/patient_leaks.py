"""Looks for who a patient is in everything that a bridge shows, writes down or gives to its model."""

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path

import pydicom
import requests

from fhir_bridge.job import Job
from tests.support.bridge import Bridge

_IDENTIFYING = ("PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def identities_of(jobs: Iterable[Job], data_dir: Path) -> frozenset[str]:
    """Names, numbers and UIDs of these orders and of every film that was fetched for them."""
    found = {"CANARY", "ZEBRA"}
    for job in jobs:
        order = job.order
        numbers = (*order.patient.identifiers, order.placer, order.filler, order.accession)
        found |= {number.value for number in numbers if number} | {order.study_instance_uid}
    for path in (data_dir / "phi").rglob("*"):
        if path.is_file() and path.read_bytes()[128:132] == b"DICM":
            film = pydicom.dcmread(path, stop_before_pixels=True)
            found |= {str(film.get(keyword, "")) for keyword in _IDENTIFYING}
    return frozenset(found - {""})


def shown_of(bridge: Bridge) -> dict[str, bytes]:
    """Place -> its bytes: both pages of each job, the metrics, the output, the model process, the de-identified files."""
    shown = {f"page {path}": _get(bridge, path) for path in ("/", *(f"/jobs/{job.id}" for job in bridge.store.jobs()))}
    shown |= {"metrics": _get(bridge, "/metrics"), "health": _get(bridge, "/health/ready")}
    shown |= {f"output {path.name}": path.read_bytes() for path in (bridge.process.log,)}
    process = Path(f"/proc/{bridge.model_process()}")
    shown |= {f"model {name}": (process / name).read_bytes() for name in ("environ", "cmdline")}
    files = (path for path in (bridge.data_dir / "deidentified").rglob("*") if path.is_file())
    return shown | {f"deidentified {path.relative_to(bridge.data_dir)}": path.read_bytes() for path in files}


def leaks(shown: Mapping[str, bytes], identities: Iterable[str]) -> list[str]:
    """The places, and by number which identity, in whatever writing."""
    wanted = [(number, _writings(identity)) for number, identity in enumerate(identities)]
    return [
        f"{place}: {number}"
        for place, content in shown.items()
        for number, writings in wanted
        if any(writing in content for writing in writings)
    ]


def _writings(identity: str) -> frozenset[bytes]:
    """As text, in UTF-16 of both byte orders, and in base64 at each of the three offsets that it may have in a longer text."""
    plain = identity.encode()
    written = {plain, identity.encode("utf-16-le"), identity.encode("utf-16-be")}
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + plain)
        first = -(-offset * 8 // 6)  # the first character that depends on the identity alone
        last = (offset + len(plain)) * 8 // 6
        written.add(whole[first:last])
    return frozenset(writing for writing in written if len(writing) >= 6 or writing == plain)


def _get(bridge: Bridge, path: str) -> bytes:
    answer = requests.get(bridge.process.url + path, timeout=30)
    answer.raise_for_status()
    return answer.content
