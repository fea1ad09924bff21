"""Versions of a name: what is brought again is the version that is there, what differs is its child, and nobody changes sides."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.dataset import app
from infra.errors import DatasetError
from infra.settings import settings
from tasks.contracts import DatasetVersion
from tasks.dataset import tasks as door
from tasks.dataset.changes import changes_between
from tasks.dataset.clips import CLIPS_FOLDER
from tasks.dataset.garbage import collect_garbage
from tasks.dataset.history import find_version, note_newest, parent_of
from tasks.dataset.home import memory_of
from tasks.dataset.ingest import IngestOptions, brought_hash, dataset_address, ingest
from tasks.dataset.version import read_utterances
from tests.builders.speech import content_of, write_voices

pytestmark = pytest.mark.fast
GERMAN = IngestOptions(language="de", eval_share=0.3)


def brought(source: Path, name: str = "x", options: IngestOptions = GERMAN) -> DatasetVersion:
    """What the flow does, without a server."""
    content = content_of(source)
    parent = parent_of(settings(), name, brought_hash(content, options))
    folder = settings().folder("datasets") / dataset_address(content, name, options, parent)
    made = ingest(source, name, options, folder, 1, memory_of(settings()), parent)
    return door.keep_as_newest(made, content, options, parent)


def test_what_differs_is_a_child_and_what_is_brought_again_is_the_version_that_is_there(tmp_path: Path):
    source = write_voices(tmp_path / "source", 8)
    first = brought(source)
    assert (first.parent, brought(source).folder) == (None, first.folder)
    write_voices(source, 4, first=8)
    second = brought(source)
    assert second.parent == first.fingerprint
    assert brought(source) == second, "its parent is not itself"
    assert brought(source, "y").parent is None, "another name has its own history"
    shutil.rmtree(second.folder)
    assert brought(source).parent is None, "whose newest version was removed begins anew"


def test_nobody_changes_sides_when_data_come_and_go(tmp_path: Path):
    source = write_voices(tmp_path / "source", 12)
    first = {u.id: u.split for u in read_utterances(brought(source))}
    write_voices(source, 12, first=12)
    (source / "0.txt").unlink()
    second = {u.id: u.split for u in read_utterances(brought(source))}
    assert len(second) == 23
    assert all(first[key] is side for key, side in second.items() if key in first)
    other = brought(source, options=GERMAN.model_copy(update={"seed": 7}))
    assert {u.id: u.split for u in read_utterances(other)} != second, "another seed divides anew"


def test_a_change_list_tells_what_came_went_was_corrected_and_is_refused(tmp_path: Path):
    source = write_voices(tmp_path / "source", 8)
    first = brought(source)
    write_voices(source, 1, first=8)
    (source / "0.wav").unlink()
    (source / "1.txt").write_text("etwas anderes")
    (source / "broken.wav").write_bytes(b"RIFF")
    (source / "broken.txt").write_text("kaputt")
    changes = changes_between(first, brought(source))
    assert [one.text for one in changes.added] == ["Ton 8"]
    assert [one.text for one in changes.gone] == ["Ton 0"]
    assert [(one.before.text, one.after.text) for one in changes.corrected] == [("Ton 1", "etwas anderes")]
    assert {one.origin for one in changes.newly_refused} == {"0.txt", "broken.wav"}
    assert (changes.moved, changes.no_longer_refused) == ((), ())
    assert changes_between(first, first).none


def test_a_version_is_found_by_folder_name_address_or_fingerprint(tmp_path: Path):
    source = write_voices(tmp_path / "source", 6)
    first = brought(source)
    write_voices(source, 1, first=6)
    second = brought(source)
    for named in (str(second.folder), "x", second.folder.name, f"datasets/{second.folder.name}", second.fingerprint[:8]):
        assert find_version(settings(), named) == second
    assert find_version(settings(), first.fingerprint[:8]) == first
    for unknown in ("nobody", first.fingerprint[:2]):
        with pytest.raises(DatasetError, match="There is no dataset"):
            find_version(settings(), unknown)


def test_the_commands_list_and_compare(tmp_path: Path):
    source = write_voices(tmp_path / "source", 6)
    first = brought(source)
    write_voices(source, 1, first=6)
    second = brought(source)
    listed = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    assert [line.split()[0] for line in listed] == [first.folder.name, second.folder.name], "parents first"
    assert f"after {first.fingerprint[:12]} newest" in listed[1]
    told = CliRunner().invoke(app, ["diff", first.fingerprint[:12], "x"]).stdout
    assert told == "1 added\n  6.wav: Ton 6\n"
    assert len(json.loads(CliRunner().invoke(app, ["diff", first.fingerprint, "x", "--json"]).stdout)["added"]) == 1
    assert CliRunner().invoke(app, ["diff", "x", "x"]).stdout == "Nothing changed\n"


def test_garbage_is_what_no_version_uses(tmp_path: Path):
    source = write_voices(tmp_path / "source", 6)
    first = brought(source)
    (source / "0.wav").unlink()
    second = brought(source)
    assert collect_garbage(settings()).clips == 0, "an old version is not garbage by itself"
    told = collect_garbage(settings(), old_versions=True, dry_run=True)
    assert (told.clips, told.versions, first.folder.exists()) == (1, (first.folder,), True)
    assert told.freed_bytes > 16_000
    assert CliRunner().invoke(app, ["gc", "--old-versions"]).exit_code == 0
    store = settings().folder(CLIPS_FOLDER)
    assert len(list(store.rglob("*.wav"))) == 5
    assert (first.folder.exists(), len(list((second.folder / "wavs").iterdir()))) == (False, 5)
    shutil.rmtree(second.folder)
    assert brought(source).fingerprint == second.fingerprint


def test_a_version_of_a_name_that_nothing_newer_is_known_of_is_kept(tmp_path: Path):
    made = brought(write_voices(tmp_path / "source", 6))
    shutil.rmtree(made.folder.parent / ".newest")
    assert collect_garbage(settings(), old_versions=True).versions == ()
    note_newest(settings(), made, "b", None)
    assert collect_garbage(settings(), old_versions=True).versions == ()
