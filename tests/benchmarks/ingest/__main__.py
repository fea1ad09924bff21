"""Ingestion: `python -m tests.benchmarks.ingest`, ten minutes. The last line is one JSON object.

- speedup_checked, speedup_plain: clips a second with all checks, and of decoding, resampling and writing alone, against the plain loop.
- open_100k_s, rss_100k_mb: opening, checking, dividing and describing a version of 100,000 utterances.
- add_100_s: adding 100 clips to it.

Ends with 1 if a limit is broken. False alarms have a benchmark of their own: `python -m tests.benchmarks.ingest.alarms`.
"""

import json
import sys

from tests.benchmarks.ingest import scale, speed

_AT_LEAST = {"speedup_checked": 2.0, "speedup_plain": 4.0}
_AT_MOST = {"open_100k_s": 10.0, "rss_100k_mb": 600.0, "add_100_s": 15.0}


def main() -> int:
    """Measure and print; 1 if a limit is broken."""
    measured = speed.measure() | scale.measure()
    failures = [f"{name} is {measured[name]}, less than {least}" for name, least in _AT_LEAST.items() if measured[name] < least]
    failures += [f"{name} is {measured[name]}, more than {most}" for name, most in _AT_MOST.items() if measured[name] > most]
    sys.stdout.write("".join(f"{failure}\n" for failure in failures) + json.dumps(measured) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
