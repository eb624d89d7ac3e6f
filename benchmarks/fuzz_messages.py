"""Mutated messages: does anything but a refusal with its place come out, is any message left without its answer?

    python benchmarks/fuzz_messages.py [--messages 200000] [--seed 1]

The seeds are the messages of tests/data/hl7v2 and, where it is at hand, of the public corpus beside the repository. Each mutant is
hashed, taken apart as a batch, its header read, its answers of every kind built and looked at, and every field of every segment read in
every way (tests/support/message_fuzz.py). Prints one JSON object with the seed; exit code 1, and the mutant in hexadecimal, at the
first one that breaks a rule.
"""

import argparse
import json
import random
import sys
import time
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.support.message_fuzz import FuzzCount, mutants, seeds_in

    seeds = seeds_in(ROOT / "tests" / "data" / "hl7v2", ROOT.parent / "shared" / "corpus" / "hl7v2")
    count, start, slowest = FuzzCount(), time.perf_counter(), 0.0
    payload = b""
    try:
        for payload in islice(mutants(seeds, random.Random(arguments.seed)), arguments.messages):
            began = time.perf_counter()
            count.take(payload)
            slowest = max(slowest, time.perf_counter() - began)
    except BaseException:
        print(f"seed {arguments.seed}, mutant {payload.hex()}", file=sys.stderr)
        raise
    result = {
        "seed": arguments.seed,
        "seeds": len(seeds),
        "messages": arguments.messages,
        "unhandled": 0,
        "outcomes": dict(count.outcomes.most_common()),
        "slowest_ms": round(1000 * slowest, 1),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
