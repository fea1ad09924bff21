"""A dataset version on disk: data.jsonl, rejected.jsonl, wavs/, dataset.json and its card.

The fingerprint is the hash of the sorted (audio hash, text, language): equal data, equal fingerprint, wherever it lies and in
whatever order it came.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from infra.errors import DatasetError
from infra.storage import content_hash, readable, write_json, write_text
from tasks.contracts import Contract, DatasetVersion, Split, Utterance
from tasks.dataset.sources import Reject


def fingerprint(utterances: Iterable[Utterance]) -> str:
    """Hex SHA-256 of what is said and heard; not of paths, order, speakers or sides."""
    return content_hash(sorted([u.audio_hash, u.text, u.language] for u in utterances))


def write_version(
    folder: Path,
    name: str,
    utterances: Sequence[Utterance],
    rejects: Sequence[Reject],
    split_rule: str,
    seed: int,
    licence: str,
    consent: str,
) -> DatasetVersion:
    """Write everything but the clips, which already lie in wavs/."""
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
        split_rule=split_rule,
        seed=seed,
        division=content_hash(sorted([utterance.id, utterance.split] for utterance in utterances)),
        licence=licence,
        consent=consent,
    )
    write_text(folder / "data.jsonl", _lines(utterances))
    write_text(folder / "rejected.jsonl", _lines(rejects))
    write_text(folder / "README.md", _card(version))
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


def _lines(values: Iterable[Contract]) -> str:
    return "".join(value.model_dump_json() + "\n" for value in values)


def _card(version: DatasetVersion) -> str:
    languages = "\n".join(f"- {language}" for language in version.languages)
    return f"""---
language:
{languages}
license: {version.licence}
task_categories:
- automatic-speech-recognition
---

# {version.name}

| | |
|---|---|
| Utterances for training | {version.train_utterances} |
| Utterances for evaluation | {version.eval_utterances} |
| Set aside, so that nothing stands on both sides | {version.set_aside_utterances} |
| Refused (`rejected.jsonl` tells why) | {version.rejected} |
| Hours | {version.hours:.3f} |
| Speakers named | {version.speakers} |
| Divided by | {version.split_rule}, seed {version.seed} |
| Consent | {version.consent} |
| Fingerprint | `{version.fingerprint}` |

Each line of `data.jsonl` is one utterance; `wavs/` holds 16 kHz mono clips.
"""
