"""What a run spends: time, and energy where the machine counts it. Nothing is estimated: without a counter there is no figure.

A run may take several attempts: what each has spent is added up in spent.json at every checkpoint. What a killed attempt did after its
last one is missing from the sum.

Two kinds of counters are read: that of NVIDIA's driver, a GPU each (Volta and newer), and Linux's powercap (RAPL), a processor each,
which most systems show to root alone. Both count everything that runs on their chip.
"""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from infra.errors import TrainingError
from infra.storage import readable, write_json
from tasks.contracts import Contract
from tasks.training import ranks
from tasks.training.gpus import Gpu, find_gpus

_POWERCAP = Path("/sys/class/powercap")
_PACKAGE = re.compile(r"intel-rapl:\d+")  # AMD's processors are listed under this name too; "intel-rapl:0:1" is a part of one
_MICROJOULES = 1e-6


class Counter(NamedTuple):
    """An energy counter, in joules since some moment; it begins again at zero after `wraps_at_j`."""

    name: str
    read_j: Callable[[], float | None]  # None: it cannot be read any more
    wraps_at_j: float | None = None


class Spent(Contract):
    """What the attempts of a run have spent together; `energy_j` holds the counters that all of them could read."""

    seconds: float
    energy_j: dict[str, float]


class Meter:
    """Adds up what this attempt spends to what earlier ones wrote into `path`."""

    def __init__(self, path: Path, counters: Sequence[Counter]) -> None:
        self._path = path
        self._before = _read_spent(path)
        self._started_s = time.monotonic()
        self._counters = list(counters)
        self._last_j = {counter.name: counter.read_j() for counter in counters}
        self._energy_j = dict.fromkeys(self._last_j, 0.0)

    def sample(self) -> None:
        """Read the counters; often enough to miss no wrap, which takes the busiest processor some minutes."""
        for counter in list(self._counters):
            before_j, now_j = self._last_j[counter.name], counter.read_j()
            if before_j is None or now_j is None or (now_j < before_j and counter.wraps_at_j is None):
                self._counters.remove(counter)  # half a figure is none
                del self._energy_j[counter.name]
                continue
            wrapped_j = (counter.wraps_at_j or 0.0) if now_j < before_j else 0.0
            self._energy_j[counter.name] += now_j - before_j + wrapped_j
            self._last_j[counter.name] = now_j

    def spent(self) -> Spent:
        """The sum of all attempts until now."""
        self.sample()
        seconds, energy_j = time.monotonic() - self._started_s, dict(self._energy_j)
        if self._before is not None:
            seconds += self._before.seconds
            known = self._before.energy_j
            energy_j = {name: known[name] + joules for name, joules in energy_j.items() if name in known}
        return Spent(seconds=seconds, energy_j=energy_j)

    def write(self) -> None:
        """Keep the sum for the next attempt; of several processes that train together, the first does."""
        if ranks.is_first():
            write_json(self._path, self.spent())


class KeepMeter(TrainerCallback):
    """Reads the meter at every step, and writes it down at every checkpoint."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Read it."""
        self._meter.sample()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write it down."""
        self._meter.write()


def find_counters() -> list[Counter]:
    """The energy counters of this machine that this process may read."""
    return processor_counters(_POWERCAP) + gpu_counters(find_gpus())


def processor_counters(powercap: Path) -> list[Counter]:
    """One counter a processor, or none where one of them cannot be read."""
    counters = []
    for zone in sorted(path for path in powercap.glob("intel-rapl:*") if _PACKAGE.fullmatch(path.name)):
        try:
            name, wraps_at = (zone / "name").read_text().strip(), int((zone / "max_energy_range_uj").read_text())
        except OSError:
            return []
        if name.startswith("package"):
            counters.append(Counter(f"processor {name}", _microjoules(zone / "energy_uj"), wraps_at * _MICROJOULES))
    return counters if all(counter.read_j() is not None for counter in counters) else []


def _microjoules(path: Path) -> Callable[[], float | None]:
    def read_j() -> float | None:
        try:
            return int(path.read_text()) * _MICROJOULES
        except (OSError, ValueError):
            return None

    return read_j


def gpu_counters(gpus: Sequence[Gpu]) -> list[Counter]:
    """One counter a GPU, or none where one of them has none."""
    counters = [Counter(gpu.name, gpu.energy_j) for gpu in gpus]
    return counters if all(counter.read_j() is not None for counter in counters) else []


def _read_spent(path: Path) -> Spent | None:
    if not path.is_file():
        return None
    with readable(path, TrainingError):
        return Spent.model_validate_json(path.read_text())
