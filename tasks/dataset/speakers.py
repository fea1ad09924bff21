"""Speakers under pseudonyms, what they agreed to, and who withdrew it.

A pseudonym is a keyed hash of the name: the same in all datasets of a home, and nothing to guess a name by without the key, which only
the home's owner may read. Names stand in consent.jsonl beside the data and nowhere else; what is published takes neither.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from infra.errors import DatasetError
from infra.settings import Settings
from infra.storage import exclusive, readable, write_text
from tasks.contracts import Contract

LEDGER = "consent.jsonl"
_KEY_FILE, _WITHDRAWN = "speakers.key", "withdrawn.jsonl"
_PSEUDONYM = re.compile(r"voice-[0-9a-f]{12}")
_PRIVATE = 0o600
_NO = frozenset({"no", "false", "0", "none", "refused", "withdrawn", "nein", "non"})


class ConsentRecord(Contract):
    """Who agreed to what, when, and for which use; one line of consent.jsonl."""

    speaker: str | None  # the pseudonym; None: nobody was named
    name: str | None  # None: the source gave none, or a pseudonym
    consent: str
    date: str | None
    use: str
    utterances: int


class Agreed(NamedTuple):
    """What one row's speaker agreed to."""

    speaker: str | None
    name: str | None
    consent: str
    date: str | None
    use: str

    @property
    def refuses(self) -> bool:
        """Whether the speaker said no."""
        return self.consent.strip().lower() in _NO


class Pseudonyms:
    """Names of speakers and what stands for them."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The pseudonym of a name; of a pseudonym, itself."""
        if name not in self._known:
            digest = hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()
            self._known[name] = name if _PSEUDONYM.fullmatch(name) else f"voice-{digest[:12]}"
        return self._known[name]

    def hidden(self, origin: str, name: str | None) -> str:
        """A place in a source, without the folder that is named after who speaks."""
        if not name or f"{name}/" not in origin:
            return origin
        return re.sub(rf"(?<![^/ ]){re.escape(name)}(?=/)", self.of(name), origin)


class Withdrawn(NamedTuple):
    """Who withdrew: pseudonyms, and hashes of what they said, so that it is refused when it is brought again."""

    speakers: frozenset[str] = frozenset()
    recordings: frozenset[str] = frozenset()


def pseudonyms_of(settings: Settings) -> Pseudonyms:
    """Those of a home; its key is made when it is first needed.

    Raises:
        DatasetError: the key is damaged.

    """
    path = settings.folder("") / _KEY_FILE
    with exclusive(path.with_name(f".{_KEY_FILE}.lock")):
        if not path.exists():
            write_text(path, secrets.token_hex(32) + "\n", _PRIVATE)
    with readable(path, DatasetError):
        return Pseudonyms(bytes.fromhex(path.read_text().strip()))


def withdrawn_in(settings: Settings) -> Withdrawn:
    """Everybody who withdrew in a home."""
    path = settings.folder("") / _WITHDRAWN
    if not path.exists():
        return Withdrawn()
    with readable(path, DatasetError):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    return Withdrawn(frozenset(row["speaker"] for row in rows), frozenset(audio for row in rows for audio in row["recordings"]))


def note_withdrawal(settings: Settings, speaker: str, recordings: Iterable[str]) -> None:
    """Write down, for ever, who withdrew: a pseudonym and hashes of recordings, which say nothing by themselves."""
    path = settings.folder("") / _WITHDRAWN
    with exclusive(path.with_name(f".{_WITHDRAWN}.lock")):
        before = path.read_text() if path.exists() else ""
        line = json.dumps({"speaker": speaker, "recordings": sorted(recordings)})
        write_text(path, f"{before}{line}\n", _PRIVATE)


def write_ledger(folder: Path, agreed: Sequence[Agreed]) -> None:
    """Write consent.jsonl, one line for each speaker and each thing that was agreed to; one of `agreed` an utterance."""
    counted = Counter(agreed)
    rows = sorted(counted, key=lambda one: [str(value or "") for value in one])
    lines = (ConsentRecord(**one._asdict(), utterances=counted[one]).model_dump_json() + "\n" for one in rows)
    write_text(folder / LEDGER, "".join(lines), _PRIVATE)


def read_ledger(folder: Path) -> list[ConsentRecord]:
    """The ledger beside data; empty for data that came without one."""
    path = folder / LEDGER
    if not path.is_file():
        return []
    with readable(path, DatasetError):
        return [ConsentRecord.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
