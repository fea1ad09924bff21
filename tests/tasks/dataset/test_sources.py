"""One bad row never stops the others: it is refused with its reason, whatever is wrong with it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile

from infra.errors import DatasetError
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.sources import read_source
from tasks.dataset.version import read_utterances
from tests.builders.speech import content_of, voice

pytestmark = pytest.mark.fast
GERMAN = IngestOptions(language="de", eval_share=0.3)
GOOD = '{"audio_path": "0.wav", "text": "eins"}\n{"audio_path": "1.wav", "text": "zwei"}\n'
_NOBODY = 65534


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three clips."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", voice(number), 16_000)
    return folder


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read everything: be somebody else for a while."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)


def refused(source: Path, place: Path) -> list[str]:
    """Ingest what must hold two good utterances; the reasons why the rest was refused."""
    assert len(content_of(source)) == 64
    version = ingest(source, "x", GERMAN, place, processes=1)
    assert sorted(utterance.text for utterance in read_utterances(version)) == ["eins", "zwei"]
    return [json.loads(line)["reason"] for line in (place / "rejected.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (r'{"audio_path": "a\u0000b.wav", "text": "drei"}', "null character"),
        (r'{"audio_path": "\ud800.wav", "text": "drei"}', "half a Unicode character"),
        (r'{"audio_path": "\ud800.wav"}', "half a Unicode character"),
        (r'{"audio_path": "2.wav", "text": "drei \udfff"}', "half a Unicode character"),
        (r'{"audio_path": "2.wav", "text": "drei", "speaker": "\ud800"}', "half a Unicode character"),
        (r'{"audio_path": "2.wav", "text": "drei", "language": "\ud800"}', "half a Unicode character"),
        (f'{{"audio_path": "2.wav", "text": {"1" * 5000}}}', "not JSON that can be read"),
        (f'{{"audio_path": "2.wav", "text": {"[" * 100_000}', "not JSON that can be read"),
        ('{"audio_path": "2.wav"', "not JSON: Expecting ',' delimiter at column 23"),
        ('["2.wav", "drei"]', "not a JSON object"),
        ('{"audio_path": "2.raw", "text": "drei"}', "nothing in it tells their rate"),
        (f'{{"audio_path": "{"a" * 300}.wav", "text": "drei"}}', "cannot be opened: File name too long"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_alone(source: Path, tmp_path: Path, line: str, reason: str):
    (source / "2.raw").write_bytes(b"\0" * 100)
    (source / "data.jsonl").write_text(f"{GOOD}{line}\n")
    (told,) = refused(source, tmp_path / "version")
    assert reason in told


def test_a_clip_whose_header_lies_about_its_length_is_refused_alone(source: Path, tmp_path: Path):
    soundfile.write(source / "2.flac", voice(0, 1.0), 16_000)
    lying = bytearray((source / "2.flac").read_bytes())
    lying[21:26] = b"\xff" * 5  # STREAMINFO: 2^36 - 1 samples, for which no machine has the memory
    (source / "2.flac").write_bytes(lying)
    (source / "data.jsonl").write_text(GOOD + '{"audio_path": "2.flac", "text": "drei"}\n')
    (told,) = refused(source, tmp_path / "version")
    assert "2.flac cannot be decoded" in told


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_line_of_json_ends_where_the_line_ends(source: Path, tmp_path: Path, separator: str):
    lines = GOOD.replace("zwei", f"zwei{separator}drei")
    (source / "data.jsonl").write_text(lines, encoding="utf-8", newline="\r\n")
    version = ingest(source, "x", GERMAN, tmp_path / "version", processes=1)
    assert version.rejected == 0
    assert sorted(utterance.text for utterance in read_utterances(version)) == ["eins", "zwei drei"]


def test_a_transcript_that_breaks_under_reading_is_refused_alone(source: Path, tmp_path: Path):
    (source / "0.txt").write_text("eins")
    (source / "1.txt").write_text("zwei")
    (source / "2.txt").symlink_to("/proc/self/mem")
    (source / "table.csv").mkdir()
    assert refused(source, tmp_path / "version") == ["2.txt cannot be read: Input/output error"]


def test_a_transcript_that_we_may_not_read_is_refused_alone(open_folder: Path):
    for number in range(2):
        soundfile.write(open_folder / f"{number}.wav", voice(0, 1.0), 16_000)
        (open_folder / f"{number}.txt").write_text("eins")
    (open_folder / "1.txt").chmod(0)
    with nobody():
        rows, (reject,) = read_source(open_folder)
    assert [row.origin for row in rows] == ["0.wav"]
    assert (reject.origin, reject.reason) == ("1.wav", "1.txt cannot be read: Permission denied")


@pytest.mark.parametrize(("closed", "mode"), [("data.jsonl", 0), ("table.csv", 0), (".", 0o311)])
def test_a_manifest_or_folder_that_we_may_not_read_is_told_and_nothing_is_left_out(open_folder: Path, closed: str, mode: int):
    (open_folder / "other.jsonl").write_text(GOOD)
    (open_folder / closed).touch()
    (open_folder / closed).chmod(mode)
    with nobody(), pytest.raises(DatasetError, match=f"{open_folder / closed} cannot be read: Permission denied"):
        read_source(open_folder)
    (open_folder / closed).chmod(0o755)
