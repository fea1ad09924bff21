"""Speech from text by espeak-ng: what the demo, the base model and the tests are made of where no recordings are at hand.

espeak-ng is one C library with global state: one process, one voice at a time, about 20 ms an utterance. What was said before leaves
traces in what is said next (echo, breath), so `synthesise_many` speaks a fixed number of lines in a new process each. The library and
its 100 languages come from the PyPI package `espeakng-loader`.
"""

import ctypes
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import SpeechError, WorkerLost
from infra.processes import worker_pool

# espeak-ng's own names and numbers: speak_lib.h
_AUDIO_OUTPUT_RETRIEVAL = 1
_PARAMETER_RATE, _PARAMETER_PITCH = 1, 3
_CHARS_UTF8 = 1

SYNTHESIS_VERSION = 2  # raise it when equal lines would give other samples: it is part of a corpus's name
_NOISE_SEED = 1  # of the voices' breath
_LINES_A_PROCESS = 100

# Variants of espeak-ng's `voices/!v` that sound like a person and are intelligible to one.
VOICE_VARIANTS = tuple(
    (
        "Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen Reed "
        "Storm adam anika antonio aunty belinda benjamin boris caleb david ed edward f1 f2 f3 f4 f5 grandma grandpa "
        "gustave ian iven john klatt klatt2 klatt3 klatt4 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel mike2 "
        "norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 travis victor zac"
    ).split()
)


@dataclass(frozen=True, slots=True)
class Voice:
    """How an utterance is spoken: an espeak-ng variant, the rate in words a minute, the pitch from 0 to 100."""

    variant: str
    rate_wpm: int = 160
    pitch: int = 50


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to say, where to write it, and how long to be silent before."""

    text: str
    language: str
    voice: Voice
    path: Path
    pause_s: float = 0.0


@cache
def _library() -> tuple[ctypes.CDLL, int]:
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    data_path = str(espeakng_loader.get_data_path()).encode()
    sample_rate_hz = library.espeak_Initialize(_AUDIO_OUTPUT_RETRIEVAL, 0, data_path, 0)
    if sample_rate_hz <= 0:
        raise SpeechError(f"espeak-ng did not start from {data_path.decode()}", "Reinstall the package espeakng-loader")
    library.espeak_ng_SetRandSeed(ctypes.c_long(_NOISE_SEED))  # by default the time of day
    return library, sample_rate_hz


def synthesise(text: str, language: str, voice: Voice) -> tuple[np.ndarray, int]:
    """Speak a text.

    Returns:
        Samples, int16 of shape (n,), and their rate in Hz (22050).

    Raises:
        SpeechError: espeak-ng has no such language or variant, or was silent.

    """
    library, sample_rate_hz = _library()
    name = f"{language}+{voice.variant}"
    if library.espeak_SetVoiceByName(name.encode()) != 0:
        raise SpeechError(f"espeak-ng has no voice {name!r}", "Choose another language or variant")
    library.espeak_SetParameter(_PARAMETER_RATE, voice.rate_wpm, 0)
    library.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
    pieces: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(collect)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    if not pieces:
        raise SpeechError(f"espeak-ng said nothing for {text!r} in {name!r}", "Give it words that can be spoken")
    return np.concatenate(pieces), sample_rate_hz


def _speak_to_files(lines: Sequence[Line]) -> int:
    import soundfile

    for line in lines:
        samples, sample_rate_hz = synthesise(line.text, line.language, line.voice)
        silence = np.zeros(int(line.pause_s * sample_rate_hz), dtype=np.int16)
        encoded = io.BytesIO()  # libsndfile itself does not tell a full disk
        soundfile.write(encoded, np.concatenate([silence, samples]), sample_rate_hz, format="WAV", subtype="PCM_16")
        line.path.write_bytes(encoded.getbuffer())
    return len(lines)


def synthesise_many(lines: Sequence[Line], processes: int) -> Iterator[int]:
    """Speak every line to its file; yields how many are done. Equal lines, equal samples, whatever the number of processes.

    Raises:
        SpeechError: a line cannot be spoken.
        WorkerLost: a process was killed.

    """
    chunks = [lines[start : start + _LINES_A_PROCESS] for start in range(0, len(lines), _LINES_A_PROCESS)]
    done = 0
    waiting = ThreadPoolExecutor(processes)  # each thread waits for one process
    try:
        for spoken in waiting.map(_speak_in_a_new_process, chunks):
            done += spoken
            yield done
    finally:
        waiting.shutdown(cancel_futures=True)


def _speak_in_a_new_process(lines: Sequence[Line]) -> int:
    """espeak-ng's sound depends on what it said before: so the process ends with the lines."""
    try:
        with worker_pool(1) as pool:
            return pool.submit(_speak_to_files, lines).result()
    except BrokenProcessPool as error:
        raise WorkerLost("A process that synthesises speech was killed", "Look for a lack of memory, and start again") from error
