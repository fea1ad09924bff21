"""A dataset version in the form that `load_dataset` reads and streams: parquet shards with the sound inside as FLAC, card and picture.

FLAC holds the very samples that the WAV files hold, in half the room.

What names people or their files stays here: speakers become pseudonyms, sources are left out. What is set aside stays here, too.
"""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from infra.storage import content_hash, write_text
from tasks.contracts import SAMPLE_RATE_HZ, Contract, DatasetVersion, Split, Utterance
from tasks.dataset.card import PICTURE, dataset_card
from tasks.dataset.figures import draw_dataset
from tasks.dataset.version import read_rejects, read_utterances

EXPORT_VERSION = 3  # raise it when equal data would give other files: it is part of the address
PUBLISHED_SPLITS = {Split.TRAIN: "train", Split.EVAL: "test"}
_SHARD_S = 4 * 3600.0  # about 230 MB of FLAC: what an interrupted upload sends again at most
_ROWS_A_GROUP = 100  # what streaming holds in memory at a time


def _taken_by_hubs(name: str) -> str:
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not re-exported

    validate_repo_id(name)  # raises a ValueError that says why
    return name


RepositoryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?$"), AfterValidator(_taken_by_hubs)]


class DatasetPublication(Contract):
    """Under which name and terms a dataset is published. Its licence is that of the data."""

    name: RepositoryName = Field("speech", description="Repository: name, or owner/name.")
    public: bool = Field(False, description="Let everyone hear it. Private unless you say so.")


def export_address(dataset: DatasetVersion, publication: DatasetPublication) -> str:
    """Where the exported folder lies: equal data and terms, equal folder."""
    return content_hash(EXPORT_VERSION, dataset.model_dump(mode="json", exclude={"folder"}), publication)[:16]


def export_version(dataset: DatasetVersion, repository: str, folder: Path) -> None:
    """Write data/train-*.parquet, data/test-*.parquet, data.png and README.md into an empty folder; equal data, equal bytes."""
    utterances = read_utterances(dataset)
    pseudonyms = _pseudonyms(utterances)
    (folder / "data").mkdir()
    for split, name in PUBLISHED_SPLITS.items():
        shards = list(_shards([utterance for utterance in utterances if utterance.split is split]))
        for number, shard in enumerate(shards):
            path = folder / "data" / f"{name}-{number:05d}-of-{len(shards):05d}.parquet"
            _write_shard([_row(dataset, utterance, pseudonyms) for utterance in shard], path)
    rejects = read_rejects(dataset)
    published = [utterance for utterance in utterances if utterance.split in PUBLISHED_SPLITS]
    draw_dataset(published, Counter(str(reject.kind) for reject in rejects), folder / PICTURE)
    write_text(folder / "README.md", dataset_card(dataset, utterances, rejects, repository))


def published_fingerprint(dataset: DatasetVersion) -> str:
    """Hash of what is published, row by row: `fingerprint` without what is set aside."""
    published = [utterance for utterance in read_utterances(dataset) if utterance.split in PUBLISHED_SPLITS]
    return content_hash(sorted([PUBLISHED_SPLITS[u.split], u.audio_hash, u.text, u.language] for u in published))


def _shards(utterances: list[Utterance]) -> Iterator[list[Utterance]]:
    shard: list[Utterance] = []
    seconds = 0.0
    for utterance in utterances:
        shard.append(utterance)
        seconds += utterance.duration_s
        if seconds >= _SHARD_S:
            yield shard
            shard, seconds = [], 0.0
    if shard:
        yield shard


def _row(dataset: DatasetVersion, utterance: Utterance, pseudonyms: dict[str, str]) -> dict[str, Any]:
    return {
        "id": utterance.id,
        "audio": {"bytes": _flac(dataset.folder / utterance.audio_path), "path": f"{utterance.id}.flac"},
        "text": utterance.text,
        "language": utterance.language,
        "speaker": pseudonyms[utterance.speaker] if utterance.speaker else None,
        "duration_s": utterance.duration_s,
    }


def _flac(clip: Path) -> bytes:
    import soundfile

    samples, rate_hz = soundfile.read(clip, dtype="int16")
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return encoded.getvalue()


def _write_shard(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow
    from datasets import Audio, Features, Value
    from pyarrow.parquet import write_table

    texts = {name: Value("string") for name in ("text", "language", "speaker")}
    features = Features(
        {"id": Value("string"), "audio": Audio(sampling_rate=SAMPLE_RATE_HZ), **texts, "duration_s": Value("float64")}
    )
    table = pyarrow.Table.from_pylist(rows, schema=features.arrow_schema)
    write_table(table, path, row_group_size=_ROWS_A_GROUP)


def _pseudonyms(utterances: list[Utterance]) -> dict[str, str]:
    """A number for each speaker, in an order that only the sound decides: there is nothing in it to guess a name by."""
    first_heard: dict[str, str] = {}
    for utterance in utterances:
        if utterance.speaker:
            first_heard[utterance.speaker] = min(utterance.audio_hash, first_heard.get(utterance.speaker, utterance.audio_hash))
    ordered = sorted(first_heard, key=lambda speaker: first_heard[speaker])
    return {speaker: f"speaker-{number}" for number, speaker in enumerate(ordered, start=1)}
