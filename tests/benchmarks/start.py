"""How fast the command answers: `python -m tests.benchmarks.start`. The last line is one JSON object.

Ratios compare with an interpreter that does nothing, measured in the same run.
"""

import json
import statistics
import subprocess
import sys
import time

_RUNS = 7
_COMMANDS = {
    "interpreter_s": [sys.executable, "-c", "pass"],
    "help_s": [sys.executable, "-m", "deployments.cli", "--help"],
    "import_flow_s": [sys.executable, "-c", "import flows.factory"],
}


def seconds(command: list[str]) -> float:
    """Median wall-clock time of a command."""
    taken = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    """Measure and print."""
    measured = {name: round(seconds(command), 3) for name, command in _COMMANDS.items()}
    measured["help_ratio"] = round(measured["help_s"] / measured["interpreter_s"], 1)
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    main()
