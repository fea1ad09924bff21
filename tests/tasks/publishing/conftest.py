"""One Hub for each module of tests, in a thread of this process."""

from collections.abc import Iterator

import pytest

from tests.builders.hubs import Workplace, served_hub
from tests.builders.publications import hurry


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A Hub with the users anna and bert; each test publishes under names of its own."""
    with served_hub(tmp_path_factory.mktemp("hub")) as served:
        yield served


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before another attempt."""
    hurry(monkeypatch)
