import json
import shutil
from pathlib import Path

import pytest
import soundfile

from infra.errors import DatasetError, SettingsError
from tasks.contracts import Split
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.version import open_version, read_utterances
from tests.builders.speech import REAL_SPEECH, content_of, digit_corpus, voice

pytestmark = pytest.mark.fast
GERMAN = IngestOptions(language="de", eval_share=0.3)


def write_clips(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", voice(number), 16_000)


def test_real_speech_in_a_folder_with_text_files(tmp_path: Path):
    version = ingest(REAL_SPEECH, "asterisk", IngestOptions(language="en"), tmp_path / "version", processes=1)
    clips = len(list(REAL_SPEECH.glob("*.wav")))
    assert version.train_utterances + version.eval_utterances + version.set_aside_utterances == clips
    assert version.rejected == 0
    for utterance in read_utterances(version):
        info = soundfile.info(version.folder / utterance.audio_path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.duration == pytest.approx(utterance.duration_s, abs=0.01)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("m.csv", ["path,sentence", "{0},eins", "{1},zwei", "{2},drei"]),
        ("m.tsv", ["client_id\tpath\tsentence", "a\t{0}\teins", "b\t{1}\tzwei", "c\t{2}\tdrei"]),
        (
            "m.jsonl",
            [
                '{{"audio_filepath":"{0}","text":"eins","duration":1}}',
                '{{"audio":"{1}","transcription":"zwei"}}',
                '{{"audio_path":"{2}","text":"drei"}}',
            ],
        ),
    ],
)
def test_every_kind_of_manifest_is_understood(tmp_path: Path, name: str, lines: list[str]):
    write_clips(tmp_path, 3)
    (tmp_path / name).write_text("\n".join(line.format("0.wav", "1.wav", "2.wav") for line in lines))
    version = ingest(tmp_path, "x", GERMAN, tmp_path / "version", processes=1)
    assert sorted(utterance.text for utterance in read_utterances(version)) == ["drei", "eins", "zwei"]
    alone = ingest(tmp_path / name, "x", GERMAN, tmp_path / "alone", processes=1)
    assert alone.fingerprint == version.fingerprint


def test_other_tables_in_the_folder_do_not_hide_the_text_files(tmp_path: Path):
    write_clips(tmp_path, 2)
    (tmp_path / "0.txt").write_text("eins")
    (tmp_path / "1.txt").write_text("zwei")
    (tmp_path / "notes.csv").write_text("day,weather\nmonday,rain\n")
    (tmp_path / "settings.json").write_text('{\n  "volume": 3\n}\n')
    version = ingest(tmp_path, "x", GERMAN, tmp_path / "version", processes=1)
    assert (version.train_utterances + version.eval_utterances, version.rejected) == (2, 0)


def test_a_dataset_version_is_a_source_too(tmp_path: Path):
    first = ingest(digit_corpus(tmp_path / "source", clips=8), "x", GERMAN, tmp_path / "first", processes=1)
    second = ingest(first.folder, "y", GERMAN, tmp_path / "second", processes=1)
    assert second.fingerprint == first.fingerprint
    assert second.rejected == 0


def test_one_bad_file_never_stops_the_others_and_every_refusal_has_its_reason(tmp_path: Path):
    write_clips(tmp_path, 4)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "silent.wav", 0 * voice(0), 16_000)
    soundfile.write(tmp_path / "click.wav", voice(0, 0.05), 16_000)
    soundfile.write(tmp_path / "long.wav", voice(0, 31), 16_000)
    texts = {"0": "null", "1": "eins", "2": " ", "broken": "a", "silent": "b", "click": "c", "long": "d"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    shutil.copy(tmp_path / "0.wav", tmp_path / "again.wav")
    (tmp_path / "again.txt").write_text("null")
    version = ingest(tmp_path, "x", GERMAN, tmp_path / "version", processes=1)
    assert sorted(u.text for u in read_utterances(version)) == ["eins", "null"]
    rejects = [json.loads(line) for line in (version.folder / "rejected.jsonl").read_text().splitlines()]
    reasons = {reject["origin"]: reject["reason"] for reject in rejects}
    assert version.rejected == len(reasons) == 7
    for origin, reason in {
        "2.wav": "transcript is empty",
        "3.wav": "no transcript",
        "again.wav": "Equal in sound and text to 0.wav",
        "broken.wav": "cannot be decoded",
        "silent.wav": "silent",
        "click.wav": "less than 0.2 s",
        "long.wav": "more than 30 s",
    }.items():
        if origin == "again.wav" and origin not in reasons:
            origin, reason = "0.wav", "Equal in sound and text to again.wav"
        assert reason in reasons[origin]


@pytest.mark.parametrize(("clips", "message"), [(0, "holds no audio"), (1, "cannot be divided")])
def test_too_little_speech_is_an_error_that_leaves_nothing(tmp_path: Path, clips: int, message: str):
    source = tmp_path / "source"
    write_clips(source, clips)
    for number in range(clips):
        (source / f"{number}.txt").write_text("eins")
    with pytest.raises(DatasetError, match=message):
        ingest(source, "x", GERMAN, tmp_path / "version", processes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_no_usable_utterance_says_why(tmp_path: Path):
    write_clips(tmp_path / "source", 2)
    with pytest.raises(DatasetError, match=r"no usable utterance .*has no transcript"):
        ingest(tmp_path / "source", "x", GERMAN, tmp_path / "version", processes=1)


def test_an_unknown_language_stops_before_any_work():
    with pytest.raises(SettingsError, match="'xx' is not a language"):
        IngestOptions(language="xx")


def test_equal_content_elsewhere_has_the_same_address_and_one_changed_byte_another(tmp_path: Path):
    first = digit_corpus(tmp_path / "here", clips=6)
    second = shutil.copytree(first, tmp_path / "there")
    assert content_of(first) == content_of(second)
    clip = next(second.glob("*.wav"))
    changed = bytearray(clip.read_bytes())
    changed[-1] ^= 1
    clip.write_bytes(changed)
    assert content_of(first) != content_of(second)


def test_fingerprints_go_by_speech_and_text_and_not_by_file_order_or_processes(tmp_path: Path):
    source = digit_corpus(tmp_path / "source", clips=12)
    reordered = shutil.copytree(source, tmp_path / "reordered")
    manifest = reordered / "manifest.jsonl"
    manifest.write_text("\n".join(reversed(manifest.read_text().splitlines())))
    versions = [
        ingest(source, "a", GERMAN, tmp_path / "a", processes=1),
        ingest(reordered, "b", GERMAN, tmp_path / "b", processes=2),
    ]
    assert versions[0].fingerprint == versions[1].fingerprint
    sides = [{u.id: u.split for u in read_utterances(version)} for version in versions]
    assert sides[0] == sides[1]


def test_a_version_is_read_back_as_it_was_written(tmp_path: Path):
    version = ingest(digit_corpus(tmp_path / "source", clips=8), "x", GERMAN, tmp_path / "version", processes=1)
    assert open_version(version.folder) == version
    assert len(read_utterances(version, Split.TRAIN)) == version.train_utterances
    with pytest.raises(DatasetError, match="no dataset version"):
        open_version(tmp_path)
