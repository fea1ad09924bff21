"""The clients that people use, unmodified, each in a process of its own as its users start it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from infra.hub import connection
from infra.settings import settings
from tasks.contracts import Checkpoint
from tests.builders.hubs import Workplace, client_environment, hub_process

_LONGEST_S = 120
Run = Callable[..., str]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A Hub in a process of its own."""
    with hub_process(tmp_path_factory.mktemp("clients") / "home") as (_, served):
        yield served


def _run(hub: Workplace, folder: Path, command: list[str], user: str = "anna", code: int = 0) -> str:
    environment = client_environment(hub.url, hub.tokens[user], folder / "hf-home")
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def _hf(hub: Workplace, folder: Path, *arguments: str, user: str = "anna", code: int = 0) -> str:
    return _run(hub, folder, [str(Path(sys.executable).with_name("hf")), *arguments], user, code)


def _python(hub: Workplace, folder: Path, script: str, user: str = "anna") -> Any:
    """Run a script that prints JSON as its last line."""
    return json.loads(_run(hub, folder, [sys.executable, "-c", script], user).splitlines()[-1])


def test_hf_makes_fills_and_empties_a_repository(hub: Workplace, tmp_path: Path):
    assert "anna" in _hf(hub, tmp_path, "auth", "whoami")
    _hf(hub, tmp_path, "repos", "create", "by-hf", "--private")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "a.txt").write_text("small")
    (tmp_path / "folder" / "w.bin").write_bytes(b"large" * 1000)
    _hf(hub, tmp_path, "upload", "anna/by-hf", "folder", ".", "--commit-message", "by hf")
    _hf(hub, tmp_path, "download", "anna/by-hf", "--local-dir", "back")
    assert (tmp_path / "back" / "inner" / "a.txt").read_text() == "small"
    assert (tmp_path / "back" / "w.bin").read_bytes() == b"large" * 1000
    assert hub.api().list_repo_commits("anna/by-hf")[0].title == "by hf"
    _hf(hub, tmp_path, "repos", "delete-files", "anna/by-hf", "w.bin")
    assert "w.bin" not in hub.api().list_repo_files("anna/by-hf")


def test_hf_is_told_what_it_may_not_do(hub: Workplace, tmp_path: Path):
    secret = hub.create("not-for-bert", private=True)
    assert "not found" in _hf(hub, tmp_path, "download", secret, user="bert", code=1).lower()
    (tmp_path / "a.txt").write_text("text")
    refused = _hf(hub, tmp_path, "upload", hub.create("read-only"), "a.txt", user="anna-read", code=1)
    assert "403" in refused or "write" in refused.lower()


_TINY = """
import json
from transformers import AutoProcessor, VoxtralForConditionalGeneration
model = VoxtralForConditionalGeneration.from_pretrained("anna/voxfactory-tiny")
processor = AutoProcessor.from_pretrained("anna/voxfactory-tiny")
ids = processor.tokenizer.encode("guten Morgen")
text = processor.tokenizer.decode(ids, skip_special_tokens=True)
print(json.dumps({"parameters": model.num_parameters(), "text": text}))
"""


def test_transformers_loads_the_shipped_model_by_its_id(hub: Workplace, tmp_path: Path, tiny: Checkpoint):
    hub.create("voxfactory-tiny", private=True)
    hub.api().upload_folder(repo_id="anna/voxfactory-tiny", folder_path=tiny.folder)
    loaded = _python(hub, tmp_path, _TINY, user="anna-read")
    assert loaded["text"].strip() == "guten Morgen"
    assert loaded["parameters"] > 1_000_000


_SENTENCES = """
import json, os
from datasets import Dataset, DatasetDict, load_dataset
rows = {"id": list(range(300)), "text": [f"Satz {number} äöü" for number in range(300)]}
data = DatasetDict({"train": Dataset.from_dict(rows), "test": Dataset.from_dict({name: column[:20] for name, column in rows.items()})})
data.push_to_hub("anna/sentences", private=True, num_shards={"train": 3, "test": 1})
whole = load_dataset("anna/sentences", token=os.environ["READ_TOKEN"])
stream = load_dataset("anna/sentences", split="train", streaming=True, token=os.environ["READ_TOKEN"])
print(json.dumps({
    "splits": {name: split.num_rows for name, split in whole.items()},
    "rows": whole["train"]["text"][:],
    "streamed": [row["text"] for row in stream],
}))
"""


@pytest.mark.skipif(find_spec("datasets") is None, reason="the library datasets is not installed")
def test_datasets_pushes_loads_and_streams(hub: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("READ_TOKEN", hub.tokens["anna-read"])
    loaded = _python(hub, tmp_path, _SENTENCES)
    names = hub.api().list_repo_files("anna/sentences", repo_type="dataset")
    assert sum(name.endswith(".parquet") for name in names) == 4
    assert loaded["splits"] == {"train": 300, "test": 20}
    assert loaded["rows"] == loaded["streamed"] == [f"Satz {number} äöü" for number in range(300)]


@pytest.mark.fast
def test_what_the_factory_connects_to_is_where_it_downloads_from(tmp_path: Path):
    with connection(settings()) as hub:
        api = hub.api()
        repository = api.create_repo("connected", private=True).repo_id
        api.upload_file(path_or_fileobj=b"here", path_in_repo="a.txt", repo_id=repository)
        assert Path(api.hf_hub_download(repository, "a.txt", cache_dir=tmp_path)).read_bytes() == b"here"
        assert (Path(api.snapshot_download(repository, cache_dir=tmp_path / "all")) / "a.txt").read_bytes() == b"here"
