"""Kills the whole server, or its door alone, at random moments under a stream of orders: how many are lost, how many results doubled?

    python benchmarks/kill.py [--kills 1000] [--seed 1] [--folder DIR]

`serve`, its door and its model process are killed by SIGKILL while they start, take orders, work and write results to a real HAPI FHIR
server, and are started again at once; now and then the door is killed alone before, and `serve` opens it again. Three senders resend each message, the same bytes, until it has its AA; some repeat what has
its AA already. At the end the server is left to finish, and each acknowledged order must have one job, one DiagnosticReport and its
usual Observations, on its own patient. Prints one JSON object; exit code 1 if anything was lost, doubled, or left unfinished.

What a killed process wrote survives in the page cache, a power cut would take it: that nothing is acknowledged before its fsync is
shown by tests/acceptance/test_durable_answer.py. The goal for the first answer after a restart is 2 s, from the start of the
process. Do not edit the code meanwhile: each restart runs what it finds.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Starts HAPI, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--folder", type=Path, help="where the run's files stay; default: a temporary folder")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from fhir_bridge.practice.fhir_peer import start_fhir_peer
    from tests.support.hapi import HAPI_WORK
    from tests.support.kill_run import KillRun

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # leave no server behind
    with tempfile.TemporaryDirectory(prefix="kill-") as temporary, start_fhir_peer("hapi", HAPI_WORK, tell) as hapi:
        folder = arguments.folder or Path(temporary)
        figures = KillRun(hapi.base_url, folder, arguments.kills, arguments.seed, tell).run()
    print(json.dumps(figures, indent=2))
    return 0 if figures["kept"] else 1


if __name__ == "__main__":
    sys.exit(main())
