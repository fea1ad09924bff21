"""What a process of the benchmark tells of itself."""

from pathlib import Path

from tasks.contracts import Contract


class Measured(Contract):
    """Wall-clock seconds of training, from the first clip read, features included, imports and the model's loading not."""

    seconds: float
    epochs_s: tuple[float, ...]  # when each epoch ended
    checkpoints_s: tuple[tuple[int, float], ...] = ()  # step, and seconds until it was validated, validation included
    losses: tuple[float, ...]  # of each step
    peak_bytes: int  # of the process's memory
    overhead: float | None = None  # share of a step outside forward, backward and the optimizer


def peak_bytes() -> int:
    """The most memory that this process has had: of the GPU if it has one, else as Linux tells it."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
