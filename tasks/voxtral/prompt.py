"""The token sequence of a transcription: `<s>[INST][BEGIN_AUDIO][AUDIO]...[/INST]lang:xx[TRANSCRIBE]` transcript `</s>`.

Invariant: equal, token for token, to what `VoxtralProcessor.apply_transcription_request` builds; a test compares them. The price
of building it here is that comparison; the gain is that a batch needs no WAV written and read back per clip (about 20 ms each).
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from infra.errors import ModelError
from tasks.contracts import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from transformers import VoxtralConfig, VoxtralProcessor

# Ranks in Mistral's tekken tokenizers; `VoxtralPrompt` refuses a tokenizer in which they differ.
SPECIAL_TOKENS = {
    "<unk>": 0,
    "<s>": 1,
    "</s>": 2,
    "[INST]": 3,
    "[/INST]": 4,
    "<pad>": 11,
    "[AUDIO]": 24,
    "[BEGIN_AUDIO]": 25,
    "[TRANSCRIBE]": 34,
}
END_TOKEN = SPECIAL_TOKENS["</s>"]
PAD_TOKEN = SPECIAL_TOKENS["<pad>"]
IGNORED_LABEL = -100  # of what is not to be learned, in transformers


class VoxtralPrompt:
    """Builds prompts and targets for one checkpoint's tokenizer and window.

    Args:
        processor: the checkpoint's processor.
        config: the checkpoint's configuration.

    Raises:
        ModelError: the tokenizer's control tokens are not Voxtral's.

    """

    def __init__(self, processor: "VoxtralProcessor", config: "VoxtralConfig") -> None:
        self._tekken = processor.tokenizer.tokenizer.instruct_tokenizer.tokenizer
        for name, rank in SPECIAL_TOKENS.items():
            if self._tekken.get_special_token(name) != rank:
                raise ModelError(f"The tokenizer gives {name} another id than {rank}", "Use a Voxtral checkpoint's tekken.json")
        audio = config.audio_config
        # The projector sees intermediate_size / hidden_size encoder frames at once: 1500 / 4 = 375 tokens for 30 s.
        self.audio_tokens = audio.max_source_positions * audio.hidden_size // audio.intermediate_size
        self.window_frames = 2 * audio.max_source_positions  # mel frames; the second convolution halves them
        self.window_samples = self.window_frames * processor.feature_extractor.hop_length

    @property
    def window_s(self) -> float:
        """Seconds of audio in one window: 30 for Mistral's checkpoints."""
        return self.window_samples / SAMPLE_RATE_HZ

    @lru_cache(maxsize=256)  # noqa: B019 - one prompt object lives as long as its process
    def prompt(self, language: str | None, windows: int = 1) -> tuple[int, ...]:
        """Token ids through [TRANSCRIBE]. Without a language the model has to find it out."""
        named = self._tekken.encode(f"lang:{language}", bos=False, eos=False) if language else []
        return (
            SPECIAL_TOKENS["<s>"],
            SPECIAL_TOKENS["[INST]"],
            SPECIAL_TOKENS["[BEGIN_AUDIO]"],
            *[SPECIAL_TOKENS["[AUDIO]"]] * (self.audio_tokens * windows),
            SPECIAL_TOKENS["[/INST]"],
            *named,
            SPECIAL_TOKENS["[TRANSCRIBE]"],
        )

    def target(self, text: str) -> tuple[int, ...]:
        """Token ids of a transcript and the end token after it."""
        return (*self._tekken.encode(text, bos=False, eos=False), END_TOKEN)

    def text(self, ids: list[int]) -> str:
        """The transcript that generated ids spell, up to the end token, control tokens left out."""
        ended = ids[: ids.index(END_TOKEN)] if END_TOKEN in ids else ids
        ordinary = [token for token in ended if token >= self._tekken.num_special_tokens]
        return str(self._tekken.decode(ordinary)).strip()
