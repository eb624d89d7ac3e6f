"""Kills the door alone at random moments under load: is anything acknowledged lost, or kept twice, and when does it answer again?

    python benchmarks/kill_door.py [--kills 1000] [--seed 1] [--folder DIR]

`fhir-bridge listen` is killed by SIGKILL while it starts and while it takes orders, and started again at once. Four senders resend
each message, the same bytes, until it has its AA; a tenth of what they send has its AA already. At the end each acknowledged
message must be in the journal, accepted, exactly once. Prints one JSON object; exit code 1 if anything was lost or doubled. The
whole server with its jobs and results is killed by benchmarks/kill.py.

What a killed process wrote survives in the page cache, a power cut would take it: that nothing is acknowledged before its fsync is
shown by tests/acceptance/test_durable_answer.py. The goal for the first answer after a restart is 2 s, from the start of the
process. Do not edit the code meanwhile: each restart runs what it finds.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--folder", type=Path, help="where the run's files stay; default: a temporary folder")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.support.door_kills import DoorKills

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="kill-door-") as temporary:
        folder = arguments.folder or Path(temporary)
        figures = DoorKills(folder, arguments.kills, arguments.seed, tell=tell).run()
    print(json.dumps(figures, indent=2))
    return 0 if figures["kept"] else 1


if __name__ == "__main__":
    sys.exit(main())
