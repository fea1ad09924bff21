"""What a home remembers from one ingestion to the next."""

from typing import NamedTuple

from infra.settings import Settings
from tasks.dataset.clips import CLIPS_FOLDER, ClipStore
from tasks.dataset.speakers import Pseudonyms, Withdrawn, pseudonyms_of, withdrawn_in


class Memory(NamedTuple):
    """Clips that were taken in, names under pseudonyms (None: they stay as they are brought), and who withdrew."""

    clips: ClipStore
    pseudonyms: Pseudonyms | None = None
    withdrawn: Withdrawn = Withdrawn()


def memory_of(settings: Settings) -> Memory:
    """That of a home."""
    return Memory(ClipStore(settings.folder(CLIPS_FOLDER)), pseudonyms_of(settings), withdrawn_in(settings))
