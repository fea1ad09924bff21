"""Artefacts travel between machines whole or not at all, and machines that do not see the same say so."""

from pathlib import Path

import pytest

from infra.errors import ExchangeError
from infra.exchange import get, leave_note, locate, put, read_note, reference, relocated
from infra.settings import Settings

pytestmark = pytest.mark.fast


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Settings, Settings]:
    """Two homes with one exchange."""
    exchange = f"file://{tmp_path / 'exchange'}"
    here, there = (Settings(home=tmp_path / name, exchange=exchange) for name in ("here", "there"))
    return here, there


def artefact(settings: Settings, name: str = "datasets/abc") -> Path:
    folder = settings.folder(name)
    (folder / "wavs").mkdir()
    (folder / "data.jsonl").write_text("{}\n")
    (folder / "wavs" / "a.wav").write_bytes(b"RIFF\0")
    return folder


def test_a_folder_is_the_same_on_the_other_machine(machines: tuple[Settings, Settings]):
    here, there = machines
    folder = artefact(here)
    put(here, folder)
    found = locate(there, reference(here, folder))
    assert found == there.folder("") / "datasets" / "abc"
    files = {path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()}
    assert files == {"data.jsonl": b"{}\n", "wavs/a.wav": b"RIFF\0"}


def test_a_folder_that_was_cut_off_on_its_way_is_not_there(machines: tuple[Settings, Settings], tmp_path: Path):
    here, there = machines
    folder = artefact(here)
    put(here, folder)
    (tmp_path / "exchange" / "datasets" / "abc" / ".complete").unlink()
    with pytest.raises(ExchangeError, match="neither in"):
        get(there, "datasets/abc")
    assert not (there.folder("datasets") / "abc").exists()
    put(here, folder)
    assert get(there, "datasets/abc").is_dir()


def test_what_is_there_is_not_sent_again(machines: tuple[Settings, Settings], tmp_path: Path):
    here, _ = machines
    folder = artefact(here)
    put(here, folder)
    (tmp_path / "exchange" / "datasets" / "abc" / "data.jsonl").unlink()
    put(here, folder)
    assert not (tmp_path / "exchange" / "datasets" / "abc" / "data.jsonl").exists()


def test_only_what_lies_in_the_home_has_a_reference(machines: tuple[Settings, Settings], tmp_path: Path):
    with pytest.raises(ExchangeError, match="does not lie in"):
        reference(machines[0], tmp_path)


@pytest.mark.parametrize("shared", ["home", "exchange", "nothing"])
def test_two_machines_find_out_whether_they_see_the_same(tmp_path: Path, shared: str):
    exchange = f"file://{tmp_path / 'exchange'}" if shared == "exchange" else None
    homes = ["one", "one"] if shared == "home" else ["one", "other"]
    here, there = (Settings(home=tmp_path / name, exchange=exchange) for name in homes)
    note = leave_note(here, {"said": "hello"})
    if shared == "nothing":
        with pytest.raises(ExchangeError, match=r"does not see in .*other.*VOXFACTORY_EXCHANGE"):
            read_note(there, note)
    else:
        assert read_note(there, note) == {"said": "hello"}


def test_paths_into_the_other_home_become_paths_into_ours():
    value = {"folder": "/theirs/runs/a", "base": {"folder": "/opt/model"}, "clips": ["/theirs/x", "/theirsx", 3]}
    ours = {"folder": "/ours/runs/a", "base": {"folder": "/opt/model"}, "clips": ["/ours/x", "/theirsx", 3]}
    assert relocated(value, "/theirs", "/ours") == ours


@pytest.mark.parametrize("address", ["nosuch://bucket/x", "s3//bucket"])
def test_a_storage_that_nobody_knows_is_told(tmp_path: Path, address: str):
    settings = Settings(home=tmp_path, exchange=address)
    with pytest.raises(ExchangeError, match=r"VOXFACTORY_EXCHANGE|does not see"):
        read_note(settings, "x")
