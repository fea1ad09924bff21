"""What a checkpoint hears, batch after batch: in this process, or in one process for each GPU, or in as many as are asked for.

Processes know nothing of each other: the first batch goes to the first of them, the second to the second, and so on. Batches are sorted
by length, so that neighbours cost the same.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from infra.errors import EvaluationError, ModelError, WorkerLost
from infra.processes import worker_pool
from infra.settings import settings
from tasks.contracts import Checkpoint
from tasks.speech.audio import load_clip
from tasks.voxtral.checkpoint import default_device, default_dtype, load_model, load_processor
from tasks.voxtral.decoding import Heard, decode, longest_transcript
from tasks.voxtral.features import mel_windows, windows_of
from tasks.voxtral.prompt import VoxtralPrompt

if TYPE_CHECKING:
    import numpy as np

_GPUS, _THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"


class Clip(NamedTuple):
    """A file that `load_clip` reads, and the ISO 639-1 code of what is said in it; None lets the model find out."""

    path: Path
    language: str | None


class Transcriber:
    """A loaded checkpoint that turns clips into text."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.name = checkpoint.label
        self.device = default_device()
        self.processor = load_processor(checkpoint)
        self.model = load_model(checkpoint, self.device, default_dtype(self.device))
        self.prompt = VoxtralPrompt(self.processor, self.model.config)

    def transcribe(self, clips: "Sequence[np.ndarray]", languages: Sequence[str | None]) -> list[str]:
        """The texts of one batch; see `hear`."""
        return [heard.text for heard in self.hear(clips, languages)]

    def hear(self, clips: "Sequence[np.ndarray]", languages: Sequence[str | None]) -> list[Heard]:
        """Transcribe one batch.

        Args:
            clips: float32 samples (n,) at 16 kHz each, of any length.
            languages: ISO 639-1 code of each clip; None lets the model find out.

        Raises:
            EvaluationError: the model's outputs are no numbers.

        """
        import torch

        windows = [windows_of(len(clip), self.prompt.window_samples) for clip in clips]
        prompts = [self.prompt.prompt(language, count) for language, count in zip(languages, windows, strict=True)]
        features = torch.cat([mel_windows(clip, self.processor, self.prompt.window_samples) for clip in clips])
        with torch.inference_mode():
            try:
                return decode(self.model, self.prompt, prompts, features, [longest_transcript(len(clip)) for clip in clips])
            except ModelError as error:
                raise EvaluationError(f"{self.name}: {error.problem}", error.fix) from error


def hear_batches(checkpoint: Checkpoint, batches: Sequence[Sequence[Clip]]) -> Iterator[list[Heard]]:
    """The transcripts of each batch, in their order.

    Raises:
        EvaluationError: the model's outputs are no numbers.
        WorkerLost: a process was killed.

    """
    if not batches:
        return
    environments = _environments()[: len(batches)]
    if len(environments) == 1:
        transcriber = Transcriber(checkpoint)
        yield from (_heard(transcriber, batch) for batch in batches)
        return
    with ExitStack() as opened:
        pools = [opened.enter_context(worker_pool(1, environment)) for environment in environments]
        waited = [pools[number % len(pools)].submit(_hear_there, checkpoint, batch) for number, batch in enumerate(batches)]
        try:
            yield from (one.result() for one in waited)
        except BrokenProcessPool as error:
            raise WorkerLost(
                f"A process that transcribed with {checkpoint.label} was killed",
                "Look for a lack of memory, lower batch_size or VOXFACTORY_TRANSCRIPTION_PROCESSES, and run it again",
            ) from error


def _environments() -> list[dict[str, str]]:
    """What each process gets: a GPU of those that this one sees, else its share of the cores."""
    import torch

    gpus = [str(number) for number in range(torch.cuda.device_count())]
    if gpus and os.environ.get(_GPUS):
        gpus = os.environ[_GPUS].split(",")[: len(gpus)]
    processes = settings().transcription_processes or len(gpus) or 1
    if gpus:
        return [{_GPUS: gpus[number % len(gpus)]} for number in range(processes)]
    threads = max(1, (os.cpu_count() or 1) // processes)
    return [{_THREADS: str(threads)}] * processes


def _heard(transcriber: Transcriber, batch: Sequence[Clip]) -> list[Heard]:
    return transcriber.hear([load_clip(clip.path) for clip in batch], [clip.language for clip in batch])


def _hear_there(checkpoint: Checkpoint, batch: Sequence[Clip]) -> list[Heard]:
    return _heard(_loaded(checkpoint), batch)


@lru_cache(maxsize=1)
def _loaded(checkpoint: Checkpoint) -> Transcriber:
    """Once in each process."""
    return Transcriber(checkpoint)
