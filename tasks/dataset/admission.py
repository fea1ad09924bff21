"""Which rows of a source may be used at all: whose speakers agreed, or at least did not refuse, and never withdrew."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.contracts import Refusal
from tasks.dataset.home import Memory
from tasks.dataset.sources import Reject, Row
from tasks.dataset.speakers import Agreed, ConsentRecord, read_ledger

NOT_RECORDED = "not recorded"  # what nobody has told


class Terms(NamedTuple):
    """What holds where a row says nothing, and whether somebody must have said something."""

    consent: str
    use: str
    required: bool


class Admitted(NamedTuple):
    """A row whose place names nobody, and what its speaker agreed to."""

    row: Row
    agreed: Agreed


def admit(rows: Sequence[Row], source: Path, terms: Terms, memory: Memory) -> tuple[list[Admitted], list[Reject]]:
    """Divide rows into those that may be used and those that may not; a ledger beside the source counts as its rows' own words."""
    told = {record.speaker: record for record in read_ledger(source if source.is_dir() else source.parent)}
    admitted, rejects = [], []
    for row in rows:
        one = _admitted(row, terms, memory, told)
        reason = _objection(one, terms, memory)
        if reason:
            rejects.append(Reject(origin=one.row.origin, reason=reason, kind=Refusal.CONSENT))
        else:
            admitted.append(one)
    return admitted, rejects


def _admitted(row: Row, terms: Terms, memory: Memory, told: Mapping[str | None, ConsentRecord]) -> Admitted:
    names = memory.pseudonyms
    pseudonym = names.of(row.speaker) if names and row.speaker else row.speaker
    before = told.get(row.speaker)
    named = row.speaker if pseudonym != row.speaker else before.name if before else None
    agreed = Agreed(
        speaker=pseudonym,
        name=named,
        consent=row.consent or (before.consent if before else terms.consent),
        date=row.consent_date or (before.date if before else None),
        use=row.consent_use or (before.use if before else terms.use),
    )
    origin = names.hidden(row.origin, row.speaker) if names else row.origin
    return Admitted(row if origin == row.origin else row._replace(origin=origin), agreed)


def _objection(one: Admitted, terms: Terms, memory: Memory) -> str | None:
    if one.agreed.speaker in memory.withdrawn.speakers:
        return "Who speaks has withdrawn the consent"
    if one.agreed.refuses:
        return "Who speaks has not agreed"
    if terms.required and one.agreed.consent == NOT_RECORDED:
        return "Nobody has written down what the speaker agreed to"
    return None
