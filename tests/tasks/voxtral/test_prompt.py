import numpy as np
import pytest

from infra.errors import SpeechError
from tasks.contracts import Checkpoint
from tasks.speech.audio import to_float32, to_int16
from tasks.voxtral.checkpoint import load_processor
from tasks.voxtral.features import mel_windows, windows_of
from tasks.voxtral.prompt import END_TOKEN, SPECIAL_TOKENS, VoxtralPrompt
from tests.builders.speech import tone

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def processor(tiny: Checkpoint):
    return load_processor(tiny)


@pytest.fixture(scope="module")
def prompt(processor) -> VoxtralPrompt:
    from tasks.voxtral.tiny import tiny_config

    return VoxtralPrompt(processor, tiny_config())


def requested(processor, prompt: VoxtralPrompt, samples: np.ndarray, language: str | None):
    """What the processor itself builds: the reference."""
    return processor.apply_transcription_request(
        [samples],
        model_id="x",
        language=[language],
        sampling_rate=16_000,
        format=["WAV"],
        audio_kwargs={"pad_to_multiple_of": prompt.window_samples, "max_source_positions": prompt.window_frames},
    )


@pytest.mark.parametrize("language", ["en", "de", "hi", None])
@pytest.mark.parametrize("seconds", [0.5, 4.0, 4.1, 9.0])
def test_prompt_and_features_are_those_of_the_processor(processor, prompt: VoxtralPrompt, language: str | None, seconds: float):
    samples = to_float32(to_int16(tone(seconds)))
    expected = requested(processor, prompt, samples, language)
    windows = windows_of(len(samples), prompt.window_samples)
    assert list(prompt.prompt(language, windows)) == expected["input_ids"][0].tolist()
    features = mel_windows(samples, processor, prompt.window_samples)
    assert features.shape == expected["input_features"].shape
    assert np.allclose(features, expected["input_features"], atol=1e-5)


@pytest.mark.parametrize("text", ["fünf sechs", "Hello", "नमस्ते दुनिया", "日本語 🎙", "a\tb", "lang:en", "[INST]"])
def test_any_text_survives_the_tokenizer_and_ends_with_the_end_token(prompt: VoxtralPrompt, text: str):
    target = prompt.target(text)
    assert target[-1] == END_TOKEN
    assert not set(target[:-1]) & set(SPECIAL_TOKENS.values())
    assert prompt.text(list(target)) == text


def test_text_after_the_end_token_is_not_read(prompt: VoxtralPrompt):
    assert prompt.text([*prompt.target("eins"), *prompt.target("zwei")]) == "eins"


def test_the_transcript_has_no_leading_space(prompt: VoxtralPrompt):
    assert prompt.target("Hello")[:-1] != prompt.target(" Hello")[:-1]


def test_no_samples_are_an_error(processor, prompt: VoxtralPrompt):
    with pytest.raises(SpeechError, match="no samples"):
        mel_windows(np.zeros(0, np.float32), processor, prompt.window_samples)
