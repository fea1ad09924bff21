"""The repository folder of a demo, made for one model."""

from importlib.metadata import version
from pathlib import Path

from infra.storage import content_hash, new_folder, write_json, write_text
from tasks.contracts import Form, StagedModel
from tasks.voxtral.checkpoint import window_frames
from tasks.voxtral.features import MEL_HOP_SAMPLES

SPACE_VERSION = 1  # raise it when equal input would give another demo: it is part of the address
_TEMPLATE = Path(__file__).with_name("template")
_PACKAGES = ("accelerate", "gradio", "mistral_common", "numpy", "peft", "soundfile", "soxr", "torch", "transformers")


def space_address(staged: StagedModel) -> str:
    """Where the demo lies: equal model folder and equal template, equal demo."""
    template = [path.read_text(encoding="utf-8") for path in sorted(_TEMPLATE.iterdir()) if path.is_file()]
    return content_hash(SPACE_VERSION, staged.content_hash, template)[:16]


def render(staged: StagedModel, folder: Path) -> Path:
    """Write app.py, demo.json, requirements.txt and README.md."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    frames = window_frames(staged.folder)
    report, model = staged.report, staged.report.model
    score = report.target
    title = staged.name.rpartition("/")[2].replace("-", " ")
    description = (
        f"{model.base.label} fine-tuned on {report.dataset.name}. Word error rate on {score.utterances} held-out utterances: "
        f"{score.wer_base.value:.1%} before, {score.wer_tuned.value:.1%} after."
    )
    with new_folder(folder) as unfinished:
        write_text(unfinished / "app.py", (_TEMPLATE / "app.py").read_text(encoding="utf-8"))
        write_json(
            unfinished / "demo.json",
            {
                "title": title,
                "description": description,
                "model_id": staged.name,
                "adapter": staged.form is Form.ADAPTER,
                "base_model_id": model.base.label,
                "languages": report.dataset.languages,
                "window_frames": frames,
                "window_samples": frames * MEL_HOP_SAMPLES,
            },
        )
        write_text(unfinished / "requirements.txt", "".join(f"{name}=={version(name).split('+')[0]}\n" for name in _PACKAGES))
        # The result is Markdown, not HTML.
        environment = Environment(  # noqa: S701
            loader=FileSystemLoader(_TEMPLATE), undefined=StrictUndefined, keep_trailing_newline=True
        )
        readme = environment.get_template("README.md.jinja")
        write_text(
            unfinished / "README.md",
            readme.render(title=title, description=description, gradio_version=version("gradio")),
        )
    return folder
