"""Client and server of a publication are killed at random moments: everything that anybody ever sees is whole, and nothing is done twice.

VOXFACTORY_TEST_KILLS says how many publications are disturbed.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import pytest

from tests.builders.faulty_door import FaultyDoor, faulty_door
from tests.builders.hubs import HubProcess, Workplace, hub_process
from tests.builders.publications import held, make_folder, publishing_process, snapshot, titles

PUBLICATIONS = int(os.environ.get("VOXFACTORY_TEST_KILLS", "20"))
NAME = "anna/killed"
_LARGE_BYTES = 3_000_000
_ATTEMPTS = 3
_PATIENCE_S = 60.0
_LOOK_S, _GLANCE_S = 0.02, 0.002


class Watcher:
    """Looks at main all the time, as anybody might who loads the model."""

    def __init__(self, workplace: Workplace) -> None:
        self._client = workplace.with_token(workplace.tokens["anna-read"])
        self.seen: list[dict[str, str]] = []
        self.looks = 0

    def look(self) -> None:
        """Note what main holds, if it differs from before; a Hub that is down shows nothing."""
        try:
            answer = self._client.get(f"/api/models/{NAME}/tree/main?recursive=1")
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            files = {item["path"]: item.get("lfs", item)["oid"] for item in answer.json() if item["type"] == "file"}
            files.pop(".gitattributes", None)
            self.looks += 1
            if not self.seen or self.seen[-1] != files:
                self.seen.append(files)


@contextmanager
def watching(workplace: Workplace) -> Iterator[Watcher]:
    """Look until the block ends."""
    watcher, ended = Watcher(workplace), threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_S):
            watcher.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watcher
    finally:
        ended.set()
        thread.join()


def publish_disturbed(
    process: HubProcess, door: FaultyDoor, start: Callable[[], BaseProcess], chance: random.Random, requests: int
) -> int:
    """Publish while one or both sides are killed once, at about the so-many-th request; how many clients it took."""
    victims = chance.choice([("client",), ("server",), ("client", "server")])
    before = len(door.passages)
    client = start()
    while client.is_alive() and len(door.passages) < before + requests:
        time.sleep(_GLANCE_S)
    time.sleep(chance.uniform(0, _GLANCE_S))
    if "server" in victims:
        process.kill()
    if "client" in victims:
        client.kill()
        client.join()
    if "server" in victims:
        process.start()
    for attempt in range(1, _ATTEMPTS + 1):
        client.join(_PATIENCE_S)
        if client.exitcode == 0:
            return attempt
        assert client.exitcode is not None, "the client hangs"
        client = start()
    raise AssertionError(f"not published after {_ATTEMPTS} attempts")


@pytest.mark.timeout(60 + 30 * PUBLICATIONS)
def test_whoever_is_killed_and_when_every_publication_is_whole_and_there_once(tmp_path: Path):
    """The moments are spread over all requests of a publication, from its first to its last."""
    chance = random.Random(20)
    folders = [
        make_folder(tmp_path / str(number), number, large=3, large_bytes=_LARGE_BYTES) for number in range(PUBLICATIONS + 1)
    ]
    attempts = []
    with (
        hub_process(tmp_path / "home") as (process, workplace),
        faulty_door(workplace.url, seed=0, share=0.0) as door,
        watching(workplace) as watcher,
    ):
        publishing_process(door.url, workplace.tokens, folders[0], NAME).join(_PATIENCE_S)
        usual = len(door.passages)
        for number, made in enumerate(folders[1:]):
            start = partial(publishing_process, door.url, workplace.tokens, made, NAME)
            moment = int((number + chance.random()) * usual / PUBLICATIONS)
            attempts.append(publish_disturbed(process, door, start, chance, moment))
            published = folders[: number + 2]
            assert held(workplace.api(), NAME) == made.files()
            assert titles(workplace.api(), NAME) == [made.fingerprint for made in reversed(published)], "each once, in order"
        watcher.look()
        references = workplace.api().list_repo_refs(NAME)
        tags = {tag.name[-12:]: held(workplace.api(), NAME, tag.target_commit) for tag in references.tags}
    assert tags == {made.fingerprint: made.files() for made in folders}
    assert [branch.name for branch in references.branches] == ["main"]
    assert [files for files in watcher.seen if files] == [snapshot(made) for made in folders], "nothing else was ever seen"
    assert max(attempts) > 1, "nobody was disturbed"
