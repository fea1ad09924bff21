"""Stored features are what would be computed; the store is shared, bounded, and survives whatever ends its writers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from deployments.cli import app
from infra.errors import TrainingInterrupted
from infra.progress import Progress, listening
from infra.settings import Settings, settings
from tasks.contracts import Checkpoint, DatasetVersion, Method, Split, Utterance
from tasks.dataset.version import read_utterances
from tasks.speech.audio import load_clip, to_int16, write_clip
from tasks.training import channel, feature_disk, feature_store, launch
from tasks.training.examples import PlannedExamples, collate
from tasks.training.feature_disk import FeatureDisk, Store
from tasks.training.feature_store import FeatureStore
from tasks.training.launch import train
from tasks.training.options import TrainingOptions
from tasks.training.plan import make_plan
from tasks.training.process import TrainingSpec
from tasks.training.window_audio import WindowAudio
from tasks.training.window_features import MelFeatures, TowerOutputs, WindowFeatures
from tasks.voxtral.checkpoint import load_model, load_processor
from tasks.voxtral.lora import add_adapters, train_every_weight
from tasks.voxtral.prompt import VoxtralPrompt
from tasks.voxtral.target_loss import learn_at_targets

NAMES = [sha256(bytes([number])).hexdigest() for number in range(40)]
ROW_BYTES = 4000


def stored(name: str) -> torch.Tensor:
    """What stands for a clip's features."""
    return torch.full((1000,), int(name[:6], 16) / 3, dtype=torch.float32)


def fill(store: FeatureStore, names: Sequence[str], compute: Callable[[str], torch.Tensor] = stored) -> list[str]:
    """Fill a store; returns what was computed for it."""
    computed: list[str] = []

    def computing(name: str) -> torch.Tensor:
        computed.append(name)
        return compute(name)

    store.fill(names, computing, ROW_BYTES, lambda: False, lambda _: None)
    return computed


def open_store(folder: Path, limit_bytes: int = 10**9, identity: str = "a") -> FeatureStore:
    return FeatureStore(FeatureDisk(folder, limit_bytes), "rows", {"identity": identity})


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


# What is stored


@pytest.fixture(scope="module")
def clips(digits: DatasetVersion, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Speech, by utterance, and what is hard about windows: full, empty but for a sample, silent, very quiet."""
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(0).normal(0, 0.1, 64_000).astype(np.float32)
    hard = {
        "full": noise,
        "almost full": noise[:63_900],
        "one sample": noise[:1],
        "short": noise[:700],
        "silent": np.zeros(16_000, np.float32),
        "quiet": noise[:30_000] * 1e-3,
        "a second": noise[:16_000],
    }
    for name, samples in hard.items():
        write_clip(folder / f"{name}.wav", to_int16(samples))
    spoken = {u.id: digits.folder / u.audio_path for u in read_utterances(digits, Split.TRAIN)}
    return spoken | {name: folder / f"{name}.wav" for name in hard}


@pytest.mark.fast
def test_features_are_those_of_the_processor_bit_for_bit(tiny: Checkpoint, clips: dict[str, Path], tmp_path: Path):
    model, processor = load_model(tiny, torch.device("cpu"), torch.float32), load_processor(tiny)
    mel = MelFeatures(processor, VoxtralPrompt(processor, model.config))
    store = FeatureStore(FeatureDisk(tmp_path, 10**9), mel.label, mel.identity)
    names = {sha256(name.encode()).hexdigest(): path for name, path in clips.items()}
    store.fill(names, lambda name: mel.compute(load_clip(names[name])), mel.row_bytes, lambda: False, lambda _: None)
    for name, path in names.items():
        expected = processor.feature_extractor(
            load_clip(path), sampling_rate=16_000, padding="max_length", max_length=64_000, return_tensors="pt"
        )["input_features"]
        assert torch.equal(mel.restore(store.read(name)), expected), path.name
    taken = sum(shard.stat().st_size for shard in shards(tmp_path))
    assert taken < 0.5 * len(names) * mel.row_bytes, "silence is not stored"


@pytest.fixture
def spoken(digits: DatasetVersion) -> dict[str, Utterance]:
    return {utterance.id: utterance for utterance in read_utterances(digits, Split.TRAIN)}


@pytest.mark.fast
@pytest.mark.parametrize("method", [Method.LORA, Method.FULL])
def test_the_model_learns_from_the_towers_stored_outputs_what_it_learns_from_its_own(
    method: Method,
    tiny: Checkpoint,
    digits: DatasetVersion,
    spoken: dict[str, Utterance],
    home: Path,
    caplog: pytest.LogCaptureFixture,
):
    model, processor = load_model(tiny, torch.device("cpu"), torch.float32), load_processor(tiny)
    if method is Method.LORA:
        torch.manual_seed(0)
        model = add_adapters(model, 4, 8, 0.0, projector=True)
    else:
        train_every_weight(model, audio_tower=False)
    learn_at_targets(model)
    prompt = VoxtralPrompt(processor, model.config)
    mel = MelFeatures(processor, prompt)
    clips = {name: digits.folder / utterance.audio_path for name, utterance in spoken.items()}
    plan = make_plan(list(spoken.values()), TrainingOptions(), prompt.window_s)
    audio = WindowAudio(spoken, clips)
    its_own = PlannedExamples(plan.rows, spoken, lambda row: mel.window(audio.samples(row)[0]), prompt)
    before = loss_and_gradients(model, its_own)
    tower = TowerOutputs(model, mel, "tiny")
    assert not [name for name, _ in model.named_parameters() if "audio_tower" in name]
    features = WindowFeatures(tower, audio, True, Settings(home=home))
    features.prepare(plan.rows, lambda: False, lambda *_: None)
    for row in plan.rows:
        assert torch.equal(features(row)[0], tower.compute(audio.samples(row)[0])), "stored and computed are the same"
    room_for_six = Settings(home=home / "small", cache_gb=0.0007)
    partly = WindowFeatures(tower, audio, True, room_for_six)
    with caplog.at_level("INFO"):
        partly.prepare(plan.rows, lambda: False, lambda *_: None)
    assert ["are computed anew whenever they are needed" in said for said in caplog.messages].count(True) == 1
    assert 0 < on_disk(home / "small" / "cache" / "features") <= 700_000
    assert all(torch.equal(features(row), partly(row)) for row in plan.rows)
    after = loss_and_gradients(model, PlannedExamples(plan.rows, spoken, features, prompt))
    assert before.keys() == after.keys()
    assert any("projector" in name for name in after)
    assert abs(before["loss"] - after["loss"]) < 1e-5
    for name, gradient in before.items():
        assert torch.allclose(gradient, after[name], atol=1e-5), name
    with tower.in_place():
        assert [name for name, _ in model.named_parameters() if "audio_tower" in name]


def loss_and_gradients(model: torch.nn.Module, examples: PlannedExamples) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss = model(**collate([examples[index] for index in range(6)])).loss
    loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return gradients | {"loss": loss.detach()}


# The store


@pytest.mark.fast
def test_what_is_stored_is_not_computed_again(tmp_path: Path):
    first = open_store(tmp_path)
    assert sorted(fill(first, NAMES[:30])) == sorted(NAMES[:30])
    second = open_store(tmp_path)
    assert sorted(fill(second, NAMES)) == sorted(NAMES[30:])
    for name in NAMES:
        assert torch.equal(second.read(name), stored(name))
    assert len(fill(open_store(tmp_path, identity="b"), NAMES)) == len(NAMES), "another tower has a store of its own"


_FILL = """
import sys, time
from pathlib import Path
from tasks.training import feature_store
from tests.tasks.training.test_feature_store import NAMES, fill, open_store, stored

feature_store._SHARD_S = 0.05
store = open_store(Path(sys.argv[1]))
def compute(name):
    print(name, flush=True)
    time.sleep(float(sys.argv[2]))
    return stored(name)
fill(store, NAMES, compute)
assert all((store.read(name) == stored(name)).all() for name in NAMES)
"""


def filling(folder: Path, seconds_each: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _FILL, str(folder), str(seconds_each)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.fast
def test_processes_that_fill_a_store_together_share_the_work(tmp_path: Path):
    both = [filling(tmp_path, 0.03) for _ in range(2)]
    computed = [process.communicate()[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(computed[0] + computed[1]) == sorted(NAMES), "each was computed once"


@pytest.mark.fast
def test_a_writer_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feature_store, "_PATIENCE_S", 0.5)
    store = open_store(tmp_path)
    with FeatureDisk(tmp_path, 10**9).filling(store.key, NAMES[0][0]) as hanging:
        assert hanging
        assert sorted(fill(store, NAMES)) == sorted(NAMES)


@pytest.mark.fast
def test_a_writer_that_is_killed_leaves_what_it_finished_and_blocks_nobody(tmp_path: Path):
    killed = filling(tmp_path, 0.03)
    assert killed.stdout
    begun = [killed.stdout.readline().strip() for _ in range(len(NAMES) // 2)]
    killed.kill()
    killed.communicate()
    store = next(tmp_path.glob("[!.]*"))
    (store / ".shard.safetensors.torn").write_bytes(b"as if it had been killed while it wrote")
    after = open_store(tmp_path)
    computed = fill(after, NAMES)
    assert 0 < len(NAMES) - len(computed) <= len(begun)
    for name in NAMES:
        assert torch.equal(after.read(name), stored(name))
    assert not list(store.glob(".*"))


@pytest.mark.fast
@pytest.mark.parametrize("kept_bytes", [0, 5, 100, -1])
def test_a_torn_shard_is_ignored(tmp_path: Path, kept_bytes: int):
    fill(open_store(tmp_path), NAMES)
    torn = shards(tmp_path)[0]
    torn.write_bytes(torn.read_bytes()[:kept_bytes])
    lost = 40 - sum(len(feature_disk.names_in(shard)) for shard in shards(tmp_path))
    again = open_store(tmp_path)
    assert len(fill(again, NAMES)) == lost > 0
    assert torn not in shards(tmp_path)
    for name in NAMES:
        assert torch.equal(again.read(name), stored(name))


def on_disk(folder: Path) -> int:
    return sum(shard.stat().st_size for shard in shards(folder))


@pytest.mark.fast
def test_the_least_recently_used_goes_when_there_is_no_room(tmp_path: Path):
    limit = 30 * (ROW_BYTES + 256)
    old, newer = open_store(tmp_path, limit, "old"), open_store(tmp_path, limit, "newer")
    fill(old, NAMES[:10])
    fill(newer, NAMES[:10])
    old.end()
    newer.end()
    for shard in tmp_path.glob(f"{old.key}/*.safetensors"):
        os.utime(shard, (1, 1))
    third = open_store(tmp_path, limit, "third")
    assert len(fill(third, NAMES[:15])) == 15
    assert on_disk(tmp_path) <= limit
    assert len(list(tmp_path.glob(f"{newer.key}/*.safetensors"))) > len(list(tmp_path.glob(f"{old.key}/*.safetensors")))


@pytest.mark.fast
def test_what_is_in_use_stays_and_what_does_not_fit_is_not_stored(tmp_path: Path):
    limit = 20 * (ROW_BYTES + 256)
    first = open_store(tmp_path, limit, "first")
    fill(first, NAMES[:15])
    second = open_store(tmp_path, limit, "second")
    held = [name for name in NAMES if name in second] if fill(second, NAMES) else []
    assert 0 < len(held) <= 5
    assert FeatureDisk(tmp_path, 0).prune(0) == 0
    for name in NAMES[:15]:
        assert torch.equal(first.read(name), stored(name))
    second.end()
    assert len(fill(first, NAMES[:20])) == 5, "the other's make room"
    assert on_disk(tmp_path) <= limit


@pytest.mark.fast
def test_a_disk_without_room_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feature_disk, "_LEFT_FREE_BYTES", 10**18)
    store = open_store(tmp_path)
    assert fill(store, NAMES) == []
    assert not shards(tmp_path)


@pytest.mark.fast
def test_filling_stops_when_it_is_told_to_and_keeps_what_it_has(tmp_path: Path):
    seen: list[int] = []
    open_store(tmp_path).fill(NAMES, stored, ROW_BYTES, lambda: len(seen) >= 7, seen.append)
    assert seen == list(range(1, 8))
    assert sum(len(feature_disk.names_in(shard)) for shard in shards(tmp_path)) == 7


@pytest.mark.fast
def test_shards_are_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feature_store, "_SHARD_BYTES", 2 * (ROW_BYTES + 256))
    fill(open_store(tmp_path), NAMES)
    assert {len(feature_disk.names_in(shard)) for shard in shards(tmp_path)} == {1, 2}


# `voxfactory cache`


@pytest.mark.fast
def test_the_command_shows_and_prunes(home: Path):
    folder = home / "cache" / "features"
    store, old = open_store(folder), open_store(folder, identity="old")
    fill(store, NAMES[:10])
    fill(old, NAMES[:20])
    for used in (store, old):
        used.end()
    for shard in folder.glob(f"{old.key}/*.safetensors"):
        os.utime(shard, (time.time() - 3 * 86400,) * 2)
    told = said("cache")
    assert [line.split()[:3] for line in told[:2]] == [[store.key, "10", "utterances"], [old.key, "20", "utterances"]]
    assert "rows" in told[0]
    assert told[2].startswith("0.000 GB of VOXFACTORY_CACHE_GB=50 in")
    using = open_store(folder)
    fill(using, NAMES[:10])
    assert "in use now" in said("cache")[0]
    assert said("cache", "prune", "--older-than", "2") == ["0.000 GB removed"]
    assert not (folder / old.key).exists()
    said("cache", "prune", "--all")
    assert (folder / store.key).exists()
    using.end()
    said("cache", "prune", "--all")
    assert FeatureDisk(folder, 0).stores() == list[Store]()
    assert said("cache", "prune") == ["0.000 GB removed"]


def said(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


# Whole trainings


def run(
    folder: Path, base: Checkpoint, dataset: DatasetVersion, options: TrainingOptions, count: list[Progress] | None = None
) -> Path:
    """Train; `count` gets what is told of features."""
    seen = [] if count is None else count
    with listening(lambda progress: seen.append(progress) if progress.stage == "features" else None):
        train(TrainingSpec(folder=folder, base=base, dataset=dataset, options=options))
    return folder


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in history for key in ("loss", "eval_loss", "grad_norm") if key in entry]


LORA = TrainingOptions(
    epochs=3, batch_size=4, learning_rate=1e-2, checkpoint_steps=4, max_steps=11, train_projector=True, lora_dropout=0.05
)


def test_a_training_from_the_store_is_one_without_it_and_the_next_computes_nothing(
    tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[Progress] = []
    stored = run(tmp_path / "stored", tiny, digits, LORA, told)
    assert (told[0].done, told[-1].done) == (1, told[-1].total)
    assert "computed anew" not in (stored / "training_results" / "training.log").read_text()
    again: list[Progress] = []
    run(tmp_path / "again", tiny, digits, LORA.model_copy(update={"max_steps": 2}), again)
    assert again == []
    assert ": 0 computed, " in (tmp_path / "again" / "training_results" / "training.log").read_text()
    monkeypatch.setenv("VOXFACTORY_CACHE_GB", "0")
    settings.cache_clear()
    live = run(tmp_path / "live", tiny, digits, LORA)
    assert losses(stored) == losses(live)
    expected, found = (load_file(folder / "final-model" / "adapter_model.safetensors") for folder in (stored, live))
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())


def test_a_frozen_tower_is_saved_as_it_was_and_a_killed_run_ends_like_an_undisturbed_one(
    tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The second run is stopped while it computes features, then killed between two checkpoints."""
    frozen = TrainingOptions(
        method=Method.FULL, freeze_audio_tower=True, batch_size=4, learning_rate=3e-4, checkpoint_steps=2, max_steps=5
    )
    undisturbed = run(tmp_path / "undisturbed", tiny, digits, frozen)
    before, after = load_file(tiny.folder / "model.safetensors"), load_file(undisturbed / "final-model" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, weight in before.items():
        if "audio_tower" in name:
            assert torch.equal(weight.float(), after[name]), name
        elif "projector" in name:
            assert not torch.equal(weight.float(), after[name]), name
    monkeypatch.setenv("VOXFACTORY_HOME", str(tmp_path / "second home"))
    settings.cache_clear()
    folder = tmp_path / "disturbed"
    with monkeypatch.context() as patch:
        signal_at(lambda message: isinstance(message, channel.Features), signal.SIGTERM, patch)
        with pytest.raises(TrainingInterrupted, match="before its first step; the features that it has are kept"):
            run(folder, tiny, digits, frozen)
    assert not list(folder.glob("checkpoint-*"))
    assert shards(tmp_path / "second home" / "cache" / "features")
    with monkeypatch.context() as patch:
        signal_at(lambda message: isinstance(message, channel.Step) and message.step == 3, signal.SIGKILL, patch)
        with pytest.raises(Exception, match="killed by SIGKILL"):
            run(folder, tiny, digits, frozen)
    run(folder, tiny, digits, frozen)
    found = load_file(folder / "final-model" / "model.safetensors")
    assert all(torch.equal(weight, found[name]) for name, weight in after.items())


def signal_at(when: Callable[[object], bool], number: signal.Signals, patch: pytest.MonkeyPatch) -> None:
    """Send the training process a signal once it has told something."""
    receive, start = channel.receive, launch.start
    started: list[subprocess.Popen[bytes]] = []

    def remember(*arguments: object, **named: object) -> "subprocess.Popen[bytes]":
        started.append(start(*arguments, **named))
        return started[-1]

    def watch(line: str) -> "channel.Message | None":
        message = receive(line)
        if when(message) and started:
            os.kill(started.pop().pid, number)
        return message

    patch.setattr(launch, "start", remember)
    patch.setattr(channel, "receive", watch)
