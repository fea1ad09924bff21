"""From a source to a dataset version: every clip taken in once, every refusal kept with its reason.

One bad file costs one line in rejected.jsonl, never the run. What comes out depends on the source, the options and the version before,
and not on what happened to be known already.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from infra.errors import DatasetError
from infra.storage import content_hash, new_folder
from tasks.contracts import SAMPLE_RATE_HZ, Consent, Contract, DatasetVersion, Refusal, Utterance
from tasks.dataset.clips import ClipStore, Kept, Refused, clip_name
from tasks.dataset.duplicates import compare_new, groups_of, without_near_duplicates
from tasks.dataset.personal_data import PersonalData
from tasks.dataset.shards import Rules, take_in_rows
from tasks.dataset.sources import Reject, Row, read_source
from tasks.dataset.split import Before, division_before, split_utterances
from tasks.dataset.version import VersionFacts, read_utterances, write_version
from tasks.speech.checks import SpeechChecks
from tasks.speech.transcript import check_language

INGEST_VERSION = 3  # raise it when equal input would give another dataset: it is part of the address


class IngestOptions(Contract):
    """What ingestion does with a source; part of the dataset's address."""

    language: str | None = Field(None, description="ISO 639-1 code of rows that name none.")
    eval_share: float = Field(0.2, gt=0, lt=1, description="Share of speakers (or prompts) held out for evaluation.")
    seed: int = Field(0, ge=0, description="Which speakers (or prompts) those are.")
    checks: SpeechChecks = Field(default_factory=SpeechChecks, description="What an utterance must satisfy.")
    personal_data: PersonalData = Field(
        PersonalData.WARN,
        description="What becomes of texts with e-mail addresses, numbers or names: keep, warn, replace, refuse.",
    )
    licence: str = Field("unknown", description="Licence of the recordings, as the Hub names it (cc-by-4.0, ...).")
    consent: str = Field("not recorded", description="What the speakers agreed to, in words.")
    consent_scope: Consent = Field(Consent.PRIVATE, description="Whether it covers publishing to everyone.")

    @field_validator("language")
    @classmethod
    def _known_language(cls, code: str | None) -> str | None:
        """In its canonical form; a SettingsError where there is no such language."""
        return check_language(code) if code else None


def ingest(
    source: Path,
    name: str,
    options: IngestOptions,
    folder: Path,
    processes: int,
    store: ClipStore | None = None,
    parent: DatasetVersion | None = None,
) -> DatasetVersion:
    """Build the dataset version of `source` at `folder`, replacing what stands there.

    Args:
        source: a folder or a manifest.
        name: what the dataset is called.
        options: what is done with it.
        folder: where the version will lie.
        processes: worker processes.
        store: what was taken in before, and is not taken in again; None keeps nothing.
        parent: the version of this name before; its utterances stay on their sides unless seed or eval_share are others.

    Raises:
        DatasetError: no utterance is usable, or too few to divide.
        WorkerLost: a worker process was killed.

    """
    rows, rejects = read_source(source)
    before = read_utterances(parent) if parent else []
    kept_before = {utterance.id for utterance in before}
    with new_folder(folder) as unfinished:
        own, wavs = unfinished / ".clips", unfinished / "wavs"
        wavs.mkdir()
        clips = store or ClipStore(own)
        with clips.in_use():
            utterances, groups = _taken_in(rows, rejects, options, clips, wavs, processes, kept_before)
        if not utterances:
            raise DatasetError(f"{source} holds no usable utterance ({_why(rejects)})", "Mend the source and ingest it again")
        shutil.rmtree(own, ignore_errors=True)
        divided, rule = split_utterances(utterances, options.eval_share, options.seed, _sides(parent, before, options), groups)
        facts = VersionFacts(
            split_rule=rule,
            seed=options.seed,
            eval_share=options.eval_share,
            licence=options.licence,
            consent=options.consent,
            consent_scope=options.consent_scope,
            parent=parent.fingerprint if parent else None,
        )
        version = write_version(unfinished, name, divided, rejects, facts)
    return version.model_copy(update={"folder": folder})


def _taken_in(
    rows: Sequence[Row],
    rejects: list[Reject],
    options: IngestOptions,
    clips: ClipStore,
    wavs: Path,
    processes: int,
    kept_before: set[str],
) -> tuple[list[Utterance], dict[str, str]]:
    """The utterances, and the groups of recordings that are nearly the same; what is refused joins the rejects."""
    utterances: dict[str, Utterance] = {}
    for row, record in take_in_rows(rows, Rules(options.language, options.checks, options.personal_data), clips, processes):
        result = _kept(row, record)
        if isinstance(result, Reject):
            rejects.append(result)
        elif result.id in utterances:
            reason = f"Equal in sound and text to {utterances[result.id].source}"
            rejects.append(Reject(origin=result.source, reason=reason, kind=Refusal.DUPLICATE))
        else:
            utterances[result.id] = result
    compare_new(clips)
    near = clips.near_pairs()
    kept, duplicates = without_near_duplicates(list(utterances.values()), near, kept_before)
    rejects += duplicates
    for one in kept:
        clips.lend(one.audio_hash, wavs)
    heard = {one.audio_hash for one in kept}
    return kept, groups_of(pair for pair in near if heard.issuperset(pair))


def brought_hash(source_content: str, options: IngestOptions) -> str:
    """Hash of what is brought for a dataset: equal content and options, equal hash."""
    return content_hash(INGEST_VERSION, source_content, options)


def dataset_address(source_content: str, name: str, options: IngestOptions, parent: DatasetVersion | None = None) -> str:
    """Where the dataset version of this content lies: the same for equal content at any path, after an equal parent."""
    return content_hash(brought_hash(source_content, options), name, parent.content_address if parent else None)[:16]


def _sides(parent: DatasetVersion | None, before: Sequence[Utterance], options: IngestOptions) -> Before | None:
    if parent is None or (parent.seed, parent.eval_share) != (options.seed, options.eval_share):
        return None
    return division_before(before, parent.split_rule)


def _kept(row: Row, record: Kept | Refused) -> Utterance | Reject:
    if isinstance(record, Refused):
        return Reject(origin=row.origin, reason=record.reason, kind=record.kind)
    return Utterance(
        id=content_hash(record.audio_hash, record.text)[:16],
        audio_path=f"wavs/{clip_name(record.audio_hash)}",
        text=record.text,
        language=record.language,
        duration_s=round(record.samples / SAMPLE_RATE_HZ, 3),
        audio_hash=record.audio_hash,
        speaker=row.speaker,
        source=row.origin,
        measured=record.measured,
        warnings=record.warnings,
    )


def _why(rejects: Sequence[Reject]) -> str:
    reasons = {reject.reason for reject in rejects}
    first = rejects[0].reason if rejects else "it is empty"
    return f"{len(rejects)} refused, for example: {first}" if len(reasons) > 1 else f"{len(rejects)} refused: {first}"
