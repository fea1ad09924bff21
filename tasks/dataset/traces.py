"""Where else in a home something is left of what was withdrawn: evaluations, exports, demos, models, databases.

What is made from data and can be made again is removed whole, datasets and demos on the local Hub among it. Models are named: they hold no
recording, but learned from them, and their cards may quote a text. What belongs to others (repositories of another Hub, the Prefect
server's database) is named with what to do.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from infra.errors import SpeechError
from infra.hub import delete_local_repository, local_repositories
from infra.settings import Settings
from tasks.contracts import Contract
from tasks.dataset.withdraw import Withdrawal
from tasks.speech.audio import AUDIO_SUFFIXES, audio_hash, read_clip

_MADE_AGAIN = (
    "evaluations",
    "readings",
    "transcripts",
    "published",
    "spaces",
)  # folders of the home, with a folder for each artefact
_LOOKED_INTO = {
    ".json",
    ".jsonl",
    ".md",
    ".txt",
    ".html",
    ".csv",
    ".tsv",
    ".log",
    ".db",
    ".sqlite",
    ".sqlite3",
    ".db-wal",
    ".sqlite3-wal",
}
_DELETED = ("dataset", "space")  # kinds of repositories
_TABLE, _SOUNDS = b"PAR1", (b"RIFF", b"fLaC", b"OggS", b"ID3")
_HEAD_BYTES = 8192  # no text has a null byte there, all weights have
_HEX = re.compile(rb"[0-9a-f]{16,64}")
_REPOSITORY = re.compile(r'load_dataset\("([^"]+)"')
_BLOCK_BYTES = 1 << 24
_SHORTEST_TEXT = 8  # characters: shorter ones stand anywhere


class Traces(Contract):
    """What was removed, which runs learned from it or may have, which repositories were made of it, and which files still hold it.

    Repositories of the local Hub are named with their kind: `deleted`, or `quoting` a text, as the card of a model may.
    """

    removed: tuple[Path, ...]
    deleted: tuple[str, ...]
    quoting: tuple[str, ...]
    stale_runs: tuple[Path, ...]
    unsure_runs: tuple[Path, ...]  # made of data that no version of this home tells of
    repositories: tuple[str, ...]
    left: tuple[Path, ...]


def remove_traces(settings: Settings, withdrawal: Withdrawal) -> Traces:
    """Remove what was made of a withdrawn speaker's recordings and can be made again, and find the rest."""
    marks = {*withdrawal.fingerprints, *withdrawal.recordings, *withdrawal.utterances}
    texts = [text for text in withdrawal.texts if len(text) >= _SHORTEST_TEXT]
    folders = [folder for kind in _MADE_AGAIN for folder in settings.folder(kind).glob("*") if folder.is_dir()]
    removed = [folder for folder in folders if any(_mentions(path, marks, texts, withdrawal) for path in _files(folder))]
    repositories = [name for folder in removed for name in _repositories(folder)]
    for folder in removed:
        shutil.rmtree(folder)
    stale, unsure = _runs(settings, withdrawal)
    local = local_repositories(
        settings, lambda path: _holds(path, texts, withdrawal), lambda content: _stands_in(content, set(), texts)
    )
    deleted = [one for one in local if one.kind in _DELETED]
    for repository in deleted:
        delete_local_repository(settings, repository)
    left = [path for path in _files(settings.folder("")) if _mentions(path, set(), texts, withdrawal)]
    return Traces(
        removed=tuple(removed),
        stale_runs=tuple(stale),
        unsure_runs=tuple(unsure),
        deleted=tuple(f"{one.kind} {one.path}" for one in deleted),
        quoting=tuple(f"{one.kind} {one.path}" for one in local if one not in deleted),
        repositories=tuple(dict.fromkeys(name for name in repositories if name not in {one.path for one in deleted})),
        left=tuple(left),
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _mentions(path: Path, marks: set[str], texts: list[str], withdrawal: Withdrawal) -> bool:
    if path.suffix.lower() in AUDIO_SUFFIXES:
        return _heard(path) in withdrawal.recordings
    return path.suffix.lower() in _LOOKED_INTO and any(_stands_in(block, marks, texts) for block in _blocks(path))


def _holds(path: Path, texts: list[str], withdrawal: Withdrawal) -> bool:
    """Whether a large file of a Hub holds a recording or tells a text: a table of them, a recording alone, or a text file."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(_TABLE):
        return _tells_of(path, withdrawal)
    if head.startswith(_SOUNDS):
        return _heard(path) in withdrawal.recordings
    return b"\0" not in head and any(_stands_in(block, set(), texts) for block in _blocks(path))


def _tells_of(table: Path, withdrawal: Withdrawal) -> bool:
    """Whether a table has a row of an utterance that was withdrawn, under the name that `export_version` gives it."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(table) as rows:
        if "id" not in rows.schema_arrow.names:
            return False
        gone, batches = set(withdrawal.utterances), rows.iter_batches(columns=["id"])
        return any(not gone.isdisjoint(batch["id"].to_pylist()) for batch in batches)


def _stands_in(block: bytes, marks: set[str], texts: list[str]) -> bool:
    if marks and not marks.isdisjoint(found.decode() for found in _HEX.findall(block)):
        return True
    return any(text.encode() in block or json.dumps(text)[1:-1].encode() in block for text in texts)


def _blocks(path: Path) -> Iterator[bytes]:
    """A file in pieces; each begins with the end of the one before, so that nothing is cut in two."""
    with path.open("rb") as stream:
        end = b""
        while block := stream.read(_BLOCK_BYTES):
            yield end + block
            end = block[-4096:]


def _heard(path: Path) -> str | None:
    try:
        return audio_hash(read_clip(path))
    except SpeechError:
        return None


def _repositories(folder: Path) -> Iterator[str]:
    for card in folder.rglob("README.md"):
        yield from _REPOSITORY.findall(card.read_text(encoding="utf-8", errors="replace"))


def _runs(settings: Settings, withdrawal: Withdrawal) -> tuple[list[Path], list[Path]]:
    """Runs that learned from it, and those of which nobody can tell."""
    stale, unsure = [], []
    for path in sorted(settings.folder("runs").glob("[!.]*/training_config.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        learned = {told.get("dataset_fingerprint"), *told.get("replay_fingerprints", [])}
        if learned.intersection(withdrawal.fingerprints):
            stale.append(path.parent)
        elif not learned.issubset(withdrawal.known_fingerprints):
            unsure.append(path.parent)
    return stale, unsure
