"""What a checkpoint hears: batched greedy decoding.

Clips are sorted by length, so that a batch ends together.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra import progress
from infra.errors import EvaluationError, ModelError
from infra.storage import content_hash, write_text
from tasks.contracts import Checkpoint, Contract, DatasetVersion, Split
from tasks.dataset.version import read_utterances
from tasks.speech.audio import load_clip
from tasks.speech.nothing import NOTHING_VERSION, nothing_said
from tasks.voxtral.checkpoint import default_device, default_dtype, load_model, load_processor
from tasks.voxtral.decoding import Heard, decode, longest_transcript
from tasks.voxtral.features import mel_windows, windows_of
from tasks.voxtral.prompt import VoxtralPrompt

if TYPE_CHECKING:
    import numpy as np

TRANSCRIBE_VERSION = 2  # raise it when the same model would give other texts: it is part of the address


class Hypothesis(Contract):
    """What a model heard in one utterance; one that did not end was cut off."""

    utterance: str
    text: str
    ended: bool


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


def transcription_address(checkpoint: Checkpoint, dataset: DatasetVersion, batch_size: int) -> str:
    """Where the hypotheses lie: equal model, data, split and settings, equal texts."""
    return content_hash(TRANSCRIBE_VERSION, checkpoint.revision, dataset.content_address, batch_size)[:16]


def transcribe_dataset(checkpoint: Checkpoint, dataset: DatasetVersion, folder: Path, batch_size: int, label: str) -> Path:
    """Transcribe the evaluation side of a dataset into `folder`/hypotheses.jsonl, in the order of data.jsonl.

    Raises:
        EvaluationError: the dataset has no evaluation side.

    """
    utterances = read_utterances(dataset, Split.EVAL)
    if not utterances:
        raise EvaluationError(f"{dataset.name} has no utterances to evaluate on", "Ingest it with a larger eval_share")
    transcriber = Transcriber(checkpoint)
    by_length = sorted(utterances, key=lambda utterance: (utterance.duration_s, utterance.id))
    heard: dict[str, Heard] = {}
    for start in range(0, len(by_length), batch_size):
        batch = by_length[start : start + batch_size]
        clips = [load_clip(dataset.folder / utterance.audio_path) for utterance in batch]
        transcripts = transcriber.hear(clips, [utterance.language for utterance in batch])
        heard |= {utterance.id: transcript for utterance, transcript in zip(batch, transcripts, strict=True)}
        progress.report(f"transcribe {label}", len(heard), len(utterances))
    folder.mkdir(parents=True, exist_ok=True)
    hypotheses = (Hypothesis(utterance=u.id, text=heard[u.id].text, ended=heard[u.id].ended) for u in utterances)
    lines = [hypothesis.model_dump_json() + "\n" for hypothesis in hypotheses]
    return write_text(folder / "hypotheses.jsonl", "".join(lines))


def silence_address(checkpoint: Checkpoint, language: str, batch_size: int) -> str:
    """Where the hypotheses about nothing lie."""
    return content_hash(TRANSCRIBE_VERSION, NOTHING_VERSION, checkpoint.revision, language, batch_size)[:16]


def transcribe_silence(checkpoint: Checkpoint, language: str, folder: Path, batch_size: int) -> Path:
    """Transcribe clips in which nobody speaks, told that it is this language, into `folder`/hypotheses.jsonl."""
    transcriber, clips = Transcriber(checkpoint), nothing_said()
    heard: list[Heard] = []
    for start in range(0, len(clips), batch_size):
        batch = clips[start : start + batch_size]
        heard += transcriber.hear([clip.samples for clip in batch], [language] * len(batch))
    folder.mkdir(parents=True, exist_ok=True)
    hypotheses = (Hypothesis(utterance=clip.name, text=one.text, ended=one.ended) for clip, one in zip(clips, heard, strict=True))
    return write_text(folder / "hypotheses.jsonl", "".join(hypothesis.model_dump_json() + "\n" for hypothesis in hypotheses))


def read_hypotheses(path: Path) -> dict[str, Hypothesis]:
    """What was heard, by utterance id."""
    with path.open(encoding="utf-8") as lines:
        hypotheses = [Hypothesis.model_validate_json(line) for line in lines]
    return {hypothesis.utterance: hypothesis for hypothesis in hypotheses}
