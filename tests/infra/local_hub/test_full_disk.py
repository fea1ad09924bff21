"""A disk without room: what needs it is refused and leaves nothing, all else goes on, and so does everything once there is room."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

# In a process of its own: no file of it may grow beyond the limit, as on a full disk; SQLite and Python see an error of writing.
_SCRIPT = """
import json, os, resource, sys
from hashlib import sha256
from pathlib import Path
import httpx
from tests.builders.hubs import named, served_hub, written

with served_hub(Path(sys.argv[1])) as hub:
    repository = hub.new()
    hub.commit(repository, written("a.txt", "kept")).raise_for_status()
    large, some = os.urandom(3_000_000), [written(f"{number}.txt", os.urandom(60_000)) for number in range(30)]
    address = hub.batch(repository, sha256(large).hexdigest(), len(large))["upload"]["href"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
    full = {
        "many files": hub.commit(repository, *some).status_code,
        "a file": hub.commit(repository, written("large.txt", large)).status_code,
        "a large file": httpx.put(address, content=large, trust_env=False).status_code,
        "reading": hub.http().get(f"/{repository}/resolve/main/a.txt").status_code,
        "titles": [commit.title for commit in hub.api().list_repo_commits(repository)],
        "left": [path.name for path in (hub.hub.store.folder / "uploads").iterdir()],
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    room = {
        "many files": hub.commit(repository, *some).status_code,
        "a large file": httpx.put(address, content=large, trust_env=False).status_code,
        "committed": hub.commit(repository, named("w.bin", sha256(large).hexdigest())).status_code,
        "right": hub.http().get(f"/{repository}/resolve/main/w.bin").content == large,
    }
print(json.dumps({"full": full, "room": room}))
"""


def test_a_full_disk_is_told_and_got_over(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "hub")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["room"] == {"many files": 200, "a large file": 200, "committed": 200, "right": True}
    statuses = {what: seen["full"].pop(what) for what in ("many files", "a file", "a large file")}
    assert set(statuses.values()) <= {503, 507}, statuses
    assert seen["full"] == {"reading": 200, "titles": ["a commit", "initial commit"], "left": []}
    assert "Traceback" not in done.stderr
