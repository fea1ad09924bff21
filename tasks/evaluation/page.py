"""report.html: where a model became better and where worse, to be read and listened to in a browser, with nothing beside it.

The clips of the utterances that it shows are inside, so that it can be handed on: a reader hears the voices. It is written beside the
report on this machine, and is never published.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.storage import write_text
from tasks.contracts import Interval, Score, Silence, Utterance
from tasks.evaluation.differences import Segment, aligned, by_length, by_noise, by_source, by_speaker, confusions
from tasks.speech.error_rates import ErrorCounts

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_UTTERANCES = 15  # of each kind
_SPEAKERS, _CONFUSIONS = 20, 20


class Told(NamedTuple):
    """Which two models are compared, what else is to be said of them, and the scores of all sets."""

    before: str
    after: str
    explained: str
    scores: Sequence[Score]
    target: str  # name of the set that is shown in detail
    silence: Silence | None = None


class Judged(NamedTuple):
    """The target set as both models heard it: the errors of each are in the order of the utterances."""

    folder: Path
    utterances: Sequence[Utterance]
    heard_base: Sequence[str]
    heard_tuned: Sequence[str]
    base: ErrorCounts
    tuned: ErrorCounts


class _Shown(NamedTuple):
    utterance: Utterance
    audio: str
    errors_base: int
    errors_tuned: int
    base: list[Segment]
    tuned: list[Segment]


def write_page(told: Told, target: Judged, folder: Path) -> Path:
    """Write `folder`/report.html; wer.png is there already."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        _TEMPLATE.read_text(encoding="utf-8")
    )
    figure = base64.b64encode((folder / "wer.png").read_bytes()).decode()
    page = template.render(
        told=told,
        lead=[(score, _verdict(score.wer_change)) for score in told.scores if score.language == "all"],
        figure=f"data:image/png;base64,{figure}",
        speakers=by_speaker(target.utterances, target.base, target.tuned)[:_SPEAKERS],
        lengths=by_length(target.utterances, target.base, target.tuned),
        noises=by_noise(target.utterances, target.base, target.tuned),
        sources=by_source(target.utterances, target.base, target.tuned),
        confused=_confused(target),
        kinds=_kinds(target),
        percent=lambda rate: f"{100 * rate:.1f} %",
        points=lambda rate: f"{100 * rate:+.1f}",
    )
    return write_text(folder / "report.html", page)


def _verdict(change: Interval) -> str:
    """What the interval of the change of WER says, in words."""
    if change.high < 0:
        return "better, beyond what chance explains"
    if change.low > 0:
        return "worse, beyond what chance explains"
    return "a difference that may be chance"


def _confused(target: Judged) -> list[dict[str, Any]]:
    """The most frequent confusions of both models together."""
    before, after = (
        confusions(aligned(utterance.text, heard) for utterance, heard in zip(target.utterances, texts, strict=True))
        for texts in (target.heard_base, target.heard_tuned)
    )
    most = (after + before).most_common(_CONFUSIONS)
    return [{"spoken": pair[0], "heard": pair[1], "before": before[pair], "after": after[pair]} for pair, _ in most]


def _kinds(target: Judged) -> list[tuple[str, list[_Shown]]]:
    """Utterances that got worse, that got better, and that are still wrong, the furthest first."""
    gained = target.base.word_errors - target.tuned.word_errors
    after = target.tuned.word_errors
    places = range(len(target.utterances))
    kinds = [
        ("Worse than before", sorted((p for p in places if gained[p] < 0), key=lambda p: gained[p])),
        ("Still wrong", sorted((p for p in places if gained[p] == 0 and after[p]), key=lambda p: -after[p])),
        ("Better than before", sorted((p for p in places if gained[p] > 0), key=lambda p: -gained[p])),
    ]
    return [
        (f"{kind}: {len(chosen)}", [_shown(target, place) for place in chosen[:_UTTERANCES]]) for kind, chosen in kinds if chosen
    ]


def _shown(target: Judged, place: int) -> _Shown:
    utterance = target.utterances[place]
    clip = base64.b64encode((target.folder / utterance.audio_path).read_bytes()).decode()
    return _Shown(
        utterance=utterance,
        audio=f"data:audio/wav;base64,{clip}",
        errors_base=int(target.base.word_errors[place]),
        errors_tuned=int(target.tuned.word_errors[place]),
        base=aligned(utterance.text, target.heard_base[place]),
        tuned=aligned(utterance.text, target.heard_tuned[place]),
    )
