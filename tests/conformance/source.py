"""huggingface_hub's tests, taken from its source package on the package index; none of them is kept in this repository.

Kept as they are: the package that pytest sees is a copy of the files with an `__init__.py` and our `conftest.py` beside them, which
the source package lacks.
"""

import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

MODULES = (
    "test_hf_api",
    "test_file_download",
    "test_snapshot_download",
    "test_hf_file_system",
    "test_commit_scheduler",
    "test_hub_mixin",
)
PACKAGE = "hub_suite"
_SUPPORT = ("testing_constants", "testing_utils")
_HERE = Path(__file__).parent


def installed() -> str:
    """Version of the huggingface_hub that is installed, whose tests are taken."""
    return version("huggingface_hub")


def fetch_tests(cache: Path) -> Path:
    """The folder `tests` of the source package of the installed version; downloaded when `cache` lacks it."""
    name = f"huggingface_hub-{installed()}"
    folder = cache / name
    if not folder.is_dir():
        with TemporaryDirectory(dir=cache) as scratch:
            _download(Path(scratch))
            with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
                archive.extractall(scratch, filter="data")
            (Path(scratch) / name).rename(folder)
    return folder / "tests"


def _download(folder: Path) -> None:
    wanted = f"huggingface_hub=={installed()}"
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", "huggingface_hub", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, wanted], check=True)


def lay_out(tests: Path, folder: Path) -> list[Path]:
    """Copy the modules, what they import, and our conftest into a package in `folder`; the modules there."""
    package = folder / PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copyfile(_HERE / "suite_conftest.py", package / "conftest.py")
    for name in (*MODULES, *_SUPPORT):
        shutil.copyfile(tests / f"{name}.py", package / f"{name}.py")
    return [package / f"{name}.py" for name in MODULES]
