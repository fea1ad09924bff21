"""Every test has a home of its own; nothing leaves loopback."""

import os

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "VOXFACTORY_TRACKING": "false",  # a process more for each training: tests of it switch it on
}
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # test processes share the cores; threads that wait for each other spin

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from infra.settings import settings
from tasks.contracts import Checkpoint, DatasetVersion, EvaluationReport, Method
from tests.builders.reports import real_report
from tests.builders.speech import digit_version

hypothesis.settings.register_profile("suite", derandomize=True, database=None)  # the same inputs every time
hypothesis.settings.register_profile("fuzz", max_examples=20_000, print_blob=True)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first: at the end, no process waits long for the other."""
    items.sort(key=lambda item: item.get_closest_marker("fast") is not None)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """VOXFACTORY_HOME of this test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("VOXFACTORY_HOME", str(folder))
    monkeypatch.setenv("VOXFACTORY_PROCESSES", "1")
    settings.cache_clear()
    yield folder
    settings.cache_clear()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DatasetVersion:
    """24 clips of German digits by four voices, divided by speaker. Read only."""
    return digit_version(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def tiny() -> Checkpoint:
    """The checkpoint that is shipped."""
    from tasks.voxtral.checkpoint import find_checkpoint

    return find_checkpoint("voxfactory-tiny")


@pytest.fixture(scope="session")
def full_report(tmp_path_factory: pytest.TempPathFactory, tiny: Checkpoint, digits: DatasetVersion) -> EvaluationReport:
    """The tiny model fully fine-tuned for four steps, really evaluated. Read only."""
    return real_report(tmp_path_factory.mktemp("full"), Method.FULL, tiny, digits)


@pytest.fixture(scope="session")
def lora_report(tmp_path_factory: pytest.TempPathFactory, tiny: Checkpoint, digits: DatasetVersion) -> EvaluationReport:
    """The tiny model with an adapter of four steps, really evaluated. Read only."""
    return real_report(tmp_path_factory.mktemp("lora"), Method.LORA, tiny, digits)
