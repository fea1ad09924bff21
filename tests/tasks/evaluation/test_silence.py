"""Where nobody speaks, and where a model is broken."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from infra.errors import EvaluationError
from tasks.evaluation.hearing import Transcriber
from tasks.evaluation.transcribe import read_hypotheses, transcribe_silence
from tasks.speech.nothing import nothing_said
from tasks.speech.voice_activity import speech_probabilities
from tasks.voxtral.checkpoint import find_checkpoint
from tasks.voxtral.tiny import TINY_NAME
from tests.builders.speech import voice


def test_the_clips_hold_no_speech_and_are_the_same_every_time():
    clips = nothing_said()
    assert len({clip.name for clip in clips}) == len(clips) == 20
    assert all(probability.max() < 0.5 for probability in speech_probabilities([clip.samples for clip in clips]))
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(clips, nothing_said(), strict=True))


def test_what_a_model_writes_where_nobody_speaks_is_kept_clip_by_clip(tmp_path: Path):
    heard = read_hypotheses(transcribe_silence(find_checkpoint(TINY_NAME, None), "en", tmp_path / "heard", 8))
    assert set(heard) == {clip.name for clip in nothing_said()}


def test_a_model_whose_outputs_are_no_numbers_is_told_by_name(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "diverged"
    shutil.copytree(find_checkpoint(TINY_NAME, None).folder, broken)
    weights = load_file(broken / "model.safetensors")
    for name, weight in weights.items():
        if name.endswith("norm.weight") and "language_model" in name:
            weight.fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(EvaluationError, match=r"diverged: its outputs are no numbers"):
        Transcriber(find_checkpoint(str(broken), None)).transcribe([voice(0)], ["en"])
