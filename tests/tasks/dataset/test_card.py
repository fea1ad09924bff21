import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from huggingface_hub import DatasetCard

from tasks.contracts import DatasetVersion, Split, Utterance
from tasks.dataset.card import dataset_card
from tasks.dataset.export import export_version
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.sources import Reject
from tasks.dataset.version import read_utterances
from tests.builders.speech import digit_corpus

pytestmark = pytest.mark.fast
NAME = "somebody/digits"


def utterance(number: int, seconds: float, language: str = "de", split: Split = Split.TRAIN) -> Utterance:
    return Utterance(
        id=f"{number:04d}",
        audio_path=f"wavs/{number}.wav",
        text="eins",
        language=language,
        duration_s=seconds,
        audio_hash=f"a{number}",
        speaker=None if number == 0 else f"s{number % 3}",
        split=split,
    )


def card_of(
    version: DatasetVersion, rejects: list[Reject] | None = None, repository: str | None = None, **changed: object
) -> DatasetCard:
    described = version.model_copy(update=changed)
    return DatasetCard(dataset_card(described, read_utterances(version), rejects or [], repository))


def run_code_of(card: str, folder: Path, home: Path) -> list[str]:
    """Run the card's code as it stands in `folder`; returns the lines that it printed."""
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    environment = os.environ | {"HF_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_the_code_on_the_published_card_loads_what_is_published(digits: DatasetVersion, tmp_path: Path):
    from datasets import load_dataset

    folder = tmp_path / NAME
    folder.mkdir(parents=True)
    export_version(digits, NAME, folder)
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(side) for name, side in loaded.items()} == {"train": 18, "test": 6}
    (printed,) = run_code_of((folder / "README.md").read_text(), tmp_path, tmp_path / "home")
    first = read_utterances(digits, Split.EVAL)[0]
    samples = soundfile.info(digits.folder / first.audio_path).frames
    assert printed == f"{first.text} de ({samples},) 16000"
    documented = set(
        re.findall(r"^\| (\w+) \|", (folder / "README.md").read_text().split("## What is in it")[0], flags=re.MULTILINE)
    )
    assert documented - {"column"} == set(loaded["train"].column_names)


def test_a_dataset_folder_carries_its_card_and_the_code_on_it_runs(digits: DatasetVersion, tmp_path: Path):
    card = (digits.folder / "README.md").read_text()
    printed = run_code_of(card, digits.folder, tmp_path)
    assert len(printed) == 24
    assert sum(line.startswith("eval ") for line in printed) == 6
    assert "parquet" not in card


def test_the_metadata_hold_what_was_counted_and_nothing_invented(digits: DatasetVersion):
    told = card_of(digits, repository=NAME, licence="cc0-1.0").data.to_dict()
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in ("train", "test")]
    assert told == {
        "pretty_name": "digits-de",
        "language": ["de"],
        "multilinguality": "monolingual",
        "license": "cc0-1.0",
        "task_categories": ["automatic-speech-recognition"],
        "size_categories": ["n<1K"],
        "tags": ["audio", "speech", "voxfactory"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    assert "configs" not in card_of(digits).data.to_dict()


@pytest.mark.parametrize(
    ("utterances", "size"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (54_321, "10K<n<100K"), (9_999_999, "1M<n<10M"), (10_000_000, "10M<n<100M")],
)
def test_the_size_is_that_of_what_is_published(digits: DatasetVersion, utterances: int, size: str):
    card = card_of(digits, train_utterances=utterances - 6, set_aside_utterances=10**6)
    assert card.data.size_categories == [size]


def test_an_unknown_licence_is_no_claim_and_is_said_in_words(digits: DatasetVersion):
    unknown, own = card_of(digits), card_of(digits, licence="Our terms | v2", consent="agreed in writing")
    assert unknown.data.license == "unknown"  # the Hub's own word
    assert "| Licence | unknown: nobody has said" in unknown.text
    assert "| Consent of the speakers | not recorded: nobody" in unknown.text
    assert (own.data.license, own.data.license_name) == ("other", "our-terms-v2")
    assert "| Licence | Our terms \\| v2 |" in own.text
    assert "| Consent of the speakers | agreed in writing |" in own.text


def test_each_side_is_counted_in_all_and_by_language(digits: DatasetVersion):
    spoken = [utterance(number, seconds) for number, seconds in enumerate((1, 2, 3, 4, 5))]
    spoken += [utterance(5, 3600, "nl"), utterance(6, 7, split=Split.EVAL), utterance(7, 8, split=Split.SET_ASIDE)]
    described = digits.model_copy(update={"languages": ("de", "nl"), "set_aside_utterances": 1})
    text = dataset_card(described, spoken, [])
    for row in (
        "| training | all | 6 | 1.00 h | 3 |",
        "| training | de | 5 | 15 s | 3 |",
        "| training | nl | 1 | 1.00 h | 1 |",
        "| evaluation | de | 1 | 7 s | 1 |",
        "| set aside | de | 1 | 8 s | 1 |",
        "| training | de | 1.0 | 2.0 | 3.0 | 4.0 | 5.0 |",
    ):
        assert row in text
    assert "\n1 utterance names no speaker.\n" in text
    assert "multilinguality: multilingual" in text
    published = dataset_card(described, spoken, [], NAME)
    assert "| set aside |" not in published
    assert "(1 utterance) and used in neither; it is not in this repository." in published


def test_refusals_are_counted_by_kind_and_tell_no_name_and_no_text(tmp_path: Path):
    source = digit_corpus(tmp_path / "anna", clips=8)
    (source / "anna-secret.wav").write_bytes(b"RIFF")
    with (source / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"audio_filepath": "anna-secret.wav", "text": "geheim", "language": "de"}\n')
        manifest.write('{"audio_filepath": "anna-secret.wav", "text": "!?", "language": "de"}\n')
        manifest.write('{"audio_filepath": "anna-secret.wav", "text": "geheim", "language": "xx"}\n')
        manifest.write(manifest_line := (source / "manifest.jsonl").read_text().splitlines()[0] + "\n")
        manifest.write(manifest_line)
    version = ingest(source, "x", IngestOptions(eval_share=0.3), tmp_path / "version", processes=1)
    card = (version.folder / "README.md").read_text()
    refused = dict(
        re.findall(
            r"^\| ([a-z ]+) \| (\d+) \|$", card.partition("Refused inputs")[2].partition("Kept, though")[0], flags=re.MULTILINE
        )
    )
    assert refused == {
        "equal to another utterance": "2",
        "no readable audio": "1",
        "no transcript": "1",
        "language missing or unknown": "1",
    }
    assert version.rejected == 5
    for private in ("anna", "geheim", "!?"):
        assert private not in card


def test_a_dataset_without_refusals_and_with_named_speakers_says_nothing_of_either(digits: DatasetVersion):
    text = card_of(digits).text
    for part in ("Refused", "no speaker.", "set aside (", "Made from"):
        assert part not in text
    assert "no named speaker, no prompt and no recording stands on both sides (seed 0)" in text
    assert "\n\n\n" not in text
    assert "None" not in text
