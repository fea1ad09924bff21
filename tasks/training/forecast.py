"""What a training will take, told before it begins, from the plan, config.json and measured layers: no weights are loaded.

Windows and steps are exact, FLOPs and memory by formula (flops.py, memory.py), times put together from measured parts (layer_times.py):
loading, checkpoints, the reading of stored features and logging are not in them. All features count as not computed yet.
"""

import math
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.contracts import Contract
from tasks.speech.audio import load_clip
from tasks.training.flops import batch_flops, caches_tower, forward_flops, tower_flops
from tasks.training.layer_times import StepTimes, measure
from tasks.training.material import material
from tasks.training.memory import Memory, decides_to_recompute, device_bytes, memory_of, trained_weights
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec, refuse_what_cannot_work
from tasks.training.validation import MOST_DECODED
from tasks.training.window_features import MelFeatures
from tasks.training.workload import Row, Workload, batch_of, workload
from tasks.voxtral.checkpoint import default_device, load_processor
from tasks.voxtral.prompt import VoxtralPrompt
from tasks.voxtral.shape import Shape, read_config, shape_of

if TYPE_CHECKING:
    import torch

_CLIPS_TIMED = 5


class Compute(Contract):
    """Floating-point operations, and what of them is spent on silence in windows and on padding of rows."""

    once: int  # the frozen tower's, whose outputs are kept
    steps: int
    padding: int

    @property
    def padding_share(self) -> float:
        """A fraction of all."""
        return self.padding / (self.once + self.steps)


class Times(Contract):
    """Seconds, estimated."""

    once: float  # features
    step: float
    validation: float  # of all checkpoints together


class Forecast(Contract):
    """What to expect of a training."""

    rows: int  # of the plan: those of all epochs, until the last step
    windows: int  # of audio, that they hold
    distinct_windows: int  # validation's too
    steps: int
    epochs: int
    utterances: int  # that are trained on
    skipped: int
    audio_s: float  # speech in all rows
    parameters: int
    trained_parameters: int
    compute: Compute
    memory: Memory
    peak_bytes: int
    device_bytes: int
    device: str
    recompute: bool  # activation checkpointing
    times: Times

    @property
    def total_s(self) -> float:
        """From the first feature to the last validation."""
        return self.times.once + self.steps * self.times.step + self.times.validation

    @property
    def audio_hours_an_hour(self) -> float:
        """Hours of speech trained on in an hour; an utterance counts in every epoch."""
        return self.audio_s / self.total_s


def forecast(spec: TrainingSpec) -> Forecast:
    """Plan, count and measure, on the device that would train; nothing is written.

    Raises:
        TrainingError: no utterance fits into a window, or the model fits into no memory.
        ModelError: the checkpoint is an adapter, or its configuration or tokenizer is not Voxtral's.

    """
    refuse_what_cannot_work(spec)
    options, device = spec.options, default_device()
    config, processor = read_config(spec.base.folder), load_processor(spec.base)
    shape, prompt, on_gpu = shape_of(config), VoxtralPrompt(processor, config), device.type == "cuda"
    plan, utterances, clips = material(spec.dataset, spec.replay, options, prompt)
    work = workload(plan, utterances, options, prompt)

    available = device_bytes(device)
    recompute = decides_to_recompute(shape, options, work.largest, on_gpu, available)
    memory = memory_of(shape, options, work.largest, on_gpu, recompute)
    mel_s = _mel_s(MelFeatures(processor, prompt), list(clips.values()))
    measured = measure(config, options, work.usual, device, recompute)
    return Forecast(
        rows=len(work.rows),
        windows=sum(row.windows for row in work.rows),
        distinct_windows=sum(row.windows for row in work.distinct),
        steps=work.steps,
        epochs=work.rows[-1].epoch + 1,
        utterances=len({name for row in work.rows for name in row.heard}),
        skipped=len(plan.skipped),
        audio_s=sum(row.speech_s for row in work.rows),
        parameters=shape.all,
        trained_parameters=trained_weights(shape, options),
        compute=compute(shape, options, work, prompt.window_s, recompute),
        memory=memory,
        peak_bytes=memory.peak(options.gradient_accumulation > 1),
        device_bytes=available,
        device=_device_name(device),
        recompute=recompute,
        times=times(shape, options, work, recompute, measured, mel_s),
    )


def compute(shape: Shape, options: TrainingOptions, work: Workload, window_s: float, recompute: bool) -> Compute:
    """All steps, and what is computed once; validation is left out."""
    once = silent_once = 0.0
    if caches_tower(options):
        once = tower_flops(shape) * sum(row.windows for row in work.distinct)
        silent_once = tower_flops(shape) * sum(_silent_windows(row, window_s) for row in work.distinct)
    steps, padding = 0, silent_once
    for rows in work.batches:
        batch = batch_of(rows)
        flops = batch_flops(shape, options, batch, recompute)
        silent = sum(_silent_windows(row, window_s) for row in rows)
        padded = sum(batch.length - row.length for row in rows)
        steps += flops.all
        padding += (flops.tower + flops.projector) * silent / batch.windows
        padding += flops.layers * (padded + silent * shape.audio_tokens) / (batch.rows * batch.length)
    return Compute(once=int(once), steps=steps, padding=round(padding))


def times(shape: Shape, options: TrainingOptions, work: Workload, recompute: bool, measured: StepTimes, mel_s: float) -> Times:
    """Seconds from those of the parts; `mel_s` is what the log-mel features of one window take."""
    heard, usual = sum(row.windows for row in work.distinct), work.usual
    anew = 0.0 if options.cache != "off" else usual.windows * mel_s
    passes = len(work.batches) / work.steps  # accumulated gradients
    return Times(
        once=heard * ((mel_s if options.cache != "off" else 0.0) + (measured.tower_s if caches_tower(options) else 0.0)),
        step=passes * (measured.batch_s + anew) + measured.optimizer_s,
        validation=math.ceil(work.steps / options.checkpoint_steps)
        * _validation_s(shape, options, work, recompute, measured, anew),
    )


def _validation_s(
    shape: Shape, options: TrainingOptions, work: Workload, recompute: bool, measured: StepTimes, anew: float
) -> float:
    """One validation: the loss of its rows; by WER, up to so many are transcribed besides."""
    usual = work.usual
    forward_share = forward_flops(shape, options, usual).all / batch_flops(shape, options, usual, recompute).all
    forward_s = measured.batch_s * forward_share + anew
    loss_s = len(work.validation) / usual.rows * forward_s
    if options.best_by == "loss":
        return loss_s
    transcribed = work.validation[:MOST_DECODED]
    tokens = max(row.target for row in transcribed)
    return loss_s + len(transcribed) / usual.rows * (forward_s + tokens * measured.token_s)


def _silent_windows(row: Row, window_s: float) -> float:
    return row.windows - row.speech_s / window_s


def _mel_s(mel: MelFeatures, clips: Sequence[Path]) -> float:
    """Seconds for the features of one window: the median of some clips, evenly picked, after a first one."""
    picked = clips[:: math.ceil(len(clips) / _CLIPS_TIMED)]
    _timed(mel, picked[0])
    return statistics.median(_timed(mel, clip) for clip in picked)


def _timed(mel: MelFeatures, clip: Path) -> float:
    begun = time.perf_counter()
    mel.compute(load_clip(clip)[: mel.window_samples])
    return time.perf_counter() - begun


def _device_name(device: "torch.device") -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"processor, {len(os.sched_getaffinity(0))} cores"
