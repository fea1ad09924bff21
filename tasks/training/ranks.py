"""Several processes that train together: which of them this one is, what they agree on, and that none is left behind.

They are told apart by the variables that torchrun sets; a process that was started alone has none of them, and is the first of one.
"""

import os
import signal
import sys

from infra.processes import end_with_parent

LAUNCHER_PID = "VOXFACTORY_TRAINING_LAUNCHER_PID"
_GPUS = "CUDA_VISIBLE_DEVICES"


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this is the one that writes, logs and talks to the parent."""
    return int(os.environ.get("RANK", 0)) == 0


def are_sharded() -> bool:
    """Whether the weights are divided among them (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP") == "true"


def one_gpu() -> dict[str, str]:
    """The environment of a process that trains alone: transformers would cut its batches into pieces for every GPU that it sees."""
    return {_GPUS: os.environ.get(_GPUS, "0").partition(",")[0]}


def no_gpu() -> dict[str, str]:
    """The environment of processes that train on processors."""
    return {_GPUS: ""}


def end_with_launcher() -> None:
    """End when the launcher does, however it does (Linux).

    At once, by SIGKILL: told to stop, the launcher passes SIGTERM on and waits for the checkpoint, so that one who dies before us was
    killed. Nothing happens in a process that was started without a launcher.
    """
    launcher = os.environ.get(LAUNCHER_PID)
    if launcher is None:
        return
    end_with_parent(signal.SIGKILL)
    if os.getppid() != int(launcher):
        sys.exit("The launcher ended before its processes began")


def join() -> None:
    """Wait until all processes are there, and take the GPU that is this one's."""
    if "LOCAL_RANK" not in os.environ:
        return
    import torch
    from accelerate import PartialState

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    PartialState(cpu=not on_gpu)


def leave() -> None:
    """End the connection with the others, in order."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def any_of(ours: bool) -> bool:
    """Whether it is so in one of the processes: all of them must ask."""
    if count() == 1:
        return ours
    import torch
    from accelerate import PartialState

    told = torch.tensor(int(ours), device=PartialState().device)
    torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
    return bool(told)


def wait_for_all() -> None:
    """Go on when all of them are here."""
    any_of(False)
