import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import _training, app
from infra.errors import SettingsError
from tasks.contracts import DatasetVersion
from tasks.training.options import TrainingOptions

pytestmark = pytest.mark.fast
HEAVY = ("torch", "transformers", "prefect", "librosa", "gradio", "datasets", "matplotlib")


@pytest.mark.parametrize("module", ["deployments.cli", "infra.settings", "tasks.contracts"])
def test_light_modules_import_nothing_heavy(module: str):
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_flow_is_inspected_without_torch():
    code = "import sys, flows.factory; print([n for n in ('torch', 'transformers', 'gradio', 'matplotlib') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_help_names_every_command():
    done = subprocess.run([sys.executable, "-m", "deployments.cli", "--help"], capture_output=True, text=True, check=True)
    for command in ("demo", "ingest", "train", "evaluate", "publish", "space", "run", "hub", "cache", "doctor"):
        assert f"\n  {command} " in done.stdout


def test_a_plan_is_told_and_nothing_is_trained(digits: DatasetVersion, home: Path):
    asked = ["train", str(digits.folder), "--plan", "--epochs", "2", "--set", "packing=off", "--set", "checkpoint_steps=5"]
    launched = os.environ | {"VOXFACTORY_ACCELERATE": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", *asked], capture_output=True, text=True, check=True, env=launched
    )
    for said in (
        "what VOXFACTORY_ACCELERATE=cpu makes of it",
        "digits-de on voxfactory-tiny",
        "windows",
        "0 skipped",
        "2.8 M",
        "FLOP",
        "padding",
        "MiB",
        "hours of speech an hour",
    ):
        assert said in " ".join(done.stdout.split())
    assert not done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--set", "lora_rnak=3"], r"lora_rnak: no option .* There are method, epochs, .*lora_rank"),
        (["--set", "lora_rank"], r"names no value"),
        (["--set", "lora_rank=many"], r"lora_rank: Input should be a valid integer.*'many'"),
        (["--set", "packing=tight"], r"packing: Input should be 'off', 'same-language' or 'same-speaker'"),
        (["--set", "seed=1", "--set", "seed=2"], r"seed is given twice, as 1 and as 2"),
        (["--epochs", "3", "--set", "epochs=5"], r"--epochs 3 and --set epochs=5 contradict"),
        (["--method", "lora", "--set", "method=full"], r"--method lora and --set method=full contradict"),
        (["--set", "method=full", "--set", "train_projector=false"], r"unset one of the two"),
    ],
)
@pytest.mark.parametrize("command", ["train", "run"])
def test_options_that_cannot_be_are_refused_before_anything_is_looked_at(command: str, given: list[str], said: str):
    refused = CliRunner().invoke(app, [command, "no/such/folder", *given]).exception
    assert isinstance(refused, SettingsError)
    assert re.search(said, str(refused))


def test_every_option_of_a_training_can_be_set():
    pairs = {"method": "full", "epochs": 3, "patience": 4, "noise_snr_db": 12.5, "cache": "off", "learning_rate": "1e-5"}
    named = [f"{name}={value}" for name, value in pairs.items()]
    training = _training("voxfactory-tiny", "lora", 3, 4, 2e-4, None, 7, named)
    assert training.options == TrainingOptions(**pairs, seed=7)
