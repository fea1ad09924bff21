"""From a source to a dataset version: every clip taken in once, every refusal kept with its reason.

One bad file costs one line in rejected.jsonl, never the run. What comes out depends on the source, the options and the version before,
and not on what happened to be known already.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, field_validator

from infra.errors import DatasetError
from infra.processes import without_cycle_search
from infra.storage import content_hash, new_folder
from tasks.contracts import SAMPLE_RATE_HZ, Consent, Contract, DatasetVersion, Refusal, Utterance
from tasks.dataset.admission import NOT_RECORDED, Admitted, Terms, admit
from tasks.dataset.clips import ClipStore, Kept, Refused, clip_name
from tasks.dataset.duplicates import compare_new, groups_of, without_near_duplicates
from tasks.dataset.home import Memory
from tasks.dataset.personal_data import PersonalData
from tasks.dataset.shards import Rules, take_in_rows
from tasks.dataset.sources import Reject, read_source
from tasks.dataset.speakers import Agreed, write_ledger
from tasks.dataset.split import Before, division_before, split_utterances
from tasks.dataset.version import Made, VersionFacts, read_made, read_utterances, write_version
from tasks.speech.checks import SpeechChecks
from tasks.speech.pace import with_unusual_paces
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
    require_consent: bool = Field(False, description="Refuse rows of which nobody wrote down what their speaker agreed to.")
    consent: str = Field(NOT_RECORDED, description="What the speakers agreed to, in words.")
    consent_scope: Consent = Field(Consent.PRIVATE, description="Whether it covers publishing to everyone.")

    @field_validator("language")
    @classmethod
    def _known_language(cls, code: str | None) -> str | None:
        """In its canonical form; a SettingsError where there is no such language."""
        return check_language(code) if code else None


@without_cycle_search()
def ingest(
    source: Path,
    name: str,
    options: IngestOptions,
    folder: Path,
    processes: int,
    memory: Memory | None = None,
    parent: DatasetVersion | None = None,
) -> DatasetVersion:
    """Build the dataset version of `source` at `folder`, replacing what stands there.

    Args:
        source: a folder or a manifest.
        name: what the dataset is called.
        options: what is done with it.
        folder: where the version will lie.
        processes: worker processes.
        memory: what is remembered from before, and will be; None: nothing is, and names stay as they are.
        parent: the version of this name before; its utterances stay on their sides unless seed or eval_share are others.

    Raises:
        DatasetError: no utterance is usable, or too few to divide.
        WorkerLost: a worker process was killed.

    """
    with new_folder(folder) as unfinished:
        before = read_utterances(parent) if parent else []
        own, wavs = unfinished / ".clips", unfinished / "wavs"
        wavs.mkdir()
        remembered = memory or Memory(ClipStore(own))
        with remembered.clips.in_use():
            known = _known_in(remembered.clips, before, read_made(parent) if parent else [])
            found = _take_in(source, options, remembered, processes, {utterance.id for utterance in before}, known)
            for one in found.utterances:
                remembered.clips.lend(one.audio_hash, wavs)
        if not found.utterances:
            why = _why(found.rejects)
            raise DatasetError(f"{source} holds no usable utterance ({why})", "Mend the source and ingest it again")
        shutil.rmtree(own, ignore_errors=True)
        sides = _sides(parent, before, found.agreed.values(), options)
        divided, rule = split_utterances(
            with_unusual_paces(found.utterances), options.eval_share, options.seed, sides, found.groups, found.names
        )
        write_ledger(unfinished, [found.agreed[one.id] for one in divided])
        made = [found.made[one.id] for one in divided]
        version = write_version(unfinished, name, divided, found.rejects, _facts(options, rule, parent), made)
    return version.model_copy(update={"folder": folder})


class _Found(NamedTuple):
    """Utterances; by their ids of what they were made, what their speakers agreed to, and as whom these are brought.

    And groups of nearly equal recordings, and refusals.
    """

    utterances: list[Utterance]
    made: dict[str, Made]
    agreed: dict[str, Agreed]
    names: dict[str, str | None]
    groups: dict[str, str]
    rejects: list[Reject]


class _Known(NamedTuple):
    """An utterance of the version before, and of what it was made."""

    made: Made
    utterance: Utterance


def _known_in(store: ClipStore, before: Sequence[Utterance], made: Sequence[Made]) -> dict[str, _Known]:
    """What need not be looked up, by the keys of its records: utterances of the version before that the store still remembers."""
    if not made:
        return {}
    remembered = store.audio_hashes()
    known = (_Known(*one) for one in zip(made, before, strict=True))
    return {
        one.made.key: one
        for one in known
        if one.utterance.audio_hash in remembered and store.is_whole(one.utterance.audio_hash, one.made.samples)
    }


def _take_in(
    source: Path, options: IngestOptions, memory: Memory, processes: int, kept_before: set[str], known: Mapping[str, _Known]
) -> _Found:
    rows, unreadable = read_source(source)
    terms = Terms(options.consent, options.consent_scope, options.require_consent)
    admitted, objected = admit(rows, source, terms, memory)
    rejects = [*unreadable, *objected]
    rules = Rules(options.language, options.checks, options.personal_data, memory.withdrawn.recordings)
    utterances: dict[str, Utterance] = {}
    origins: dict[str, Admitted] = {}
    made: dict[str, Made] = {}
    records = take_in_rows([one.row for one in admitted], rules, memory.clips, processes, known.keys())
    for one, (key, record) in zip(admitted, records, strict=True):
        if isinstance(record, Refused):
            rejects.append(Reject(origin=one.row.origin, reason=record.reason, kind=record.kind))
            continue
        result = _kept(one, record) if record else _as_before(one, known[key])
        if result.id in utterances:
            reason = f"Equal in sound and text to {utterances[result.id].source}"
            rejects.append(Reject(origin=result.source, reason=reason, kind=Refusal.DUPLICATE))
        else:
            utterances[result.id], origins[result.id] = result, one
            made[result.id] = Made(key, record.samples, len(record.warnings)) if record else known[key].made
    compare_new(memory.clips)
    near = memory.clips.near_pairs()
    kept, duplicates = without_near_duplicates(list(utterances.values()), near, kept_before)
    heard = {one.audio_hash for one in kept}
    groups = groups_of(pair for pair in near if heard.issuperset(pair))
    agreed = {one.id: origins[one.id].agreed for one in kept}
    names = {one.id: origins[one.id].row.speaker for one in kept}
    return _Found(kept, made, agreed, names, groups, [*rejects, *duplicates])


def _facts(options: IngestOptions, rule: str, parent: DatasetVersion | None) -> VersionFacts:
    return VersionFacts(
        split_rule=rule,
        seed=options.seed,
        eval_share=options.eval_share,
        licence=options.licence,
        consent=options.consent,
        consent_scope=options.consent_scope,
        parent=parent.fingerprint if parent else None,
    )


def brought_hash(source_content: str, options: IngestOptions) -> str:
    """Hash of what is brought for a dataset: equal content and options, equal hash."""
    return content_hash(INGEST_VERSION, source_content, options)


def dataset_address(source_content: str, name: str, options: IngestOptions, parent: DatasetVersion | None = None) -> str:
    """Where the dataset version of this content lies: the same for equal content at any path, after an equal parent."""
    return content_hash(brought_hash(source_content, options), name, parent.content_address if parent else None)[:16]


def _sides(
    parent: DatasetVersion | None, before: Sequence[Utterance], agreed: Iterable[Agreed], options: IngestOptions
) -> Before | None:
    """The sides to keep. Speakers are divided by their names, so that equal data are divided alike in every home."""
    if parent is None or (parent.seed, parent.eval_share) != (options.seed, options.eval_share):
        return None
    names = {one.speaker: one.name for one in agreed if one.name and one.speaker}
    return division_before(before, parent.split_rule, names)


def _kept(one: Admitted, record: Kept) -> Utterance:
    return Utterance(
        id=content_hash(record.audio_hash, record.text)[:16],
        audio_path=f"wavs/{clip_name(record.audio_hash)}",
        text=record.text,
        language=record.language,
        duration_s=round(record.samples / SAMPLE_RATE_HZ, 3),
        audio_hash=record.audio_hash,
        speaker=one.agreed.speaker,
        source=one.row.origin,
        measured=record.measured,
        warnings=record.warnings,
    )


def _as_before(one: Admitted, known: _Known) -> Utterance:
    """The utterance of the version before, as `_kept` would make it anew but for its side."""
    before = known.utterance
    news = {"speaker": one.agreed.speaker, "source": one.row.origin, "warnings": before.warnings[: known.made.warnings]}
    return before if all(getattr(before, name) == value for name, value in news.items()) else before.model_copy(update=news)


def _why(rejects: Sequence[Reject]) -> str:
    reasons = {reject.reason for reject in rejects}
    first = rejects[0].reason if rejects else "it is empty"
    return f"{len(rejects)} refused, for example: {first}" if len(reasons) > 1 else f"{len(rejects)} refused: {first}"
