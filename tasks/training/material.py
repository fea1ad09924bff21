"""What a run trains on: its plan, and where each utterance of the plan lies."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.contracts import DatasetVersion, Split, Utterance
from tasks.dataset.version import read_utterances
from tasks.speech.audio import load_clip
from tasks.speech.silence import quietest_cuts
from tasks.training.options import TrainingOptions
from tasks.training.plan import Plan, make_plan
from tasks.voxtral.prompt import VoxtralPrompt


class Material(NamedTuple):
    """The plan, and utterances and clips by the ids that stand in it."""

    plan: Plan
    utterances: dict[str, Utterance]
    clips: dict[str, Path]


def material(
    dataset: DatasetVersion, replay: Sequence[DatasetVersion], options: TrainingOptions, prompt: VoxtralPrompt
) -> Material:
    """Plan a training on a dataset, with the training sides of `replay` mixed in.

    Raises:
        TrainingError: no utterance fits into a window.

    """
    target = read_utterances(dataset, Split.TRAIN)
    replayed = [(version, read_utterances(version, Split.TRAIN)) for version in replay]
    utterances: dict[str, Utterance] = {}
    clips: dict[str, Path] = {}
    for version, spoken in ((dataset, target), *replayed):
        utterances |= {utterance.id: utterance for utterance in spoken}
        clips |= {utterance.id: version.folder / utterance.audio_path for utterance in spoken}
    cuts: dict[str, tuple[int, ...]] = {}
    if options.long_utterances == "cut":
        long = [name for name, utterance in utterances.items() if utterance.duration_s > prompt.window_s]
        cuts = {name: quietest_cuts(load_clip(clips[name]), prompt.window_samples) for name in long}
    known = [utterance for _, spoken in replayed for utterance in spoken]
    plan = make_plan(target, options, prompt.window_s, known, read_utterances(dataset, Split.EVAL), cuts)
    return Material(plan, utterances, clips)
