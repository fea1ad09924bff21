"""Who withdraws is nowhere in the home afterwards, stays out, and the models that learned from it are named."""

import json
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from deployments.dataset import app
from infra.errors import DatasetError
from infra.hub import connection
from infra.settings import settings
from tasks.contracts import DatasetVersion, Refusal, Split
from tasks.dataset import tasks as door
from tasks.dataset.export import export_version
from tasks.dataset.history import all_versions, find_version, parent_of
from tasks.dataset.home import memory_of
from tasks.dataset.ingest import IngestOptions, brought_hash, dataset_address, ingest
from tasks.dataset.speakers import pseudonyms_of, read_ledger
from tasks.dataset.version import fingerprint, read_rejects, read_utterances
from tasks.dataset.withdraw import withdraw
from tests.builders.speech import content_of, voice

pytestmark = pytest.mark.fast
GERMAN = IngestOptions(language="de", eval_share=0.4)


def write_source(folder: Path, speakers: str, clips: int, first: int = 0) -> Path:
    lines = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + clips):
        who = speakers[number % len(speakers)]
        soundfile.write(folder / f"{number}.wav", voice(17 * number, 1.2), 16_000)
        lines.append(json.dumps({"audio": f"{number}.wav", "text": f"Hier sagt {who} Nummer {number}", "speaker": who}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder


def brought(source: Path, name: str = "x") -> DatasetVersion:
    content = content_of(source)
    parent = parent_of(settings(), name, brought_hash(content, GERMAN))
    folder = settings().folder("datasets") / dataset_address(content, name, GERMAN, parent)
    return door.keep_as_newest(ingest(source, name, GERMAN, folder, 1, memory_of(settings()), parent), content, GERMAN, parent)


def said_by(version: DatasetVersion, name: str) -> tuple[list[bytes], list[str]]:
    """The bytes of the samples and the texts."""
    who = pseudonyms_of(settings()).of(name)
    spoken = [one for one in read_utterances(version) if one.speaker == who]
    return [(version.folder / one.audio_path).read_bytes()[44:] for one in spoken], [one.text for one in spoken]


def held_in_home(sounds: list[bytes], texts: list[str]) -> list[Path]:
    held = []
    for path in settings().folder("").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if any(piece in content for piece in [*sounds, *(text.encode() for text in texts)]):
            held.append(path)
    return held


def test_nothing_of_a_withdrawn_speaker_is_left_and_nothing_of_others_is_lost(tmp_path: Path):
    source = write_source(tmp_path / "source", "abcd", 12)
    first = brought(source)
    brought(write_source(tmp_path / "source", "abcd", 16))
    brought(write_source(tmp_path / "alone", "a", 4, first=40), "alone")
    home = settings().folder("")
    sounds, texts = said_by(find_version(settings(), "x"), "a")
    assert len(sounds) == 4
    for kind, name in (("evaluations", "report.json"), ("runs", "training_config.json")):
        (home / kind / "made").mkdir(parents=True)
        (home / kind / "made" / name).write_text(
            json.dumps({"dataset_fingerprint": first.fingerprint, "replay_fingerprints": []})
        )
    (home / "runs" / "other").mkdir()
    (home / "runs" / "other" / "training_config.json").write_text('{"dataset_fingerprint": "somebody else\'s"}')
    (home / "published" / "made").mkdir(parents=True)
    export_version(first, "anna/digits", home / "published" / "made")
    (home / "server.log").write_text(f"heard: {texts[0]}")
    told = CliRunner().invoke(app, ["withdraw", "a"]).stdout
    (left,) = held_in_home(sounds, texts)
    assert f"still holds a text: {left}" in told
    assert left.name == "server.log"
    for what in ("evaluations/made", "published/made"):
        assert f"removed: {home / what}" in told
        assert not (home / what).exists()
    assert f"stale, train it again without: {home / 'runs' / 'made'}" in told
    assert f"look whether they held it: {home / 'runs' / 'other'}" in told
    assert "hf repos delete anna/digits --type dataset" in told
    assert [version.name for version in all_versions(settings())] == ["x", "x"], "of one who was alone nothing is left"
    for version in all_versions(settings()):
        spoken = read_utterances(version)
        assert len(spoken) in (9, 12)
        assert fingerprint(spoken) == version.fingerprint
        assert {one.split for one in spoken} >= {Split.TRAIN, Split.EVAL}
        assert all((version.folder / one.audio_path).is_file() for one in spoken)
        assert {record.name for record in read_ledger(version.folder)} == {"b", "c", "d"}


def test_the_local_hub_forgets_what_was_withdrawn_and_keeps_all_else(tmp_path: Path):
    first = brought(write_source(tmp_path / "source", "abcd", 12))
    home, key = settings().folder(""), {one.speaker: one for one in read_utterances(first)}
    said = key[pseudonyms_of(settings()).of("a")]
    (tmp_path / "export").mkdir()
    export_version(first, "local/digits", tmp_path / "export")
    other = write_source(tmp_path / "others", "x", 4, first=60)
    with connection(settings()) as hub:
        api = hub.api()
        for kind, name in (
            ("dataset", "digits"),
            ("dataset", "other"),
            ("space", "demo"),
            ("model", "quoting"),
            ("model", "long"),
            ("model", "other"),
        ):
            api.create_repo(f"local/{name}", repo_type=kind, private=True, space_sdk="gradio" if kind == "space" else None)
        api.upload_folder(repo_id="local/digits", repo_type="dataset", folder_path=tmp_path / "export")
        api.upload_file(repo_id="local/other", repo_type="dataset", path_or_fileobj=other / "60.wav", path_in_repo="60.wav")
        api.upload_file(
            repo_id="local/demo", repo_type="space", path_or_fileobj=first.folder / said.audio_path, path_in_repo="a.wav"
        )
        api.upload_file(
            repo_id="local/long", path_or_fileobj=b"- something\n" * 10_000 + said.text.encode(), path_in_repo="notes.txt"
        )
        api.upload_file(repo_id="local/quoting", path_or_fileobj=f"> {said.text}".encode(), path_in_repo="README.md")
        api.upload_file(repo_id="local/other", path_or_fileobj=b"A model", path_in_repo="README.md")
        api.upload_file(  # the newest revision no longer holds it: the others do
            repo_id="local/digits", repo_type="dataset", path_or_fileobj=b"gone", path_in_repo="data/train-00000-of-00001.parquet"
        )
    told = CliRunner().invoke(app, ["withdraw", "a"]).stdout
    for name in ("dataset local/digits", "space local/demo"):
        assert f"deleted on the local Hub, publish it again without: {name}\n" in told
    for name in ("quoting", "long"):
        assert f"on the local Hub, it tells a text, publish it again: model local/{name}\n" in told
    with connection(settings()) as hub:
        api = hub.api()
        listed = {"model": api.list_models(), "dataset": api.list_datasets(), "space": api.list_spaces()}
        left = {(kind, one.id) for kind, found in listed.items() for one in found}
    assert left == {("dataset", "local/other"), *(("model", f"local/{name}") for name in ("quoting", "long", "other"))}
    kept = [path.read_bytes() for path in (home / "hub" / "files").glob("*/*")]
    assert [content for content in kept if content.startswith((b"RIFF", b"PAR1"))] == [(other / "60.wav").read_bytes()]


def test_a_new_version_descends_from_the_one_before_and_nobody_else_moves(tmp_path: Path):
    first = brought(write_source(tmp_path / "source", "abcde", 20))
    sides = {one.id: one.split for one in read_utterances(first)}
    (made,) = withdraw(settings(), "a").made
    assert made.parent == first.fingerprint
    assert find_version(settings(), "x") == made
    kept = {one.id: one.split for one in read_utterances(made)}
    if {sides[key] for key in kept} >= {Split.TRAIN, Split.EVAL}:
        assert kept.items() <= sides.items()


def test_what_is_brought_again_is_refused_by_name_and_by_sound(tmp_path: Path):
    source = write_source(tmp_path / "source", "abc", 12)
    sounds, texts = said_by(brought(source), "a")
    withdraw(settings(), "a")
    again = brought(source)
    assert [one.kind for one in read_rejects(again)] == [Refusal.CONSENT] * 4
    rows = [json.loads(line) for line in (source / "data.jsonl").read_text().splitlines()]
    (source / "data.jsonl").write_text("\n".join(json.dumps(row | {"speaker": f"new {row['speaker']}"}) for row in rows))
    renamed = brought(source)
    assert [one.kind for one in read_rejects(renamed)] == [Refusal.CONSENT] * 4
    assert held_in_home(sounds, texts) == []


def test_a_pseudonym_does_as_well_a_second_time_changes_nothing_and_a_stranger_is_told(tmp_path: Path):
    brought(write_source(tmp_path / "source", "abc", 12))
    who = pseudonyms_of(settings()).of("b")
    assert len(withdraw(settings(), who).utterances) == 4
    assert withdraw(settings(), "b").utterances == ()
    with pytest.raises(DatasetError, match="'nobody' speaks in no dataset"):
        withdraw(settings(), "nobody")


def test_what_was_fetched_goes_too(tmp_path: Path):
    source = write_source(settings().folder("sources") / "fetched", "abc", 12)
    brought(source)
    assert source in withdraw(settings(), "c").removed
    assert not source.exists()
