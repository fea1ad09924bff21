"""What people have: a folder of audio with transcripts, found and read as a list of rows.

Understood: a `.txt` beside each audio file; a CSV or TSV with a header; JSON lines in this project's keys, NeMo's, or those usual on
the Hub. A row that cannot be used is a Reject with its reason; the others go on.
"""

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from infra.errors import DatasetError
from infra.processes import without_cycle_search
from infra.storage import content_hash
from tasks.contracts import Contract, Refusal
from tasks.dataset.clips import FileState, file_state, is_settled
from tasks.speech.audio import AUDIO_SUFFIXES

AUDIO_KEYS = ("audio_path", "audio_filepath", "audio", "path", "file_name", "file", "filename", "wav")
_TEXT_KEYS = ("text", "sentence", "transcription", "transcript", "normalized_text")
_LANGUAGE_KEYS = ("language", "lang", "locale")
_SPEAKER_KEYS = ("speaker", "speaker_id", "client_id")
_CONSENT_KEYS = ("consent", "consent_text")
_CONSENT_DATE_KEYS = ("consent_date", "consented_at")
_CONSENT_USE_KEYS = ("consent_use", "consent_scope")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MANIFEST_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")


class Row(NamedTuple):
    """One utterance as its source gives it: a file that may not decode, a text that may not be clean."""

    audio_path: str  # of a hundred thousand, paths as texts take a second less than as Path
    text: str
    origin: str  # where it stands in the source, for the rejects file
    language: str | None = None
    speaker: str | None = None
    split: str | None = None  # as its source divides it: ingestion divides by itself, a leakage report compares
    consent: str | None = None  # what the speaker agreed to, in words
    consent_date: str | None = None
    consent_use: str | None = None


class Reject(Contract):
    """One input that was refused, and why; one line of rejected.jsonl."""

    origin: str
    reason: str
    kind: Refusal = Refusal.OTHER


def read_source(source: Path) -> tuple[list[Row], list[Reject]]:
    """Find every utterance of a folder or a manifest file, in a stable order.

    A folder may come from anywhere: nothing that lies outside it is read, whatever it names or links to. Who names a manifest file
    answers for the paths in it.

    Raises:
        DatasetError: the source does not exist, it or a manifest in it cannot be read, or nothing in it looks like speech with
            transcripts.

    """
    try:
        if not source.exists():
            raise DatasetError(f"{source} does not exist", "Name a folder of audio with transcripts, or a manifest file")
        manifests = [source] if source.is_file() else _manifests(source)
        found = _manifest_rows(manifests) if manifests else _from_text_files(source)
        if source.is_dir():
            found = _kept_inside(found, source)
    except OSError as error:
        raise DatasetError(
            f"{error.filename or source} cannot be read: {error.strerror}", "Check who may read it, or leave it out"
        ) from error
    rows = [item for item in found if isinstance(item, Row)]
    rejects = [item for item in found if isinstance(item, Reject)]
    if not rows and not rejects:
        raise DatasetError(
            f"{source} holds no audio with transcripts",
            "Put a .txt beside each audio file, or a CSV, TSV or JSONL with the columns audio_path and text",
        )
    return rows, rejects


def _kept_inside(found: Iterable["Row | Reject"], folder: Path) -> "list[Row | Reject]":
    """The same, with a refusal for each row whose file lies outside the folder: by an absolute path, by `..`, or through a link."""
    home = os.path.realpath(folder)

    @cache
    def inside(place: str) -> bool:
        return Path(os.path.realpath(place)).is_relative_to(home)

    def checked(row: Row) -> Row | Reject:
        place = row.audio_path
        linked = os.path.islink(place)  # noqa: PTH114 Path takes no name that is too long
        if inside(os.path.dirname(place)) and (not linked or inside(place)):  # noqa: PTH120 or slow
            return row
        reason = "lies outside the source: bring the file along, or name the manifest instead of the folder"
        return Reject(origin=row.origin, reason=reason, kind=Refusal.OUTSIDE)

    return [checked(one) if isinstance(one, Row) else one for one in found]


@without_cycle_search()
def source_hash(source: Path, hashes: Callable[[Sequence[str]], Sequence[str | None]]) -> str:
    """Hex SHA-256 of everything that ingestion would read: texts, speakers and their consent, languages and the bytes of each clip.

    Paths do not count: the same clips and texts elsewhere have the same hash, and one changed byte has another. `hashes` gives those
    of files, and None for what cannot be read: a `ClipStore` does.
    """
    rows, rejects = read_source(source)
    clips = hashes([row.audio_path for row in rows])
    described = [
        [row.text, row.language, row.speaker, clip, row.consent, row.consent_date, row.consent_use]
        for row, clip in zip(rows, clips, strict=True)
    ]
    return content_hash(described, [reject.reason for reject in rejects])


def _manifests(folder: Path) -> list[Path]:
    """The manifests of a folder: a dataset version's data.jsonl, or every table and JSON lines file that names audio, or those below."""
    version = folder / "data.jsonl"
    if version.is_file():
        return [version]
    return _naming_audio(folder.iterdir()) or _naming_audio(folder.rglob("*/*"))


def _naming_audio(paths: Iterable[Path]) -> list[Path]:
    tables = (path for path in paths if path.suffix.lower() in _MANIFEST_SUFFIXES and path.is_file())
    return sorted(path for path in tables if _names_audio(path))


def _names_audio(path: Path) -> bool:
    try:
        first = next((record for _, record in _records(path) if isinstance(record, dict)), {})
        return any(key in first for key in AUDIO_KEYS)
    except DatasetError:  # not text: some other file that lies there
        return False


def _manifest_rows(manifests: Sequence[Path]) -> Sequence[Row | Reject]:
    """The rows of manifests; those that were read last and have not changed since are not read again."""
    states = tuple((manifest, file_state(manifest)) for manifest in manifests)
    if all(state and is_settled(state) for _, state in states):
        return _unchanged_rows(states)
    return _read_rows(manifests)


@lru_cache(maxsize=1)
def _unchanged_rows(manifests: tuple[tuple[Path, FileState | None], ...]) -> Sequence[Row | Reject]:
    return _read_rows([manifest for manifest, _ in manifests])


def _read_rows(manifests: Iterable[Path]) -> Sequence[Row | Reject]:
    return tuple(_row(values, place, str(manifest.parent)) for manifest in manifests for place, values in _records(manifest))


def _records(manifest: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Each record with its place; a string instead of a record is the reason why it cannot be read."""
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{manifest} is not UTF-8 text (byte {error.start})", "Save it as UTF-8") from error
    if manifest.suffix.lower() in (".csv", ".tsv"):
        yield from _table(manifest, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines also cuts at U+2028, which JSON may hold
        if line.strip():
            yield f"{_shown(manifest.name)}:{number}", _json_object(line)


def _json_object(line: str) -> dict[str, Any] | str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:  # a number of more than 4300 digits; lists in lists in lists
        return f"not JSON that can be read: {error}"
    return value if isinstance(value, dict) else "not a JSON object"


def _table(manifest: Path, text: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Rows of a CSV, or of a TSV, in which quotation marks are letters like others (Common Voice writes them so)."""
    lines = io.StringIO(text, newline="")
    tabs = manifest.suffix.lower() == ".tsv"
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.DictReader(lines)
    number = 0
    try:
        for number, record in enumerate(rows, start=1):
            yield f"{_shown(manifest.name)} row {number}", record
    except csv.Error as error:
        yield f"{_shown(manifest.name)} row {number + 1}", f"neither this row nor those after it can be read: {error}"


def _row(record: dict[str, Any] | str, place: str, base: str) -> Row | Reject:
    if isinstance(record, str):
        return Reject(origin=place, reason=record, kind=Refusal.NOT_ROWS)
    told = [_first(record, keys) if keys else None for keys in _columns(tuple(record))]
    audio, text, language, speaker, consent_date, consent_use = told
    if not _is_unicode(*(value for value in (audio, text, language, speaker) if value)):
        return Reject(origin=place, reason="holds half a Unicode character: save it as UTF-8", kind=Refusal.UNREADABLE)
    if audio is None:
        looked = ", ".join(AUDIO_KEYS[:4])
        return Reject(origin=place, reason=f"names no audio file (looked for {looked}, ...)", kind=Refusal.MISSING)
    if "\0" in audio:
        reason = "names its audio file with a null character: no file has one in its name"
        return Reject(origin=place, reason=reason, kind=Refusal.MISSING)
    if text is None:
        reason = f"has no transcript (looked for {', '.join(_TEXT_KEYS[:4])}, ...)"
        return Reject(origin=f"{place} {audio}", reason=reason, kind=Refusal.NO_TRANSCRIPT)
    split = record.get("split")
    return Row(
        audio_path=os.path.join(base, audio).rstrip("/"),  # noqa: PTH118
        text=text,
        language=language,
        speaker=speaker,
        split=split if isinstance(split, str) else None,
        consent=_consent(record),
        consent_date=consent_date,
        consent_use=consent_use,
        origin=f"{place} {audio}",
    )


@lru_cache
def _columns(present: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Of each thing that a row tells, the keys that a record with these has."""
    known = (AUDIO_KEYS, _TEXT_KEYS, _LANGUAGE_KEYS, _SPEAKER_KEYS, _CONSENT_DATE_KEYS, _CONSENT_USE_KEYS)
    return [tuple(key for key in keys if key in present) for keys in known]


def _is_unicode(*texts: str) -> bool:
    """JSON can spell lone surrogates, which are no text."""
    return not any(_SURROGATE.search(text) for text in texts if not text.isascii())


def _shown(name: str) -> str:
    """The name of a file as text: what is not UTF-8 in it becomes a question mark."""
    return name.encode(errors="replace").decode()


def _first(record: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = record.get(key)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _consent(record: dict[str, Any]) -> str | None:
    """In words; a truth value is a word, too."""
    value = next((record[key] for key in _CONSENT_KEYS if key in record), None)
    return ("yes" if value else "no") if isinstance(value, bool) else _first(record, _CONSENT_KEYS)


def _from_text_files(folder: Path) -> list[Row | Reject]:
    """Pairs of a clip and a .txt of the same name; a clip's own folder below the source names its speaker."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    clips = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    of_a_name = Counter(clip.with_suffix(".txt") for clip in clips)
    alone = [path for path in files if clips and path.suffix.lower() == ".txt" and path not in of_a_name]
    return [_pair(clip, folder, of_a_name[clip.with_suffix(".txt")]) for clip in clips] + [
        Reject(origin=_shown(str(path.relative_to(folder))), reason="has no audio of this name beside it", kind=Refusal.MISSING)
        for path in alone
    ]


def _pair(clip: Path, folder: Path, of_this_name: int) -> Row | Reject:
    name, transcript = str(clip.relative_to(folder)), clip.with_suffix(".txt")

    def refused(reason: str, kind: Refusal) -> Reject:
        return Reject(origin=_shown(name), reason=reason, kind=kind)

    if not _is_unicode(name):
        return refused("the file's name is not UTF-8: rename it", Refusal.UNREADABLE)
    if of_this_name > 1:
        return refused(f"shares {transcript.name} with another file: which of them it tells is not known", Refusal.NO_TRANSCRIPT)
    if not transcript.is_file():
        return refused(f"has no transcript: {transcript.name} is not beside it", Refusal.NO_TRANSCRIPT)
    if transcript.is_symlink() and not transcript.resolve().is_relative_to(folder.resolve()):
        return refused(f"{transcript.name} lies outside the source", Refusal.OUTSIDE)
    try:
        text = transcript.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return refused(f"{transcript.name} is not UTF-8 text", Refusal.UNREADABLE)
    except OSError as error:
        return refused(f"{transcript.name} cannot be read: {error.strerror}", Refusal.NO_TRANSCRIPT)
    return Row(audio_path=str(clip), text=text, speaker=clip.parent.name if clip.parent != folder else None, origin=name)
