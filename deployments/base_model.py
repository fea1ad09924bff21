"""Makes voxfactory-tiny again: `make base-model`. Random weights, synthetic speech in four languages, the factory's own stages.

Takes three quarters of an hour on two processor cores. Leaves the checkpoint, its training log and its error rates on voices that it never
heard in `tasks/voxtral/voxfactory-tiny/`.
"""

import json
import logging
import shutil
from pathlib import Path

from infra.progress import listening
from infra.settings import settings
from infra.storage import content_hash, new_folder, write_json
from tasks.contracts import Checkpoint, DatasetVersion, Method, Split, TrainedModel
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.version import read_utterances
from tasks.evaluation.transcribe import read_hypotheses, transcribe_dataset
from tasks.speech.error_rates import count_errors
from tasks.speech.spoken_digits import digit_lines, make_corpus
from tasks.training.launch import train
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec
from tasks.voxtral.checkpoint import checkpoint_hash, find_checkpoint
from tasks.voxtral.tiny import TINY_NAME, tiny_model, tiny_model_folder, tiny_processor

SEED = 1
EVAL_SHARE = 0.15  # of the voices; `voxfactory demo` holds out the same ones
CLIPS = {"en": 3600, "es": 3600, "it": 3600, "nl": 5000}  # Dutch digits are the hardest of these to tell apart
OPTIONS = TrainingOptions(
    method=Method.FULL,
    epochs=6,
    batch_size=16,
    learning_rate=1.5e-3,
    validation_share=0.01,
    checkpoint_steps=500,
    seed=SEED,
)

_log = logging.getLogger(__name__)


def main() -> None:
    """Synthesise, ingest, train, evaluate, and put the checkpoint in its place."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    home = settings().folder("base-model")
    with listening(lambda p: _log.info("%s %d/%d %s", p.stage, p.done, p.total, p.note) if p.done % 100 == 0 else None):
        dataset = _dataset(home)
        model = _train(home, dataset)
        rates = _evaluate(home, dataset, model)
    _install(model, dataset, rates)
    _log.info("Held-out voices, WER: %s", rates)


def _dataset(home: Path) -> DatasetVersion:
    lines = [line for language, clips in CLIPS.items() for line in digit_lines(language, clips, Path(), SEED)]
    corpus = make_corpus(lines, home, "spoken-digits", settings().processes)
    options = IngestOptions(eval_share=EVAL_SHARE, seed=SEED)
    return ingest(corpus, "spoken-digits", options, home / "dataset", settings().processes)


def _train(home: Path, dataset: DatasetVersion) -> TrainedModel:
    random_weights = home / "random-weights"
    if not random_weights.exists():
        with new_folder(random_weights) as unfinished:
            processor, model = tiny_processor(unfinished), tiny_model(SEED)
            model.save_pretrained(unfinished)
            processor.save_pretrained(unfinished)
    base = find_checkpoint(str(random_weights))
    spec = TrainingSpec(
        folder=home / f"run-{content_hash(dataset.fingerprint, OPTIONS)[:12]}",
        base=base.model_copy(update={"name": "random weights"}),
        dataset=dataset,
        options=OPTIONS,
    )
    return train(spec)


def _evaluate(home: Path, dataset: DatasetVersion, model: TrainedModel) -> dict[str, float]:
    half = home / "half-precision"
    _write_half_precision(model.checkpoint.folder, half)
    checkpoint = Checkpoint(name=TINY_NAME, folder=half, revision=checkpoint_hash(half))
    heard = read_hypotheses(transcribe_dataset(checkpoint, dataset, home / "heard", 32, TINY_NAME))
    utterances = read_utterances(dataset, Split.EVAL)
    rates = {}
    for language in (*CLIPS, "all"):
        spoken = [utterance for utterance in utterances if language in (utterance.language, "all")]
        counts = count_errors([u.text for u in spoken], [heard[u.id].text for u in spoken])
        rates[language] = round(counts.wer, 4)
    return rates


def _write_half_precision(source: Path, folder: Path) -> None:
    """The weights as float16: half the size, and every rate that is reported is measured on it."""
    import torch
    from transformers import VoxtralForConditionalGeneration

    with new_folder(folder) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)
        model = VoxtralForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
        model.half().save_pretrained(unfinished)


def _install(model: TrainedModel, dataset: DatasetVersion, rates: dict[str, float]) -> None:
    with new_folder(tiny_model_folder()) as unfinished:
        shutil.copytree(model.folder.parent / "half-precision", unfinished, dirs_exist_ok=True)
        for path in unfinished.iterdir():
            path.chmod(0o644)
        history = json.loads((model.folder / "trainer_state.json").read_text())["log_history"]
        log = {
            "made_with": "make base-model",
            "seed": SEED,
            "languages": list(CLIPS),
            "clips": dataset.train_utterances,
            "dataset_fingerprint": dataset.fingerprint,
            "options": OPTIONS.model_dump(mode="json"),
            "train_seconds": model.train_seconds,
            "wer_on_held_out_voices": rates,
            "losses": [{"step": e["step"], "loss": e["loss"]} for e in history if "loss" in e and e["step"] % 100 == 0],
        }
        write_json(unfinished / "training_log.json", log)


if __name__ == "__main__":
    main()
