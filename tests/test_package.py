"""What is installed is complete: a wheel holds every file that the code reads beside itself."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[1]
PACKAGES = ("deployments", "flows", "infra", "tasks")
NEEDED = {
    "infra/accelerate/ddp.yaml",
    "infra/local_hub/schema.sql",
    "infra/local_hub/web/templates/base.html",
    "tasks/dataset/dataset_card.md.jinja",
    "tasks/publishing/model_card.md.jinja",
    "tasks/space/template/README.md.jinja",
    "tasks/space/template/app.py",
    "tasks/voxtral/voxfactory-tiny/config.json",
    "tasks/voxtral/voxfactory-tiny/model.safetensors",
    "tasks/voxtral/voxfactory-tiny/processor_config.json",
    "tasks/voxtral/voxfactory-tiny/tekken.json",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, where building may leave what it likes."""
    folder = tmp_path_factory.mktemp("sources")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def packed(copy: Path) -> set[str]:
    """The names of all files in the wheel."""
    building = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", copy / "wheels", copy]
    subprocess.run([sys.executable, "-m", "pip", *building], check=True, capture_output=True, timeout=120)
    (wheel,) = (copy / "wheels").iterdir()
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_files_that_the_code_reads_are_packed(packed: set[str]):
    assert packed >= NEEDED


def test_no_file_of_a_room_is_left_out(packed: set[str], copy: Path):
    rooms = [path.parent for name in PACKAGES for path in (copy / name).glob("*/__init__.py")]
    assert len(rooms) > 8
    files = {path.relative_to(copy).as_posix() for room in rooms for path in room.rglob("*") if path.is_file()}
    assert files - packed == set()
