"""Which model is the best, and when training ends: by hand, and in whole trainings."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from infra.errors import TrainingLost
from infra.progress import Progress, listening
from tasks.contracts import Checkpoint, DatasetVersion, Method, Split, Utterance
from tasks.dataset.version import read_utterances
from tasks.evaluation.hearing import Transcriber
from tasks.speech.audio import load_clip
from tasks.speech.error_rates import count_errors
from tasks.training.launch import train
from tasks.training.options import TrainingOptions
from tasks.training.plan import PlanRow
from tasks.training.process import TrainingSpec
from tasks.training.selection import best_evaluation, out_of_patience
from tasks.training.trainer import last_step
from tasks.training.validation import Validation
from tasks.training.window_audio import WindowAudio
from tasks.training.window_features import MelFeatures, TowerOutputs
from tasks.voxtral.checkpoint import load_model, load_processor
from tasks.voxtral.lora import recompute_activations, train_every_weight
from tasks.voxtral.prompt import VoxtralPrompt
from tests.builders.speech import digit_version
from tests.builders.trainings import signal_after


def history(*evaluations: tuple[float, float]) -> list[dict[str, float]]:
    """(WER, loss) of steps 10, 20, ... among what else the Trainer keeps."""
    rows = [{"step": 10 * number, "eval_wer": wer, "eval_loss": loss} for number, (wer, loss) in enumerate(evaluations, 1)]
    return [entry for row in rows for entry in ({"step": row["step"], "loss": 1.0}, row)]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("evaluations", "by", "step"),
    [
        ([(0.3, 1.0), (0.2, 1.5), (0.4, 0.5)], "wer", 20),
        ([(0.3, 1.0), (0.2, 1.5), (0.4, 0.5)], "loss", 30),
        ([(0.2, 1.0), (0.2, 0.9), (0.2, 1.1)], "wer", 20),
        ([(0.2, 1.0), (0.2, 1.0)], "wer", 10),
        ([(0.2, float("nan")), (0.2, 1.0)], "loss", 20),
    ],
)
def test_the_best_has_the_lowest_figure_then_the_lowest_loss_then_came_first(
    evaluations: list[tuple[float, float]], by: str, step: int
):
    best = best_evaluation(history(*evaluations), TrainingOptions(best_by=by))
    assert best is not None
    assert best["step"] == step


@pytest.mark.fast
def test_patience_counts_what_came_after_the_best(tmp_path: Path):
    patient, told = TrainingOptions(patience=2), [(0.5, 1.0), (0.4, 1.0), (0.4, 1.0), (0.5, 0.1)]
    assert [out_of_patience(history(*told[:count]), patient) for count in range(5)] == [False, False, False, False, True]
    assert not out_of_patience(history(*told), TrainingOptions())
    (tmp_path / "checkpoint-40").mkdir()
    (tmp_path / "checkpoint-40" / "trainer_state.json").write_text(json.dumps({"log_history": history(*told)}))
    assert last_step(100, tmp_path / "checkpoint-40", patient) == 40
    assert last_step(100, tmp_path / "checkpoint-40", TrainingOptions()) == 100
    assert last_step(100, None, patient) == 100


# The generation pass


class Alone:
    """What the Trainer's accelerator is in one of several processes; `told` keeps what is added up."""

    def __init__(self, process_index: int = 0, num_processes: int = 1) -> None:
        self.process_index, self.num_processes = process_index, num_processes
        self.told: list[int] = []

    def reduce(self, both: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction == "sum"
        self.told = both.tolist()
        return both if self.told[1] else torch.ones(2)


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> DatasetVersion:
    """The tiny model knows it well."""
    return digit_version(tmp_path_factory.mktemp("english"), "en", clips=12)


@pytest.fixture(scope="module")
def heard(tiny: Checkpoint, english: DatasetVersion) -> SimpleNamespace:
    """The model in training, its tower taken out, its activations recomputed; and how its utterances become features."""
    model, processor = load_model(tiny, torch.device("cpu"), torch.float32), load_processor(tiny)
    train_every_weight(model, audio_tower=False)
    recompute_activations(model)
    model.config.use_cache = False  # as a Trainer leaves it
    utterances = read_utterances(english, Split.TRAIN)
    clips = {utterance.id: english.folder / utterance.audio_path for utterance in utterances}
    prompt = VoxtralPrompt(processor, model.config)
    tower = TowerOutputs(model, MelFeatures(processor, prompt), "tiny")
    audio = WindowAudio({utterance.id: utterance for utterance in utterances}, clips)
    return SimpleNamespace(
        model=model.train(),
        utterances=utterances,
        prompt=prompt,
        features=lambda row: torch.stack([tower.compute(samples) for samples in audio.samples(row)]),
    )


def validation(heard: SimpleNamespace, utterances: list[Utterance]) -> Validation:
    rows = [PlanRow(epoch=0, utterances=(utterance.id,), language=utterance.language) for utterance in utterances]
    return Validation(rows, {utterance.id: utterance for utterance in utterances}, heard.features, heard.prompt, trained_rows=1)


@pytest.mark.fast
def test_wer_in_training_is_that_of_evaluation_and_leaves_the_random_state(
    heard: SimpleNamespace, tiny: Checkpoint, english: DatasetVersion
):
    before = torch.random.get_rng_state()
    wer = validation(heard, heard.utterances).wer(heard.model, Alone())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert heard.model.training
    clips = [load_clip(english.folder / utterance.audio_path) for utterance in heard.utterances]
    texts = Transcriber(tiny).transcribe(clips, [utterance.language for utterance in heard.utterances])
    assert wer == pytest.approx(count_errors([utterance.text for utterance in heard.utterances], texts).wer)


@pytest.mark.fast
@pytest.mark.parametrize("processes", [2, 5])
def test_processes_share_the_utterances_and_add_up_their_errors(processes: int, heard: SimpleNamespace):
    few: list[Utterance] = heard.utterances[:3]
    alone, together = Alone(), [Alone(rank, processes) for rank in range(processes)]
    for accelerator in (alone, *together):
        validation(heard, few).wer(heard.model, accelerator)
    assert [sum(figures) for figures in zip(*(accelerator.told for accelerator in together), strict=True)] == alone.told


# Whole trainings


def run(folder: Path, base: Checkpoint, dataset: DatasetVersion, options: TrainingOptions) -> Path:
    train(TrainingSpec(folder=folder, base=base, dataset=dataset, options=options))
    return folder


def read(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text()))


def test_how_often_and_by_what_it_is_evaluated_changes_no_weight(tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path):
    often = TrainingOptions(epochs=2, batch_size=4, learning_rate=1e-2, checkpoint_steps=2, max_steps=5, lora_dropout=0.3)
    told: list[Progress] = []
    with listening(told.append):
        first = run(tmp_path / "often", tiny, digits, often)
    second = run(tmp_path / "once", tiny, digits, often.model_copy(update={"checkpoint_steps": 100, "best_by": "loss"}))
    weights, others = (load_file(folder / "final-model" / "adapter_model.safetensors") for folder in (first, second))
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())
    assert [step for step, _ in read(first / "eval_results.json")["eval_wer"]] == [2, 4, 5]
    assert "WER" in told[-1].note
    assert (first / "wer.png").is_file()
    assert read(second / "eval_results.json").keys() == {"eval_loss"}
    assert not (second / "wer.png").exists()


WORSE = TrainingOptions(
    method=Method.FULL,
    freeze_audio_tower=True,
    epochs=5,
    batch_size=4,
    learning_rate=5e-2,  # it forgets everything
    validation_share=0.3,
    checkpoint_steps=1,
    patience=3,
)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, tiny: Checkpoint, english: DatasetVersion) -> Path:
    """A run whose first evaluation is the best: the learning rate rises from zero."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOXFACTORY_HOME", str(tmp_path_factory.mktemp("home")))
        return run(tmp_path_factory.mktemp("impatient") / "run", tiny, english, WORSE)


def test_it_ends_when_patience_does_and_keeps_the_best_checkpoint(impatient: Path, tiny: Checkpoint):
    results = read(impatient / "train_results.json")
    assert (results["steps"], results["best_step"], results["ended_by"]) == (4, 1, "patience")
    rates = dict(read(impatient / "eval_results.json")["eval_wer"])
    assert results["best_validation_wer"] == rates[1] == min(rates.values()) < rates[4]
    assert {path.name for path in impatient.glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-4"}
    best, final, base = (
        load_file(folder / "model.safetensors") for folder in (impatient / "best-model", impatient / "final-model", tiny.folder)
    )
    assert all(torch.equal(best[name], weight.float()) for name, weight in base.items()), "the first step's learning rate is 0"
    assert not all(torch.equal(best[name], weight) for name, weight in final.items())


def test_a_killed_run_has_as_much_patience_as_an_undisturbed_one(
    impatient: Path, tiny: Checkpoint, english: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Under way, and when its last checkpoint is there but not its outputs."""
    folder = tmp_path / "run"
    for step in (2, 4):
        written = folder / f"checkpoint-{step}" / "complete"
        with monkeypatch.context() as patch:
            signal_after(step, signal.SIGKILL, patch, written)
            with pytest.raises(TrainingLost):
                run(folder, tiny, english, WORSE)
        assert written.exists()
        assert not (folder / "train_results.json").exists()
    run(folder, tiny, english, WORSE)
    for name in ("eval_results.json", "final-model/model.safetensors", "best-model/model.safetensors"):
        assert (folder / name).read_bytes() == (impatient / name).read_bytes()
    assert read(folder / "train_results.json")["ended_by"] == "patience"
