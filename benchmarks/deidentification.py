"""De-identification of CR and DX: speed of the rewriter alone and of the whole crossing, and identities left of those planted.

`rewrite` works in memory on the same bytes, best of the rounds. `cross` is everything: read twice, rewrite, check by pydicom and
Table E.1-1, search for known identifiers, vault with `synchronous=FULL`, fsync of every file. The small film is a header of about
40 KB removed and kept elements; the large one the uncompressed 1760 x 1760 x 16 bit CR of pydicom-data. The planted films are those of the
property tests (tests/support/planted_films.py): a hit is a name, in any case, as UTF-16 or base64, anywhere in the released bytes.
`python benchmarks/deidentification.py [--rounds 5] [--planted 500]` prints JSON. No peer runs here. MB = 10^6 bytes.
"""

import argparse
import base64
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hypothesis import HealthCheck, given, seed, settings  # noqa: E402
from pydicom.data import get_testdata_file  # noqa: E402

from fhir_bridge.deid.crossing import cross  # noqa: E402
from fhir_bridge.deid.dicom import rewrite  # noqa: E402
from fhir_bridge.deid.pseudonym import ProjectKeys  # noqa: E402
from fhir_bridge.deid.subject import Age, Subject  # noqa: E402
from fhir_bridge.deid.vault import Vault  # noqa: E402
from fhir_bridge.study import ClinicalContext, RawStudy  # noqa: E402
from tests.support.planted_films import planted_films  # noqa: E402
from tests.support.raw_film import DX, Film, Raw, short, text  # noqa: E402

KEYS = ProjectKeys(bytes(range(32)))
CONTEXT = ClinicalContext({"resourceType": "Patient", "id": "1", "name": [{"family": "CANARY", "given": ["ZEBRA"]}]})
NAMES = ("CANARY", "ZEBRA")


def small_film(number: int) -> bytes:
    """About 40 KB: 32 KB of pixels, 150 elements, a private group of 4 KB, two levels of sequences."""
    film = Film(DX, pixels=bytes(128 * 128 * 2)).put(short(0x00280010, 128), short(0x00280011, 128))
    film.put(
        text(0x00080018, "UI", f"1.2.3.4.{number}"), text(0x00081030, "LO", "CHEST PA"), text(0x00180060, "DS", "70")
    )
    for tag in range(0x00400001, 0x00400060):
        film.put(text(tag, "LO", "CANARY^ZEBRA at the clinic"))
    for tag in range(0x00091000, 0x00091020):
        film.put(Raw(tag, "UN", b"CANARY" * 20))
    reference = (text(0x00081150, "UI", DX), text(0x00081155, "UI", "1.2.3.4.9"))
    return film.put(Raw(0x00082112, "SQ", items=(reference,) * 4)).to_bytes()


def best(rounds: int, work: Callable[[], Any]) -> float:
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def rates(seconds: float, files: list[bytes]) -> dict[str, float]:
    """Files and megabytes a second."""
    megabytes = sum(map(len, files)) / 1e6
    return {"files_per_second": round(len(files) / seconds, 1), "megabytes_per_second": round(megabytes / seconds, 1)}


def speed(files: list[bytes], rounds: int) -> dict[str, Any]:
    """The rewriter in memory and the whole crossing of one study of these files."""
    subject = Subject(KEYS, "Patient/1", Age(40), NAMES)
    alone = best(rounds, lambda: [rewrite(content, subject) for content in files])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, content in enumerate(files):
            (folder / f"{number}.dcm").write_bytes(content)
        raw = RawStudy(folder, "", tuple(Path(f"{number}.dcm") for number in range(len(files))))
        vault = Vault(folder / "vault.db", bytes(32))
        whole = best(rounds, lambda: cross(raw, CONTEXT, job="1", into=folder / "out", keys=KEYS, vault=vault))
    return {"files": len(files), "rewrite": rates(alone, files), "cross": rates(whole, files)}


def planted(count: int) -> dict[str, int]:
    """Identities put in by the generator of the property tests, and those found in what came out."""
    found = {"films": 0, "planted": 0, "left": 0}

    @seed(20261125)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(planted_films())
    def run(film: Film) -> None:
        content = film.to_bytes()
        released = rewrite(content, Subject(KEYS, "Patient/1", None, ())).content
        found["films"] += 1
        found["planted"] += sum(content.upper().count(name.encode()) for name in NAMES)
        found["left"] += sum(released.upper().count(form) for name in NAMES for form in forms(name))

    run()
    return found


def forms(name: str) -> list[bytes]:
    """A name as it could hide, upper case."""
    coded = [base64.b64encode(bytes(offset) + name.encode())[4:-4].upper() for offset in (1, 2, 3)]
    return [name.encode(), name.encode("utf-16-le"), *(form for form in coded if len(form) > 3)]


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--planted", type=int, default=500)
    options = parser.parse_args()
    result: dict[str, Any] = {"small": speed([small_film(number) for number in range(100)], options.rounds)}
    path = get_testdata_file("RG3_UNCR.dcm", download=False)
    result["large"] = speed([Path(path).read_bytes()], options.rounds) if path else "pydicom-data is not installed"
    result["identities"] = planted(options.planted)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
