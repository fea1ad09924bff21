"""What must not be published is found in the folder, before anything is sent."""

import getpass
import json
import pickle
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from pydantic import SecretStr

from infra.errors import PublishingError
from infra.redaction import remember
from tasks.publishing.screening import MANIFEST, finish, private_words
from tests.builders.publications import weights

pytestmark = pytest.mark.fast
ALLOWED = ("*.json", "*.md", "*.png", "model*.safetensors", "data/*.parquet")
KNOWN_TOKEN = "swordfish-1234"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("# A model of https://example.org/home/page, by me/model\n")
    (tmp_path / "config.json").write_text('{"pad": 0}')
    (tmp_path / "model.safetensors").write_bytes(weights(0, 100))
    table(tmp_path, "tree fower fife")
    (tmp_path / "loss.png").write_bytes(b"\x89PNG\xff")
    return tmp_path


def put(name: str, content: str | bytes, folder: Path) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def table(folder: Path, text: str, sound: str = "a.wav", **metadata: str) -> None:
    """A published dataset of one row; `metadata` describes its schema."""
    rows = pyarrow.table({"audio": [{"bytes": b"RIFF", "path": sound}], "text": [text]})
    parquet.write_table(rows.replace_schema_metadata(metadata), folder / "data" / "train.parquet")


def with_head(folder: Path, **metadata: str) -> None:
    """Safetensors whose head says so."""
    head = json.dumps({"__metadata__": metadata}).encode()
    put("model.safetensors", len(head).to_bytes(8, "little") + head, folder)


def test_what_may_be_published_gets_a_manifest_of_its_files(folder: Path):
    content = finish(folder, ALLOWED, ())
    written = json.loads((folder / MANIFEST).read_text())
    names = ["README.md", "config.json", "data/train.parquet", "loss.png", "model.safetensors", MANIFEST]
    assert (sorted(written["files"]), written["content"]) == (sorted(names), content)


def test_the_hash_of_the_content_goes_by_names_and_bytes(folder: Path):
    first = finish(folder, ALLOWED, ())
    (folder / MANIFEST).unlink()
    assert finish(folder, ALLOWED, ()) == first
    (folder / MANIFEST).unlink()
    put("config.json", '{"pad": 1}', folder)
    changed = finish(folder, ALLOWED, ())
    (folder / MANIFEST).unlink()
    (folder / "config.json").rename(folder / "other.json")
    assert len({first, changed, finish(folder, ALLOWED, ())}) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("optimizer.pt", pickle.dumps({"state": 1})),
        ("pytorch_model.bin", pickle.dumps({})),
        ("training_args.bin", b"x"),
        ("checkpoint-5/model.safetensors", weights(0, 10)),
        ("model-1/optimizer.safetensors", weights(0, 10)),
        ("data/more/train.parquet", b"PAR1"),
        (".env", "KEY=1"),
        ("app.py", "import os"),
    ],
)
def test_a_file_that_is_not_among_those_published_is_refused(folder: Path, name: str, content: bytes):
    put(name, content, folder)
    with pytest.raises(PublishingError, match=f"{name} is not among the files that are published"):
        finish(folder, ALLOWED, ())
    assert not (folder / MANIFEST).exists()


def test_an_empty_file_is_refused(folder: Path):
    put("config.json", "", folder)
    with pytest.raises(PublishingError, match=r"config.json has 0 bytes"):
        finish(folder, ALLOWED, ())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", pickle.dumps({"weights": [1, 2]})),
        ("model.safetensors", b"\x05"),
        ("model.safetensors", weights(0, 100)[:-1]),
        ("model.safetensors", (10**9).to_bytes(8, "little") + b"{}"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"[]"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
        ("README.md", b"\xff\xfe"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(folder: Path, name: str, content: bytes):
    put(name, content, folder)
    with pytest.raises(PublishingError, match=f"{name} is not what its name says"):
        finish(folder, ALLOWED, ())


@pytest.mark.parametrize(
    "text",
    ["token hf_" + "aB3" * 10, "'ghp_" + "x" * 36 + "'", '{"key": "sk-' + "a1" * 12 + '"}', f"a token of ours: {KNOWN_TOKEN}"],
)
@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_a_token_is_refused_wherever_it_stands(folder: Path, name: str, text: str):
    remember(SecretStr(KNOWN_TOKEN))
    if name == "model.safetensors":
        with_head(folder, note=text.replace('"', ""))
    else:
        put(name, text, folder)
    with pytest.raises(PublishingError, match=f"{name} holds an access token"):
        finish(folder, ALLOWED, ())


@pytest.mark.parametrize(
    "path",
    [
        "/home/anna/data",
        "file:///home/anna/x",
        "/root/.cache",
        "/Users/anna",
        r"C:\\Users\\anna",
        "data:/home/anna",
        "/scratch/anna/run",
    ],
)
@pytest.mark.parametrize("name", ["README.md", "model.safetensors"])
def test_a_path_of_this_machine_is_refused_wherever_it_stands(folder: Path, name: str, path: str):
    if name == "model.safetensors":
        with_head(folder, source=path)
    else:
        put(name, f"made from {path}.", folder)
    with pytest.raises(PublishingError, match=f"{name} holds a path or a user name of this machine"):
        finish(folder, ALLOWED, private_words("me/model", Path("/scratch/anna/run")))


def test_a_user_name_of_this_machine_is_refused_unless_it_is_published_under_that_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LOGNAME", "wilhelmine")
    put("README.md", "trained by wilhelmine on her machine", folder)
    with pytest.raises(PublishingError, match=r"README.md holds a path or a user name of this machine \(wilhelmine\)"):
        finish(folder, ALLOWED, private_words("me/model"))
    assert private_words("Wilhelmine/model") == ()
    put("README.md", "wilhelminenstrasse", folder)
    finish(folder, ALLOWED, private_words("me/model"))


@pytest.mark.parametrize("user", ["root", "user", "eva", "model"])
def test_what_is_nobodys_name_is_no_secret(monkeypatch: pytest.MonkeyPatch, user: str):
    monkeypatch.setenv("LOGNAME", user)
    assert private_words("me/model") == ()


def test_a_user_without_a_name_can_publish(monkeypatch: pytest.MonkeyPatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert private_words("me/model", Path("/srv/runs/abc")) == ("/srv/runs/abc", "/srv/runs")


def test_a_place_at_the_root_of_the_disk_does_not_forbid_every_stroke(folder: Path):
    put("README.md", "and/or data/train-*.parquet, /base", folder)
    finish(folder, ALLOWED, private_words("me/model", Path("/base"), Path("/data/x")))


@pytest.mark.parametrize("secret", [KNOWN_TOKEN, "hf_" + "a1" * 17, "my_hf_" + "a1" * 17, "/home/anna/radio"])
def test_the_texts_and_the_description_of_a_table_are_looked_at(folder: Path, secret: str):
    remember(SecretStr(KNOWN_TOKEN))
    for place in ({"text": f"the word is {secret} over"}, {"text": "over", "sound": secret}, {"text": "over", "made": secret}):
        table(folder, **place)
        with pytest.raises(PublishingError, match=r"data/train.parquet holds (an access token|a path)"):
            finish(folder, ALLOWED, ())


def test_who_is_named_in_a_transcript_is_no_matter_of_this_machine(folder: Path):
    table(folder, "tell winifred")
    assert finish(folder, ALLOWED, ("winifred", "/data/winifred"))
    table(folder, "see /data/winifred there")
    with pytest.raises(PublishingError, match=r"holds a path"):
        finish(folder, ALLOWED, ("winifred", "/data/winifred"))


def test_a_table_that_is_none_and_a_picture_that_tells_are_refused(folder: Path):
    put("data/train.parquet", b"PAR1", folder)
    with pytest.raises(PublishingError, match=r"train.parquet is not what its name says"):
        finish(folder, ALLOWED, ())
    table(folder, "over")
    put("loss.png", b"\x89PNG\r\n tEXtSource\0/home/anna/run\xff", folder)
    with pytest.raises(PublishingError, match=r"loss.png holds a path"):
        finish(folder, ALLOWED, ())
