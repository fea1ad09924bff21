"""A demo of one fine-tuned Voxtral: speak or upload a clip, read what the model hears.

Stands alone: it needs the packages of requirements.txt, demo.json beside it, and the model. HF_MODEL_ID overrides which model is
served; a model that cannot be loaded ends the app, so that it never answers with another one.
"""

import json
import os
from pathlib import Path

import gradio as gr
import numpy as np
import soundfile
import soxr
import torch
from transformers import AutoProcessor, VoxtralForConditionalGeneration

SAMPLE_RATE_HZ = 16_000
PAD_TOKEN = 11
DEMO = json.loads(Path(__file__).with_name("demo.json").read_text(encoding="utf-8"))
MODEL_ID = os.environ.get("HF_MODEL_ID", DEMO["model_id"])
AUTOMATIC = "detect"

device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16 if device == "cuda" else torch.float32
if DEMO["adapter"]:
    from peft import PeftModel

    base_id = os.environ.get("HF_BASE_MODEL_ID", DEMO["base_model_id"])
    processor = AutoProcessor.from_pretrained(base_id)
    base = VoxtralForConditionalGeneration.from_pretrained(base_id, dtype=dtype)
    model = PeftModel.from_pretrained(base, MODEL_ID)
else:
    processor = AutoProcessor.from_pretrained(MODEL_ID)
    model = VoxtralForConditionalGeneration.from_pretrained(MODEL_ID, dtype=dtype)
model = model.to(device).eval()


def read_clip(path: str) -> np.ndarray:
    """Any audio file to float32 mono samples at 16 kHz, rounded to 16 bits as in training."""
    samples, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    samples = samples.mean(axis=1)
    if sample_rate_hz != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    peak = max(1.0, float(np.abs(samples).max(initial=0.0)))
    return np.round(samples * (32_768 / peak)).clip(-32_768, 32_767).astype(np.float32) / 32_768


@torch.inference_mode()
def transcribe(clip: str | None, language: str) -> str:
    """What the model hears in a clip."""
    if clip is None:
        raise gr.Error("Record or upload a clip first.")
    samples = read_clip(clip)
    if len(samples) == 0:
        raise gr.Error("The clip is empty: record it again.")
    inputs = processor.apply_transcription_request(
        [samples],
        model_id=MODEL_ID,
        language=None if language == AUTOMATIC else language,
        sampling_rate=SAMPLE_RATE_HZ,
        format=["WAV"],
        audio_kwargs={"pad_to_multiple_of": DEMO["window_samples"], "max_source_positions": DEMO["window_frames"]},
    ).to(device)
    inputs["input_features"] = inputs["input_features"].to(dtype)
    longest = 16 + int(25 * len(samples) / SAMPLE_RATE_HZ)
    tokens = model.generate(**inputs, max_new_tokens=longest, do_sample=False, num_beams=1, pad_token_id=PAD_TOKEN)
    return processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0].strip()


demo = gr.Interface(
    fn=transcribe,
    inputs=[
        gr.Audio(sources=["microphone", "upload"], type="filepath", label="Speech"),
        gr.Dropdown([*DEMO["languages"], AUTOMATIC], value=DEMO["languages"][0], label="Language"),
    ],
    outputs=gr.Textbox(label="What the model hears", lines=3),
    title=DEMO["title"],
    description=DEMO["description"],
    api_name="transcribe",
    flagging_mode="never",
)

if __name__ == "__main__":
    demo.launch()
