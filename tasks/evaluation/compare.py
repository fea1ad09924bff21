"""Base against tuned on the same held-out utterances, set by set and language by language."""

from collections.abc import Sequence
from pathlib import Path

from infra.errors import EvaluationError
from infra.storage import readable, write_json
from tasks.contracts import (
    DatasetVersion,
    Duel,
    Errors,
    EvaluationReport,
    Example,
    Score,
    Silence,
    Split,
    TrainedModel,
    Utterance,
)
from tasks.dataset.version import read_utterances
from tasks.evaluation.figures import draw_scores
from tasks.evaluation.intervals import wer_rates
from tasks.evaluation.loops import is_loop
from tasks.evaluation.page import Judged, Told, write_page
from tasks.evaluation.transcribe import Hypothesis, read_hypotheses
from tasks.speech.audio import duration_s
from tasks.speech.error_rates import ErrorCounts, count_errors, normalise
from tasks.speech.nothing import nothing_said

COMPARE_VERSION = 5
_EXAMPLES_A_SET = 8
_DIFFERING_A_SET = 3


class HeardSet:
    """One evaluation set as both models heard it."""

    def __init__(self, dataset: DatasetVersion, base: Path, tuned: Path) -> None:
        self.dataset = dataset
        self.utterances = read_utterances(dataset, Split.EVAL)
        self.base = read_hypotheses(base)
        self.tuned = read_hypotheses(tuned)


def compare(
    model: TrainedModel,
    target: HeardSet,
    guards: Sequence[HeardSet],
    folder: Path,
    seed: int,
    rival: str | None = None,
    silence: tuple[Path, Path] | None = None,
) -> EvaluationReport:
    """Score every set; report.json, eval_results.json, wer.png and report.html go into `folder`.

    Args:
        model: what was trained.
        target: as it and its base heard what it was trained for.
        guards: the same for what it may not forget.
        folder: where the files go; it exists.
        seed: of the draws for the intervals.
        rival: what stands for the base, if it is not the model's own.
        silence: what both wrote where nobody speaks.

    Raises:
        EvaluationError: two sets have the same name.

    """
    names = [heard.dataset.name for heard in (target, *guards)]
    if len(set(names)) < len(names):
        raise EvaluationError(f"Two sets have the same name: {', '.join(names)}", "Ingest them under different names")
    scores = [score for heard in (target, *guards) for score in _scores(heard, seed)]
    examples = [example for heard in (target, *guards) for example in _examples(heard)]
    report = EvaluationReport(
        folder=folder,
        model=model,
        dataset=target.dataset,
        guards=tuple(heard.dataset for heard in guards),
        rival=rival,
        scores=tuple(scores),
        silence=_silence(*silence) if silence else None,
        examples=tuple(examples),
    )
    write_json(folder / "report.json", report)
    write_json(folder / "eval_results.json", {"target": report.dataset.name, "scores": [score.model_dump() for score in scores]})
    draw_scores(scores, rival or "base", "fine-tuned", folder / "wer.png")
    explained = f"The second was fine-tuned from {model.base.label}."
    told = Told(rival or model.base.label, "the fine-tuned model", explained, scores, target.dataset.name, report.silence)
    write_page(told, _judged(target), folder)
    return report


def compare_two(first: str, second: str, heard: HeardSet, folder: Path, seed: int) -> Duel:
    """Score any two models; duel.json, wer.png and report.html go into `folder`."""
    scores = _scores(heard, seed)
    duel = Duel(folder=folder, first=first, second=second, dataset=heard.dataset, scores=tuple(scores))
    write_json(folder / "duel.json", duel)
    draw_scores(scores, first, second, folder / "wer.png")
    write_page(Told(first, second, "", scores, heard.dataset.name), _judged(heard), folder)
    return duel


def open_report(folder: Path) -> EvaluationReport:
    """Read the report that an evaluation left in its folder.

    Raises:
        EvaluationError: there is none.

    """
    path = folder / "report.json"
    if not path.is_file():
        raise EvaluationError(f"{folder} holds no report.json", "Name a folder that `voxfactory evaluate` printed")
    with readable(path, EvaluationError):
        return EvaluationReport.model_validate_json(path.read_text())


def _scores(heard: HeardSet, seed: int) -> list[Score]:
    """Of the whole set, and of each of its languages if it has several."""
    name, scores = heard.dataset.name, [_score(heard, heard.dataset.name, "all", heard.utterances, seed)]
    if len(heard.dataset.languages) > 1:
        for language in heard.dataset.languages:
            spoken = [utterance for utterance in heard.utterances if utterance.language == language]
            if spoken:
                scores.append(_score(heard, name, language, spoken, seed))
    return scores


def _score(heard: HeardSet, name: str, language: str, utterances: Sequence[Utterance], seed: int) -> Score:
    references = [utterance.text for utterance in utterances]
    heard_base, heard_tuned = ([by[utterance.id] for utterance in utterances] for by in (heard.base, heard.tuned))
    base, tuned = (count_errors(references, [one.text for one in hypotheses]) for hypotheses in (heard_base, heard_tuned))
    rates = wer_rates(base, tuned, seed, [utterance.speaker for utterance in utterances])
    return Score(
        set_name=name,
        language=language,
        utterances=len(utterances),
        words=int(base.words.sum()),
        drawn=rates.drawn,
        wer_base=rates.base,
        wer_tuned=rates.tuned,
        wer_change=rates.change,
        p_better=rates.p_better,
        cer_base=base.cer,
        cer_tuned=tuned.cer,
        errors_base=_errors(base, heard_base, references),
        errors_tuned=_errors(tuned, heard_tuned, references),
    )


def _judged(heard: HeardSet) -> Judged:
    references = [utterance.text for utterance in heard.utterances]
    base, tuned = ([by[utterance.id].text for utterance in heard.utterances] for by in (heard.base, heard.tuned))
    return Judged(
        heard.dataset.folder, heard.utterances, base, tuned, count_errors(references, base), count_errors(references, tuned)
    )


def _silence(base: Path, tuned: Path) -> Silence:
    words_base, words_tuned = (
        sum(len(normalise(one.text).split()) for one in read_hypotheses(path).values()) for path in (base, tuned)
    )
    clips = nothing_said()
    seconds = sum(duration_s(clip.samples) for clip in clips)
    return Silence(clips=len(clips), seconds=seconds, words_base=words_base, words_tuned=words_tuned)


def _errors(counts: ErrorCounts, hypotheses: Sequence[Hypothesis], references: Sequence[str]) -> Errors:
    return Errors(
        substitutions=int(counts.substitutions.sum()),
        deletions=int(counts.deletions.sum()),
        insertions=int(counts.insertions.sum()),
        endless=sum(not hypothesis.ended for hypothesis in hypotheses),
        loops=sum(is_loop(heard.text, said) for heard, said in zip(hypotheses, references, strict=True)),
    )


def _examples(heard: HeardSet) -> list[Example]:
    """The first utterances in the order of their ids, which is random with respect to how well they were heard.

    Some on which the models differ come after them, so that a demo can be told from one that serves the base model.
    """
    ordered = sorted(heard.utterances, key=lambda utterance: utterance.id)
    first, rest = ordered[:_EXAMPLES_A_SET], ordered[_EXAMPLES_A_SET:]
    chosen = first + [u for u in rest if heard.base[u.id].text != heard.tuned[u.id].text][:_DIFFERING_A_SET]
    return [
        Example(
            set_name=heard.dataset.name,
            utterance_id=utterance.id,
            audio_path=heard.dataset.folder / utterance.audio_path,
            language=utterance.language,
            reference=utterance.text,
            base=heard.base[utterance.id].text,
            tuned=heard.tuned[utterance.id].text,
        )
        for utterance in chosen
    ]
