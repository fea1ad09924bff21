"""The model card: every figure in it was measured, every part appears only when it is true.

Metadata go through huggingface_hub's ModelCardData. The Hub shows its model-index as results of this model: the base model's rates
stand there under a metric type of their own, so that whatever looks for `wer` finds this model's.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from infra.errors import PublishingError
from infra.storage import readable
from tasks.contracts import APPROVED, SAMPLE_RATE_HZ, Contract, EvaluationReport, Form, Method, Score, TrainedModel
from tasks.dataset.card import (
    UNKNOWN_CONSENT,
    UNKNOWN_LICENCE,
    card_environment,
    division_of,
    licence_metadata,
    sides_of,
    spoken_languages,
)
from tasks.dataset.version import read_utterances
from tasks.voxtral.checkpoint import window_frames
from tasks.voxtral.features import MEL_HOP_SAMPLES
from tasks.voxtral.tiny import TINY_NAME

_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
_STANDARD_WINDOW_S = 30
_JOULES_A_KWH = 3.6e6
_LORA_ONLY = (
    *("lora_rank", "lora_alpha", "lora_dropout", "lora_plus_ratio", "lora_average", "lora_rank_stabilised", "lora_dora"),
    *("quantise_base", "train_projector"),
)
_FULL_ONLY = ("freeze_audio_tower",)


class Links(Contract):
    """What the repository stands beside on its Hub; None where there is no such thing."""

    sibling: str | None = None  # the same training in the other form: merged beside adapter, adapter beside merged
    base_repository: str | None = None  # of a base model whose name is no Hub id
    dataset_repository: str | None = None
    dataset_revision: str | None = None
    endpoint: str = ""  # where the ids above are found; by default on the Hub that shows the card


class Base(NamedTuple):
    """The base model as the card speaks of it."""

    name: str  # the id on a Hub if it has one
    on_hub: bool
    revision: str
    commit: str | None  # the revision, where loading by id can ask for it
    shipped: bool  # with VoxFactory itself


def model_card(name: str, report: EvaluationReport, licence: str, form: Form | None = None, links: Links | None = None) -> str:
    """The card of repository `name` as Markdown with YAML metadata; by default that of the weights as training left them.

    Raises:
        PublishingError: the run or its dataset is incomplete, or was not trained in a way that has this form.

    """
    links = links or Links()
    model = report.model
    form = form or (Form.ADAPTER if model.method is Method.LORA else Form.FULL)
    if (form is Form.FULL) is not (model.method is Method.FULL):
        raise PublishingError(f"A model trained with method={model.method} has no form {form}", "Choose another form")
    base, results = _base(model, links), _read(model.folder / "train_results.json")
    energy_kwh = _energy_kwh(results)
    carbon_g = _carbon_g(energy_kwh, results)
    metadata = _metadata(name, report, licence, form, base, links, carbon_g)
    text = (
        card_environment(_TEMPLATE.parent)
        .get_template(_TEMPLATE.name)
        .render(
            card_data=metadata.to_yaml(),
            name=name,
            form=form,
            base=base,
            links=links,
            licence=licence,
            model=model,
            results=results,
            energy_kwh=energy_kwh,
            carbon_g=carbon_g,
            **_training(model, report),
            **_measured(report),
            **_data(report),
            **_window(model),
        )
    )
    return str(ModelCard(text, ignore_metadata_errors=False))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise PublishingError(f"{path.parent} lacks {path.name}", "Train the model again")
    with readable(path, PublishingError):
        return dict(json.loads(path.read_text()))


def _base(model: TrainedModel, links: Links) -> Base:
    named_on_hub = "/" in model.base.label
    return Base(
        name=links.base_repository or model.base.label,
        on_hub=named_on_hub or links.base_repository is not None,
        revision=model.base.revision,
        commit=model.base.revision if named_on_hub and links.base_repository in (None, model.base.label) else None,
        shipped=model.base.name == TINY_NAME,
    )


def _energy_kwh(results: dict[str, Any]) -> dict[str, float]:
    """By counter; empty where nothing was counted."""
    return {name: joules / _JOULES_A_KWH for name, joules in results.get("energy_j", {}).items()}


def _carbon_g(energy_kwh: dict[str, float], results: dict[str, Any]) -> float | None:
    intensity = results.get("grid_g_co2_per_kwh")
    return sum(energy_kwh.values()) * intensity if energy_kwh and intensity is not None else None


def _training(model: TrainedModel, report: EvaluationReport) -> dict[str, Any]:
    """How it was made; a run of an older version of the factory has written down less."""
    configuration = _read(model.folder / "training_config.json")
    other = _FULL_ONLY if model.method is Method.LORA else _LORA_ONLY
    options = {key: "not set" if value is None else value for key, value in configuration["options"].items() if key not in other}
    replayed, known = configuration["replay_fingerprints"], [guard.fingerprint for guard in report.guards]
    return {
        "configuration": configuration,
        "options": options,
        "fixed": configuration.get("fixed", {}),
        "parameters": configuration.get("parameters"),
        "machine": configuration.get("machine", {}),
        "replayed": replayed,
        "replayed_unmeasured": [mark for mark in replayed if mark not in known],
    }


def _measured(report: EvaluationReport) -> dict[str, Any]:
    versions = {version.name: version for version in (report.dataset, *report.guards)}
    tested = sorted({code for version in versions.values() for code in version.languages})
    alone = {name: version.languages[0] for name, version in versions.items() if len(version.languages) == 1}
    return {
        "target": report.target,
        "rows": [(score, alone.get(score.set_name, score.language), _verdict(score)) for score in report.scores],
        "guards": report.guards,
        "silence": report.silence,
        "decision": report.decision,
        "reasons": [_public(reason) for reason in report.decision.reasons] if report.decision else [],
        "lost": [score for score in report.guard_scores if _verdict(score) == "worse"],
        "target_verdict": _verdict(report.target),
        "tested_languages": spoken_languages(tested),
    }


def _public(reason: str) -> str:
    """A reason without what a person wrote, who did not write it for everyone."""
    return reason.partition(":")[0] if reason.startswith(APPROVED) else reason


def _verdict(score: Score) -> str:
    """What the interval of the change allows to say."""
    if score.wer_change.high < 0:
        return "better"
    return "worse" if score.wer_change.low > 0 else "no difference beyond chance"


def _data(report: EvaluationReport) -> dict[str, Any]:
    dataset = report.dataset
    if not (dataset.folder / "data.jsonl").is_file():
        raise PublishingError(f"The dataset {dataset.name} is no longer at {dataset.folder}", "Ingest its source again")
    utterances = read_utterances(dataset)
    sides = sides_of(utterances)
    return {
        "dataset": dataset,
        "languages": spoken_languages(dataset.languages),
        "sides": sides,
        "evaluated": next(side for side in sides if side.name == "evaluation"),
        "unnamed": sum(utterance.speaker is None for utterance in utterances),
        "division": division_of(dataset),
        "voices_shared": dataset.split_rule == "prompts",
        "licence_known": licence_metadata(dataset.licence)["license"] != UNKNOWN_LICENCE,
        "consent_known": dataset.consent != UNKNOWN_CONSENT,
        "synthetic": "synthetic" in dataset.consent.lower(),
    }


def _window(model: TrainedModel) -> dict[str, Any]:
    frames = window_frames(model.checkpoint.folder)
    samples = frames * MEL_HOP_SAMPLES
    window_s = samples // SAMPLE_RATE_HZ
    return {
        "window_frames": frames,
        "window_samples": samples,
        "window_s": window_s,
        "short_window": window_s < _STANDARD_WINDOW_S,
    }


def _metadata(
    name: str, report: EvaluationReport, licence: str, form: Form, base: Base, links: Links, carbon_g: float | None
) -> ModelCardData:
    languages = report.dataset.languages
    tags = {
        "voxtral": True,
        "speech-recognition": True,
        "lora": form is not Form.FULL,
        "merged": form is Form.MERGED,
        "multilingual": len(languages) > 1,
        "voxfactory": True,
        TINY_NAME: base.shipped,
    }
    carbon = None
    if carbon_g is not None:
        source = "energy counters of the machine, times the intensity of its grid as given by who trained the model"
        carbon = {"emissions": round(carbon_g, 3), "source": source, "training_type": "fine-tuning"}
    return ModelCardData(
        model_name=name,
        language=list(languages),
        library_name="peft" if form is Form.ADAPTER else "transformers",
        pipeline_tag="automatic-speech-recognition",
        base_model=base.name if base.on_hub else None,
        # The Hub calls `merge` what was made of several models; an adapter merged into its base is a fine-tune.
        base_model_relation=("adapter" if form is Form.ADAPTER else "finetune") if base.on_hub else None,
        datasets=[links.dataset_repository] if links.dataset_repository else None,
        tags=[tag for tag, true in tags.items() if true],
        metrics=["wer", "cer"],
        co2_eq_emissions=carbon,
        eval_results=[result for score in report.scores for result in _results(score, report, base, links)],
        **licence_metadata(licence),
    )


def _results(score: Score, report: EvaluationReport, base: Base, links: Links) -> list[EvalResult]:
    """Two rates of this model, and two of its base. Rates are per cent."""
    versions = {version.name: version for version in (report.dataset, *report.guards)}
    version = versions[score.set_name]
    published = links.dataset_repository if version == report.dataset else None
    measured = {
        ("wer", "WER"): score.wer_tuned.value,
        ("cer", "CER"): score.cer_tuned,
        ("base_model_wer", f"WER of the base model {base.name}, for comparison"): score.wer_base.value,
        ("base_model_cer", f"CER of the base model {base.name}, for comparison"): score.cer_base,
    }
    return [
        EvalResult(
            task_type="automatic-speech-recognition",
            task_name="Speech recognition",
            dataset_type=published or score.set_name,
            dataset_name=score.set_name if score.language == "all" else f"{score.set_name} ({score.language})",
            dataset_config=None if score.language == "all" else score.language,
            dataset_split="test" if published else "eval",
            dataset_revision=(published and links.dataset_revision) or version.fingerprint[:12],
            metric_type=kind,
            metric_name=label,
            metric_value=round(100 * value, 2),
        )
        for (kind, label), value in measured.items()
    ]
