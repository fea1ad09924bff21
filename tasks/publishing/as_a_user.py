"""A user's process: loads a published model by its id and transcribes clips. Nothing of VoxFactory is imported.

Reads one JSON object from standard input: model_id, revision, base_id (of an adapter) or null, base_revision, window_samples,
window_frames, clips: [{path, language}]. Writes one JSON list of texts as the last line of standard output. Where the model comes from, and
its cache, stand in the environment that huggingface_hub reads.
"""

import json
import sys

import soundfile
import torch
from transformers import AutoProcessor, VoxtralForConditionalGeneration

PAD_TOKEN = 11
TOKENS_A_SECOND, TOKENS_AT_LEAST = 25, 16  # as in evaluation: what speech of a clip's length can be at most


def main() -> None:
    """Load and transcribe."""
    job = json.load(sys.stdin)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model_id, revision = job["model_id"], job["revision"]
    processor = AutoProcessor.from_pretrained(model_id, revision=revision)
    if job["base_id"]:
        from peft import PeftModel

        base = VoxtralForConditionalGeneration.from_pretrained(job["base_id"], revision=job["base_revision"], dtype=dtype)
        model = PeftModel.from_pretrained(base, model_id, revision=revision)
    else:
        model = VoxtralForConditionalGeneration.from_pretrained(model_id, revision=revision, dtype=dtype)
    model = model.to(device).eval()
    texts = []
    for clip in job["clips"]:
        samples, sample_rate_hz = soundfile.read(clip["path"], dtype="float32")
        inputs = processor.apply_transcription_request(
            [samples],
            model_id=model_id,
            language=clip["language"],
            sampling_rate=sample_rate_hz,
            format=["WAV"],
            audio_kwargs={"pad_to_multiple_of": job["window_samples"], "max_source_positions": job["window_frames"]},
        ).to(device)
        inputs["input_features"] = inputs["input_features"].to(dtype)
        longest = TOKENS_AT_LEAST + int(TOKENS_A_SECOND * len(samples) / sample_rate_hz)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=longest, do_sample=False, num_beams=1, pad_token_id=PAD_TOKEN)
        texts.append(processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0].strip())
    sys.stdout.write("\n" + json.dumps(texts) + "\n")


if __name__ == "__main__":
    main()
