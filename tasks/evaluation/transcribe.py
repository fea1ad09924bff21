"""What a checkpoint hears in a dataset, each clip once: what it wrote about a recording is looked up wherever else it was asked.

Clips are sorted by length, so that a batch ends together. A batch that is done is kept, so that a kill costs the batch at hand.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from infra import progress
from infra.errors import EvaluationError
from infra.storage import content_hash, write_text
from tasks.contracts import Checkpoint, Contract, DatasetVersion, Split, Utterance
from tasks.dataset.version import read_utterances
from tasks.evaluation.hearing import Clip, Transcriber, hear_batches
from tasks.speech.audio import audio_hash, to_int16
from tasks.speech.nothing import NOTHING_VERSION, nothing_said
from tasks.voxtral.decoding import Heard

TRANSCRIBE_VERSION = 3  # raise it when the same model would give other texts: it is part of the address


class Hypothesis(Contract):
    """What a model heard in one utterance; one that did not end was cut off. It was asked about this recording in this language."""

    utterance: str
    audio_hash: str
    language: str
    text: str
    ended: bool


def transcription_address(checkpoint: Checkpoint, dataset: DatasetVersion, batch_size: int) -> str:
    """Where the hypotheses lie: equal model, data, split and settings, equal texts. It begins with model and settings."""
    return f"{_listener(checkpoint, batch_size)}-{content_hash(dataset.content_address)[:16]}"


def _listener(checkpoint: Checkpoint, batch_size: int) -> str:
    return content_hash(TRANSCRIBE_VERSION, checkpoint.revision, batch_size)[:16]


def transcribe_dataset(
    checkpoint: Checkpoint,
    dataset: DatasetVersion,
    folder: Path,
    batch_size: int,
    label: str,
    side: Split | None = Split.EVAL,
) -> Path:
    """Transcribe a side of a dataset, or all of it, into `folder`/hypotheses.jsonl, in the order of data.jsonl.

    Raises:
        EvaluationError: the dataset has no evaluation side, or the model's outputs are no numbers.
        WorkerLost: a process that transcribed was killed.

    """
    utterances = read_utterances(dataset, side) if side else read_utterances(dataset)
    if not utterances:
        raise EvaluationError(f"{dataset.name} has no utterances to evaluate on", "Ingest it with a larger eval_share")
    folder.mkdir(parents=True, exist_ok=True)
    known = _heard_before(folder.parent.glob(f"{_listener(checkpoint, batch_size)}-*/*.jsonl"))
    asked = {_question(one): one for one in utterances}
    wanted = sorted((one for question, one in asked.items() if question not in known), key=lambda one: (one.duration_s, one.id))
    batches = [wanted[start : start + batch_size] for start in range(0, len(wanted), batch_size)]
    clips = [[Clip(dataset.folder / one.audio_path, one.language) for one in batch] for batch in batches]
    done = len(asked) - len(wanted)
    for batch, heard in zip(batches, hear_batches(checkpoint, clips), strict=True):
        told = [_hypothesis(one, transcript) for one, transcript in zip(batch, heard, strict=True)]
        _write(folder / f"part-{batch[0].id}.jsonl", told)
        known |= {_question(one): one for one in told}
        done += len(batch)
        progress.report(f"transcribe {label}", done, len(asked))
    path = _write(folder / "hypotheses.jsonl", [known[_question(u)].model_copy(update={"utterance": u.id}) for u in utterances])
    for part in folder.glob("part-*.jsonl"):
        part.unlink(missing_ok=True)
    return path


def _question(asked: Utterance | Hypothesis) -> tuple[str, str]:
    """All that the answer depends on, but for the model."""
    return asked.audio_hash, asked.language


def _hypothesis(utterance: Utterance, heard: Heard) -> Hypothesis:
    return Hypothesis(
        utterance=utterance.id,
        audio_hash=utterance.audio_hash,
        language=utterance.language,
        text=heard.text,
        ended=heard.ended,
    )


def _heard_before(files: Iterable[Path]) -> dict[tuple[str, str], Hypothesis]:
    known: dict[tuple[str, str], Hypothesis] = {}
    for path in sorted(files):
        with suppress(FileNotFoundError):  # another run has just put its parts together
            known |= {_question(one): one for one in read_hypotheses(path).values()}
    return known


def _write(path: Path, hypotheses: Sequence[Hypothesis]) -> Path:
    return write_text(path, "".join(one.model_dump_json() + "\n" for one in hypotheses))


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
    told = [
        Hypothesis(
            utterance=clip.name,
            audio_hash=audio_hash(to_int16(clip.samples)),
            language=language,
            text=one.text,
            ended=one.ended,
        )
        for clip, one in zip(clips, heard, strict=True)
    ]
    return _write(folder / "hypotheses.jsonl", told)


def read_hypotheses(path: Path) -> dict[str, Hypothesis]:
    """What was heard, by utterance id."""
    with path.open(encoding="utf-8") as lines:
        hypotheses = [Hypothesis.model_validate_json(line) for line in lines]
    return {hypothesis.utterance: hypothesis for hypothesis in hypotheses}
