"""What can be measured in one utterance without understanding it: level, clipping, speech and pauses, noise, bandwidth, pace."""

import unicodedata
from collections import Counter
from functools import lru_cache

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ, Measurements
from tasks.speech.voice_activity import FRAME, FRAME_S

UNSURE_S = 1.0  # Silero VAD needs a moment: in single letters of real prompts, all shorter than this, it hears nothing, or only their ends
SPEECH, PAUSE = 0.5, 0.1  # probabilities: from here on a frame counts as speech, up to here as a pause
_HOP_S, _HOPS_A_BLOCK = 0.1, 4
_ABSOLUTE_GATE_LUFS, _OFFSET = -70.0, 0.691
_K_WEIGHTING = (  # b and a of the standard's two filters, a shelf and a high pass, for 16 kHz as pyloudnorm designs them
    ((1.444233908713844, -1.839542987741787, 0.685432300820589), (1.0, -1.1071392365035588, 0.3972624582962044)),
    ((0.9852425301500196, -1.9704850603000392, 0.9852425301500196), (1.0, -1.9703753578723906, 0.9705947627276879)),
)
_PIECE = 80  # samples; a hop is a multiple of it
_FADED = 1e-9
_AT_THE_LIMIT = 0.985  # of the loudest sample: undamaged speech has one sample in a thousand there, clipped speech many
_LEAST_PAUSE_FRAMES = 3
_QUIET_PAUSE = 20  # percentile of the power of pauses: breath and the ends of words are in them, too
_QUIETEST = 5  # percentile of the power of all frames: no pause is where it is quieter elsewhere
_HEARD_FRAMES = 100  # of speech, spread over the clip, are enough to know a microphone by
_HEARD_DB = 60.0  # below the loudest frequency: what lies deeper is no longer the voice
_CLEANEST_DB = 100.0  # 16 bits hold no more; digital silence would be infinitely clean
_HANN = np.hanning(FRAME + 1)[:-1].astype(np.float32)
_LETTERS_A_DIGIT = 4.0
_SPOKEN_AS = {"CJK": 3.0, "HANGUL": 2.5, "HIRAGANA": 2.0, "KATAKANA": 2.0}  # letters of an alphabet that say as much


def clipped_share(samples: np.ndarray, peak: float) -> float:
    """Share of float samples (n,) at the limit of their own range, at the rate at which they were recorded; `peak` is their loudest."""
    limit = np.float32(_AT_THE_LIMIT * peak)
    loud = np.count_nonzero(samples >= limit) + np.count_nonzero(samples <= -limit)
    return loud / len(samples) if peak > 0 else 0.0


def measure(samples: np.ndarray, speech: np.ndarray, clipped: float, text: str) -> Measurements:
    """Measure float32 samples (n,) at 16 kHz, given how probably each frame of them holds speech and the share that was clipped."""
    spoken = speech >= SPEECH
    power = frame_power(samples)
    speech_s = min(float(spoken.sum()) * FRAME_S, len(samples) / SAMPLE_RATE_HZ)
    return Measurements(
        level_lufs=level_lufs(samples),
        peak_dbfs=round(20 * float(np.log10(np.abs(samples).max(initial=1e-9))), 2),
        clipped_share=round(clipped, 5),
        speech_s=round(speech_s, 3),
        silence_share=round(1 - speech_s / max(len(samples) / SAMPLE_RATE_HZ, FRAME_S), 3),
        snr_db=_snr_db(power, speech),
        bandwidth_hz=_bandwidth_hz(samples, spoken),
        characters_per_s=round(spoken_letters(text) / max(speech_s, FRAME_S), 2),
    )


def level_lufs(samples: np.ndarray) -> float | None:
    """Integrated loudness of float32 samples (n,) at 16 kHz; None when too short or too silent for it.

    ITU-R BS.1770-4, as EBU R 128 uses it: blocks of 0.4 s every 0.1 s, gated at -70 LUFS and 10 LU below the mean of the rest. A test
    holds it equal to pyloudnorm's, which takes four times as long, and the better part of a second in each process to be imported.
    """
    blocks = round((len(samples) / SAMPLE_RATE_HZ - _HOPS_A_BLOCK * _HOP_S) / _HOP_S) + 1
    if len(samples) < _HOPS_A_BLOCK * _HOP_S * SAMPLE_RATE_HZ:
        return None
    hop = round(_HOP_S * SAMPLE_RATE_HZ)
    padded = np.zeros((blocks + _HOPS_A_BLOCK - 1) * hop, np.float32)
    padded[: len(samples)] = samples[: len(padded)]
    hops = _mean_squares(_weighted(padded).reshape(-1, hop))
    power = np.lib.stride_tricks.sliding_window_view(hops, _HOPS_A_BLOCK).mean(axis=1)
    heard = power[power >= 10 ** ((_ABSOLUTE_GATE_LUFS + _OFFSET) / 10)]
    if not len(heard):
        return None
    return round(-_OFFSET + 10 * float(np.log10(heard[heard > heard.mean() / 10].mean())), 2)


def frame_power(samples: np.ndarray) -> np.ndarray:
    """Mean square of each frame of samples (n,): float64 of shape (ceil(n / FRAME),); silence is filled in after the last."""
    padded = np.zeros(-(-len(samples) // FRAME) * FRAME, np.float32)
    padded[: len(samples)] = samples
    return _mean_squares(padded.reshape(-1, FRAME))


def _mean_squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows).astype(np.float64) / rows.shape[1]


def spoken_letters(text: str) -> float:
    """How many letters of an alphabet are spoken: digits are read as words, a Chinese character as a syllable."""
    return sum(number * _letters_of(character) for character, number in Counter(text).items() if character.isalnum())


@lru_cache(maxsize=4096)
def _letters_of(character: str) -> float:
    return _LETTERS_A_DIGIT if character.isdigit() else _SPOKEN_AS.get(script_of(character), 1.0)


def script_of(character: str) -> str:
    """The script of a letter, as Unicode names it: LATIN, CYRILLIC, DEVANAGARI, CJK, ..."""
    return unicodedata.name(character, "").partition(" ")[0]


def _snr_db(power: np.ndarray, speech: np.ndarray) -> float | None:
    """Power within speech over that of the quieter pauses; a frame beside speech is no pause. None where that cannot be told."""
    if len(speech) * FRAME_S < UNSURE_S:
        return None
    busy = speech > PAUSE
    near = busy.copy()
    near[1:] |= busy[:-1]
    near[:-1] |= busy[1:]
    pauses = power[~near]
    if not (speech >= SPEECH).any() or len(pauses) < _LEAST_PAUSE_FRAMES:
        return None
    noise = min(float(np.percentile(pauses, _QUIET_PAUSE)), float(np.percentile(power, _QUIETEST)))
    signal = max(float(power[speech >= SPEECH].mean()) - noise, 1e-12)
    return round(min(10 * float(np.log10(signal / max(noise, 1e-12))), _CLEANEST_DB), 1)


def _bandwidth_hz(samples: np.ndarray, spoken: np.ndarray) -> float:
    """The highest frequency at which the mean spectrum of speech comes within 60 dB of its loudest."""
    from scipy.fft import rfft

    whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    chosen = whole[spoken[: len(whole)]] if spoken[: len(whole)].any() else whole
    some = chosen[:: -(-len(chosen) // _HEARD_FRAMES)]
    power = np.square(np.abs(rfft(some * _HANN, axis=1))).mean(axis=0)
    heard = np.flatnonzero(power > power.max() * 10 ** (-_HEARD_DB / 10))
    return float(heard.max()) * SAMPLE_RATE_HZ / FRAME if len(heard) else 0.0


def _weighted(samples: np.ndarray) -> np.ndarray:
    """K-weighted float32 samples (n,), n a multiple of a piece; (n / piece, piece).

    A recursive filter does to a piece of samples and the state before it what a matrix does, so that all pieces are filtered at once.
    What the states before add up to is found by doubling: first over one piece, then two, four, until it has faded.
    """
    matrix = _k_weighting()
    filtered = samples.reshape(-1, _PIECE) @ matrix[:_PIECE]
    states = np.zeros((len(filtered), matrix.shape[1] - _PIECE), np.float32)
    states[1:] = filtered[:-1, _PIECE:]
    on, pieces = matrix[_PIECE:, _PIECE:], 1
    while pieces < len(states) and np.abs(on).max() > _FADED:
        states[pieces:] += states[:-pieces] @ on
        on, pieces = on @ on, 2 * pieces
    return filtered[:, :_PIECE] + states @ matrix[_PIECE:, :_PIECE]


@lru_cache(maxsize=1)
def _k_weighting() -> np.ndarray:
    """The matrix by which [samples of a piece, state before] becomes [weighted samples, state after]: what becomes of unit vectors."""
    stages = len(_K_WEIGHTING)
    passed = np.eye(_PIECE + 2 * stages)
    state = [list(passed[:, _PIECE + 2 * stage :][:, :2].T) for stage in range(stages)]
    for sample in range(_PIECE):
        signal = passed[:, sample]
        for (b, a), held in zip(_K_WEIGHTING, state, strict=True):  # direct form II, transposed
            given, signal = signal, b[0] * signal + held[0]
            held[:] = b[1] * given - a[1] * signal + held[1], b[2] * given - a[2] * signal
        passed[:, sample] = signal
    passed[:, _PIECE:] = np.stack([one for held in state for one in held], axis=1)
    return passed.astype(np.float32)
