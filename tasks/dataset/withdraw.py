"""A speaker withdraws: sound and text go from every version, from the store and from what was fetched; a tombstone of hashes stays.

Every version that holds the speaker is replaced by one without, whose parent it is; where too little is left to divide, by none. The
tombstone is written first, so that whatever interrupts this, the same command goes on, and nothing is taken in again meanwhile.
"""

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from infra.errors import DatasetError, SpeechError
from infra.settings import Settings
from infra.storage import content_hash, new_folder
from tasks.contracts import Contract, DatasetVersion, Split, Utterance
from tasks.dataset.clips import CLIPS_FOLDER, ClipStore, link_or_copy
from tasks.dataset.history import Newest, all_versions, forget_newest, newest_of, write_newest
from tasks.dataset.sources import Reject, read_source
from tasks.dataset.speakers import Agreed, note_withdrawal, pseudonyms_of, read_ledger, withdrawn_in, write_ledger
from tasks.dataset.split import division_before, split_utterances
from tasks.dataset.version import VersionFacts, read_rejects, read_utterances, write_version
from tasks.speech.audio import audio_hash, read_clip

_USUAL_SHARE = 0.2  # held out of what was made before the share was written down


class Withdrawal(Contract):
    """What was removed: of whom, which versions by fingerprint, what was said in them, and the versions and sources on this machine."""

    speaker: str  # the pseudonym
    fingerprints: tuple[str, ...]
    recordings: tuple[str, ...]  # audio hashes
    utterances: tuple[str, ...]  # ids
    texts: tuple[str, ...]  # those that nobody else says
    removed: tuple[Path, ...]  # folders of versions and of fetched sources
    made: tuple[DatasetVersion, ...]
    known_fingerprints: tuple[str, ...]  # of all versions before


def withdraw(settings: Settings, speaker: str) -> Withdrawal:
    """Remove what a speaker said from datasets, store and sources; `speaker` is a name or a pseudonym.

    Raises:
        DatasetError: nobody of that name is in any version, nor withdrew before.

    """
    who = pseudonyms_of(settings).of(speaker)
    store, before = ClipStore(settings.folder(CLIPS_FOLDER)), withdrawn_in(settings)
    with store.alone():
        versions = [(version, read_utterances(version)) for version in all_versions(settings)]
        said = [one for _, utterances in versions for one in utterances if one.speaker in (who, speaker)]
        if not said and who not in before.speakers:
            raise DatasetError(
                f"{speaker!r} speaks in no dataset of {settings.home}", "See the names in a dataset's consent.jsonl"
            )
        recordings = {one.audio_hash for one in said}
        if who not in before.speakers or recordings - before.recordings:
            note_withdrawal(settings, who, recordings)
        gone = recordings | before.recordings
        affected = [(version, spoken) for version, spoken in versions if any(one.audio_hash in gone for one in spoken)]
        made = [_replaced(settings, version, spoken, gone, who) for version, spoken in affected]
        sources = [folder for folder in settings.folder("sources").glob("[!.]*") if _holds(folder, speaker, who, gone, settings)]
        for folder in (*(version.folder for version, _ in affected), *sources):
            shutil.rmtree(folder)
        kept = [one for version in all_versions(settings) for one in read_utterances(version)]
        _clean(store, gone, {one.audio_hash for one in kept})
    removed = [one for _, spoken in affected for one in spoken if one.audio_hash in gone]
    return Withdrawal(
        speaker=who,
        fingerprints=tuple(dict.fromkeys(version.fingerprint for version, _ in affected)),
        recordings=tuple(sorted(gone)),
        utterances=tuple(sorted({one.id for one in removed})),
        texts=tuple(sorted({one.text for one in removed} - {one.text for one in kept})),
        removed=(*(version.folder for version, _ in affected), *sources),
        made=tuple(version for version in made if version),
        known_fingerprints=tuple(dict.fromkeys(version.fingerprint for version, _ in versions)),
    )


def _clean(store: ClipStore, gone: Collection[str], used: Collection[str]) -> None:
    """Remove what was withdrawn, and all that no version holds: near duplicates of it may be among that."""
    store.forget({*gone, *(store.audio_hashes() - set(used))})
    store.forget_refusals()
    for stray in store.strays():
        stray.unlink(missing_ok=True)


def _replaced(
    settings: Settings, version: DatasetVersion, spoken: list[Utterance], gone: Collection[str], who: str
) -> DatasetVersion | None:
    """The version without the recordings that are gone; None where it cannot be divided any more."""
    removed = {one.source for one in spoken if one.audio_hash in gone}
    left = [_unwarned(one, removed) for one in spoken if one.audio_hash not in gone]
    newest = newest_of(settings, version.name)
    is_newest = newest is not None and newest.address == version.folder.name
    try:
        divided, rule = _divided(version, left)
    except DatasetError:
        if is_newest:
            forget_newest(settings, version.name)
        return None
    address = content_hash("withdrawn", version.content_address, sorted(one.id for one in left))[:16]
    with new_folder(settings.folder("datasets") / address) as unfinished:
        (unfinished / "wavs").mkdir()
        for path in dict.fromkeys(one.audio_path for one in divided):
            link_or_copy(version.folder / path, unfinished / path)
        _write_ledger(version, divided, who, unfinished)
        rejects = [one for one in read_rejects(version) if not _tells_of(one, removed, who)]
        facts = VersionFacts(
            split_rule=rule,
            seed=version.seed,
            eval_share=version.eval_share or _USUAL_SHARE,
            licence=version.licence,
            consent=version.consent,
            consent_scope=version.consent_scope,
            parent=version.fingerprint,
        )
        made = write_version(unfinished, version.name, divided, rejects, facts)
    if is_newest:
        write_newest(settings, Newest(name=version.name, address=address, brought=f"withdrawn {who}", parent=None))
    return made.model_copy(update={"folder": settings.folder("datasets") / address})


def _divided(version: DatasetVersion, left: list[Utterance]) -> tuple[list[Utterance], str]:
    """As it was; anew where a side would be empty."""
    sides = {one.split for one in left}
    if {Split.TRAIN, Split.EVAL} <= sides:
        return left, version.split_rule
    before = division_before(left, version.split_rule)
    return split_utterances(left, version.eval_share or _USUAL_SHARE, version.seed, before)


def _unwarned(utterance: Utterance, removed: Collection[str]) -> Utterance:
    warnings = tuple(warning for warning in utterance.warnings if not any(source in warning for source in removed))
    return utterance if warnings == utterance.warnings else utterance.model_copy(update={"warnings": warnings})


def _tells_of(reject: Reject, removed: Collection[str], who: str) -> bool:
    return who in reject.origin or any(source in reject.reason for source in removed)


def _write_ledger(version: DatasetVersion, divided: Iterable[Utterance], who: str, folder: Path) -> None:
    records = {record.speaker: record for record in read_ledger(version.folder) if record.speaker != who}
    told = [records[one.speaker] for one in divided if one.speaker in records]
    write_ledger(folder, [Agreed(one.speaker, one.name, one.consent, one.date, one.use) for one in told])


def _holds(folder: Path, speaker: str, who: str, gone: Collection[str], settings: Settings) -> bool:
    """Whether a fetched source holds the speaker, by name or by sound."""
    names = pseudonyms_of(settings)
    rows, _ = read_source(folder)
    return any(row.speaker and (row.speaker == speaker or names.of(row.speaker) == who) for row in rows) or any(
        _heard(Path(row.audio_path)) in gone for row in rows
    )


def _heard(path: Path) -> str | None:
    try:
        return audio_hash(read_clip(path))
    except SpeechError:
        return None
