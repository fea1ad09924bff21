"""A Voxtral of real proportions, sized for two processor cores, and speech for its windows of 30 s.

The vocabulary and the windows are those of Voxtral-Mini-3B; all widths are an eighth of its own, and so are the numbers of layers, which
keep their ratio (32 to 30, here 4 to 4). The weights are random: neither time nor memory depends on their values.
"""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ, Checkpoint, DatasetVersion
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.speech.audio import read_clip, write_clip
from tasks.voxtral.checkpoint import default_device, default_dtype, find_checkpoint
from tasks.voxtral.features import MEL_HOP_SAMPLES
from tasks.voxtral.prompt import SPECIAL_TOKENS
from tests.builders.speech import REAL_SPEECH

if TYPE_CHECKING:
    from transformers import VoxtralConfig

_WINDOW_S = 30
_VOCABULARY, _SPECIAL = 131_072, 1000
_PAUSE = np.zeros(SAMPLE_RATE_HZ // 5, dtype=np.int16)


def proportioned_config() -> "VoxtralConfig":
    """109 M parameters, 101 M of them embeddings and head."""
    from transformers import VoxtralConfig

    return VoxtralConfig(
        audio_config={
            "model_type": "voxtral_encoder",
            "hidden_size": 160,
            "intermediate_size": 640,
            "num_hidden_layers": 4,
            "num_attention_heads": 5,
            "num_mel_bins": 128,
            "max_source_positions": 1500,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": _VOCABULARY,
            "hidden_size": 384,
            "intermediate_size": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 12,
            "num_key_value_heads": 3,
            "head_dim": 32,
            "max_position_embeddings": 4096,
            "bos_token_id": SPECIAL_TOKENS["<s>"],
            "eos_token_id": SPECIAL_TOKENS["</s>"],
            "pad_token_id": SPECIAL_TOKENS["<pad>"],
            "tie_word_embeddings": False,
        },
        audio_token_id=SPECIAL_TOKENS["[AUDIO]"],
        projector_hidden_act="gelu",
    )


def random_model(folder: Path, config: "VoxtralConfig") -> Checkpoint:
    """Write a checkpoint of that shape, and open it."""
    import mistral_common
    import torch
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    from transformers import GenerationConfig, MistralCommonBackend, VoxtralForConditionalGeneration, VoxtralProcessor
    from transformers import WhisperFeatureExtractor as FeatureExtractor

    folder.mkdir(parents=True)
    tekken = json.loads((Path(mistral_common.__file__).parent / "data" / "tekken_240911.json").read_text())
    names = {token["rank"]: str(token["token_str"].value) for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS}
    names |= {rank: name for name, rank in SPECIAL_TOKENS.items()}
    tekken["special_tokens"] = [
        {"rank": rank, "token_str": names.get(rank, f"<SPECIAL_{rank}>"), "is_control": True} for rank in range(_SPECIAL)
    ]
    tekken["config"]["version"] = "v7"
    tekken.pop("image", None)
    encoding = {"num_mel_bins": 128, "hop_length": MEL_HOP_SAMPLES, "window_size": 400}
    tekken["audio"] = {
        "sampling_rate": SAMPLE_RATE_HZ,
        "frame_rate": 12.5,
        "audio_encoding_config": encoding,
        "chunk_length_s": _WINDOW_S,
    }
    written = folder / "tekken.json"
    written.write_text(json.dumps(tekken))
    torch.manual_seed(0)
    device = default_device()
    with device:
        model = VoxtralForConditionalGeneration._from_config(config, dtype=default_dtype(device))
    model.generation_config = GenerationConfig(
        bos_token_id=SPECIAL_TOKENS["<s>"], eos_token_id=SPECIAL_TOKENS["</s>"], pad_token_id=SPECIAL_TOKENS["<pad>"]
    )
    extractor = FeatureExtractor(
        feature_size=128, sampling_rate=SAMPLE_RATE_HZ, hop_length=MEL_HOP_SAMPLES, chunk_length=_WINDOW_S, n_fft=400
    )
    VoxtralProcessor(extractor, MistralCommonBackend(tokenizer_path=str(written))).save_pretrained(folder)
    model.save_pretrained(folder)
    return find_checkpoint(str(folder))


def joined_speech(folder: Path, clips: int, shortest_s: float, longest_s: float) -> DatasetVersion:
    """Real recordings, joined with pauses until each clip lasts so long; their transcripts joined likewise."""
    spoken = [(read_clip(path), path.with_suffix(".txt").read_text().strip()) for path in sorted(REAL_SPEECH.glob("*.wav"))]
    draw = random.Random(0)
    source = folder / "source"
    source.mkdir(parents=True)
    for number in range(clips):
        wanted, joined, words = draw.uniform(shortest_s, longest_s), [], []
        while sum(map(len, joined)) < shortest_s * SAMPLE_RATE_HZ:
            room = wanted * SAMPLE_RATE_HZ - sum(map(len, joined)) - len(_PAUSE)
            samples, text = draw.choice([one for one in spoken if len(one[0]) <= room] or [min(spoken, key=lambda o: len(o[0]))])
            joined += [samples, _PAUSE]
            words.append(text)
        write_clip(source / f"{number}.wav", np.concatenate(joined[:-1]))
        (source / f"{number}.txt").write_text(" ".join(words))
    return ingest(source, folder.name, IngestOptions(language="en", eval_share=0.05), folder / "version", processes=1)
