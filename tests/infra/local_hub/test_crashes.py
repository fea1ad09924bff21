"""A Hub that is killed at any moment: what it acknowledged is there, and every reference leads to a whole commit."""

import hashlib
import random
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from infra.local_hub.blobs import Blobs
from infra.local_hub.identity import blob_id, lfs_pointer
from tests.builders.hubs import HubProcess, Workplace, hub_process, named, written

_KILLS = 4
_LARGE_BYTES = 300_000


@dataclass
class Client:
    """Commits and uploads one thing after another, until the Hub is gone; knows what it was told is done."""

    hub: Workplace
    repository: str
    seed: int
    done: list[str] = field(default_factory=list)  # ids of commits
    files: dict[str, bytes] = field(default_factory=dict)
    pulls: int = 0

    def work(self) -> None:
        """Go on until a request gets no answer."""
        chance = random.Random(self.seed + len(self.done))
        try:
            while True:
                self._step(chance)
        except httpx.TransportError:
            return

    def _step(self, chance: random.Random) -> None:
        number = len(self.done)
        small = {f"f{number % 40}/{chance.randrange(9)}.txt": chance.randbytes(chance.choice([10, 100_000])) for _ in range(3)}
        lines = [written(path, content) for path, content in small.items()]
        if number % 3 == 0:
            large = chance.randbytes(_LARGE_BYTES)
            lines.append(named("w.bin", self.hub.put_large(self.repository, large)))
            small["w.bin"] = large
        if number % 7 == 6:
            self.hub.commit(self.repository, *lines, pull=True).raise_for_status()
            self.pulls += 1
        answer = self.hub.commit(self.repository, *lines, summary=f"commit {number}").raise_for_status()
        self.done.append(answer.json()["commitOid"])
        self.files |= small


def _check_whole(process: HubProcess) -> None:
    """Every reference of every repository leads to commits, trees and files that are all there, under their right names."""
    hub = process.open()
    for row in hub.store.read("SELECT id FROM repositories"):
        history = hub.history(hub.repositories.by_id(row["id"]))
        trees, blobs = history.trees(), Blobs(hub.store, row["id"])
        references = history.references()
        assert references
        wanted = {
            oid
            for reference in references
            for commit in history.log(history.by_oid(reference.oid))
            for oid in trees.files(commit.tree).values()
        }
        for oid, blob in blobs.get(sorted(wanted)).items():
            content = b"".join(blobs.read(blob))
            if blob.lfs:
                assert (hashlib.sha256(content).hexdigest(), len(content)) == (blob.sha256, blob.size)
                content = lfs_pointer(blob.sha256 or "", blob.size)
            assert blob_id(content) == oid
        assert len(blobs.get(sorted(wanted))) == len(wanted)


@pytest.mark.timeout(120)
def test_what_was_acknowledged_survives_kills_at_any_moment(tmp_path: Path):
    chance = random.Random(20)
    with hub_process(tmp_path / "home") as (process, hub):
        client = Client(hub, hub.new(private=True), seed=7)
        for _ in range(_KILLS):
            killer = threading.Timer(chance.uniform(0.02, 0.6), process.kill)
            killer.start()
            client.work()
            killer.join()
            _check_whole(process)
            process.start()
            _check_acknowledged(hub, client)
        kept = {path.name for path in (hub.hub.store.folder / "files").glob("*/*")}
        held = {
            row["sha256"]
            for row in hub.hub.store.read("SELECT sha256 FROM holdings UNION SELECT sha256 FROM blobs WHERE sha256 > ''")
        }
        assert kept == held, "what a killed request left behind is swept"
    assert len(client.done) > _KILLS, "the client must have had time to do something"


def _check_acknowledged(hub: Workplace, client: Client) -> None:
    log = [commit["id"] for commit in hub.http().get(f"/api/models/{client.repository}/commits/main").json()]
    places = [log.index(oid) for oid in client.done]
    assert places == sorted(places, reverse=True)
    last = places[-1] if places else len(log) - 1
    for path, content in client.files.items():
        answer = hub.http().get(f"/{client.repository}/resolve/{log[last]}/{path}")
        assert answer.content == content, path
    assert len(hub.http().get(f"/api/models/{client.repository}/discussions").json()["discussions"]) >= client.pulls


def test_a_hub_that_is_asked_to_end_ends(tmp_path: Path):
    with hub_process(tmp_path / "home") as (process, hub):
        for number, code in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)):
            hub.http().get("/api/whoami-v2").raise_for_status()
            assert process.end(number) == code
            assert "Traceback" not in process.log()
            if number is signal.SIGTERM:
                process.start()
