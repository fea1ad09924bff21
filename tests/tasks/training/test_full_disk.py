"""A disk that fills while a model is trained: told in one line, nothing half-written, and gone on from once there is room."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.contracts import Checkpoint, DatasetVersion, Method
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec

# In a mount namespace of its own, so that nobody sees the small disk. It trains until the disk is full, then with a little more, then
# with enough.
_SCRIPT = """
import json, subprocess, sys
from pathlib import Path
from infra.errors import HomeError
from infra.progress import listening
from tasks.training.launch import train
from tasks.training.process import TrainingSpec

described, sizes = TrainingSpec.model_validate_json(sys.argv[1]), json.loads(sys.argv[2])
folder = described.folder
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={sizes[0]}", "tmpfs", folder.parent], check=True)
seen = []
for size in sizes:
    subprocess.run(["mount", "-o", f"remount,size={size}", folder.parent], check=True)
    steps = []
    with listening(lambda told: told.stage == 'train' and not told.figures and steps.append(told.done)):
        try:
            told = train(described).steps
        except HomeError as error:
            told = str(error)
    left = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != "training_results")
    seen.append({"told": told, "steps": steps, "left": left})
print(json.dumps(seen))
"""
_IN_A_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def may_mount(place: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    trying = [*_IN_A_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", place]
    return subprocess.run(trying, capture_output=True, check=False).returncode == 0


def test_a_checkpoint_that_does_not_fit_is_told_and_got_over(tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path):
    if not may_mount(tmp_path):
        pytest.skip("this user may not mount a small disk")
    options = TrainingOptions(method=Method.FULL, epochs=1, batch_size=4, max_steps=2, checkpoint_steps=1)
    described = TrainingSpec(folder=tmp_path / "run", base=tiny, dataset=digits, options=options)
    weights = 2 * (tiny.folder / "model.safetensors").stat().st_size  # in float32
    # A checkpoint is three times the weights, with AdamW's state. First the second one's weights do not fit, then its state.
    sizes = [3 * weights + weights // 2, 5 * weights, 12 * weights]
    done = subprocess.run(
        [*_IN_A_NAMESPACE, sys.executable, "-c", _SCRIPT, described.model_dump_json(), json.dumps(sizes)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, third = json.loads(done.stdout.splitlines()[-1])
    told = f"The disk of {tmp_path / 'run'} is full. Free some space or set VOXFACTORY_HOME to another disk, then start again."
    assert (first["told"], second["told"], third["told"]) == (told, told, 2)
    assert first["left"] == second["left"] == ["checkpoint-1"]
    assert (second["steps"], third["steps"]) == ([2], [2])
    assert third["left"] == ["best-model", "checkpoint-2", "final-model"]
