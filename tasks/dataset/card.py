"""The dataset card: what was counted, and what the people who brought the speech said about it; nothing else.

Two forms: that of the folder on this machine (data.jsonl and wavs/), and that of the repository on a Hub (parquet shards).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.contracts import DatasetVersion, Split, Utterance
from tasks.dataset.sources import Reject

if TYPE_CHECKING:
    from jinja2 import Environment

UNKNOWN_LICENCE, UNKNOWN_CONSENT = "unknown", "not recorded"  # IngestOptions' own words for what nobody has told
PICTURE = "data.png"  # beside the card of a repository
_TEMPLATE = Path(__file__).with_name("dataset_card.md.jinja")
_SIDES = {Split.TRAIN: "training", Split.EVAL: "evaluation", Split.SET_ASIDE: "set aside"}
_DIVISIONS = {
    "speakers": "by speaker: no named speaker, no prompt and no recording stands on both sides",
    "prompts": "by prompt: no prompt and no recording stands on both sides; voices do",
    "speakers and prompts": "by speaker and by prompt: no named speaker, no prompt and no recording stands on both sides",
}
_SIZES = (
    ("n<1K", 10**3),
    ("1K<n<10K", 10**4),
    ("10K<n<100K", 10**5),
    ("100K<n<1M", 10**6),
    ("1M<n<10M", 10**7),
    ("10M<n<100M", 10**8),
)
# https://huggingface.co/docs/hub/repositories-licenses; what is not listed here becomes `other` with its name, which the Hub takes too
_LICENCES = frozenset(
    """afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0
    cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
    cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0
    gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 lppl-1.3c mit mpl-2.0 ms-pl
    ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl zlib""".split()
)


class Side(NamedTuple):
    """One side of the division in one language, or in "all"; `durations_s` are the shortest, the quartiles and the longest."""

    name: str
    language: str
    utterances: int
    hours: float
    speakers: int
    durations_s: tuple[float, float, float, float, float]


def dataset_card(
    version: DatasetVersion, utterances: Sequence[Utterance], rejects: Sequence[Reject], repository: str | None = None
) -> str:
    """The card as Markdown with YAML metadata: of the folder, or of the `repository` on a Hub to which it is exported."""
    present = [utterance for utterance in utterances if not repository or utterance.split is not Split.SET_ASIDE]
    refused = Counter(str(reject.kind) for reject in rejects)
    warned = Counter(kind for utterance in present for kind in utterance.warned_of)
    return (
        card_environment(_TEMPLATE.parent)
        .get_template(_TEMPLATE.name)
        .render(
            card_data=_metadata(version, repository).to_yaml(),
            repository=repository,
            picture=PICTURE,
            version=version,
            languages=spoken_languages(version.languages),
            division=division_of(version),
            sides=sides_of(present),
            unnamed=sum(utterance.speaker is None for utterance in present),
            refused=sorted(refused.items(), key=lambda kind: (-kind[1], kind[0])),
            warned=sorted(warned.items(), key=lambda kind: (-kind[1], kind[0])),
            licence_known=licence_metadata(version.licence)["license"] != UNKNOWN_LICENCE,
            consent_known=version.consent != UNKNOWN_CONSENT,
        )
    )


def sides_of(utterances: Sequence[Utterance]) -> list[Side]:
    """Statistics of each side that has utterances, and of each of its languages where it has several."""
    sides = []
    for split, name in _SIDES.items():
        spoken = [utterance for utterance in utterances if utterance.split is split]
        languages = sorted({utterance.language for utterance in spoken})
        if spoken:
            sides.append(_side(name, languages[0] if len(languages) == 1 else "all", spoken))
        if len(languages) > 1:
            sides += [_side(name, code, [u for u in spoken if u.language == code]) for code in languages]
    return sides


def _side(name: str, language: str, spoken: Sequence[Utterance]) -> Side:
    durations = sorted(utterance.duration_s for utterance in spoken)
    low, middle, high = quantiles(durations, n=4, method="inclusive") if len(durations) > 1 else durations * 3
    return Side(
        name=name,
        language=language,
        utterances=len(spoken),
        hours=sum(durations) / 3600,
        speakers=len({utterance.speaker for utterance in spoken if utterance.speaker}),
        durations_s=(durations[0], low, middle, high, durations[-1]),
    )


def division_of(version: DatasetVersion) -> str:
    """How training and evaluation were divided, and what that keeps apart."""
    return f"{_DIVISIONS.get(version.split_rule, f'by {version.split_rule}')} (seed {version.seed})"


def spoken_languages(codes: Sequence[str]) -> str:
    """ISO 639-1 codes as a list to read: "German (de), Dutch (nl)"."""
    import pycountry

    found = [(code, pycountry.languages.get(alpha_2=code)) for code in codes]
    return ", ".join(f"{language.name} ({code})" if language else code for code, language in found)


def licence_metadata(licence: str) -> dict[str, Any]:
    """A licence as the Hub takes it: one of its identifiers, or `other` with a name, since it refuses what it does not know."""
    name = re.sub(r"[^a-z0-9.+]+", "-", licence.lower()).strip("-") or UNKNOWN_LICENCE
    return {"license": name} if name in _LICENCES else {"license": "other", "license_name": name}


def card_environment(folder: Path) -> "Environment":
    """Jinja for Markdown, with the filters that cards share."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Templates and data are ours and the result is Markdown, not HTML.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "percent": lambda rate: f"{100 * rate:.1f} %",
        "points": lambda rate: f"{100 * rate:+.1f}",
        "count": lambda number: f"{number:,}",
        "hours": _length,
        "cell": lambda value: " ".join(str(value).replace("|", "\\|").split()),
    }
    environment.filters |= filters
    return environment


def _length(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.2f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def _metadata(version: DatasetVersion, repository: str | None) -> Any:
    from huggingface_hub import DatasetCardData

    several = len(version.languages) > 1
    shards = [{"split": split, "path": f"data/{split}-*.parquet"} for split in ("train", "test")]
    return DatasetCardData(
        pretty_name=version.name,
        language=list(version.languages),
        multilinguality="multilingual" if several else "monolingual",
        task_categories=["automatic-speech-recognition"],
        size_categories=[_size(version.train_utterances + version.eval_utterances)],
        tags=["audio", "speech", "voxfactory"],
        configs=[{"config_name": "default", "data_files": shards}] if repository else None,
        **licence_metadata(version.licence),
    )


def _size(utterances: int) -> str:
    return next((name for name, limit in _SIZES if utterances < limit), "other")
