"""A clip on disk becomes 16 kHz mono samples, and samples become a WAV file.

Decodes what libsndfile reads (WAV, FLAC, OGG, Opus, MP3, AIFF, ...), and MP4, WebM, AAC and WMA where PyAV is installed; by content,
whatever the file's name says. Channels are mixed by their mean; soxr resamples in its high quality. Samples are rounded to 16 bits here,
once, so that what is hashed, stored, trained on and transcribed is the same. Metadata is not read.
"""

import hashlib
import io
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infra.errors import SpeechError
from tasks.contracts import SAMPLE_RATE_HZ, Refusal

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64"}
    | {".m4a", ".mp4", ".webm", ".mka", ".aac", ".wma"}
)
_CONTAINERS = (  # offset and bytes that tell a container, as FFmpeg calls it; nothing else is handed to FFmpeg
    (4, b"ftyp", "mp4"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"\xff\xf1", "aac"),
    (0, b"\xff\xf9", "aac"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
)
_FULL_SCALE = 32_768
_LONGEST_S = 120  # more is not read: no utterance lasts that long, and a header may claim any length or none
_RATES_HZ = (2_000, 768_000)  # slower holds no speech; no recorder is faster, and a header may claim any rate
_BLOCK_SAMPLES = (
    1 << 22
)  # 16 MB at once: an utterance as a whole, since soundfile seeks after each block, which in MP3 costs and is heard
_RESAMPLED_AT_ONCE = (
    1 << 15
)  # samples, with which soxr keeps to a core's cache: a third less time than for all at once, the same result
_EXACT_CHANNELS = 2  # a product with halves is exact; of more channels it would depend on the threads of BLAS, and be no faster
_WAV_HEADER = struct.Struct("<4sI8sIHHIIHH4sI")
_ADVICE = "Convert it to WAV, FLAC, OGG or MP3, or leave it out"


class Recording(NamedTuple):
    """float32 of shape (n,): a recording mixed to mono, at its own rate, and the size of its loudest sample."""

    samples: np.ndarray
    sample_rate_hz: int
    peak: float


def read_clip(path: Path) -> np.ndarray:
    """Decode a file: `to_clip` of `read_recording`."""
    return to_clip(read_recording(path))


def to_clip(recording: Recording) -> np.ndarray:
    """A recording as int16 of shape (m,) at 16 kHz. What resampling pushed past full scale is lowered as a whole, not clipped."""
    return to_int16(resample(recording.samples, recording.sample_rate_hz))


def read_recording(path: Path) -> Recording:
    """Decode a file.

    Raises:
        SpeechError: the file is missing, changes while it is read, is no audio, empty, far too long, or holds values that are no numbers.

    """
    if path.suffix.lower() == ".raw":
        raise SpeechError(f"{path.name} is raw samples: nothing in it tells their rate", _ADVICE, Refusal.NO_AUDIO)
    with _opened(path) as stream:
        samples, sample_rate_hz = _decoded(stream, path.name)
    if samples.size == 0:
        raise SpeechError(f"{path.name} holds no samples", "Record it again or leave it out", Refusal.NO_AUDIO)
    peak = _peak(samples)
    if not np.isfinite(peak):
        raise SpeechError(f"{path.name} holds samples that are no numbers", "Export it again from its source", Refusal.NO_AUDIO)
    return Recording(samples, sample_rate_hz, peak)


@contextmanager
def _opened(path: Path) -> Iterator[io.FileIO]:
    """The file, open; a SpeechError when it cannot be opened or was written to meanwhile."""
    try:
        if not path.is_file() and path.exists():  # a device or a pipe would never end
            raise SpeechError(f"{path.name} is no file", "Check the path in the manifest", Refusal.MISSING)
        with path.open("rb", buffering=0) as stream:  # so that libsndfile finds the descriptor where we left it
            before = path.stat()
            yield stream
            after = path.stat()
    except FileNotFoundError as error:
        raise SpeechError(f"{path.name} does not exist", "Check the path in the manifest", Refusal.MISSING) from error
    except OSError as error:
        raise SpeechError(
            f"{path.name} cannot be opened: {error.strerror}", "Check the path and who may read it", Refusal.MISSING
        ) from error
    if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        raise SpeechError(f"{path.name} changed while it was read", "Ingest it again once it is complete", Refusal.NO_AUDIO)


def _decoded(stream: io.FileIO, name: str) -> tuple[np.ndarray, int]:
    """Float32 samples (n,), and how many there are a second."""
    import soundfile

    head = stream.read(16)
    stream.seek(0)
    container = next((kind for offset, magic, kind in _CONTAINERS if head[offset:].startswith(magic)), None)
    if container:
        return _decoded_by_ffmpeg(stream, container, name)
    try:
        with soundfile.SoundFile(stream.fileno(), closefd=False) as sound:  # from the stream it would read in small pieces
            rate = _checked_rate(sound.samplerate, name)
            samples = _mixed(_blocks(sound, _BLOCK_SAMPLES // sound.channels), rate, name)
    except soundfile.LibsndfileError as error:
        raise SpeechError(f"{name} cannot be decoded: {error.error_string}", _ADVICE, Refusal.NO_AUDIO) from error
    return samples, rate


def _blocks(sound: Any, length: int) -> Iterator[np.ndarray]:
    """What there is, whatever length the header claims."""
    kind = "int16" if sound.subtype == "PCM_16" else "float32"  # as it is stored: libsndfile takes long to convert it
    while len(block := sound.read(length, dtype=kind, always_2d=True)):
        yield block


def _decoded_by_ffmpeg(stream: io.FileIO, container: str, name: str) -> tuple[np.ndarray, int]:
    try:
        import av
    except ImportError as error:
        raise SpeechError(
            f"{name} is {container.upper()}, for which PyAV is not installed",
            "Install voxfactory with its extra `media`, or convert the file to WAV, FLAC, OGG or MP3",
            Refusal.NO_AUDIO,
        ) from error
    try:
        with av.open(stream, format=container, metadata_errors="ignore") as opened:
            sound = next((stream for stream in opened.streams.audio if stream.codec_context), None)
            if sound is None:
                raise SpeechError(f"{name} holds no sound that can be decoded", _ADVICE, Refusal.NO_AUDIO)
            rate = _checked_rate(sound.rate, name)
            return _mixed(_frames(opened.decode(sound), rate, name), rate, name), rate
    except av.error.FFmpegError as error:
        raise SpeechError(f"{name} cannot be decoded: {error.strerror}", _ADVICE, Refusal.NO_AUDIO) from error


def _frames(decoded: Iterable[Any], sample_rate_hz: int, name: str) -> Iterator[np.ndarray]:
    """FFmpeg's frames as float32 blocks of shape (n, channels)."""
    import av

    to_float, first = av.AudioResampler(format="flt", rate=sample_rate_hz), None
    for frame in decoded:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        first = first or kind
        if kind != first:
            raise SpeechError(f"{name} changes from {first} to {kind} on its way", _ADVICE, Refusal.NO_AUDIO)
        for converted in to_float.resample(frame):
            yield converted.to_ndarray().reshape(-1, converted.layout.nb_channels)


def _checked_rate(sample_rate_hz: int | None, name: str) -> int:
    slowest, fastest = _RATES_HZ
    if sample_rate_hz is None or not slowest <= sample_rate_hz <= fastest:
        raise SpeechError(f"{name} claims {sample_rate_hz} samples a second", _ADVICE, Refusal.NO_AUDIO)
    return sample_rate_hz


def _mixed(blocks: Iterable[np.ndarray], sample_rate_hz: int, name: str) -> np.ndarray:
    """Blocks of shape (n, channels), int16 or float32, as one float32 of shape (m,), read no further than allowed."""
    mixed: list[np.ndarray] = []
    read = 0
    for block in blocks:
        mixed.append(_mono(block))
        read += len(block)
        if read > _LONGEST_S * sample_rate_hz:
            raise SpeechError(f"{name} lasts more than {_LONGEST_S} s", "Cut it at pauses", Refusal.TOO_LONG)
    return mixed[0] if len(mixed) == 1 else np.concatenate([*mixed, np.zeros(0, np.float32)])


def _mono(block: np.ndarray) -> np.ndarray:
    """The mean of channels (n, channels), int16 or float32, as float32 (n,)."""
    channels = block.shape[1]
    share = np.float32(1 / ((_FULL_SCALE if block.dtype == np.int16 else 1) * channels))
    floats = block.astype(np.float32, copy=False)
    if channels <= _EXACT_CHANNELS:
        return floats @ np.full(channels, share)
    return floats.sum(axis=1) * share


def resample(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32 (n,) at any rate to float32 (m,) at 16 kHz."""
    import soxr

    if sample_rate_hz == SAMPLE_RATE_HZ:
        return samples
    stream = soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
    starts = range(0, max(len(samples), 1), _RESAMPLED_AT_ONCE)
    pieces = [stream.resample_chunk(samples[at : at + _RESAMPLED_AT_ONCE], last=at == starts[-1]) for at in starts]
    return np.concatenate(pieces)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] to int16; louder input is scaled down to full scale. The inverse of `to_float32`."""
    scaled = samples * np.float32(_FULL_SCALE / max(_peak(samples), 1.0))
    np.rint(scaled, out=scaled)
    return np.minimum(scaled, _FULL_SCALE - 1, out=scaled).astype(np.int16)


def _peak(samples: np.ndarray) -> float:
    """Size of the loudest sample; no number if one of them is none."""
    return max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))


def to_float32(samples: np.ndarray) -> np.ndarray:
    """int16 to float32 in [-1, 1), as libsndfile reads PCM_16."""
    return np.multiply(samples, np.float32(1 / _FULL_SCALE), dtype=np.float32)


def write_clip(path: Path, samples: np.ndarray) -> None:
    """Write int16 mono samples at 16 kHz as PCM_16 WAV, without any metadata."""
    path.write_bytes(encoded_clip(samples))


def encoded_clip(samples: np.ndarray) -> bytes:
    """Int16 mono samples at 16 kHz as the bytes of a PCM_16 WAV file without any metadata."""
    data = samples.astype("<i2", copy=False).tobytes()
    form, channels, width = 1, 1, 2  # PCM
    layout = (16, form, channels, SAMPLE_RATE_HZ, width * SAMPLE_RATE_HZ, width, 8 * width)
    return _WAV_HEADER.pack(b"RIFF", _WAV_HEADER.size - 8 + len(data), b"WAVEfmt ", *layout, b"data", len(data)) + data


def load_clip(path: Path) -> np.ndarray:
    """Read a clip that `write_clip` wrote: float32 of shape (n,) at 16 kHz.

    Raises:
        SpeechError: the file is missing or has another rate or channel count.

    """
    import soundfile

    if not path.is_file():
        raise SpeechError(f"{path} does not exist", "The dataset folder is incomplete: ingest it again")
    samples, sample_rate_hz = soundfile.read(path, dtype="float32")
    if sample_rate_hz != SAMPLE_RATE_HZ or samples.ndim != 1:
        raise SpeechError(
            f"{path} is not 16 kHz mono ({sample_rate_hz} Hz, {samples.ndim} axes)", "Bring it in with `voxfactory ingest`"
        )
    return samples


def audio_hash(samples: np.ndarray) -> str:
    """Hex SHA-256 of int16 samples: equal speech, equal hash, whatever file it came in."""
    return hashlib.sha256(np.ascontiguousarray(samples, dtype="<i2").tobytes()).hexdigest()


def duration_s(samples: np.ndarray) -> float:
    """Length of 16 kHz samples in seconds."""
    return len(samples) / SAMPLE_RATE_HZ
