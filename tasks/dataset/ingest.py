"""From a source to a dataset version: every clip decoded, checked and written once, every refusal kept with its reason.

Clips are handled in shards by worker processes. One bad file costs one line in rejected.jsonl, never the run.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pydantic import Field, field_validator

from infra import progress
from infra.errors import DatasetError, SpeechError, WorkerLost
from infra.processes import worker_pool
from infra.storage import content_hash, new_folder
from tasks.contracts import Consent, Contract, DatasetVersion, Refusal, Utterance
from tasks.dataset.sources import Reject, Row, read_source
from tasks.dataset.split import split_utterances
from tasks.dataset.version import write_version
from tasks.speech.audio import audio_hash, duration_s, write_clip
from tasks.speech.checks import SpeechChecks
from tasks.speech.intake import Brought, Taken, take_in
from tasks.speech.transcript import check_language

INGEST_VERSION = 2  # raise it when equal input would give another dataset: it is part of the address
_SHARD_CLIPS = 64


class IngestOptions(Contract):
    """What ingestion does with a source; part of the dataset's address."""

    language: str | None = Field(None, description="ISO 639-1 code of rows that name none.")
    eval_share: float = Field(0.2, gt=0, lt=1, description="Share of speakers (or prompts) held out for evaluation.")
    seed: int = Field(0, ge=0, description="Which speakers (or prompts) those are.")
    checks: SpeechChecks = Field(default_factory=SpeechChecks, description="What an utterance must satisfy.")
    licence: str = Field("unknown", description="Licence of the recordings, as the Hub names it (cc-by-4.0, ...).")
    consent: str = Field("not recorded", description="What the speakers agreed to, in words.")
    consent_scope: Consent = Field(Consent.PRIVATE, description="Whether it covers publishing to everyone.")

    @field_validator("language")
    @classmethod
    def _known_language(cls, code: str | None) -> str | None:
        """In its canonical form; a SettingsError where there is no such language."""
        return check_language(code) if code else None


def ingest(source: Path, name: str, options: IngestOptions, folder: Path, processes: int) -> DatasetVersion:
    """Build the dataset version of `source` at `folder`, replacing what stands there.

    Raises:
        DatasetError: no utterance is usable, or too few to divide.
        WorkerLost: a worker process was killed.

    """
    rows, rejects = read_source(source)
    with new_folder(folder) as unfinished:
        wavs = unfinished / "wavs"
        wavs.mkdir()
        utterances: dict[str, Utterance] = {}
        done = 0
        for shard in _processed(rows, options, wavs, processes):
            for result in shard:
                if isinstance(result, Reject):
                    rejects.append(result)
                elif result.id in utterances:
                    rejects.append(
                        Reject(
                            origin=result.source,
                            reason=f"Equal in sound and text to {utterances[result.id].source}",
                            kind=Refusal.DUPLICATE,
                        )
                    )
                else:
                    utterances[result.id] = result
            done += len(shard)
            progress.report("ingest", done, len(rows), f"{len(rejects)} refused")
        if not utterances:
            raise DatasetError(f"{source} holds no usable utterance ({_why(rejects)})", "Mend the source and ingest it again")
        divided, rule = split_utterances(list(utterances.values()), options.eval_share, options.seed)
        version = write_version(
            unfinished, name, divided, rejects, rule, options.seed, options.licence, options.consent, options.consent_scope
        )
    return version.model_copy(update={"folder": folder})


def dataset_address(source_content: str, name: str, options: IngestOptions) -> str:
    """Where the dataset version of this content lies: the same for equal content at any path."""
    return content_hash(INGEST_VERSION, source_content, name, options)[:16]


def _processed(rows: Sequence[Row], options: IngestOptions, wavs: Path, processes: int) -> Iterator[list[Utterance | Reject]]:
    shards = [(list(rows[start : start + _SHARD_CLIPS]), options, wavs) for start in range(0, len(rows), _SHARD_CLIPS)]
    workers = min(processes, len(shards))
    if workers <= 1:
        yield from map(_process_shard, shards)
        return
    with worker_pool(workers) as pool:
        try:
            yield from pool.map(_process_shard, shards)
        except BrokenProcessPool as error:
            raise WorkerLost(
                "A worker process of ingestion was killed", "Look for a lack of memory and ingest it again"
            ) from error


def _process_shard(shard: tuple[list[Row], IngestOptions, Path]) -> list[Utterance | Reject]:
    rows, options, wavs = shard
    brought = [Brought(row.audio_path, row.text, row.language or options.language) for row in rows]
    return [_kept(row, taken, wavs) for row, taken in zip(rows, take_in(brought, options.checks), strict=True)]


def _kept(row: Row, taken: Taken | SpeechError, wavs: Path) -> Utterance | Reject:
    if isinstance(taken, SpeechError):
        return Reject(origin=row.origin, reason=taken.problem, kind=Refusal(taken.kind))
    heard = audio_hash(taken.samples)
    path = wavs / f"{heard[:20]}.wav"
    if not path.exists():
        write_clip(path, taken.samples)
    return Utterance(
        id=content_hash(heard, taken.text)[:16],
        audio_path=f"wavs/{path.name}",
        text=taken.text,
        language=taken.language,
        duration_s=round(duration_s(taken.samples), 3),
        audio_hash=heard,
        speaker=row.speaker,
        source=row.origin,
        measured=taken.measured,
        warnings=taken.warnings,
    )


def _why(rejects: Sequence[Reject]) -> str:
    reasons = {reject.reason for reject in rejects}
    first = rejects[0].reason if rejects else "it is empty"
    return f"{len(rejects)} refused, for example: {first}" if len(reasons) > 1 else f"{len(rejects)} refused: {first}"
