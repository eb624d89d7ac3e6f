"""Many ServiceRequests at once on a real HAPI, and something dies: has each of them one job and one DiagnosticReport in the end?

    python benchmarks/fhir_healing.py [--orders 100] [--cases plain,server,ours,endpoint] [--down-seconds 90] [--folder DIR]

Four cases, each with orders of its own: `plain`; `server`: HAPI is killed (-9) amid them and started again; `ours`: the whole bridge is;
`endpoint`: nobody listens at our hooks for longer than HAPI tries again (58 s), so that HAPI drops events for ever. Prints a table, and
what of each case the notifications did not tell; exit code 1 if an end state is another than it must be.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "fhir.profile": "hapi",
    "fhir.catch_up_seconds": "15",
    "fhir.catch_up_overlap_seconds": "120",
    "fhir.watch_seconds": "15",
}
PATIENCE_SECONDS = 1800.0
COLUMNS = "case orders jobs reports faults found-by-asking placed-s all-s"


def plain(burst: Any, down_seconds: float) -> None:
    """Nothing dies."""
    burst.place(burst.stories)


def server(burst: Any, down_seconds: float) -> None:
    """HAPI is killed once some of the orders are done, while others are placed: each until it is taken."""
    half = len(burst.stories) // 2
    burst.place(burst.stories[:half])
    burst.await_reports(max(1, half // 10))
    with ThreadPoolExecutor(1) as pool:
        placing = pool.submit(burst.place, burst.stories[half:])
        burst.site.hospital.stop()
        burst.site.hospital.start()
        placing.result()


def ours(burst: Any, down_seconds: float) -> None:
    """The bridge is killed amid the notifications, and once more amid the work."""
    half = len(burst.stories) // 2
    burst.place(burst.stories[:half])
    burst.site.kill()
    burst.place(burst.stories[half:])
    burst.site.start()
    burst.await_reports(len(burst.stories) // 10)
    burst.site.kill()
    burst.site.start()


def endpoint(burst: Any, down_seconds: float) -> None:
    """The bridge is away while the orders are placed, and comes back after HAPI gave up."""
    burst.site.kill()
    began = time.monotonic()
    burst.place(burst.stories)
    time.sleep(max(0.0, down_seconds - (time.monotonic() - began)))
    burst.site.start()


CASES: dict[str, Callable[[Any, float], None]] = {"plain": plain, "server": server, "ours": ours, "endpoint": endpoint}


def run(cases: list[str], orders: int, down_seconds: float, folder: Path) -> bool:
    """Whether every end state is as it must be."""
    sys.path.insert(0, str(ROOT))
    from tests.support.fhir_burst import Burst, BurstEnd
    from tests.support.fhir_hospital import real_hospital
    from tests.support.fhir_site import running_site
    from tests.support.hapi import HAPI_WORK

    good = True
    print(COLUMNS.replace(" ", "\t"), flush=True)
    with (
        real_hospital("hapi", HAPI_WORK, folder / "database") as hapi,
        running_site(hapi, folder / "site", SETTINGS) as site,
    ):
        site.process.subscribe()
        for case in cases:
            burst = Burst(site, f"heal-{case}", orders)
            burst.admit()
            began = time.monotonic()
            CASES[case](burst, down_seconds)
            placed = time.monotonic() - began
            end = burst.await_end(PATIENCE_SECONDS)
            seconds = time.monotonic() - began
            good = good and end == BurstEnd(orders, 0, orders, orders)
            unheard = site.found_by_asking(burst.stories)
            row = (
                case,
                end.orders,
                end.jobs,
                end.reports,
                end.faults or "none",
                unheard,
                round(placed),
                round(seconds),
            )
            print(*row, sep="\t", flush=True)
    return good


def main() -> int:
    """Runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--down-seconds", type=float, default=90)
    parser.add_argument("--folder", type=Path, help="where the run's files stay; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="healing-") as temporary:
        folder = arguments.folder or Path(temporary)
        return 0 if run(arguments.cases.split(","), arguments.orders, arguments.down_seconds, folder) else 1


if __name__ == "__main__":
    sys.exit(main())
