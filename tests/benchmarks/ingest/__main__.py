"""Speed against the plain loop and scale, as one line of JSON at the end: python -m tests.benchmarks.ingest."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.ingest import scale, speed


def main() -> None:
    """Measure both."""
    with TemporaryDirectory() as folder:
        told = speed.measure(Path(folder))
    sys.stdout.write(json.dumps(told | scale.measure()) + "\n")


if __name__ == "__main__":
    main()
