"""Do the transcripts say what is heard? A model listens to a whole dataset; where it hears something else, somebody should listen, too."""

from pathlib import Path

from infra.storage import content_hash, write_text
from tasks.contracts import Checkpoint, Contract, DatasetVersion
from tasks.dataset.version import read_utterances
from tasks.evaluation.transcribe import TRANSCRIBE_VERSION, read_hypotheses, transcribe_dataset
from tasks.speech.error_rates import count_errors


class Reading(Contract):
    """One utterance, its transcript, and what the model hears; `cer` is the error rate of characters, a fraction."""

    utterance: str
    audio_path: Path
    source: str
    text: str
    heard: str
    cer: float


class Readings(Contract):
    """Those utterances of a dataset in which a model hears something else, the worst first; all are in `folder`/readings.jsonl."""

    folder: Path
    utterances: int
    differing: tuple[Reading, ...]


def readings_address(checkpoint: Checkpoint, dataset: DatasetVersion, at_least: float, batch_size: int) -> str:
    """Where the readings lie: equal model, data and settings, equal readings."""
    return content_hash(TRANSCRIBE_VERSION, checkpoint.revision, dataset.content_address, at_least, batch_size)[:16]


def compare_readings(
    checkpoint: Checkpoint, dataset: DatasetVersion, folder: Path, transcripts: Path, at_least: float, batch_size: int
) -> Readings:
    """Transcribe every utterance, on whichever side it stands, and compare with its transcript.

    Args:
        checkpoint: the model that listens.
        dataset: what it listens to.
        folder: where readings.jsonl is written.
        transcripts: where hypotheses.jsonl is.
        at_least: error rate of characters from which on a reading differs, a fraction.
        batch_size: utterances at a time.

    """
    utterances = read_utterances(dataset)
    said = read_hypotheses(transcribe_dataset(checkpoint, dataset, transcripts, batch_size, dataset.name, None))
    heard = [said[one.id].text for one in utterances]
    errors = count_errors([one.text for one in utterances], heard)
    rates = (errors.character_errors / errors.characters).round(4).tolist()
    readings = [
        Reading(
            utterance=one.id, audio_path=dataset.folder / one.audio_path, source=one.source, text=one.text, heard=text, cer=rate
        )
        for one, text, rate in zip(utterances, heard, rates, strict=True)
    ]
    readings.sort(key=lambda reading: (-reading.cer, reading.utterance))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "readings.jsonl", "".join(reading.model_dump_json() + "\n" for reading in readings))
    differing = tuple(reading for reading in readings if reading.cer >= at_least)
    return Readings(folder=folder, utterances=len(readings), differing=differing)
