"""The launcher's process: `python -m tasks.training.accelerated SPEC.json`.

It is `accelerate launch --config_file ... -m tasks.training.process SPEC.json`, after what that would not see is refused, and with three
differences: trainings on one machine never meet at a port, a single process takes the launcher's place instead of being its child, and
the launcher ends as its processes did, by the same signal or code.
"""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from infra.accelerate import configuration_file
from infra.errors import SettingsError, VoxFactoryError
from infra.settings import settings
from tasks.training import channel, ranks
from tasks.training.footprint import footprint
from tasks.training.process import TrainingSpec

if TYPE_CHECKING:
    from argparse import Namespace

    from accelerate.commands.config.config_args import ClusterConfig
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def main(spec_path: Path) -> int:
    """Launch the training; returns its exit code, if it ended and was not ended."""
    known = settings()
    try:
        file = configuration_file(str(known.accelerate))
        configuration = _read(file)
        _refuse_without_gpu(configuration)
        processes = known.training_processes or _processes(configuration)
        spec = TrainingSpec.model_validate_json(spec_path.read_text())
        footprint(spec.folder, spec.options, processes)
    except VoxFactoryError as error:
        channel.send(channel.Failed(error=type(error).__name__, problem=error.problem, fix=error.fix))
        return error.exit_code
    command = ["--config_file", str(file), "--num_processes", str(processes), "-m", "tasks.training.process", str(spec_path)]
    if configuration.use_cpu:
        os.environ |= ranks.no_gpu()
    if processes == 1 and _is_plain(configuration):
        _become(command, configuration)
    if _is_plain(configuration):
        command.insert(0, "--multi_gpu")  # several processes, whatever they compute on
    return _launch([*_own_port(configuration), *command])


def _read(file: Path) -> "ClusterConfig":
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
    from accelerate.utils import DistributedType
    from yaml import YAMLError

    advice = "See infra/accelerate/ for files that work, or set VOXFACTORY_ACCELERATE to cpu, gpu, ddp or fsdp"
    try:
        configuration = load_config_from_file(str(file))
    except (OSError, ValueError, TypeError, YAMLError) as error:
        raise SettingsError(f"{file} is no configuration of accelerate: {error}", advice) from error
    known = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.FSDP)
    if not isinstance(configuration, ClusterConfig) or configuration.distributed_type not in known:
        raise SettingsError(f"{file} is for {configuration.distributed_type}, which training does not know", advice)
    if configuration.num_machines != 1:
        raise SettingsError(f"{file} is for {configuration.num_machines} machines: training runs on one", advice)
    return configuration


def _processes(configuration: "ClusterConfig") -> int:
    """As many as the file says, else one for each GPU."""
    import torch

    if configuration.num_processes > 0:
        return configuration.num_processes
    return torch.cuda.device_count()


def _refuse_without_gpu(configuration: "ClusterConfig") -> None:
    import torch

    if not configuration.use_cpu and not torch.cuda.is_available():
        raise SettingsError(
            "There is no GPU, and the configuration of accelerate is for GPUs", "Set VOXFACTORY_ACCELERATE=cpu, or unset it"
        )


def _is_plain(configuration: "ClusterConfig") -> bool:
    """Whether the file itself asks for nothing that is distributed over GPUs."""
    return configuration.distributed_type.value in ("NO", "MULTI_CPU")


def _own_port(configuration: "ClusterConfig") -> list[str]:
    """Let torchrun find a port that is free, and hold it from then on, on loopback."""
    os.environ |= {"PET_STANDALONE": "1", "PET_LOCAL_ADDR": "127.0.0.1", ranks.LAUNCHER_PID: str(os.getpid())}
    if configuration.use_cpu and sys.platform in _LOOPBACK:
        os.environ["GLOO_SOCKET_IFNAME"] = _LOOPBACK[sys.platform]
    return ["--main_process_port", "0"]


def _parsed(command: list[str]) -> "Namespace":
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    return arguments


def _become(command: list[str], configuration: "ClusterConfig") -> NoReturn:
    """Go on as the training process, in the environment that accelerate makes for it."""
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    program, environment = prepare_simple_launcher_cmd_env(_parsed(command))
    if not configuration.use_cpu and configuration.gpu_ids is None:
        environment |= ranks.one_gpu()
    os.execvpe(program[0], program, environment)  # noqa: S606


def _launch(command: list[str]) -> int:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch_command(launch_command_parser().parse_args(command))
    except SignalException as told:
        _die_of(told.sigval)
    except ChildFailedError as error:
        return _end_as(error)
    return 0


def _end_as(error: "ChildFailedError") -> int:
    """As the process whose end ended the others, which fail because they lose it."""
    codes = [failure.exitcode for failure in error.failures.values()]
    killed_by = [-code for code in codes if code < 0]
    if killed_by:
        _die_of(signal.Signals(killed_by[0]))
    return max(codes)


def _die_of(number: signal.Signals) -> NoReturn:
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(1)  # it was a signal that ends nobody


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
