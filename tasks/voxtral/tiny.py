"""voxfactory-tiny: a real Voxtral small enough for a laptop's processor, built from nothing but this file.

The architecture and the code are those of Voxtral-Mini-3B, with two differences that make a step about 300 times cheaper: widths
and depths, and windows of 4 s instead of 30 s. The tokenizer is a tekken file of its own, cut from the one that mistral-common
ships: the 256 bytes and the most frequent merges, so that any text can be written in it.
"""

import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.contracts import SAMPLE_RATE_HZ
from tasks.voxtral.features import MEL_HOP_SAMPLES
from tasks.voxtral.prompt import SPECIAL_TOKENS

if TYPE_CHECKING:
    import torch
    from transformers import VoxtralConfig, VoxtralForConditionalGeneration, VoxtralProcessor

TINY_NAME = "voxfactory-tiny"
TINY_WINDOW_S = 4
_SPECIAL_TOKENS = 128  # Mistral's own files reserve 1000 ids; the highest that Voxtral uses is 34
_TEXT_TOKENS = 384  # 256 bytes and the 128 most frequent merges
_MEL_WINDOW_SAMPLES, _MEL_BINS = 400, 128


def tiny_model_folder() -> Path:
    """The checkpoint that this project trained and ships (`make base-model` makes it again)."""
    return Path(str(resources.files("tasks.voxtral") / TINY_NAME))


def tiny_config() -> "VoxtralConfig":
    """2.8 M parameters: an encoder of 4 x 128, a language model of 4 x 192."""
    from transformers import VoxtralConfig

    encoder_positions = TINY_WINDOW_S * SAMPLE_RATE_HZ // MEL_HOP_SAMPLES // 2
    return VoxtralConfig(
        audio_config={
            "model_type": "voxtral_encoder",
            "hidden_size": 128,
            "intermediate_size": 512,  # four encoder frames are stacked for the projector: must be 4 x hidden_size
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_mel_bins": _MEL_BINS,
            "max_source_positions": encoder_positions,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": _SPECIAL_TOKENS + _TEXT_TOKENS,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "bos_token_id": SPECIAL_TOKENS["<s>"],
            "eos_token_id": SPECIAL_TOKENS["</s>"],
            "pad_token_id": SPECIAL_TOKENS["<pad>"],
            "tie_word_embeddings": False,
        },
        audio_token_id=SPECIAL_TOKENS["[AUDIO]"],
        projector_hidden_act="gelu",
    )


def write_tiny_tokenizer(folder: Path) -> Path:
    """Write `tekken.json`, 512 entries, byte-level coverage of all text. Returns its path."""
    import mistral_common
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    source = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    tekken = json.loads(source.read_text())
    names = {token["rank"]: str(token["token_str"].value) for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS}
    names |= {rank: name for name, rank in SPECIAL_TOKENS.items()}
    tekken["vocab"] = tekken["vocab"][:_TEXT_TOKENS]
    tekken["special_tokens"] = [
        {"rank": rank, "token_str": names.get(rank, f"<SPECIAL_{rank}>"), "is_control": True} for rank in range(_SPECIAL_TOKENS)
    ]
    tekken["config"] |= {
        "num_vocab_tokens": _TEXT_TOKENS,
        "default_vocab_size": _SPECIAL_TOKENS + _TEXT_TOKENS,
        "default_num_special_tokens": _SPECIAL_TOKENS,
        "version": "v7",
    }
    tekken.pop("image", None)
    tekken["audio"] = {
        "sampling_rate": SAMPLE_RATE_HZ,
        "frame_rate": 12.5,
        "audio_encoding_config": {
            "num_mel_bins": _MEL_BINS,
            "hop_length": MEL_HOP_SAMPLES,
            "window_size": _MEL_WINDOW_SAMPLES,
        },
        "chunk_length_s": TINY_WINDOW_S,
    }
    path = folder / "tekken.json"
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(tekken, ensure_ascii=False))
    unfinished.replace(path)
    return path


def tiny_processor(folder: Path) -> "VoxtralProcessor":
    """A processor whose tokenizer file is written into `folder`."""
    from transformers import MistralCommonBackend, VoxtralProcessor, WhisperFeatureExtractor

    tokenizer = MistralCommonBackend(tokenizer_path=str(write_tiny_tokenizer(folder)))
    features = WhisperFeatureExtractor(
        feature_size=_MEL_BINS,
        sampling_rate=SAMPLE_RATE_HZ,
        hop_length=MEL_HOP_SAMPLES,
        chunk_length=TINY_WINDOW_S,
        n_fft=_MEL_WINDOW_SAMPLES,
    )
    return VoxtralProcessor(features, tokenizer)


def tiny_model(seed: int) -> "VoxtralForConditionalGeneration":
    """The architecture with random weights drawn from `seed`."""
    import torch
    from transformers import GenerationConfig, VoxtralForConditionalGeneration

    torch.manual_seed(seed)
    model = VoxtralForConditionalGeneration(tiny_config())
    positions = model.model.audio_tower.embed_positions.weight
    with torch.no_grad():
        positions.copy_(_sinusoids(*positions.shape))
    model.generation_config = GenerationConfig(
        bos_token_id=SPECIAL_TOKENS["<s>"], eos_token_id=SPECIAL_TOKENS["</s>"], pad_token_id=SPECIAL_TOKENS["<pad>"]
    )
    return model


def _sinusoids(length: int, channels: int) -> "torch.Tensor":
    """Fixed positions of shape (length, channels): Whisper's table (Radford et al. 2022), wavelengths from 2 pi to 10,000 x 2 pi."""
    import torch

    half = channels // 2
    frequencies = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))
    angles = torch.arange(length)[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
