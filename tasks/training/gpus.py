"""The GPUs that this process trains on, asked through NVIDIA's driver library (NVML), which comes with the driver."""

import ctypes
from collections.abc import Sequence
from typing import Any

_DRIVER = "libnvidia-ml.so.1"
_MILLIJOULES = 1e-3


class _Utilization(ctypes.Structure):
    """nvmlUtilization_t: percent of the last sample period, which lasts between a sixth of a second and a second."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class Gpu:
    """One GPU, by the driver's handle."""

    def __init__(self, name: str, driver: Any, handle: ctypes.c_void_p) -> None:
        self.name = name
        self._driver, self._handle = driver, handle

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded; None: it does not count them (older than Volta, or a part of a GPU)."""
        total = ctypes.c_ulonglong()
        failed = self._driver.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(total))
        return None if failed else total.value * _MILLIJOULES

    def use_percent(self) -> float | None:
        """Share of the last moment in which something was computed; None: it does not tell."""
        used = _Utilization()
        failed = self._driver.nvmlDeviceGetUtilizationRates(self._handle, ctypes.byref(used))
        return None if failed else float(used.gpu)


def find_gpus() -> list[Gpu]:
    """The GPUs that this process may use, or none where the driver does not know one of them."""
    import torch

    if not torch.cuda.is_available():
        return []
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return []
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return open_gpus(driver, [(f"GPU {number} {gpu.name}", f"GPU-{gpu.uuid}") for number, gpu in enumerate(gpus)])


def open_gpus(driver: Any, named: Sequence[tuple[str, str]]) -> list[Gpu]:
    """GPUs given as (name, UUID), or none where the driver library does not know one of them."""
    if driver.nvmlInit_v2() != 0:
        return []
    gpus = []
    for name, uuid in named:
        handle = ctypes.c_void_p()
        if driver.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) != 0:
            return []
        gpus.append(Gpu(name, driver, handle))
    return gpus
