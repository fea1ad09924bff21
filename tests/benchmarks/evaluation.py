"""Evaluation: `python -m tests.benchmarks.evaluation`, three minutes. The last line is one JSON object.

- speedup: utterances a second of `transcribe_dataset` against transcribing one at a time through the processor, the same texts, clips of
  spoken digits of at most 5 s, voxfactory-tiny; both load the model and the audio.
- encoder_share: of the CPU time of transcribing the clips with two models, what keeping the features and the audio tower's outputs of the
  first would save the second, if it has the same tower; loading is not in it.
- score_10k_s: seconds to score 10,000 utterances, base and fine-tuned, with all intervals.

Ends with 1 if a limit is broken.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tasks.contracts import SAMPLE_RATE_HZ, Checkpoint, DatasetVersion, Split
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.version import read_utterances
from tasks.evaluation.hearing import Transcriber
from tasks.evaluation.intervals import wer_rates
from tasks.evaluation.transcribe import read_hypotheses, transcribe_dataset
from tasks.speech.audio import load_clip
from tasks.speech.error_rates import count_errors
from tasks.speech.spoken_digits import digit_lines, make_corpus
from tasks.voxtral.checkpoint import default_device, default_dtype, find_checkpoint, load_model, load_processor, window_frames
from tasks.voxtral.features import MEL_HOP_SAMPLES, mel_windows

_AT_LEAST = {"speedup": 4.0}
_AT_MOST = {"score_10k_s": 5.0}
_CLIPS, _LONGEST_S, _BATCH_SIZE = 250, 5.0, 32
_MOST_TOKENS = 150
_SCORED, _WORDS = 10_000, ("eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "null")


def spoken(folder: Path) -> DatasetVersion:
    """German and English digits, most of them to be evaluated on."""
    lines = [*digit_lines("de", _CLIPS // 2, Path(), 3), *digit_lines("en", _CLIPS // 2, Path(), 4)]
    corpus = make_corpus(lines, folder, "digits", 2)
    return ingest(corpus, "digits", IngestOptions(eval_share=0.8, seed=1), folder / "version", processes=2)


def one_at_a_time(checkpoint: Checkpoint, dataset: DatasetVersion) -> dict[str, str]:
    """As the model's card on the Hub shows it: processor, generate, decode."""
    import torch

    processor, device = load_processor(checkpoint), default_device()
    model = load_model(checkpoint, device, default_dtype(device))
    frames = window_frames(checkpoint.folder)
    heard = {}
    for utterance in read_utterances(dataset, Split.EVAL):
        asked = processor.apply_transcription_request(
            audio=[load_clip(dataset.folder / utterance.audio_path)],
            model_id=checkpoint.label,
            language=utterance.language,
            sampling_rate=SAMPLE_RATE_HZ,
            format=["WAV"],
            audio_kwargs={"pad_to_multiple_of": frames * MEL_HOP_SAMPLES, "max_source_positions": frames},
        ).to(device)
        with torch.inference_mode():
            made = model.generate(**asked, max_new_tokens=_MOST_TOKENS, do_sample=False)
        text = processor.batch_decode(made[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)[0]
        heard[utterance.id] = text.strip()
    return heard


def transcription(folder: Path) -> dict[str, float]:
    """Both ways, one after the other, on the same clips."""
    dataset, checkpoint = spoken(folder), find_checkpoint("voxfactory-tiny")
    known = read_utterances(dataset, Split.EVAL)
    assert max(utterance.duration_s for utterance in known) <= _LONGEST_S
    begun_s = time.perf_counter()
    plainly = one_at_a_time(checkpoint, dataset)
    plain_s = time.perf_counter() - begun_s
    ours = read_hypotheses(transcribe_dataset(checkpoint, dataset, folder / "heard", _BATCH_SIZE, "digits"))
    ours_s = time.perf_counter() - begun_s - plain_s
    same = sum(ours[name].text == text for name, text in plainly.items())
    if same < len(known):
        raise SystemExit(f"{len(known) - same} of {len(known)} texts differ: the two do not do the same")
    return {
        "utterances": len(known),
        "utterances_a_s": round(len(known) / ours_s, 1),
        "speedup": round(plain_s / ours_s, 2),
        "encoder_share": round(encoder_share(checkpoint, dataset), 3),
    }


def encoder_share(checkpoint: Checkpoint, dataset: DatasetVersion) -> float:
    """What a cache of the encoder would save, of all; measured on the second of two passes, when all is warm."""
    import torch

    transcriber = Transcriber(checkpoint)
    tower, window = transcriber.model.model.audio_tower, transcriber.prompt.window_samples
    spoken = sorted(read_utterances(dataset, Split.EVAL), key=lambda utterance: utterance.duration_s)
    batches = [spoken[start : start + _BATCH_SIZE] for start in range(0, len(spoken), _BATCH_SIZE)]
    for _ in range(2):
        whole_s = encoder_s = 0.0
        for batch in batches:
            clips = [load_clip(dataset.folder / utterance.audio_path) for utterance in batch]
            begun_s = time.process_time()
            transcriber.hear(clips, [utterance.language for utterance in batch])
            heard_s = time.process_time()
            with torch.inference_mode():
                features = torch.cat([mel_windows(clip, transcriber.processor, window) for clip in clips])
                tower(features.to(tower.device, tower.dtype))
            whole_s += heard_s - begun_s
            encoder_s += time.process_time() - heard_s
    return encoder_s / (2 * whole_s)


def scoring() -> float:
    """Seconds for what a report says of a set of 10,000 utterances."""
    draw = random.Random(0)
    references = [draw.choices(_WORDS, k=draw.randint(4, 16)) for _ in range(_SCORED)]

    def misheard(words: Sequence[str], rate: float) -> str:
        return " ".join(word if draw.random() > rate else draw.choice(_WORDS) for word in words)

    base, tuned = ([misheard(words, rate) for words in references] for rate in (0.2, 0.1))
    texts = [" ".join(words) for words in references]
    begun_s = time.perf_counter()
    wer_rates(count_errors(texts, base), count_errors(texts, tuned), seed=0)
    return time.perf_counter() - begun_s


def main() -> int:
    """Measure and print; 1 if a limit is broken."""
    with tempfile.TemporaryDirectory() as folder:
        measured = transcription(Path(folder)) | {"score_10k_s": round(scoring(), 2)}
    failures = [f"{name} is {measured[name]}, less than {least}" for name, least in _AT_LEAST.items() if measured[name] < least]
    failures += [f"{name} is {measured[name]}, more than {most}" for name, most in _AT_MOST.items() if measured[name] > most]
    sys.stdout.write("".join(f"{failure}\n" for failure in failures) + json.dumps(measured) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
