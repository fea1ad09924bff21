"""How soon, and how well, voxfactory-tiny learns German digits: the recipe against the engine, both with adapters and equal options.

What the recipe does not know, the engine has by default: adapters on the projector, a rate of its own for second matrices, a mean of the
weights. Both are judged on the same 600 clips of voices that neither heard, by evaluation's own transcription and error rates.
"""

import shutil
from pathlib import Path

import numpy as np

from tasks.contracts import Checkpoint, DatasetVersion, Split
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.version import read_utterances
from tasks.evaluation.transcribe import read_hypotheses, transcribe_dataset
from tasks.speech.error_rates import ErrorCounts, count_errors
from tasks.speech.spoken_digits import digit_lines, make_corpus
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec
from tasks.voxtral.checkpoint import find_checkpoint
from tests.benchmarks.training.recipe import Job
from tests.benchmarks.training.running import run_engine, run_recipe, single_plan

CLIPS, EPOCHS, BATCH_SIZE, LEARNING_RATE = 600, 12, 16, 3e-3
_MORE_HELD_OUT = 480  # one wrong word in 1,800 is less than what two runs differ by; among the 367 of the dataset it is not
_RESAMPLES = 10_000


def german_digits(folder: Path) -> DatasetVersion:
    """600 clips, voices held out."""
    corpus = make_corpus(digit_lines("de", CLIPS, Path(), 7), folder, "digits", 2)
    return ingest(corpus, "german-digits", IngestOptions(eval_share=0.2, seed=1), folder / "version", processes=2)


def unheard(dataset: DatasetVersion, folder: Path) -> DatasetVersion:
    """More of what the dataset's held-out voices say."""
    voices = sorted({str(utterance.speaker) for utterance in read_utterances(dataset, Split.EVAL)})
    corpus = make_corpus(digit_lines("de", _MORE_HELD_OUT, Path(), 8, voices), folder, "unheard", 2)
    return ingest(corpus, "unheard", IngestOptions(eval_share=0.5, seed=1), folder / "unheard", processes=2)


def options() -> TrainingOptions:
    """The engine's defaults, but for a tiny model's learning rate and the length of the run."""
    return TrainingOptions(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE)


def steps_an_epoch(dataset: DatasetVersion, chosen: TrainingOptions) -> int:
    """Optimizer steps of one pass over single utterances."""
    trained = round(dataset.train_utterances * (1 - chosen.validation_share))
    return -(-trained // chosen.batch_size)


class Judge:
    """Word error rates of adapters on the held-out voices."""

    def __init__(self, dataset: DatasetVersion, more: DatasetVersion, folder: Path) -> None:
        self._folder, self._base = folder, find_checkpoint("voxfactory-tiny")
        self._sets = ((dataset, Split.EVAL), (more, None))
        self._said = [read_utterances(version, side) if side else read_utterances(version) for version, side in self._sets]

    def errors(self, adapter: Path) -> ErrorCounts:
        """Errors in each utterance; the adapter is given its base's tokenizer and configuration."""
        for path in self._base.folder.glob("*.json"):
            if not (adapter / path.name).exists():
                shutil.copy2(path, adapter)
        tuned = Checkpoint(name=str(adapter), folder=adapter, revision=adapter.as_posix(), base=self._base)
        references, heard = [], []
        for (version, side), said in zip(self._sets, self._said, strict=True):
            folder = self._folder / version.name / adapter.name
            texts = read_hypotheses(transcribe_dataset(tuned, version, folder, 64, version.name, side))
            references += [utterance.text for utterance in said]
            heard += [texts[utterance.id].text for utterance in said]
        return count_errors(references, heard)


def probability_worse(ours: ErrorCounts, theirs: ErrorCounts) -> float:
    """Paired bootstrap over utterances: how often we make more errors than they do; ties count half."""
    draw = np.random.default_rng(0)
    difference = ours.word_errors - theirs.word_errors
    sums = difference[draw.integers(0, len(difference), (_RESAMPLES, len(difference)))].sum(axis=1)
    return float((sums > 0).mean() + 0.5 * (sums == 0).mean())


def compare(folder: Path, chosen: TrainingOptions | None = None) -> dict[str, float]:
    """Train both, and judge every epoch of the recipe and every checkpoint of the engine."""
    dataset, judge_folder = german_digits(folder), folder / "judged"
    chosen = chosen or options()
    chosen = chosen.model_copy(update={"checkpoint_steps": steps_an_epoch(dataset, chosen)})
    base = find_checkpoint("voxfactory-tiny")
    spec = TrainingSpec(folder=folder / "engine", base=base, dataset=dataset, options=chosen)
    engine = run_engine(spec)
    plain = chosen.model_copy(update={"packing": "off"})
    job = Job(
        folder=folder / "recipe",
        base=base,
        datasets=(dataset,),
        plan=single_plan(spec, plain, folder),
        options=plain,
        keep_epochs=True,
    )
    recipe = run_recipe(job)
    judge = Judge(dataset, unheard(dataset, folder), judge_folder)
    theirs = [(seconds, judge.errors(job.folder / f"epoch-{n}").wer) for n, seconds in enumerate(recipe.epochs_s, 1)]
    best_s, best_wer = min(theirs, key=lambda one: (one[1], one[0]))
    ours = [(seconds, judge.errors(spec.folder / "kept" / f"checkpoint-{step}").wer) for step, seconds in engine.checkpoints_s]
    reached = [seconds for seconds, wer in ours if wer <= best_wer]
    best_adapter = job.folder / f"epoch-{len(recipe.epochs_s)}"
    ours_last, theirs_last = judge.errors(spec.folder / "best-model"), judge.errors(best_adapter)
    return {
        "curves": {"recipe": rounded(theirs), "engine": rounded(ours)},
        "time_to_wer": round(best_s / min(reached), 2) if reached else 0.0,
        "wer_engine": round(ours_last.wer, 4),
        "wer_recipe": round(theirs_last.wer, 4),
        "wer_p_worse": round(probability_worse(ours_last, theirs_last), 3),
    }


def rounded(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """For people."""
    return [(round(seconds, 1), round(wer, 4)) for seconds, wer in curve]
