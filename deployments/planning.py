"""`voxfactory train --plan`: what a training would take, told instead of training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from flows.params import Training
    from tasks.contracts import DatasetVersion
    from tasks.training.forecast import Forecast
    from tasks.training.options import TrainingOptions

_MEBIBYTE, _GIBIBYTE = 1 << 20, 1 << 30
_HOUR_S, _MINUTE_S = 3600, 60
_SCALES = ((10**18, "EFLOP"), (10**15, "PFLOP"), (10**12, "TFLOP"), (10**9, "GFLOP"))


def plan_training(dataset: "DatasetVersion", training: "Training", replay: Sequence["DatasetVersion"]) -> None:
    """Forecast and print; of a base model on a Hub, the weights are not downloaded."""
    import warnings

    from infra.settings import settings
    from tasks.training.forecast import forecast
    from tasks.training.launch import run_address
    from tasks.training.process import TrainingSpec
    from tasks.voxtral.checkpoint import find_checkpoint

    base = find_checkpoint(training.base_model, training.base_revision, weights=False)
    folder = settings().folder("runs") / run_address(base, dataset, replay, training.options)
    spec = TrainingSpec(folder=folder, base=base, dataset=dataset, replay=tuple(replay), options=training.options)
    with warnings.catch_warnings(action="ignore"):  # libraries that tell each other what they deprecate
        told = forecast(spec)
    console = Console()
    print_forecast(told, training.options, f"{dataset.name} on {base.label}", console)
    if settings().accelerate:
        console.print(
            f"All of it is of one process with the whole model: what VOXFACTORY_ACCELERATE={settings().accelerate} makes of it, times, "
            "memory and each process's share of a step, is not in it.",
            highlight=False,
        )


def print_forecast(told: "Forecast", options: "TrainingOptions", title: str, console: Console) -> None:
    """One line a figure, with what it is made of."""
    table = Table(title=f"{title}: expected, not done", title_justify="left", show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("how much", justify="right", no_wrap=True)
    table.add_column("of which")
    for line in (*_amounts(told, options), *_costs(told)):
        table.add_row(*line)
    console.print(table, highlight=False)
    console.print(
        "Windows and steps are exact; FLOPs and memory come from formulas, without what libraries take. Times are an estimate from one "
        f"layer of each kind, of this width and with random weights, measured just now ({told.device}); starting, checkpoints and "
        "logging are not in them, and features count as not stored yet.",
        highlight=False,
    )


def _amounts(told: "Forecast", options: "TrainingOptions") -> list[tuple[str, str, str]]:
    rows_a_step = f"{options.batch_size} x {options.gradient_accumulation}"
    return [
        ("windows", f"{told.windows:,}", f"{told.distinct_windows:,} different ones with validation's"),
        ("utterances", f"{told.utterances:,}", f"{told.skipped:,} skipped"),
        ("epochs", f"{told.epochs}", f"{told.audio_s / _HOUR_S:,.2f} h of speech in all"),
        ("steps", f"{told.steps:,}", f"of {rows_a_step} rows"),
        ("parameters", _millions(told.parameters), f"{_millions(told.trained_parameters)} trained, method={options.method}"),
    ]


def _costs(told: "Forecast") -> list[tuple[str, str, str]]:
    memory, times, compute = told.memory, told.times, told.compute
    fits = "" if told.peak_bytes <= told.device_bytes else "[bold red]too much: lower batch_size[/], "
    again = "computed twice to save memory" if told.recompute else "kept"
    parts = (
        f"{fits}of {_size(told.device_bytes)}; weights {_size(memory.weights)}, gradients {_size(memory.gradients)}, optimizer "
        f"{_size(memory.optimizer)}, forward pass {_size(memory.activations)}, its activations {again}"
    )
    pace = f"{times.step:.2g} s a step, features {_duration(times.once)}, validation {_duration(times.validation)}"
    return [
        ("compute", _flops(compute.once + compute.steps), f"{_flops(compute.steps)} in steps, {_flops(compute.once)} once"),
        ("of it, padding", f"{100 * compute.padding_share:.0f} %", "silence in windows, padding of rows"),
        ("memory", _size(told.peak_bytes), parts),
        ("time", _duration(told.total_s), pace),
        ("speed", f"{told.audio_hours_an_hour:.3g}", "hours of speech an hour"),
    ]


def _millions(count: int) -> str:
    return f"{count / 10**6:,.1f} M"


def _size(size: int) -> str:
    return f"{size / _GIBIBYTE:,.1f} GiB" if size >= _GIBIBYTE else f"{size / _MEBIBYTE:,.0f} MiB"


def _flops(count: int) -> str:
    scale, unit = next(((scale, unit) for scale, unit in _SCALES if count >= scale), _SCALES[-1])
    return f"{count / scale:.3g} {unit}"


def _duration(seconds: float) -> str:
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.1f} s"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"
