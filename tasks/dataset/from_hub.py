"""A dataset of a Hub as a source: one revision of it, as clips and a manifest that ingestion reads like anybody's folder.

A repository of audio files with manifests is such a folder already. What holds the sound inside (Parquet, tar, ...) is read by `datasets`.
Every split counts: who is held out is decided here. Sound is passed on as it is, undecoded, so nothing but soundfile has to decode it.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra import progress
from infra.errors import DatasetError
from infra.hub import Source, hub_errors, source_of
from infra.settings import Settings
from infra.storage import content_hash, new_folder, write_text
from tasks.dataset.sources import AUDIO_KEYS
from tasks.speech.audio import AUDIO_SUFFIXES

_COLUMN = "audio"  # as the Hub's own datasets name it
FETCH_VERSION = 1  # raise it when a revision would become another source: it is part of the address


def newest_revision(settings: Settings, repository: str, revision: str | None = None) -> str:
    """The commit that a branch or tag of a dataset names now; by default its main branch.

    Raises:
        HubUnreachable: the Hub does not answer now.
        HubError: there is no such dataset or revision, or not for our token.

    """
    from huggingface_hub import HfApi

    with source_of(settings, "dataset", repository) as source, hub_errors(source, f"looking at dataset {repository}"):
        described = HfApi(endpoint=source.endpoint, token=source.token).dataset_info(repository, revision=revision)
    return str(described.sha)


def source_address(repository: str, commit: str) -> str:
    """Where the source lies: equal revision, equal source."""
    return content_hash(FETCH_VERSION, repository, commit)[:16]


def fetch_dataset(settings: Settings, repository: str, commit: str, folder: Path) -> Path:
    """Download one revision and write it as a source; returns the folder.

    Raises:
        HubUnreachable: the Hub does not answer now.
        HubError: there is no such revision, or not for our token.
        DatasetError: it cannot be loaded, or holds no sound.

    """
    with source_of(settings, "dataset", repository) as source, hub_errors(source, f"downloading dataset {repository}"):
        downloaded = _download(source, repository, commit)
    with new_folder(folder) as unfinished:
        if any(path.suffix.lower() in AUDIO_SUFFIXES for path in downloaded.rglob("*")):
            shutil.copytree(downloaded, unfinished, dirs_exist_ok=True)
            return folder
        lines = []
        for number, row in enumerate(_rows(downloaded, repository)):
            lines.append(json.dumps(_written(row, number, unfinished, repository), ensure_ascii=False) + "\n")
            progress.report(f"fetch {repository}", number + 1, 0)
        if not lines:
            raise DatasetError(f"The dataset {repository} has no rows", "Name another one")
        write_text(unfinished / "data.jsonl", "".join(lines))
    return folder


def _download(source: Source, repository: str, commit: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repository, repo_type="dataset", revision=commit, endpoint=source.endpoint, token=source.token))


def _rows(downloaded: Path, repository: str) -> Iterator[dict[str, Any]]:
    """Every row of every split, its sound as bytes or as the path of a file."""
    from datasets import Audio, load_dataset
    from datasets.exceptions import DatasetsError

    try:
        splits = load_dataset(str(downloaded), streaming=True)
        for split in sorted(splits):
            rows = splits[split]
            for name, kind in (rows.features or {}).items():
                if isinstance(kind, Audio):
                    rows = rows.cast_column(name, Audio(decode=False))
            for row in rows:
                key = next((name for name in AUDIO_KEYS if name in row), None)
                if key is None:
                    advice = f"Name the column of sound {_COLUMN}"
                    raise DatasetError(f"{repository} has no sound (its columns: {', '.join(row)})", advice)
                yield row | {_COLUMN: row[key]}
    except (DatasetsError, FileNotFoundError, ValueError, TypeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DatasetError(
            f"{repository} cannot be loaded: {reason}", "Publish it in a form that `load_dataset` reads"
        ) from error


def _written(row: dict[str, Any], number: int, folder: Path, repository: str) -> dict[str, Any]:
    """A row for the manifest; its sound becomes a file of the folder."""
    sound = row[_COLUMN]
    content, path = (sound.get("bytes"), sound.get("path")) if isinstance(sound, dict) else (None, sound)
    name = f"{number:06d}{Path(str(path or '')).suffix or '.wav'}"
    if content is not None:
        (folder / name).write_bytes(content)
    elif path and Path(path).is_file():
        (folder / name).write_bytes(Path(path).read_bytes())
    texts = {key: value for key, value in row.items() if isinstance(value, str | int) and key not in AUDIO_KEYS}
    return texts | {"audio_path": name, "source": repository}
