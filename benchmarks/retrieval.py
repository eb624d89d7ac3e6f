"""Retrieval of a 300-slice CT from a local Orthanc: our reader against dicomweb-client's `iter_study`, same PACS, same round.

Each retrieval runs in a process of its own, ours and the peer's in turn. Ours counts all that it does: the listing by QIDO-RS, the
check of completeness and the fsync of every file; the peer writes its datasets with `save_as` and checks nothing. MB = 10^6 bytes of
pixel data. Memory is the peak resident set (VmHWM). `python benchmarks/retrieval.py [--rounds 5] [--slices 300] [--peer-path DIR]`
prints JSON; without Orthanc or the peer it says so. Goals: >= 2.5x the peer's MB/s, <= 1.2x its memory.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STUDY = "1.2.826.0.1.3680043.8.498.300"
ROWS = 512
PEER = "dicomweb_client_iter_study"
USER, PASSWORD = "bridge", "secret"


def ours(url: str, into: Path) -> int:
    """In a child: the product's own adapter."""
    from fhir_bridge.adapters.dicomweb import DicomWeb

    archive = DicomWeb(url, (USER, PASSWORD))
    return _timed(lambda: len(archive.retrieve(STUDY, into)))


def ours_without_fsync(url: str, into: Path) -> int:
    """In a child: the same, with as little care for a power cut as the peer takes."""
    os.fsync = lambda descriptor: None
    return ours(url, into)


def peer(url: str, into: Path) -> int:
    """In a child: dicomweb-client, as its documentation shows it, one dataset at a time."""
    import requests
    from dicomweb_client.api import DICOMwebClient

    session = requests.Session()
    session.auth = (USER, PASSWORD)
    client = DICOMwebClient(url, session=session)

    def retrieve() -> int:
        count = 0
        # without media_types it asks for a transcoding, which is slower still
        for dataset in client.iter_study(STUDY, media_types=(("application/dicom", "*"),)):
            count += 1
            dataset.save_as(into / f"{count:05d}.dcm")
        return count

    return _timed(retrieve)


def _timed(retrieve: Callable[[], int]) -> int:
    base = _peak_mebibytes()
    started, cpu = time.perf_counter(), time.process_time()
    count = retrieve()
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(figures | {"base_mebibytes": base, "peak_mebibytes": _peak_mebibytes(), "instances": count}))
    return 0


def _peak_mebibytes() -> float:
    """VmHWM: unlike ru_maxrss it does not count the process that started this one."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _run(which: str, url: str, environment: dict[str, str]) -> dict[str, Any]:
    into = Path(tempfile.mkdtemp(prefix="retrieval-"))
    try:
        command = [sys.executable, __file__, "--child", which, "--url", url, "--into", str(into)]
        finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, env=environment)
    finally:
        shutil.rmtree(into)
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def _has_peer(environment: dict[str, str]) -> bool:
    command = [sys.executable, "-c", "import dicomweb_client"]
    return subprocess.run(command, capture_output=True, env=environment).returncode == 0


def _summary(runs: list[dict[str, Any]], slices: int) -> dict[str, float]:
    seconds = statistics.median(run["seconds"] for run in runs)
    return {
        "seconds": round(seconds, 3),
        "megabytes_per_second": round(slices * ROWS * ROWS * 2 / 1e6 / seconds, 1),
        "cpu_seconds": round(statistics.median(run["cpu_seconds"] for run in runs), 3),
        "base_mebibytes": round(statistics.median(run["base_mebibytes"] for run in runs), 1),
        "peak_mebibytes": round(statistics.median(run["peak_mebibytes"] for run in runs), 1),
    }


def measure(rounds: int, slices: int, peer_path: str) -> dict[str, Any]:
    """Fills a PACS, retrieves in turn, compares the medians."""
    sys.path.insert(0, str(ROOT))
    from tests.support.orthanc import running_orthanc
    from tests.support.studies import an_instance

    environment = {**os.environ, "PYTHONPATH": peer_path}  # the same for both: the same codecs are loaded, and weigh
    contenders = ["ours", "ours_without_fsync", *([PEER] if _has_peer(environment) else [])]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    with running_orthanc() as server:
        for number in range(1, slices + 1):
            server.store(an_instance(study_uid=STUDY, number=number, size=ROWS))
        for _ in range(rounds + 1):  # the first warms the PACS and the page cache, and is not counted
            for name in contenders:
                run = _run(name, server.dicomweb_url, environment)
                assert run["instances"] == slices, f"{name} retrieved {run['instances']} of {slices}"
                runs[name].append(run)
    result: dict[str, Any] = {"slices": slices, "rounds": rounds}
    result |= {name: _summary(done[1:], slices) for name, done in runs.items()}
    if PEER not in contenders:
        return result | {PEER: "peer not installed"}
    own, bare, other = result["ours"], result["ours_without_fsync"], result[PEER]
    result["speed_ratio"] = round(own["megabytes_per_second"] / other["megabytes_per_second"], 2)
    result["speed_ratio_without_fsync"] = round(bare["megabytes_per_second"] / other["megabytes_per_second"], 2)
    result["memory_ratio"] = round(own["peak_mebibytes"] / other["peak_mebibytes"], 2)
    result["goal_met"] = result["speed_ratio"] >= 2.5 and result["memory_ratio"] <= 1.2
    return result


def main() -> int:
    """The parent measures; a child, started by it, retrieves once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument(
        "--peer-path", default="", help="a folder with dicomweb-client (pip install --no-deps --target)"
    )
    parser.add_argument("--child", choices=["ours", "ours_without_fsync", PEER], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        retrieve = {"ours": ours, "ours_without_fsync": ours_without_fsync, PEER: peer}[arguments.child]
        return retrieve(arguments.url, arguments.into)
    if not Path("/usr/sbin/Orthanc").exists():
        print(json.dumps({"skipped": "Orthanc is not installed"}))
        return 0
    print(json.dumps(measure(arguments.rounds, arguments.slices, arguments.peer_path), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
