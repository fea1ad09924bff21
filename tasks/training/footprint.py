"""How much a training process holds in memory at a time, and how it is made less when that was too much.

What a step learns from is fixed: batch_size x gradient_accumulation rows. How many of them are computed at a time is not: after an
out-of-memory, activations are computed twice if the options leave that open, then the rows at a time are halved. What was found is kept
in the run's folder, so that every later attempt begins with it. The price of a try is a new process, whose memory is not in pieces.
"""

from pathlib import Path

from infra.errors import TrainingError
from infra.storage import readable, write_json
from tasks.contracts import Contract
from tasks.training.options import TrainingOptions

_NAME = "memory.json"
# Of plain RuntimeErrors: torch on processors, CUDA outside of torch's allocator, and cuBLAS, which takes its workspace there.
_MESSAGES = ("DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class Footprint(Contract):
    """`rows` are computed at a time in each process; `recompute`: activations are computed twice instead of kept."""

    rows: int
    recompute: bool = False

    def __str__(self) -> str:
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        return f"{rows} at a time{', activations computed twice' if self.recompute else ''}"


class _Found(Contract):
    """What fitted or is to be tried next, after what did not fit."""

    footprint: Footprint
    too_much: tuple[Footprint, ...]


def footprint(folder: Path, options: TrainingOptions, processes: int) -> Footprint:
    """What an attempt begins with: as the options say, or less, if earlier attempts had no memory for that.

    Raises:
        TrainingError: the processes cannot share a batch evenly.

    """
    if options.batch_size % processes:
        raise TrainingError(
            f"batch_size={options.batch_size} cannot be divided among {processes} processes",
            f"Make batch_size a multiple of {processes}, or set VOXFACTORY_TRAINING_PROCESSES to one of its divisors",
        )
    rows = options.batch_size // processes
    found = _read(folder)
    if found is None:
        return Footprint(rows=rows)
    most = min(rows, found.footprint.rows)
    return found.footprint.model_copy(update={"rows": _divisor(rows * options.gradient_accumulation, most)})


def accumulation(options: TrainingOptions, processes: int, rows: int) -> int:
    """How many times `rows` rows in each process make a step."""
    return options.batch_size * options.gradient_accumulation // (processes * rows)


def lessen(folder: Path, tried: Footprint, options: TrainingOptions, processes: int) -> Footprint:
    """What to try after `tried` was too much; it is written down.

    Raises:
        TrainingError: nothing less is left.

    """
    before = _read(folder)
    too_much = (*(before.too_much if before else ()), tried)
    if options.activation_checkpointing == "auto" and not tried.recompute:
        less = Footprint(rows=tried.rows, recompute=True)
    elif tried.rows > 1:
        rows_a_step = options.batch_size * options.gradient_accumulation // processes
        less = Footprint(rows=_divisor(rows_a_step, tried.rows // 2), recompute=tried.recompute)
    else:
        raise TrainingError(
            f"Out of memory whatever was tried: {'; '.join(str(each) for each in too_much)}",
            "Train a smaller model, with method=lora or a GPU with more memory, or divide it among several: VOXFACTORY_ACCELERATE=fsdp. "
            "If it was a validation that did not fit: best_by=loss",
        )
    write_json(folder / _NAME, _Found(footprint=less, too_much=too_much))
    return less


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a GPU's or the machine's memory did not suffice."""
    import torch

    if isinstance(error, RuntimeError):
        return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in _MESSAGES)
    return isinstance(error, MemoryError)


def _divisor(number: int, most: int) -> int:
    """The greatest divisor that is not greater than `most`."""
    return next(divisor for divisor in range(most, 0, -1) if number % divisor == 0)


def _read(folder: Path) -> _Found | None:
    path = folder / _NAME
    if not path.is_file():
        return None
    with readable(path, TrainingError):
        return _Found.model_validate_json(path.read_text())
