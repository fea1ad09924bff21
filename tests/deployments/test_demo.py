"""What `voxfactory demo` writes down, for whoever reads it with a program."""

import json
from pathlib import Path

from deployments.demo import _report
from infra.storage import write_json
from tasks.contracts import (
    DeployedSpace,
    EvaluationReport,
    FactoryResult,
    Form,
    GateDecision,
    HubRevision,
    Proof,
    PublishedModel,
    RepositoryKind,
    StagedModel,
)
from tasks.evaluation.gate import GateRules, decide
from tests.builders.reports import score

KEYS = {"wer_base", "wer_tuned", "wer_ci", "guards", "gate", "published", "space_proof", "train_seconds", "seconds"}


def published(made: EvaluationReport, folder: Path) -> FactoryResult:
    """A run whose model went all the way."""
    staged = StagedModel(
        folder=folder, name="local/german", form=Form.FULL, public=False, card=folder / "README.md", content_hash="0", report=made
    )
    proofs = tuple(
        Proof(audio_path=clip.audio_path, reference=clip.reference, expected=clip.tuned, answered=clip.tuned, base=clip.base)
        for clip in made.known_clips(3)
    )
    place = HubRevision(
        hub="the local Hub",
        repository="local/german",
        kind=RepositoryKind.MODEL,
        public=False,
        revision="1",
        tag="v1",
        new=True,
    )
    return FactoryResult(
        report=made,
        decision=decide(made, GateRules()),
        published=(PublishedModel(staged=staged, place=place, proofs=proofs),),
        space=DeployedSpace(folder=folder, staged=staged, proofs=proofs),
    )


def test_the_report_of_a_real_run_holds_its_figures(full_report: EvaluationReport, tmp_path: Path):
    known = (score("known", 0.03, 0.04), score("known", 0.05, 0.06, language="en"))
    made = full_report.model_copy(update={"scores": (*full_report.scores, *known)})
    written = json.loads(write_json(tmp_path / "report.json", _report(published(made, tmp_path), 301.26)).read_text())
    assert written.keys() == KEYS
    target = full_report.target
    assert (written["wer_base"], written["wer_tuned"]) == (target.wer_base.value, target.wer_tuned.value)
    low, high = written["wer_ci"]
    assert 0 <= low <= written["wer_tuned"] <= high
    assert written["guards"] == {"all": {"wer_base": 0.03, "wer_tuned": 0.04}, "en": {"wer_base": 0.05, "wer_tuned": 0.06}}
    assert isinstance(written["gate"]["publish"], bool)
    assert [reason.split(":")[0] for reason in written["gate"]["reasons"]] == [full_report.dataset.name, "known", "known (en)"]
    assert written["published"] == ["local/german@v1"]
    assert len(written["space_proof"]) == 3
    assert all(proof["answered"] == proof["expected"] for proof in written["space_proof"])
    assert 0 < written["train_seconds"] == full_report.model.train_seconds
    assert written["seconds"] == 301.3


def test_a_report_without_a_publication_has_the_same_keys(full_report: EvaluationReport):
    refused = FactoryResult(report=full_report, decision=GateDecision(publish=False, reasons=("not better",)))
    written = _report(refused, 1.0)
    assert written.keys() == KEYS
    assert (written["published"], written["space_proof"]) == ([], None)
    assert written["gate"] == {"publish": False, "reasons": ("not better",)}
