"""Speed against the plain loop and scale, as one line of JSON at the end: python -m tests.benchmarks.ingest."""

import json
import sys

from tests.benchmarks.ingest import scale


def main() -> None:
    """Measure both."""
    from tests.benchmarks.ingest import speed

    sys.stdout.write(json.dumps(speed.measure() | scale.measure()) + "\n")


if __name__ == "__main__":
    main()
