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


def test_a_transcript_that_leads_to_the_memory_of_a_process_is_refused_alone(source: Path, tmp_path: Path):
    (source / "0.txt").write_text("eins")
    (source / "1.txt").write_text("zwei")
    (source / "2.txt").symlink_to("/proc/self/mem")
    (source / "table.csv").mkdir()
    assert refused(source, tmp_path / "version") == ["2.txt lies outside the source"]


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


@pytest.mark.parametrize("name", ["{outside}", "../outside/secret.wav", "link.wav", "folder/secret.wav"])
def test_nothing_outside_a_folder_is_read_whatever_it_names(source: Path, tmp_path: Path, name: str):
    outside = tmp_path / "outside"
    outside.mkdir()
    soundfile.write(outside / "secret.wav", voice(5), 16_000)
    (source / "link.wav").symlink_to(outside / "secret.wav")
    (source / "folder").symlink_to(outside)
    named = name.format(outside=outside / "secret.wav")
    (source / "data.jsonl").write_text(GOOD + json.dumps({"audio_path": named, "text": "drei"}))
    (told,) = refused(source, tmp_path / "version")
    assert "lies outside the source" in told


def test_who_names_a_manifest_may_name_files_anywhere(source: Path, tmp_path: Path):
    manifest = tmp_path / "manifest.jsonl"
    rows = [{"audio_filepath": str(source / "0.wav"), "text": "eins"}, {"audio_filepath": "source/1.wav", "text": "zwei"}]
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    assert ingest(manifest, "x", GERMAN, tmp_path / "version", processes=1).rejected == 0


def test_links_to_clips_outside_a_folder_are_not_followed(source: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("a secret")
    soundfile.write(outside / "secret.wav", voice(5), 16_000)
    for number, text in enumerate(("eins", "zwei")):
        (source / f"{number}.txt").write_text(text)
    (source / "2.txt").symlink_to(outside / "secret.txt")
    (source / "3.wav").symlink_to(outside / "secret.wav")
    (source / "3.txt").write_text("drei")
    told = refused(source, tmp_path / "version")
    assert len(told) == 2
    assert all("lies outside the source" in reason for reason in told)


def test_two_files_of_one_name_share_no_transcript(source: Path, tmp_path: Path):
    for number, text in enumerate(("eins", "zwei", "drei")):
        (source / f"{number}.txt").write_text(text)
    soundfile.write(source / "2.flac", voice(7), 16_000)
    told = refused(source, tmp_path / "version")
    assert len(told) == 2
    assert all("shares 2.txt with another file" in reason for reason in told)


def test_a_transcript_of_a_missing_file_is_told_of(source: Path, tmp_path: Path):
    for name, text in (("0", "eins"), ("1", "zwei"), ("2", "drei"), ("lost", "vier")):
        (source / f"{name}.txt").write_text(text)
    (source / "2.wav").unlink()
    assert refused(source, tmp_path / "version") == ["has no audio of this name beside it"] * 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("drei\u0007", "control characters"),
        ("🎉🎉", "has no word in it"),
        ("drei " * 20_000, "cannot be said"),
        ("\u202edrei", None),  # right-to-left override: a format character, no control character
        ("שלום עולם", None),
        ("drei 🎉", None),
    ],
)
def test_texts_that_nobody_expects(source: Path, tmp_path: Path, text: str, reason: str | None):
    (source / "data.jsonl").write_text(GOOD + json.dumps({"audio_path": "2.wav", "text": text}))
    version = ingest(source, "x", GERMAN, tmp_path / "version", processes=1)
    told = [json.loads(line)["reason"] for line in (version.folder / "rejected.jsonl").read_text().splitlines()]
    assert len(told) == (reason is not None)
    assert all(reason in one for one in told if reason)
