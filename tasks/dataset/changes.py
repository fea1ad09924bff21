"""The change list between two versions: which utterances came and went, whose text or side is another, what is refused now."""

from collections.abc import Sequence

from tasks.contracts import Contract, DatasetVersion, Split, Utterance
from tasks.dataset.sources import Reject
from tasks.dataset.version import read_rejects, read_utterances


class Corrected(Contract):
    """A recording whose text is another."""

    before: Utterance
    after: Utterance


class Moved(Contract):
    """An utterance that stands on another side."""

    utterance: Utterance
    before: Split


class Changes(Contract):
    """From one version to another. What is corrected is neither added nor gone."""

    added: tuple[Utterance, ...]
    gone: tuple[Utterance, ...]
    corrected: tuple[Corrected, ...]
    moved: tuple[Moved, ...]
    newly_refused: tuple[Reject, ...]
    no_longer_refused: tuple[Reject, ...]

    @property
    def none(self) -> bool:
        """Whether the two are alike in all of that."""
        return not any((self.added, self.gone, self.corrected, self.moved, self.newly_refused, self.no_longer_refused))


def changes_between(before: DatasetVersion, after: DatasetVersion) -> Changes:
    """What is different in `after`, in its order."""
    old, new = read_utterances(before), read_utterances(after)
    old_by_id, new_by_id = ({one.id: one for one in utterances} for utterances in (old, new))
    gone = [one for one in old if one.id not in new_by_id]
    added = [one for one in new if one.id not in old_by_id]
    corrected = _corrected(gone, added)
    pairs = {(pair.before.id, pair.after.id) for pair in corrected}
    replaced, replacing = {before_id for before_id, _ in pairs}, {after_id for _, after_id in pairs}
    kept = [(old_by_id[one.id], one) for one in new if one.id in old_by_id] + [(pair.before, pair.after) for pair in corrected]
    refused = [read_rejects(version) for version in (before, after)]
    return Changes(
        added=tuple(one for one in added if one.id not in replacing),
        gone=tuple(one for one in gone if one.id not in replaced),
        corrected=tuple(corrected),
        moved=tuple(Moved(utterance=now, before=then.split) for then, now in kept if then.split is not now.split),
        newly_refused=_only_in(refused[1], refused[0]),
        no_longer_refused=_only_in(refused[0], refused[1]),
    )


def _corrected(gone: Sequence[Utterance], added: Sequence[Utterance]) -> list[Corrected]:
    """Pairs of what went and what came with the same recording; each utterance stands in one pair at most."""
    waiting: dict[str, list[Utterance]] = {}
    for one in gone:
        waiting.setdefault(one.audio_hash, []).append(one)
    return [Corrected(before=waiting[one.audio_hash].pop(0), after=one) for one in added if waiting.get(one.audio_hash)]


def _only_in(these: Sequence[Reject], those: Sequence[Reject]) -> tuple[Reject, ...]:
    known = {(one.origin, one.reason) for one in those}
    return tuple(one for one in these if (one.origin, one.reason) not in known)
