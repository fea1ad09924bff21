import subprocess
import sys

import pytest

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
