from pathlib import Path

import pytest
import torch

from infra.errors import TrainingError
from tasks.contracts import Checkpoint, DatasetVersion, Split, Utterance
from tasks.dataset.version import read_utterances
from tasks.training.examples import PlannedExamples, collate
from tasks.training.options import TrainingOptions
from tasks.training.plan import PlanRow, make_plan, steps_of
from tasks.training.window_audio import WindowAudio
from tasks.training.window_features import MelFeatures
from tasks.voxtral.checkpoint import load_model, load_processor
from tasks.voxtral.prompt import END_TOKEN, IGNORED_LABEL, SPECIAL_TOKENS, VoxtralPrompt
from tasks.voxtral.target_loss import learn_at_targets
from tests.builders.speech import digit_version

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def model(tiny: Checkpoint):
    loaded = load_model(tiny, torch.device("cpu"), torch.float32)
    learn_at_targets(loaded)
    return loaded


@pytest.fixture(scope="module")
def examples(tiny: Checkpoint, digits: DatasetVersion, tmp_path_factory: pytest.TempPathFactory, model) -> PlannedExamples:
    """German and English in one plan."""
    utterances: dict[str, Utterance] = {}
    clips: dict[str, Path] = {}
    for version in (digits, digit_version(tmp_path_factory.mktemp("english"), "en", clips=12)):
        spoken = read_utterances(version, Split.TRAIN)
        utterances |= {utterance.id: utterance for utterance in spoken}
        clips |= {utterance.id: version.folder / utterance.audio_path for utterance in spoken}
    processor = load_processor(tiny)
    prompt = VoxtralPrompt(processor, model.config)
    plan = make_plan(list(utterances.values()), TrainingOptions(epochs=2, without_language=0.3), prompt.window_s)
    mel = MelFeatures(processor, prompt)
    audio = WindowAudio(utterances, clips)
    return PlannedExamples(plan.rows, utterances, lambda row: mel.window(audio.samples(row)[0]), prompt)


def heard(*rows: PlanRow) -> list[str]:
    return [name for row in rows for name in row.utterances]


def test_labels_are_the_whole_transcript_and_the_end_token_and_nothing_else(examples: PlannedExamples):
    batch = collate([examples[index] for index in range(6)])
    for row in range(6):
        learned = batch["labels"][row][batch["labels"][row] != IGNORED_LABEL].tolist()
        assert learned[-1] == END_TOKEN
        assert examples.prompt.text(learned) == examples.utterances[examples.rows[row].utterances[0]].text
        ids = batch["input_ids"][row].tolist()
        assert ids[ids.index(SPECIAL_TOKENS["[TRANSCRIBE]"]) + 1 :] == learned


def test_every_row_names_its_own_language_or_none(examples: PlannedExamples):
    assert {row.language for row in examples.rows} == {"de", "en", None}
    for index, row in enumerate(examples.rows):
        assert row.language in (examples.utterances[row.utterances[0]].language, None)
        assert examples[index]["prompt"] == examples.prompt.prompt(row.language)
    assert examples.prompt.prompt("de") != examples.prompt.prompt("en") != examples.prompt.prompt(None)


def test_loss_at_the_targets_alone_is_the_loss_of_all_logits(examples: PlannedExamples, model, tiny: Checkpoint):
    batch = collate([examples[index] for index in range(5)])
    whole = torch.full_like(batch["input_ids"], IGNORED_LABEL)
    whole[:, -batch["labels"].shape[1] :] = batch["labels"]
    with torch.no_grad():
        full = load_model(tiny, torch.device("cpu"), torch.float32)(**{**batch, "labels": whole}).loss
        assert torch.allclose(model(**batch).loss, full, atol=1e-6)


def test_padding_changes_no_loss(examples: PlannedExamples, model):
    rows = sorted((examples[index] for index in range(8)), key=lambda example: len(example["target"]))
    short, long = rows[0], rows[-1]
    assert len(short["target"]) < len(long["target"])
    with torch.no_grad():
        alone = [model(**collate([example])).loss for example in (short, long)]
        together = model(**collate([short, long])).loss
    tokens = [len(example["target"]) for example in (short, long)]
    expected = sum(loss * count for loss, count in zip(alone, tokens, strict=True)) / sum(tokens)
    assert torch.allclose(together, expected, atol=1e-5)


def test_an_utterance_longer_than_the_window_is_named_and_never_cut(digits: DatasetVersion):
    utterances = read_utterances(digits, Split.TRAIN)
    long = utterances[0].model_copy(update={"duration_s": 4.01})
    plan = make_plan([long, *utterances[1:]], TrainingOptions(), window_s=4.0)
    assert [skipped.utterance for skipped in plan.skipped] == [long.id]
    assert long.id not in heard(*plan.rows, *plan.validation)
    with pytest.raises(TrainingError, match="None of 1 training utterances fits"):
        make_plan([long], TrainingOptions(), window_s=4.0)


def test_a_plan_is_a_function_of_its_inputs_and_holds_every_utterance_once_an_epoch(digits: DatasetVersion):
    utterances = read_utterances(digits, Split.TRAIN)
    options = TrainingOptions(epochs=3, seed=5)
    plan = make_plan(utterances, options, 4.0)
    assert plan == make_plan(list(reversed(utterances)), options, 4.0)
    assert plan != make_plan(utterances, options.model_copy(update={"seed": 6}), 4.0)
    expected = {u.id for u in utterances} - set(heard(*plan.validation))
    for epoch in range(3):
        seen = heard(*(row for row in plan.rows if row.epoch == epoch))
        assert len(seen) == len(expected)
        assert set(seen) == expected


def test_replayed_utterances_take_turns_and_never_validate(digits: DatasetVersion):
    utterances = read_utterances(digits, Split.TRAIN)
    target, known = utterances[:8], utterances[8:]
    options = TrainingOptions(epochs=4, replay_share=0.5, validation_share=0.1)
    plan = make_plan(target, options, 4.0, known)
    known_ids = {utterance.id for utterance in known}
    replayed = [name for name in heard(*plan.rows) if name in known_ids]
    assert len(replayed) == 4 * round(0.5 * 7)
    counts = [replayed.count(id_) for id_ in known_ids]
    assert max(counts) - min(counts) <= 1
    assert not known_ids & set(heard(*plan.validation))


def test_what_is_held_out_is_not_replayed(digits: DatasetVersion):
    train, held_out = read_utterances(digits, Split.TRAIN), read_utterances(digits, Split.EVAL)
    same_speaker = train[0].model_copy(update={"id": "speaker", "speaker": held_out[0].speaker})
    same_prompt = train[1].model_copy(update={"id": "prompt", "text": held_out[0].text.upper()})
    same_recording = train[2].model_copy(update={"id": "recording", "audio_hash": held_out[0].audio_hash})
    leaking = [same_speaker, same_prompt, same_recording]
    plan = make_plan(train[3:], TrainingOptions(replay_share=1), 4.0, [*leaking, train[0]], held_out)
    assert {skipped.utterance for skipped in plan.skipped} == {"speaker", "prompt", "recording"}
    assert train[0].id in heard(*plan.rows)
    validating = {name for row in plan.validation for name in row.utterances}
    copies = [u.model_copy(update={"id": f"copy-{u.id}"}) for u in train[3:]]
    repeated = make_plan(train[3:], TrainingOptions(replay_share=1), 4.0, copies, held_out)
    assert {skipped.utterance for skipped in repeated.skipped} == {f"copy-{name}" for name in validating}


def test_the_plan_is_never_begun_again(digits: DatasetVersion):
    options = TrainingOptions(epochs=1, batch_size=4, max_steps=1000)
    plan = make_plan(read_utterances(digits, Split.TRAIN), options, 4.0)
    assert steps_of(plan, options) == -(-len(plan.rows) // 4)
    assert steps_of(plan, options.model_copy(update={"max_steps": 2})) == 2


def test_conflicting_options_name_both_and_the_fix():
    with pytest.raises(ValueError, match=r"method=full .*train_projector=False .*unset one"):
        TrainingOptions(method="full", train_projector=False)
