"""The model card: every figure in it was measured, every part appears only when it is true.

Metadata go through huggingface_hub's ModelCardData, so that the Hub shows WER and CER as results of this model.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from tasks.contracts import SAMPLE_RATE_HZ, EvaluationReport, Method, Score, TrainedModel
from tasks.voxtral.checkpoint import window_frames
from tasks.voxtral.features import MEL_HOP_SAMPLES
from tasks.voxtral.tiny import TINY_NAME

_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
_STANDARD_WINDOW_S = 30
_LORA_ONLY = ("lora_rank", "lora_alpha", "lora_dropout", "train_projector")


def model_card(name: str, report: EvaluationReport, licence: str) -> str:
    """The card as Markdown with YAML metadata."""
    model, dataset = report.model, report.dataset
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    configuration = json.loads((model.folder / "training_config.json").read_text())
    options = {
        key: value
        for key, value in configuration["options"].items()
        if value is not None and (model.method is Method.LORA or key not in _LORA_ONLY)
    }
    # Template and data are ours and the result is Markdown, not HTML.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(_TEMPLATE.parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"percent": lambda rate: f"{rate:.1%}", "points": lambda rate: f"{100 * rate:+.1f} points"}
    text = environment.get_template(_TEMPLATE.name).render(
        card_data=_metadata(name, report, licence).to_yaml(),
        name=name,
        adapter=model.method is Method.LORA,
        trained=_what_was_trained(model, options),
        base_name=model.base.label,
        base_link=f"https://huggingface.co/{model.base.label}" if "/" in model.base.label else "#how-it-was-made",
        model=model,
        dataset=dataset,
        languages=", ".join(dataset.languages),
        language=dataset.languages[0],
        scores=report.scores,
        target=report.target,
        guards=report.guard_scores,
        configuration=configuration,
        options=options,
        **_window(model),
    )
    return str(ModelCard(text, ignore_metadata_errors=False))


def _what_was_trained(model: TrainedModel, options: dict[str, Any]) -> str:
    if model.method is Method.LORA:
        return "LoRA adapter"
    return "every weight behind the audio encoder" if options["freeze_audio_tower"] else "every weight"


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


def _metadata(name: str, report: EvaluationReport, licence: str) -> ModelCardData:
    model, dataset = report.model, report.dataset
    on_the_hub = "/" in model.base.label
    return ModelCardData(
        model_name=name,
        language=list(dataset.languages),
        license=licence,
        library_name="peft" if model.method is Method.LORA else "transformers",
        pipeline_tag="automatic-speech-recognition",
        base_model=model.base.label if on_the_hub else None,
        base_model_relation=("adapter" if model.method is Method.LORA else "finetune") if on_the_hub else None,
        tags=["voxtral", "speech-recognition", "voxfactory"] + ([TINY_NAME] if model.base.name == TINY_NAME else []),
        metrics=["wer", "cer"],
        eval_results=[result for score in report.scores for result in _results(score, report)],
    )


def _results(score: Score, report: EvaluationReport) -> list[EvalResult]:
    versions = {version.name: version.fingerprint for version in (report.dataset, *report.guards)}
    set_name = score.set_name if score.language == "all" else f"{score.set_name} ({score.language})"
    measured = {
        ("wer", "WER"): score.wer_tuned.value,
        ("wer", "WER of the base model"): score.wer_base.value,
        ("cer", "CER"): score.cer_tuned,
        ("cer", "CER of the base model"): score.cer_base,
    }
    return [
        EvalResult(
            task_type="automatic-speech-recognition",
            dataset_type=score.set_name,
            dataset_name=set_name,
            dataset_config=None if score.language == "all" else score.language,
            dataset_split="eval",
            dataset_revision=versions[score.set_name][:12],
            metric_type=kind,
            metric_name=label,
            metric_value=round(100 * value, 2),
        )
        for (kind, label), value in measured.items()
    ]
