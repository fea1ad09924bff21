"""A forecast against the plan that it is made from. Times are only checked for being put together; docs/performance.md compares one."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from infra.errors import ModelError, TrainingError
from tasks.contracts import Checkpoint, DatasetVersion, Split
from tasks.dataset.version import read_utterances
from tasks.training.examples import PlannedExamples, collate
from tasks.training.flops import Batch, batch_flops, tower_flops
from tasks.training.forecast import compute, forecast, times
from tasks.training.layer_times import StepTimes
from tasks.training.options import TrainingOptions
from tasks.training.plan import make_plan, steps_of
from tasks.training.process import TrainingSpec
from tasks.training.workload import Row, Workload, batch_of, workload
from tasks.voxtral.checkpoint import find_checkpoint, load_processor
from tasks.voxtral.prompt import VoxtralPrompt
from tasks.voxtral.shape import read_config, shape_of
from tests.builders.shapes import mini_3b_config

pytestmark = pytest.mark.fast
OPTIONS = TrainingOptions(epochs=2, batch_size=4, checkpoint_steps=3)


def spec(base: Checkpoint, dataset: DatasetVersion, options: TrainingOptions = OPTIONS) -> TrainingSpec:
    return TrainingSpec(folder=Path("nowhere"), base=base, dataset=dataset, options=options)


def work_of(tiny: Checkpoint, digits: DatasetVersion, options: TrainingOptions) -> tuple[Workload, VoxtralPrompt]:
    prompt = VoxtralPrompt(load_processor(tiny), read_config(tiny.folder))
    spoken = read_utterances(digits, Split.TRAIN)
    plan = make_plan(spoken, options, prompt.window_s)
    return workload(plan, {utterance.id: utterance for utterance in spoken}, options, prompt), prompt


def test_a_forecast_tells_what_the_plan_holds(tiny: Checkpoint, digits: DatasetVersion):
    spoken = read_utterances(digits, Split.TRAIN)
    plan = make_plan(spoken, OPTIONS, 4.0)
    told = forecast(spec(tiny, digits))
    assert (told.rows, told.steps, told.epochs, told.skipped) == (len(plan.rows), steps_of(plan, OPTIONS), 2, 0)
    assert (told.windows, told.distinct_windows) == (len(plan.rows), len(spoken))
    assert told.utterances == len({row.utterances for row in plan.rows})
    durations_s = {utterance.id: utterance.duration_s for utterance in spoken}
    assert told.audio_s == pytest.approx(sum(durations_s[row.utterances[0]] for row in plan.rows))
    assert told.compute.once == tower_flops(shape_of(read_config(tiny.folder))) * told.distinct_windows
    assert 0 < told.compute.padding_share < 1
    assert told.peak_bytes < told.device_bytes
    assert min(told.times.once, told.times.step, told.times.validation) > 0
    assert told.total_s == pytest.approx(told.times.once + told.steps * told.times.step + told.times.validation)
    assert not told.recompute
    assert not Path("nowhere").exists()


def test_batches_are_as_long_as_those_that_are_trained_on(tiny: Checkpoint, digits: DatasetVersion):
    work, prompt = work_of(tiny, digits, OPTIONS)
    spoken = read_utterances(digits, Split.TRAIN)
    plan = make_plan(spoken, OPTIONS, prompt.window_s)
    examples = PlannedExamples(plan.rows, {u.id: u for u in spoken}, lambda _: torch.zeros(1, 128, 400), prompt)
    for number, rows in enumerate(work.batches):
        first = number * OPTIONS.batch_size
        real = collate([examples[index] for index in range(first, first + len(rows))])
        batch = batch_of(rows)
        assert (batch.rows, batch.length) == real["input_ids"].shape
        assert batch.targets == int((real["labels"] >= 0).sum())
        assert batch.even == bool(real["attention_mask"].all())


def test_only_the_steps_that_are_made_count(tiny: Checkpoint, digits: DatasetVersion):
    options = OPTIONS.model_copy(update={"gradient_accumulation": 2, "max_steps": 1})
    work, _ = work_of(tiny, digits, options)
    assert (work.steps, len(work.batches), len(work.rows)) == (1, 2, 8)


ROW = Row(heard=("one",), epoch=0, windows=1, speech_s=1.0, prompt=60, target=10)
LONG = ROW._replace(heard=("two",), speech_s=4.0, target=30)


def test_padding_is_silence_in_windows_and_tokens_that_fill_rows(tiny: Checkpoint):
    shape = shape_of(read_config(tiny.folder))
    full = Workload(steps=1, batches=((LONG, LONG),), validation=())
    for cache in ("tower", "off"):
        options = TrainingOptions(cache=cache)
        assert compute(shape, options, full, 4.0, recompute=False).padding == 0, "windows of speech, rows of one length"
        told = compute(shape, options, full._replace(batches=((ROW, LONG),)), 4.0, recompute=False)
        flops = batch_flops(shape, options, batch_of((ROW, LONG)), recompute=False)
        heard_once = 2 * tower_flops(shape) if cache == "tower" else 0
        silence = 0.75 / 2 * (heard_once + flops.tower + flops.projector)
        tokens = flops.layers * (20 + 0.75 * shape.audio_tokens) / (2 * 90)
        assert told.once == heard_once
        assert told.steps == flops.all
        assert told.padding == pytest.approx(silence + tokens, abs=2)


def test_times_are_put_together_from_those_of_the_parts(tiny: Checkpoint):
    shape = shape_of(read_config(tiny.folder))
    measured = StepTimes(batch_s=1.0, optimizer_s=0.1, token_s=0.01, tower_s=0.5)
    work = Workload(steps=3, batches=((LONG, LONG),) * 6, validation=(ROW, ROW))
    options = TrainingOptions(batch_size=2, gradient_accumulation=2, checkpoint_steps=2, best_by="loss")
    told = times(shape, options, work, False, measured, mel_s=0.25)
    assert told.once == 2 * (0.25 + 0.5), "two recordings"
    assert told.step == 2 * 1.0 + 0.1
    assert 0 < told.validation < 2 * 1.0, "forward passes after steps 2 and 3"
    by_wer = times(shape, options.model_copy(update={"best_by": "wer"}), work, False, measured, mel_s=0.25)
    assert by_wer.validation == pytest.approx(2 * told.validation + 2 * 10 * 0.01)
    live = times(shape, options.model_copy(update={"cache": "off"}), work, False, measured, mel_s=0.25)
    assert (live.once, live.step) == (0, 2 * (1.0 + 2 * 0.25) + 0.1)


def test_no_weights_are_needed_and_none_are_written(tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path):
    folder = tmp_path / "described"
    shutil.copytree(tiny.folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    described = find_checkpoint(str(folder), weights=False)
    assert forecast(spec(described, digits)).parameters == shape_of(read_config(tiny.folder)).all
    with pytest.raises(ModelError, match="no safetensors weights"):
        find_checkpoint(str(folder))


def test_what_cannot_be_trained_is_refused_as_training_refuses_it(tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path):
    folder = tmp_path / "large"
    shutil.copytree(tiny.folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = mini_3b_config()
    config.text_config.num_hidden_layers = 10**4
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"architectures": ["VoxtralForConditionalGeneration"]}))
    with pytest.raises(TrainingError, match="before the first window"):
        forecast(spec(find_checkpoint(str(folder), weights=False), digits))
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="adamw_8bit needs a CUDA GPU"):
            forecast(spec(tiny, digits, OPTIONS.model_copy(update={"optimizer": "adamw_8bit"})))


def test_the_largest_batch_decides_memory_and_a_full_one_is_measured():
    work = Workload(steps=3, batches=((ROW, ROW), (ROW, LONG), (LONG,)), validation=())
    assert work.largest == Batch(rows=2, windows=2, length=90, targets=40, even=False)
    assert work.usual == Batch(rows=2, windows=2, length=80, targets=30, even=False)
