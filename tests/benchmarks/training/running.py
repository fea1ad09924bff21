"""Starts the two sides of the comparison, one after the other, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tasks.contracts import Split
from tasks.dataset.version import read_utterances
from tasks.training.options import TrainingOptions
from tasks.training.plan import make_plan
from tasks.training.process import TrainingSpec
from tasks.voxtral.checkpoint import window_frames
from tests.benchmarks.training.measured import Measured
from tests.benchmarks.training.recipe import Job


def run_engine(spec: TrainingSpec) -> Measured:
    """Train by this project, with a feature store of its own, empty."""
    spec.folder.mkdir(parents=True)
    written = spec.folder / "spec.json"
    written.write_text(spec.model_dump_json())
    _run("engine", written, spec.folder.with_name(f"{spec.folder.name}-home"))
    return Measured.model_validate_json((spec.folder / "result.json").read_text())


def run_recipe(job: Job) -> Measured:
    """Train by the public recipe."""
    job.folder.mkdir(parents=True)
    written = job.folder / "job.json"
    written.write_text(job.model_dump_json())
    _run("recipe", written, job.folder.with_name(f"{job.folder.name}-home"))
    return Measured.model_validate_json((job.folder / "result.json").read_text())


def single_plan(spec: TrainingSpec, options: TrainingOptions, folder: Path) -> Path:
    """The plan that the engine makes of these options, for the recipe to follow."""
    window_s = window_frames(spec.base.folder) / 100
    trained, held_out = (read_utterances(spec.dataset, side) for side in (Split.TRAIN, Split.EVAL))
    plan = make_plan(trained, options, window_s, (), held_out)
    path = folder / "recipe-plan.jsonl"
    path.write_text("".join(row.model_dump_json() + "\n" for row in plan.rows))
    return path


def _run(side: str, written: Path, home: Path) -> None:
    command = [sys.executable, "-m", f"tests.benchmarks.training.{side}", str(written)]
    environment = os.environ | {"VOXFACTORY_HOME": str(home), "VOXFACTORY_TRACKING": "false", "TOKENIZERS_PARALLELISM": "false"}
    with written.with_suffix(".log").open("wb") as log:
        done = subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        sys.stderr.write(written.with_suffix(".log").read_text()[-4000:])
        raise SystemExit(f"The {side} ended with {done.returncode}")
