import ctypes
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.errors import TrainingError
from tasks.training.energy import Counter, Meter, gpu_counters, processor_counters
from tasks.training.gpus import open_gpus

pytestmark = pytest.mark.fast
# NVIDIA's library as far as it is used, for one GPU that has used 2 J when first asked and 1 J more each time
DRIVER = """
#include <string.h>
static unsigned long long total = 1000;
static int device;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **found) { *found = &device; return strcmp(uuid, "GPU-1234") ? 6 : 0; }
int nvmlDeviceGetTotalEnergyConsumption(void *asked, unsigned long long *millijoules) {
    *millijoules = total += 1000;
    return asked == &device ? 0 : 2;
}
int nvmlDeviceGetUtilizationRates(void *asked, unsigned int percent[2]) {
    percent[0] = 87, percent[1] = 12;
    return asked == &device ? 0 : 2;
}
"""


class Dial:
    """A counter that a test turns."""

    def __init__(self, joules: float = 0.0) -> None:
        self.joules: float | None = joules

    def read(self) -> float | None:
        return self.joules


def zone(powercap: Path, number: str, name: str, microjoules: int, wraps_at: int = 10_000_000) -> Path:
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    for file, value in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", wraps_at)):
        (folder / file).write_text(f"{value}\n")
    return folder / "energy_uj"


def test_a_processors_counter_is_followed_over_its_end(tmp_path: Path):
    energy = zone(tmp_path, "0", "package-0", 8_000_000)
    zone(tmp_path, "0:0", "core", 1)
    zone(tmp_path, "1", "psys", 1)
    counters = processor_counters(tmp_path)
    assert [counter.name for counter in counters] == ["processor package-0"]
    meter = Meter(tmp_path / "spent.json", counters)
    for microjoules in (9_000_000, 500_000, 2_500_000):
        energy.write_text(f"{microjoules}\n")
        meter.sample()
    assert meter.spent().energy_j == {"processor package-0": pytest.approx(1 + 1.5 + 2)}


def test_without_a_counter_for_every_processor_there_is_no_figure(tmp_path: Path):
    assert processor_counters(tmp_path / "absent") == []
    zone(tmp_path, "0", "package-0", 1)
    unreadable = zone(tmp_path, "1", "package-1", 1)
    unreadable.unlink()
    unreadable.mkdir()  # what root may read is an error here too
    assert processor_counters(tmp_path) == []


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to stand in for NVIDIA's driver library")
def test_the_driver_is_asked_for_the_gpus_in_use_or_for_none(tmp_path: Path):
    (tmp_path / "driver.c").write_text(DRIVER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "driver.so", "driver.c"], cwd=tmp_path, check=True)
    driver = ctypes.CDLL(str(tmp_path / "driver.so"))
    (gpu,) = open_gpus(driver, [("GPU 0 Test", "GPU-1234")])
    assert gpu.use_percent() == 87.0
    (counter,) = gpu_counters([gpu])
    assert (counter.name, counter.read_j(), counter.read_j()) == ("GPU 0 Test", 3.0, 4.0)
    assert open_gpus(driver, [("GPU 0 Test", "GPU-1234"), ("GPU 1 Test", "GPU-5678")]) == []


def test_attempts_are_added_up_and_only_what_all_of_them_counted_is_a_figure(tmp_path: Path):
    first, second = Dial(100.0), Dial(5.0)
    meter = Meter(tmp_path / "spent.json", [Counter("gpu", first.read), Counter("processor", second.read)])
    first.joules, second.joules = 130.0, 6.0
    meter.write()
    seconds = json.loads((tmp_path / "spent.json").read_text())["seconds"]
    again = Meter(tmp_path / "spent.json", [Counter("gpu", first.read)])
    first.joules = 132.0
    assert again.spent().energy_j == {"gpu": 32.0}
    assert again.spent().seconds > seconds > 0
    assert Meter(tmp_path / "spent.json", []).spent().energy_j == {}


@pytest.mark.parametrize("fault", [None, 40.0])
def test_a_counter_that_fails_or_starts_again_under_way_leaves_no_half_figure(tmp_path: Path, fault: float | None):
    broken, sound = Dial(50.0), Dial(0.0)
    meter = Meter(tmp_path / "spent.json", [Counter("broken", broken.read), Counter("sound", sound.read)])
    broken.joules, sound.joules = fault, 1.0
    meter.sample()
    broken.joules, sound.joules = 60.0, 2.0
    assert meter.spent().energy_j == {"sound": 2.0}


def test_a_damaged_record_names_its_file(tmp_path: Path):
    (tmp_path / "spent.json").write_text("{")
    with pytest.raises(TrainingError, match=r"spent\.json cannot be read"):
        Meter(tmp_path / "spent.json", [])
