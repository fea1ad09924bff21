"""Rows of a source become records of the store: what is known is looked up, the rest is taken in by worker processes, a shard at a time.

A shard that is done is remembered before the next one is waited for, so that a kill costs the shards at hand.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infra import progress
from infra.errors import SpeechError, WorkerLost
from infra.processes import worker_pool
from infra.storage import content_hash
from tasks.contracts import Refusal
from tasks.dataset.clips import ClipStore, FileState, Kept, Refused, file_state
from tasks.dataset.personal_data import PERSONAL_DATA_VERSION, PersonalData, find_personal_data, replaced
from tasks.dataset.sources import Row
from tasks.speech.audio import audio_hash
from tasks.speech.checks import SpeechChecks
from tasks.speech.intake import INTAKE_VERSION, Brought, Taken, take_in
from tasks.speech.sound_print import PRINT_VERSION, sound_print
from tasks.speech.transcript import has_words

_SHARD_CLIPS = 64
_SHARDS_ALONE = 2  # are done before another process has begun
_CHANGED = "The file changed while it was read"


class Rules(NamedTuple):
    """What decides what becomes of a row.

    The language of those that name none, the checks, what is done about personal data, and hashes of recordings that were withdrawn.
    """

    language: str | None
    checks: SpeechChecks
    personal_data: PersonalData
    withdrawn: frozenset[str] = frozenset()


class _Wanted(NamedTuple):
    """A clip to take in, the key of what will be known of it, and how its file was when it was hashed."""

    key: str
    brought: Brought
    state: FileState | None


class _Shard(NamedTuple):
    wanted: list[_Wanted]
    rules: Rules
    store: Path


class _Done(NamedTuple):
    """Records by key: those that belong to the file's content, those of files that could not be read or that changed; and prints."""

    lasting: dict[str, Kept | Refused]
    passing: dict[str, Kept | Refused]
    prints: dict[str, np.ndarray]


def take_in_rows(
    rows: Sequence[Row], rules: Rules, store: ClipStore, processes: int, known: Collection[str] = ()
) -> list[tuple[str, Kept | Refused | None]]:
    """What becomes of each row, in their order: the key of its record, and the record, unless that is `known` already.

    Raises:
        WorkerLost: a worker process was killed.

    """
    files = store.files([row.audio_path for row in rows])
    keys = record_keys(rows, [file.hash for file in files], rules)
    records: dict[str, Kept | Refused] = store.find(key for key in keys if key not in known)
    new = [key not in known and key not in records for key in keys]
    # One of each: what stands in a source twice is decoded once.
    wanted = {
        key: _Wanted(key, Brought(Path(row.audio_path), row.text, row.language or rules.language), file.state)
        for key, row, file in compress(zip(keys, rows, files, strict=True), new)
    }
    done, refused, old = len(rows) - len(wanted), _refusals(records), new.count(False)
    _report(done, len(rows), old, refused)
    for shard in _processed(list(wanted.values()), rules, store, processes):
        records |= shard
        done, refused = done + len(shard), refused + _refusals(shard)
        _report(done, len(rows), old, refused)
    return [(key, records.get(key)) for key in keys]


def _report(done: int, rows: int, known: int, refused: int) -> None:
    progress.report("ingest", done, rows, f"{known} known already, {refused} refused")


def _refusals(records: dict[str, Kept | Refused]) -> int:
    return sum(isinstance(record, Refused) for record in records.values())


def record_keys(rows: Sequence[Row], files: Sequence[str | None], rules: Rules) -> list[str]:
    """Everything that the records of rows depend on, as one hash each; `files` are the hashes of their files' bytes."""
    common = content_hash(INTAKE_VERSION, PRINT_VERSION, PERSONAL_DATA_VERSION, rules.checks, rules.personal_data)
    keys = []
    for row, file in zip(rows, files, strict=True):
        place = row.audio_path.rpartition("/")[2] if file else row.audio_path  # a file's name stands in reasons
        parts = (common, file or "", place, row.text, row.language or rules.language or "")
        keys.append(hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest())
    return keys


def _processed(wanted: Sequence[_Wanted], rules: Rules, store: ClipStore, processes: int) -> Iterator[dict[str, Kept | Refused]]:
    """The records of each shard; those that will hold tomorrow are remembered."""
    shards = [_Shard(list(some), rules, store.folder) for some in _dealt(wanted, processes)]
    for done in _mapped(shards, min(processes, len(shards))):
        store.remember(done.lasting, done.prints)
        yield done.lasting | done.passing


def _dealt(wanted: Sequence[_Wanted], processes: int) -> Iterator[Sequence[_Wanted]]:
    """In shards; of many the last are smaller, so that all processes end at about the same time."""
    start, few = 0, len(wanted) <= _SHARDS_ALONE * _SHARD_CLIPS
    while start < len(wanted):
        clips = _SHARD_CLIPS if few or len(wanted) - start > processes * _SHARD_CLIPS else max(1, _SHARD_CLIPS // 4)
        yield wanted[start : start + clips]
        start += clips


def _mapped(shards: Sequence[_Shard], workers: int) -> Iterator[_Done]:
    if workers <= 1 or len(shards) <= _SHARDS_ALONE:
        yield from map(_process_shard, shards)
        return
    with worker_pool(workers) as pool:
        try:
            yield from pool.map(_process_shard, shards)
        except BrokenProcessPool as error:
            raise WorkerLost(
                "A worker process of ingestion was killed", "Look for a lack of memory and ingest it again"
            ) from error


def _process_shard(shard: _Shard) -> _Done:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):  # there is a process for each core already
        return _taken_in(shard)


def _taken_in(shard: _Shard) -> _Done:
    store = ClipStore(shard.store)
    done = _Done({}, {}, {})
    for one, taken in zip(shard.wanted, take_in([one.brought for one in shard.wanted], shard.rules.checks), strict=True):
        if one.state and file_state(one.brought.audio_path) != one.state:
            done.passing[one.key] = Refused(reason=_CHANGED, kind=Refusal.NO_AUDIO)
            continue
        records = done.lasting if one.state else done.passing
        if isinstance(taken, SpeechError):
            records[one.key] = Refused(reason=taken.problem, kind=Refusal(taken.kind))
            continue
        try:
            record = _kept(taken, shard.rules)
        except SpeechError as error:
            records[one.key] = Refused(reason=error.problem, kind=Refusal(error.kind))
            continue
        store.write(record.audio_hash, taken.samples)
        records[one.key] = record
        done.prints[record.audio_hash] = sound_print(taken.samples)
    return done


def _kept(taken: Taken, rules: Rules) -> Kept:
    heard, personal_data = audio_hash(taken.samples), rules.personal_data
    if heard in rules.withdrawn:
        raise SpeechError("Who speaks has withdrawn the consent", "Remove it from the source", Refusal.CONSENT)
    found = find_personal_data(taken.text, taken.language) if personal_data is not PersonalData.KEEP else []
    says = f"personal data: the text holds what looks like {', '.join(sorted({one.kind for one in found}))}"
    text = replaced(taken.text, found) if personal_data is PersonalData.REPLACE else taken.text
    if found and (personal_data is PersonalData.REFUSE or not has_words(text)):
        raise SpeechError(says.capitalize(), "Ask who speaks, or replace it", Refusal.PRIVATE)
    return Kept(
        audio_hash=heard,
        samples=len(taken.samples),
        text=text,
        language=taken.language,
        measured=taken.measured,
        warnings=(*taken.warnings, *([says] if found else [])),
    )
