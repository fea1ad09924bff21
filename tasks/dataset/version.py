"""A dataset version on disk: data.jsonl, rejected.jsonl, wavs/, dataset.json and its card; and of what its utterances were made.

The fingerprint is the hash of the sorted (audio hash, text, language): equal data, equal fingerprint, wherever it lies and in
whatever order it came.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from infra.errors import DatasetError
from infra.storage import content_hash, readable, write_json, write_text
from tasks.contracts import Consent, Contract, DatasetVersion, Split, Utterance
from tasks.dataset.card import dataset_card
from tasks.dataset.sources import Reject

_MADE = ".made"


def fingerprint(utterances: Iterable[Utterance]) -> str:
    """Hex SHA-256 of what is said and heard; not of paths, order, speakers or sides."""
    return content_hash(sorted([u.audio_hash, u.text, u.language] for u in utterances))


class VersionFacts(Contract):
    """What a version's description says that is not counted: how it was divided, under which terms it came, what it descends from."""

    split_rule: str
    seed: int
    eval_share: float
    licence: str = "unknown"
    consent: str = "not recorded"
    consent_scope: Consent = Consent.PRIVATE
    parent: str | None = None


class Made(NamedTuple):
    """Of what an utterance was made: the key of the clip's record, its samples, and how many of the warnings, the first, are its own."""

    key: str
    samples: int
    warnings: int


def write_version(
    folder: Path,
    name: str,
    utterances: Sequence[Utterance],
    rejects: Sequence[Reject],
    facts: VersionFacts,
    made: Sequence[Made] = (),
) -> DatasetVersion:
    """Write everything but the clips, which already lie in wavs/; `made`, if it is known, tells of every utterance."""
    sides = [utterance.split for utterance in utterances]
    version = DatasetVersion(
        folder=folder,
        name=name,
        fingerprint=fingerprint(utterances),
        train_utterances=sides.count(Split.TRAIN),
        eval_utterances=sides.count(Split.EVAL),
        set_aside_utterances=sides.count(Split.SET_ASIDE),
        rejected=len(rejects),
        hours=round(sum(utterance.duration_s for utterance in utterances) / 3600, 4),
        speakers=len({utterance.speaker for utterance in utterances if utterance.speaker}),
        languages=tuple(sorted({utterance.language for utterance in utterances})),
        division=content_hash(sorted([utterance.id, utterance.split] for utterance in utterances)),
        **dict(facts),
    )
    write_text(folder / "data.jsonl", _lines(utterances))
    write_text(folder / "rejected.jsonl", _lines(rejects))
    write_text(folder / _MADE, "".join(f"{one.key} {one.samples} {one.warnings}\n" for one in made))
    write_text(folder / "README.md", dataset_card(version, utterances, rejects))
    write_json(folder / "dataset.json", version.model_dump(mode="json", exclude={"folder"}))
    return version


def open_version(folder: Path) -> DatasetVersion:
    """Read a dataset folder's description.

    Raises:
        DatasetError: the folder is no dataset version.

    """
    path = folder / "dataset.json"
    if not path.is_file():
        raise DatasetError(f"{folder} is no dataset version: it has no dataset.json", "Make one with `voxfactory ingest`")
    with readable(path, DatasetError):
        return DatasetVersion(folder=folder.resolve(), **json.loads(path.read_text()))


def read_utterances(version: DatasetVersion, split: Split | None = None) -> list[Utterance]:
    """The utterances of one side, or all, in the order of data.jsonl."""
    with (version.folder / "data.jsonl").open(encoding="utf-8") as lines:
        utterances = [Utterance.model_validate_json(line) for line in lines]
    return [utterance for utterance in utterances if split is None or utterance.split is split]


def read_rejects(version: DatasetVersion) -> list[Reject]:
    """What was refused, in the order of rejected.jsonl."""
    with (version.folder / "rejected.jsonl").open(encoding="utf-8") as lines:
        return [Reject.model_validate_json(line) for line in lines]


def read_made(version: DatasetVersion) -> list[Made]:
    """Of what each utterance was made, in the order of data.jsonl; empty where it is not known."""
    path = version.folder / _MADE
    if not path.is_file():
        return []
    with readable(path, DatasetError):
        lines = (line.split() for line in path.read_text().splitlines())
        return [Made(key, int(samples), int(warnings)) for key, samples, warnings in lines]


def refused_and_warned(version: DatasetVersion) -> tuple[Counter[str], Counter[str]]:
    """How many inputs were refused, and how many utterances were kept with a warning, by kind."""
    refused = Counter(str(reject.kind) for reject in read_rejects(version))
    warned = Counter(kind for utterance in read_utterances(version) for kind in utterance.warned_of)
    return refused, warned


def _lines(values: Iterable[Contract]) -> str:
    return "".join(value.model_dump_json() + "\n" for value in values)
