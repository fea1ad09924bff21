"""Names of speakers stand in the consent ledger and nowhere else; nobody is used who did not agree where that is asked for."""

import json
import stat
from pathlib import Path

import pytest
import soundfile

from infra.settings import settings
from tasks.contracts import DatasetVersion, Refusal
from tasks.dataset.home import memory_of
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.speakers import pseudonyms_of, read_ledger
from tasks.dataset.version import read_rejects, read_utterances
from tests.builders.speech import voice

pytestmark = pytest.mark.fast
GERMAN = IngestOptions(language="de", eval_share=0.4)


def write_source(folder: Path, rows: list[dict[str, object]]) -> Path:
    """A clip in a folder of its speaker for each row."""
    lines = []
    for number, row in enumerate(rows):
        clip = folder / str(row.get("speaker", "nobody")) / f"{number}.wav"
        clip.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(clip, voice(number), 16_000)
        lines.append(json.dumps({"audio": str(clip.relative_to(folder)), "text": f"Satz {number}", **row}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder


def ingested(source: Path, folder: Path, options: IngestOptions = GERMAN, parent: DatasetVersion | None = None) -> DatasetVersion:
    return ingest(source, "x", options, folder, 1, memory_of(settings()), parent)


def test_names_stand_in_the_ledger_alone(tmp_path: Path):
    source = write_source(tmp_path / "source", [{"speaker": ("Wilhelmine", "Adalbert")[n % 2]} for n in range(8)])
    (source / "Adalbert" / "1.wav").write_bytes(b"RIFF")
    made = ingested(source, tmp_path / "version")
    ledger = made.folder / "consent.jsonl"
    for path in made.folder.rglob("*"):
        if path.is_file() and path != ledger:
            assert b"ilhelmine" not in path.read_bytes()
            assert b"dalbert" not in path.read_bytes()
    assert {one.speaker for one in read_utterances(made)} == {record.speaker for record in read_ledger(made.folder)}
    assert {(record.name, record.utterances) for record in read_ledger(made.folder)} == {("Wilhelmine", 4), ("Adalbert", 3)}
    for private in (ledger, settings().folder("") / "speakers.key"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_a_pseudonym_is_the_same_in_all_datasets_of_a_home_and_survives_another_ingestion(tmp_path: Path):
    source = write_source(tmp_path / "source", [{"speaker": "ab"[n % 2]} for n in range(8)])
    first = ingested(source, tmp_path / "first")
    again = ingested(first.folder, tmp_path / "again")
    assert {u.id: u.speaker for u in read_utterances(again)} == {u.id: u.speaker for u in read_utterances(first)}
    assert read_ledger(again.folder) == read_ledger(first.folder)
    assert pseudonyms_of(settings()).of("a") in {u.speaker for u in read_utterances(first)}


def test_equal_data_are_divided_alike_in_every_home_and_later_on(tmp_path: Path):
    rows = [{"speaker": f"s{n % 5}"} for n in range(20)]
    source = write_source(tmp_path / "source", rows)
    first = ingested(source, tmp_path / "first")
    (settings().folder("") / "speakers.key").unlink()
    elsewhere = ingested(source, tmp_path / "elsewhere")
    assert elsewhere.division == first.division
    assert {u.speaker for u in read_utterances(elsewhere)} != {u.speaker for u in read_utterances(first)}
    more = write_source(tmp_path / "more", [*rows, *({"speaker": f"s{n}"} for n in range(5))])
    sides: dict[str | None, set[str]] = {}
    for one in read_utterances(ingested(more, tmp_path / "grown", GERMAN, elsewhere)):
        sides.setdefault(one.speaker, set()).add(one.split)
    assert all(len(side) == 1 for side in sides.values()), "who was there is known again by name"


def test_who_did_not_agree_is_refused(tmp_path: Path):
    rows: list[dict[str, object]] = [
        {"speaker": f"s{n}", "consent": "yes, in writing", "consent_date": "2026-01-31"} for n in range(4)
    ]
    rows += [{"speaker": "t", "consent": False}, {"speaker": "u"}]
    source = write_source(tmp_path / "source", rows)
    made = ingested(source, tmp_path / "version", GERMAN.model_copy(update={"require_consent": True}))
    assert [one.kind for one in read_rejects(made)] == [Refusal.CONSENT] * 2
    assert {(one.consent, one.date, one.use) for one in read_ledger(made.folder)} == {
        ("yes, in writing", "2026-01-31", "private")
    }
    lenient = ingested(source, tmp_path / "lenient")
    assert lenient.rejected == 1, "a no is a no, silence is not recorded"
    assert "not recorded" in {one.consent for one in read_ledger(lenient.folder)}
