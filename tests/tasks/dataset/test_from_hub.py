"""Datasets of a Hub become sources: in the forms that people publish them, at exactly one revision."""

import io
from pathlib import Path

import pytest
import soundfile
from pydantic import SecretStr

from infra.errors import DatasetError, HubError
from infra.settings import Settings
from tasks.contracts import DatasetVersion
from tasks.dataset.export import export_version
from tasks.dataset.from_hub import fetch_dataset, newest_revision
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.sources import read_source
from tests.builders.hubs import Workplace, served_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    with served_hub(tmp_path_factory.mktemp("hub")) as served:
        yield served


@pytest.fixture
def anna(hub: Workplace, tmp_path: Path) -> Settings:
    """Who may read what anna keeps in private."""
    return Settings(home=tmp_path / "home", hub_endpoint=hub.url, hub_token=SecretStr(hub.tokens["anna-read"]))


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the caches of who runs the tests."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def upload(hub: Workplace, folder: Path, name: str) -> str:
    repository = hub.create(name, "dataset", private=True)
    return str(hub.api().upload_folder(repo_id=repository, folder_path=folder, repo_type="dataset").oid)


@pytest.mark.usefixtures("caches")
def test_what_we_published_comes_back_as_the_same_data(hub: Workplace, anna: Settings, digits: DatasetVersion, tmp_path: Path):
    (tmp_path / "exported").mkdir()
    export_version(digits, "anna/exported", tmp_path / "exported")
    upload(hub, tmp_path / "exported", "exported")
    source = fetch_dataset(anna, "anna/exported", newest_revision(anna, "anna/exported"), tmp_path / "source")
    again = ingest(source, "again", IngestOptions(), tmp_path / "again", processes=1)
    assert again.fingerprint == digits.fingerprint
    assert again.speakers == digits.speakers


@pytest.mark.usefixtures("caches")
def test_a_folder_of_audio_with_metadata_is_read_at_one_revision(
    hub: Workplace, anna: Settings, digits: DatasetVersion, tmp_path: Path
):
    clip = next((digits.folder / "wavs").iterdir())
    folder = tmp_path / "folder" / "data"
    folder.mkdir(parents=True)
    for name in ("a.wav", "b.flac"):
        samples, rate = soundfile.read(clip)
        encoded = io.BytesIO()
        soundfile.write(encoded, samples, rate, format=name[-4:].strip(".").upper())
        (folder / name).write_bytes(encoded.getvalue())
    (folder / "metadata.csv").write_text("file_name,transcription,locale\na.wav,eins,de\nb.flac,zwei,de\n")
    first = upload(hub, tmp_path / "folder", "audiofolder")
    hub.api().delete_file("data/b.flac", "anna/audiofolder", repo_type="dataset")
    source = fetch_dataset(anna, "anna/audiofolder", first, tmp_path / "source")
    rows, rejects = read_source(source)
    assert ([row.text for row in rows], {row.language for row in rows}, rejects) == (["eins", "zwei"], {"de"}, [])
    assert [Path(row.audio_path).suffix for row in rows] == [".wav", ".flac"]
    assert all(Path(row.audio_path).is_file() for row in rows)


@pytest.mark.usefixtures("caches")
def test_a_dataset_without_sound_is_told(hub: Workplace, anna: Settings, tmp_path: Path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.csv").write_text("text\nhello\n")
    commit = upload(hub, tmp_path / "texts", "texts")
    with pytest.raises(DatasetError, match=r"anna/texts has no sound \(its columns: text\)"):
        fetch_dataset(anna, "anna/texts", commit, tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_a_dataset_that_is_not_there_is_told(anna: Settings):
    with pytest.raises(HubError, match="404"):
        newest_revision(anna, "anna/nothing")
