"""A run is killed and stopped at ten random moments, and ends in the weights of one that was left alone."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file

from tasks.contracts import Checkpoint, DatasetVersion
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec

MOMENTS = 10
# One process imports what training needs, and each attempt is a fork of it: an attempt then takes a second or two, not ten.
_ATTEMPTS = f"""
import os, random, signal, sys, time
from pathlib import Path
import peft, torch, transformers
from transformers import Trainer, VoxtralForConditionalGeneration
from tasks.training import energy, examples, outputs, plan, process, tracking, trainer, window_features

def attempt(spec):
    child = os.fork()
    if child == 0:
        os._exit(process.main(spec))
    return child

def another(number):
    spec = home / f"run-{{number}}" / "spec.json"
    spec.parent.mkdir()
    spec.write_text(described.replace("FOLDER", str(spec.parent)))
    return spec

home, described = Path(sys.argv[1]), sys.argv[2]
began = time.monotonic()
assert os.waitpid(attempt(another(0)), 0)[1] == 0
whole_s = time.monotonic() - began
draw, runs, disturbed, resumed = random.Random(), 1, another(1), 0
for _ in range({MOMENTS}):
    after_s, number = draw.uniform(0, 0.7 * whole_s), draw.choice([signal.SIGKILL, signal.SIGTERM])
    resumed += trainer.last_checkpoint(disturbed.parent) is not None
    child, ends = attempt(disturbed), time.monotonic() + after_s
    while time.monotonic() < ends and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.01)
    os.kill(child, number)
    os.waitpid(child, 0)
    kept = trainer.last_checkpoint(disturbed.parent)
    print(f"{{number.name}} after {{after_s:.2f}} of {{whole_s:.2f}} s, {{kept and kept.name}}", file=sys.stderr, flush=True)
    if (disturbed.parent / "train_results.json").exists():
        runs += 1
        disturbed = another(runs)
assert os.waitpid(attempt(disturbed), 0)[1] == 0
assert resumed, "every moment came before the first checkpoint"
"""


def test_a_run_ends_in_the_same_weights_whatever_stops_it_ten_times(tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path):
    options = TrainingOptions(
        epochs=20, batch_size=4, checkpoint_steps=4, gradient_accumulation=2, max_steps=30, lora_dropout=0.05
    )
    described = TrainingSpec(folder=Path("FOLDER"), base=tiny, dataset=digits, options=options).model_dump_json()
    command = [sys.executable, "-c", _ATTEMPTS, str(tmp_path), described]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    undisturbed, *disturbed = sorted(tmp_path.glob("run-*"))
    assert disturbed
    for folder, model in product(disturbed, ("final-model", "best-model")):
        expected, found = (load_file(run / model / "adapter_model.safetensors") for run in (undisturbed, folder))
        assert expected.keys() == found.keys()
        assert all(torch.equal(weight, found[name]) for name, weight in expected.items()), f"{model}: {done.stderr}"
