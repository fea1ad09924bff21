"""What the local Hub costs: `python -m tests.benchmarks.hub`. The last line is one JSON object.

up_ratio, down_ratio: a 1 GB file sent and fetched by huggingface_hub, against copying and hashing it, in the same run on the same disk.
files_5000_s: 5,000 small files in one folder. clients_50_s: 50 clients at once, each of which sends a large file of 4 MB (by LFS) and a
regular one, every fifth of 9.9 MB, to one repository; lost: how many of those are not there afterwards, or have other bytes.
server_rss_mb: the most memory that the server, a process of its own, had at any moment of all of this, in MB of a million bytes.
"""

import hashlib
import json
import os
import random
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_FILE_BYTES, _BLOCK_BYTES, _CLIENT_BLOCK_BYTES = 1_000_000_000, 1 << 20, 10 << 20
_SMALL_FILES, _CLIENTS, _TURNS = 5_000, 50, 3
_LFS_BYTES, _REGULAR_BYTES, _EACH_REGULAR = 4_000_000, 9_900_000, 5


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        folder = Path(name)
        os.environ |= {"VOXFACTORY_HOME": str(folder / "home"), "HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1"}
        os.environ |= {"VOXFACTORY_HUB_PORT": "4281", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        with _server() as (url, process):
            os.environ |= {"HF_ENDPOINT": url, "HF_TOKEN": _voxfactory("hub", "token", "--role", "write")}
            measured = _large_file(folder) | _small_files(folder) | _many_clients()
            measured["server_rss_mb"] = round(_peak_memory_mb(process.pid), 1)
    sys.stdout.write(json.dumps(measured) + "\n")


def _large_file(folder: Path) -> dict[str, float]:
    """Copy, send and fetch in turns, since the disk of a shared machine changes its pace; medians of the turns."""
    from huggingface_hub import HfApi, hf_hub_download

    api, source = HfApi(), folder / "large.safetensors"
    repository = api.create_repo("large").repo_id
    taken: dict[str, list[float]] = {"copy_and_hash_s": [], "up_s": [], "down_s": []}
    for _ in range(_TURNS):
        _write_random(source)
        copy, fetched = folder / "copy", folder / "down" / source.name
        taken["copy_and_hash_s"].append(_seconds(lambda path=copy: _copy_and_hash(source, path)))
        taken["up_s"].append(
            _seconds(lambda: api.upload_file(path_or_fileobj=source, path_in_repo=source.name, repo_id=repository))
        )
        taken["down_s"].append(_seconds(lambda: hf_hub_download(repository, source.name, local_dir=folder / "down")))
        assert _digest(fetched) == _digest(source)
        copy.unlink()
        shutil.rmtree(fetched.parent)
    source.unlink()
    measured = {name: round(statistics.median(seconds), 2) for name, seconds in taken.items()}
    reference = measured["copy_and_hash_s"]
    ratios = {"up_ratio": measured["up_s"] / reference, "down_ratio": measured["down_s"] / reference}
    return measured | {name: round(ratio, 2) for name, ratio in ratios.items()}


def _write_random(path: Path) -> None:
    with path.open("wb") as stream:
        for _ in range(_FILE_BYTES // _BLOCK_BYTES):
            stream.write(secrets.token_bytes(_BLOCK_BYTES))


def _small_files(folder: Path) -> dict[str, float]:
    from huggingface_hub import HfApi

    many = folder / "many"
    many.mkdir()
    for number in range(_SMALL_FILES):
        (many / f"{number:05d}.json").write_text(json.dumps({"number": number}))
    api = HfApi()
    repository = api.create_repo("many", repo_type="dataset").repo_id
    seconds = _seconds(lambda: api.upload_folder(repo_id=repository, repo_type="dataset", folder_path=many, path_in_repo="data"))
    assert len(api.list_repo_files(repository, repo_type="dataset")) == _SMALL_FILES + 1
    shutil.rmtree(many)
    return {"files_5000_s": round(seconds, 1)}


def _many_clients() -> dict[str, float]:
    from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download

    repository = HfApi().create_repo("shared").repo_id

    def send(number: int) -> None:
        files = _files_of(number)
        sent = [CommitOperationAdd(path, content) for path, content in files.items()]
        HfApi().create_commit(repository, sent, commit_message=f"client {number}")

    with ThreadPoolExecutor(_CLIENTS) as clients:
        seconds = _seconds(lambda: list(clients.map(send, range(_CLIENTS))))
    there = HfApi().list_repo_files(repository)
    lost = [
        path
        for number in range(_CLIENTS)
        for path, content in _files_of(number).items()
        if path not in there or content != Path(hf_hub_download(repository, path)).read_bytes()
    ]
    return {"clients_50_s": round(seconds, 1), "lost": len(lost)}


def _files_of(number: int) -> dict[str, bytes]:
    """What a client sends: the same whenever it is asked."""
    chance = random.Random(number)
    regular = _REGULAR_BYTES if number % _EACH_REGULAR == 0 else 100
    return {f"files/{number}.bin": chance.randbytes(_LFS_BYTES), f"files/{number}.txt": chance.randbytes(regular)}


@contextmanager
def _server() -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    process = subprocess.Popen([sys.executable, "-m", "deployments.cli", "hub"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        said = process.stdout.readline()
        yield next(word for word in said.replace(";", " ").split() if word.startswith("http")), process
    finally:
        process.kill()
        process.wait()


def _voxfactory(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "deployments.cli", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _copy_and_hash(source: Path, target: Path) -> None:
    """In blocks of the size in which the client writes what it fetches."""
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, _CLIENT_BLOCK_BYTES)
        os.fsync(writing.fileno())  # the server, too, answers only when the bytes are on the disk
    _digest(target)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _peak_memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    kibibytes = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])  # which it calls kB
    return kibibytes * 1024 / 1e6


if __name__ == "__main__":
    main()
