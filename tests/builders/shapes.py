"""Configurations of Voxtrals that nobody has to download."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import VoxtralConfig

VOCABULARY = 131_072
# config.json of mistralai/Voxtral-Mini-3B-2507
_AUDIO = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
_TEXT = {"vocab_size": VOCABULARY, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 30}
_HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
_AUDIO_TOKEN = 24


def mini_3b_config() -> "VoxtralConfig":
    """Widths and depths of Voxtral-Mini-3B."""
    from transformers import VoxtralConfig

    return VoxtralConfig(
        audio_config={"model_type": "voxtral_encoder", "num_mel_bins": 128, "max_source_positions": 1500, **_AUDIO},
        text_config={
            "model_type": "llama",
            "max_position_embeddings": VOCABULARY,
            "tie_word_embeddings": False,
            **_TEXT,
            **_HEADS,
        },
        audio_token_id=_AUDIO_TOKEN,
        projector_hidden_act="gelu",
    )
