"""Who shares a window, what is heard and learned in it, where long ones are cut, and how speech is changed."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from infra.settings import Settings
from tasks.contracts import Checkpoint, DatasetVersion, Split, Utterance
from tasks.dataset.version import read_utterances
from tasks.speech.audio import load_clip, to_int16, write_clip
from tasks.speech.silence import quietest_cuts
from tasks.training.augmentation import changed_samples, hide_some
from tasks.training.examples import PlannedExamples, collate
from tasks.training.launch import train
from tasks.training.options import TrainingOptions
from tasks.training.packing import PAUSE_S
from tasks.training.plan import Plan, PlanRow, make_plan
from tasks.training.process import TrainingSpec
from tasks.training.window_audio import WindowAudio
from tasks.training.window_features import ChangedFeatures, MelFeatures, WindowFeatures
from tasks.voxtral.checkpoint import load_model, load_processor
from tasks.voxtral.prompt import IGNORED_LABEL, SPECIAL_TOKENS, VoxtralPrompt
from tasks.voxtral.target_loss import learn_at_targets

WINDOW_S = 4.0
PACKED = TrainingOptions(epochs=4, packing="same-language", packed_share=0.5)


@pytest.fixture(scope="module")
def spoken(digits: DatasetVersion) -> list[Utterance]:
    """German, by two voices; half of it as if it were Dutch."""
    known = read_utterances(digits, Split.TRAIN)
    return [u.model_copy(update={"language": "nl"}) if place % 2 else u for place, u in enumerate(known)]


@pytest.fixture(scope="module")
def audio(digits: DatasetVersion, spoken: list[Utterance]) -> WindowAudio:
    return WindowAudio({u.id: u for u in spoken}, {u.id: digits.folder / u.audio_path for u in spoken})


@pytest.fixture(scope="module")
def model(tiny: Checkpoint):
    loaded = load_model(tiny, torch.device("cpu"), torch.float32)
    learn_at_targets(loaded)
    return loaded


@pytest.fixture(scope="module")
def mel(tiny: Checkpoint, model) -> MelFeatures:
    processor = load_processor(tiny)
    return MelFeatures(processor, VoxtralPrompt(processor, model.config))


@pytest.fixture(scope="module")
def prompt(tiny: Checkpoint, model) -> VoxtralPrompt:
    return VoxtralPrompt(load_processor(tiny), model.config)


def by_epoch(plan: Plan) -> list[list[PlanRow]]:
    return [[row for row in plan.rows if row.epoch == epoch] for epoch in range(plan.epochs)]


# Who shares a window


@pytest.mark.fast
@pytest.mark.parametrize("packing", ["same-language", "same-speaker"])
def test_utterances_share_windows_in_the_first_epochs_and_stand_alone_in_the_others(packing: str, spoken: list[Utterance]):
    options = PACKED.model_copy(update={"packing": packing})
    plan = make_plan(spoken, options, WINDOW_S)
    known = {utterance.id: utterance for utterance in spoken}
    trained = set(known) - {name for row in plan.validation for name in row.utterances}
    epochs = by_epoch(plan)
    for rows in epochs:
        heard = [name for row in rows for name in row.utterances]
        assert sorted(heard) == sorted(trained), "each once an epoch"
    assert [max(len(row.utterances) for row in rows) > 1 for rows in epochs] == [True, True, False, False]
    assert {row.utterances for row in epochs[0]} == {row.utterances for row in epochs[1]}, "so that features are computed once"
    for row in epochs[0]:
        window = [known[name] for name in row.utterances]
        assert len({utterance.language for utterance in window}) == 1
        assert row.language in (window[0].language, None)
        assert sum(u.duration_s + PAUSE_S for u in window) - PAUSE_S <= WINDOW_S
        if packing == "same-speaker":
            assert len({utterance.speaker for utterance in window}) == 1
    assert plan == make_plan(list(reversed(spoken)), options, WINDOW_S)
    assert plan != make_plan(spoken, options.model_copy(update={"seed": 1}), WINDOW_S)


@pytest.mark.fast
def test_utterances_of_nobody_share_with_nobody_where_speakers_are_kept_apart(spoken: list[Utterance]):
    options = PACKED.model_copy(update={"packing": "same-speaker", "packed_share": 1.0})
    nobodys = [utterance.model_copy(update={"speaker": None}) for utterance in spoken]
    assert all(len(row.utterances) == 1 for row in make_plan(nobodys, options, WINDOW_S).rows)


@pytest.mark.fast
def test_replayed_utterances_share_windows_among_themselves(spoken: list[Utterance]):
    known, target = ([u for u in spoken if u.language == language] for language in ("nl", "de"))
    options = PACKED.model_copy(update={"replay_share": 1.0})
    plan = make_plan(target, options, WINDOW_S, known)
    for rows in by_epoch(plan):
        replayed = [name for row in rows for name in row.utterances if name in {utterance.id for utterance in known}]
        own = sum(len(row.utterances) for row in rows) - len(replayed)
        assert own <= len(replayed) <= own + 3, "as many as asked for, in whole windows"


@pytest.mark.fast
def test_buckets_put_transcripts_of_like_length_into_a_step_and_change_nothing_else(spoken: list[Utterance]):
    options = TrainingOptions(epochs=2, batch_size=4)
    plain, bucketed = (make_plan(spoken, options.model_copy(update={"length_buckets": on}), WINDOW_S) for on in (False, True))
    lengths = {utterance.id: len(utterance.text) for utterance in spoken}

    assert len(by_epoch(plain)[0]) % 4, "an epoch ends amid a step"

    def padding(plan: Plan) -> int:
        spoken_lengths = [lengths[row.utterances[0]] for row in plan.rows]
        steps = [spoken_lengths[n : n + 4] for n in range(0, len(spoken_lengths), 4)]
        return sum(max(step) * len(step) - sum(step) for step in steps)

    assert padding(bucketed) < 0.6 * padding(plain)
    for ours, theirs in zip(by_epoch(bucketed), by_epoch(plain), strict=True):
        assert sorted(row.utterances for row in ours) == sorted(row.utterances for row in theirs)


# What is heard and learned


@pytest.mark.fast
def test_a_shared_window_holds_the_clips_in_order_and_its_target_their_transcripts_and_one_end(
    digits: DatasetVersion, spoken: list[Utterance], audio: WindowAudio, mel: MelFeatures, prompt: VoxtralPrompt
):
    plan = make_plan(spoken, PACKED, WINDOW_S)
    row = max(plan.rows, key=lambda row: len(row.utterances))
    assert len(row.utterances) > 1
    known = {utterance.id: utterance for utterance in spoken}
    (heard,) = audio.samples(row)
    begun = 0
    for name in row.utterances:
        clip = load_clip(digits.folder / known[name].audio_path)
        assert np.array_equal(heard[begun : begun + len(clip)], clip)
        assert not heard[begun + len(clip) : begun + len(clip) + round(PAUSE_S * 16_000)].any()
        begun += len(clip) + round(PAUSE_S * 16_000)
    examples = PlannedExamples([row], known, lambda row: mel.window(audio.samples(row)[0]), prompt)
    assert prompt.text(list(examples[0]["target"])) == " ".join(known[name].text for name in row.utterances)
    assert examples[0]["target"].count(SPECIAL_TOKENS["</s>"]) == 1


@pytest.mark.fast
def test_an_utterance_alone_in_its_window_has_the_same_loss_packed_and_unpacked(
    spoken: list[Utterance], audio: WindowAudio, mel: MelFeatures, prompt: VoxtralPrompt, model, home: Path
):
    options = TrainingOptions(epochs=1, packing="same-language", packed_share=1.0, without_language=0)
    packed = make_plan(spoken, options, WINDOW_S).rows
    unpacked = make_plan(spoken, options.model_copy(update={"packing": "off"}), WINDOW_S).rows
    features = WindowFeatures(mel, audio, True, Settings(home=home))
    features.prepare((*packed, *unpacked), lambda: False, lambda *_: None)
    alone = next(row for row in packed if len(row.utterances) == 1)
    same = next(row for row in unpacked if row.utterances == alone.utterances)
    known = {utterance.id: utterance for utterance in spoken}
    with torch.no_grad():
        losses = [model(**collate([PlannedExamples([row], known, features, prompt)[0]])).loss for row in (alone, same)]
    assert torch.equal(*losses)


# Utterances that are longer than a window


def with_silences(spoken_s: Sequence[float], silence_s: float = 0.4) -> np.ndarray:
    """Noise that pauses: float32 (n,)."""
    draw = np.random.default_rng(0)
    parts = []
    for seconds in spoken_s:
        parts += [draw.normal(0, 0.1, round(seconds * 16_000)), np.zeros(round(silence_s * 16_000))]
    return np.concatenate(parts[:-1]).astype(np.float32)


@pytest.mark.fast
def test_a_long_recording_is_cut_in_its_pauses():
    samples = with_silences([1.0, 2.5, 3.2, 1.1])
    cuts = quietest_cuts(samples, 64_000)
    assert len(cuts) == 2
    assert all(not samples[cut - 800 : cut + 800].any() for cut in cuts)
    assert all(0 < end - begin <= 64_000 for begin, end in pairwise((0, *cuts, len(samples))))
    unbroken = np.full(200_000, 0.1, dtype=np.float32)
    assert all(0 < end - begin <= 64_000 for begin, end in pairwise((0, *quietest_cuts(unbroken, 64_000), 200_000)))
    assert quietest_cuts(samples[:64_000], 64_000) == ()


@pytest.fixture(scope="module")
def with_a_long_one(digits: DatasetVersion, tmp_path_factory: pytest.TempPathFactory) -> DatasetVersion:
    """Digits, and one utterance of two windows: seven seconds."""
    folder = tmp_path_factory.mktemp("long") / "version"
    (folder / "wavs").mkdir(parents=True)
    utterances = read_utterances(digits)
    for utterance in utterances:
        (folder / utterance.audio_path).write_bytes((digits.folder / utterance.audio_path).read_bytes())
    samples = with_silences([3.1, 3.5])
    write_clip(folder / "wavs" / "long.wav", to_int16(samples))
    long = utterances[0].model_copy(
        update={"id": "long", "audio_path": "wavs/long.wav", "duration_s": len(samples) / 16_000, "split": Split.TRAIN}
    )
    lines = [utterance.model_dump_json() + "\n" for utterance in [*utterances, long]]
    (folder / "data.jsonl").write_text("".join(lines))
    return digits.model_copy(update={"folder": folder, "fingerprint": "with a long one"})


@pytest.mark.fast
def test_a_long_utterance_fills_windows_of_its_own_and_keeps_its_whole_transcript(
    with_a_long_one: DatasetVersion, mel: MelFeatures, prompt: VoxtralPrompt, model, home: Path
):
    spoken = {u.id: u for u in read_utterances(with_a_long_one, Split.TRAIN)}
    clips = {name: with_a_long_one.folder / utterance.audio_path for name, utterance in spoken.items()}
    cuts = {"long": quietest_cuts(load_clip(clips["long"]), 64_000)}
    options = PACKED.model_copy(update={"validation_share": 0.01, "packed_share": 1.0})
    plan = make_plan(list(spoken.values()), options, WINDOW_S, cuts=cuts)
    assert not plan.skipped
    row = next(row for row in (*plan.rows, *plan.validation) if "long" in row.utterances)
    assert (row.utterances, row.windows) == (("long",), 2)
    audio = WindowAudio(spoken, clips)
    features = WindowFeatures(mel, audio, True, Settings(home=home))
    features.prepare([row], lambda: False, lambda *_: None)
    pieces = np.split(load_clip(clips["long"]), cuts["long"])
    assert torch.equal(features(row), torch.cat([mel.window(piece) for piece in pieces]))
    other = next(row for row in plan.rows if "long" not in row.utterances)
    examples = PlannedExamples([row, other], spoken, features, prompt)
    assert examples[0]["prompt"].count(SPECIAL_TOKENS["[AUDIO]"]) == 2 * examples[1]["prompt"].count(SPECIAL_TOKENS["[AUDIO]"])
    with torch.no_grad():
        alone = [model(**collate([example])).loss for example in (examples[0], examples[1])]
        batch = collate([examples[0], examples[1]])
        together = model(**batch).loss
    counts = [len(example["target"]) for example in (examples[0], examples[1])]
    assert int((batch["labels"] != IGNORED_LABEL).sum()) == sum(counts)
    expected = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    assert torch.allclose(together, expected, atol=1e-5)


def test_a_run_with_shared_long_and_changed_windows_is_trained_to_its_end(
    with_a_long_one: DatasetVersion, tiny: Checkpoint, tmp_path: Path
):
    options = TrainingOptions(
        epochs=2,
        batch_size=4,
        packing="same-speaker",
        length_buckets=True,
        long_utterances="cut",
        cache="off",
        speed_change=0.1,
        noise_snr_db=20,
        spec_augment=True,
        validation_share=0.01,
        max_steps=4,
    )
    model = train(TrainingSpec(folder=tmp_path / "run", base=tiny, dataset=with_a_long_one, options=options))
    rows = [PlanRow.model_validate_json(line) for line in (model.folder / "plan.jsonl").read_text().splitlines()]
    assert model.steps == 4
    assert any(len(row.utterances) > 1 for row in rows)
    assert any(row.cuts for row in rows)
    assert not (tmp_path / "home" / "cache" / "features").exists(), "cache=off keeps nothing"
    assert json.loads((model.folder / "train_results.json").read_text())["train_loss"] < 10


# Changes


@pytest.mark.fast
def test_changed_speech_is_another_each_epoch_and_the_same_after_a_restart(
    spoken: list[Utterance], audio: WindowAudio, mel: MelFeatures, home: Path
):
    options = TrainingOptions(cache="off", speed_change=0.1, noise_snr_db=15, spec_augment=True)
    unchanged = WindowFeatures(mel, audio, False, Settings(home=home))
    first, again = (ChangedFeatures(unchanged, mel, audio, options) for _ in range(2))
    row = PlanRow(epoch=0, utterances=(spoken[0].id,), language="de")
    assert first(row).shape == unchanged(row).shape
    assert torch.equal(first(row), again(row))
    assert not torch.equal(first(row), first(row.model_copy(update={"epoch": 1})))
    assert not torch.equal(first(row), unchanged(row))


@pytest.mark.fast
def test_speed_changes_the_length_within_the_window_and_noise_has_its_level():
    samples = with_silences([3.9])
    draw = np.random.default_rng(1)
    speeds = TrainingOptions(cache="off", speed_change=0.2)
    lengths = [len(changed_samples(samples, speeds, 64_000, draw)) for _ in range(40)]
    assert min(lengths) < 0.9 * len(samples)
    assert len(samples) < max(lengths) <= 64_000
    noisy = TrainingOptions(cache="off", noise_snr_db=10)
    for _ in range(20):
        noise = changed_samples(samples, noisy, 64_000, draw) - samples
        below_db = 20 * np.log10(np.std(samples) / np.std(noise))
        assert 9.5 < below_db < 30.5


@pytest.mark.fast
def test_hidden_bands_and_moments_are_few_and_the_silence_that_fills_a_window_stays():
    features = torch.ones(128, 300)
    draw = np.random.default_rng(0)
    shares = []
    for _ in range(30):
        hidden = hide_some(features, draw)
        assert torch.equal(hidden[:, -1], features[:, -1])
        shares.append(float((hidden == 0).float().mean()))
    assert 0.1 < np.mean(shares) < 0.6
    assert max(shares) < 0.8
    assert torch.equal(features, torch.ones(128, 300))
    assert hide_some(torch.ones(128, 1), draw).shape == (128, 1)
