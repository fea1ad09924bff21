"""A dataset on a Hub: what `load_dataset` streams is what was ingested, and no name of a speaker or a file comes with it."""

import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import soundfile
from datasets import load_dataset

from infra.errors import PublishingError
from tasks.contracts import DatasetVersion, RepositoryKind, Split, StagedDataset, Utterance
from tasks.dataset.export import DatasetPublication, export_address, export_version
from tasks.dataset.figures import draw_dataset
from tasks.dataset.version import open_version, read_utterances
from tasks.publishing.screening import finish
from tasks.publishing.stage_dataset import stage_version
from tasks.publishing.upload import upload
from tasks.publishing.verify import verify_dataset
from tasks.speech.audio import audio_hash
from tests.builders.hubs import served_hub
from tests.builders.publications import connected

PICTURES = {
    "measured": lambda utterances, path: drawn(utterances, Counter(), path),
    "not measured": lambda utterances, path: drawn(
        [u.model_copy(update={"measured": None}) for u in utterances], Counter(), path
    ),
    "refusals": lambda utterances, path: drawn(utterances, Counter({f"reason {n}": n for n in range(1, 12)}), path),
}


def drawn(utterances: list[Utterance], refused: Counter[str], path: Path) -> bytes:
    draw_dataset(utterances, refused, path)
    return path.read_bytes()


TERMS = DatasetPublication(name="anna/digits")
DATASET = RepositoryKind.DATASET


def named(version: DatasetVersion, folder: Path, **changes: object) -> DatasetVersion:
    """The same version with changed rows: each new value is made from an utterance."""
    shutil.copytree(version.folder, folder)
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    for row in rows:
        row.update({key: change(row) for key, change in changes.items()})  # type: ignore[operator]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_version(folder)


def exported(version: DatasetVersion, folder: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of each split as they are loaded."""
    from datasets import Audio

    folder.mkdir()
    export_version(version, TERMS.name, folder)
    files = {split: str(folder / "data" / f"{split}-*.parquet") for split in ("train", "test")}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(folder.parent / "cache"))
    return {name: list(side.cast_column("audio", Audio(decode=False))) for name, side in loaded.items()}


def test_what_is_streamed_from_a_hub_and_is_not_what_was_ingested_is_caught(digits: DatasetVersion, tmp_path: Path):
    staged = stage_version(digits, TERMS, tmp_path / "published")
    other = named(digits, tmp_path / "other", text=lambda row: row["text"].replace("eins", "zwei"))
    with served_hub(tmp_path / "hub") as hub:
        sent = upload(connected(hub), staged.folder, staged.name, DATASET, False, staged.content_hash)
        with pytest.raises(PublishingError, match=r"anna/digits at .* holds other utterances than"):
            verify_dataset(connected(hub), sent, staged.model_copy(update={"dataset": other}))


def test_nothing_that_names_a_speaker_or_a_file_is_published(digits: DatasetVersion, tmp_path: Path):
    secret = named(
        digits,
        tmp_path / "secret",
        speaker=lambda row: f"Wilhelmine {row['speaker']}",
        source=lambda row: f"/home/wilhelmine/{row['id']}.mp3",
    )
    rows = exported(secret, tmp_path / "exported")
    for name in ("exported/README.md", *(str(path.relative_to(tmp_path)) for path in tmp_path.glob("exported/data/*"))):
        assert b"ilhelmine" not in (tmp_path / name).read_bytes()
    assert not re.search(
        "(?i)wilhelmine", str([{k: v for k, v in row.items() if k != "audio"} for side in rows.values() for row in side])
    )
    paths = {row["audio"]["path"] for side in rows.values() for row in side}
    assert paths == {f"{utterance.id}.flac" for utterance in read_utterances(digits)}


def test_pseudonyms_tell_speakers_apart_and_cannot_be_guessed_back(digits: DatasetVersion, tmp_path: Path):
    rows = exported(digits, tmp_path / "first")
    who = {row["id"]: row["speaker"] for side in rows.values() for row in side}
    speakers = {utterance.id: utterance.speaker for utterance in read_utterances(digits)}
    assert len({(speakers[key], who[key]) for key in who}) == len(set(speakers.values())) == len(set(who.values()))
    renamed = named(digits, tmp_path / "renamed", speaker=lambda row: row["speaker"][::-1] + "?")
    others = {row["id"]: row["speaker"] for side in exported(renamed, tmp_path / "second").values() for row in side}
    assert others == who, "they do not depend on names, so nothing can be learned about a name from them"


def test_the_sound_is_what_was_ingested_in_less_room(digits: DatasetVersion, tmp_path: Path):
    rows = {row["id"]: row["audio"] for side in exported(digits, tmp_path / "exported").values() for row in side}
    for utterance in read_utterances(digits):
        samples, _ = soundfile.read(io.BytesIO(rows[utterance.id]["bytes"]), dtype="int16")
        assert audio_hash(samples) == utterance.audio_hash
        assert len(rows[utterance.id]["bytes"]) < 0.8 * (digits.folder / utterance.audio_path).stat().st_size


def test_the_picture_shows_what_is_known(digits: DatasetVersion, tmp_path: Path):
    utterances = read_utterances(digits)
    shown = {name: PICTURES[name](utterances, tmp_path / f"{name}.png") for name in PICTURES}
    assert len(set(shown.values())) == len(PICTURES), "each has a panel more, or other bars"


def test_what_is_set_aside_stays_here(digits: DatasetVersion, tmp_path: Path):
    aside = read_utterances(digits, Split.TRAIN)[0].id
    version = named(digits, tmp_path / "version", split=lambda row: "set-aside" if row["id"] == aside else row["split"])
    rows = exported(version, tmp_path / "exported")
    assert {name: len(side) for name, side in rows.items()} == {"train": 17, "test": 6}
    assert aside not in {row["id"] for row in rows["train"]}


def test_a_speaker_who_was_not_named_stays_so(digits: DatasetVersion, tmp_path: Path):
    version = named(digits, tmp_path / "version", speaker=lambda _: None)
    assert {row["speaker"] for row in exported(version, tmp_path / "exported")["train"]} == {None}


def test_equal_data_are_equal_bytes_and_the_console_stays_quiet(
    digits: DatasetVersion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    contents = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        export_version(digits, TERMS.name, tmp_path / name)
        contents.add(finish(tmp_path / name, ["data/*.parquet", "*.md", "*.png"], ()))
    assert len(contents) == 1
    assert capfd.readouterr() == ("", "")


def test_long_data_are_cut_into_shards_that_say_how_many_there_are(
    digits: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tasks.dataset.export._SHARD_S", 5.0)
    rows = exported(digits, tmp_path / "exported")
    names = sorted(path.name for path in tmp_path.glob("exported/data/*"))
    train = [name for name in names if name.startswith("train")]
    assert len(train) > 1
    assert train == [f"train-{number:05d}-of-{len(train):05d}.parquet" for number in range(len(train))]
    assert {row["id"] for side in rows.values() for row in side} == {utterance.id for utterance in read_utterances(digits)}


@pytest.mark.fast
def test_the_address_goes_by_data_and_terms(digits: DatasetVersion, tmp_path: Path):
    elsewhere = digits.model_copy(update={"folder": tmp_path})
    assert export_address(elsewhere, TERMS) == export_address(digits, TERMS)
    other = TERMS.model_copy(update={"public": True})
    divided = digits.model_copy(update={"division": "0" * 64})
    assert len({export_address(digits, TERMS), export_address(digits, other), export_address(divided, TERMS)}) == 3


def test_a_dataset_whose_card_leaks_is_refused(digits: DatasetVersion, tmp_path: Path):
    told = digits.model_copy(update={"consent": f"see {digits.folder}/forms"})
    with pytest.raises(PublishingError, match=r"README.md holds a path"):
        stage_version(told, TERMS, tmp_path / "published")


def test_a_staged_dataset_has_a_manifest_and_nothing_else(digits: DatasetVersion, tmp_path: Path):
    staged: StagedDataset = stage_version(digits, TERMS, tmp_path / "published")
    files = {path.relative_to(staged.folder).as_posix() for path in staged.folder.rglob("*") if path.is_file()}
    shards = {f"data/{split}-00000-of-00001.parquet" for split in ("train", "test")}
    assert files == shards | {"README.md", "data.png", "publication.json"}
    assert set(json.loads((staged.folder / "publication.json").read_text())["files"]) == files
