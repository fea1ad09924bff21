"""What was published is loaded as a user would and must hear what evaluation heard: the right weights pass, others do not."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import HubUnreachable, PublishingError
from tasks.contracts import Checkpoint, EvaluationReport, Form, RepositoryKind, StagedModel, Upload
from tasks.publishing.screening import finish
from tasks.publishing.stage import Publication, stage, stage_shipped_base
from tasks.publishing.upload import promote, upload
from tasks.publishing.verify import verify
from tests.builders.faulty_door import Fault, faulty_door
from tests.builders.hubs import Workplace, client_environment
from tests.builders.publications import connected

TERMS = Publication(name="anna/lora")
MODEL = RepositoryKind.MODEL
_NO_ANSWER = (Fault.UNAVAILABLE, Fault.TOO_MANY, Fault.TIME_OUT, Fault.RESET_REQUEST, Fault.DROPPED_ANSWER)


@pytest.fixture(scope="module")
def adapter(hub: Workplace, lora_report: EvaluationReport, tmp_path_factory: pytest.TempPathFactory) -> StagedModel:
    """Published, with its base beside it."""
    folder = tmp_path_factory.mktemp("adapter")
    staged, base = stage(lora_report, TERMS, Form.ADAPTER, folder), folder / "base"
    content = stage_shipped_base(base)
    promote(connected(hub), upload(connected(hub), base, "anna/voxfactory-tiny", MODEL, False, content), base, "The base")
    promote(connected(hub), send(hub, staged), staged.folder, "The adapter")
    return staged


def send(hub: Workplace, staged: StagedModel, content: str = "") -> Upload:
    return upload(connected(hub), staged.folder, staged.name, MODEL, False, content or staged.content_hash)


def changed(staged: StagedModel, folder: Path, name: str, **files: Path) -> tuple[StagedModel, str]:
    """The same folder, to be published under another name, in which some files are others; and the hash of its content."""
    shutil.copytree(staged.folder, folder)
    (folder / "publication.json").unlink()
    for file, other in files.items():
        shutil.copy2(other, folder / file)
    return staged.model_copy(update={"folder": folder, "name": name}), finish(folder, ["*"], ())


def test_the_weights_of_the_base_under_the_tuned_name_are_caught(
    hub: Workplace, full_report: EvaluationReport, tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In a process that has neither our cache nor our settings, whatever the environment says."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("VOXFACTORY_HUB_TOKEN", "hf_secret")
    staged = stage(full_report, Publication(name="anna/full"), Form.FULL, tmp_path / "staged")
    files = {"model.safetensors": tiny.folder / "model.safetensors"}
    wrong, content = changed(staged, tmp_path / "wrong", "anna/wrong", **files)
    with pytest.raises(PublishingError, match=r"anna/wrong at .* hears .*, as the base model does; evaluation heard"):
        verify(connected(hub), send(hub, wrong, content), wrong)
    assert not (tmp_path / "mine").exists()
    assert not list(tmp_path.glob(".verification*")), "nothing is left of the download"


def test_a_model_that_cannot_be_loaded_is_told_with_what_the_loader_said(
    hub: Workplace, full_report: EvaluationReport, tmp_path: Path
):
    staged = stage(full_report, Publication(name="anna/full"), Form.FULL, tmp_path / "staged")
    nothing = tmp_path / "nothing.json"
    nothing.write_text("{}")
    broken, content = changed(staged, tmp_path / "broken", "anna/broken", **{"tekken.json": nothing})
    told = r"(?s)anna/broken cannot be loaded from the local Hub:.*Error.*Correct what it says and publish it again"
    with pytest.raises(PublishingError, match=told):
        verify(connected(hub), send(hub, broken, content), broken)


@pytest.mark.usefixtures("hurried")
def test_a_hub_that_does_not_answer_is_no_wrong_model(hub: Workplace, adapter: StagedModel):
    sent = send(hub, adapter)
    with (
        faulty_door(hub.url, seed=0, share=1.0, faults=_NO_ANSWER, timeout_s=0.02, retry_after_s=0) as door,
        pytest.raises(HubUnreachable, match=r"downloading anna/lora"),
    ):
        verify(connected(hub, url=door.url), sent, adapter)


@pytest.mark.fast
def test_an_evaluation_that_keeps_no_clip_proves_nothing(hub: Workplace, tmp_path: Path):
    from tests.builders.reports import report, score

    staged = StagedModel(
        folder=tmp_path,
        name="anna/x",
        form=Form.FULL,
        public=False,
        card=tmp_path,
        content_hash="0" * 64,
        report=report(score("x", 0.1, 0.05)),
    )
    place = {"hub": "x", "repository": "anna/x", "kind": MODEL, "public": False, "fingerprint": "0", "branch": None}
    with pytest.raises(PublishingError, match="keeps no clip to ask for"):
        verify(connected(hub), Upload(**place, revision="0" * 40, head="0" * 40), staged)


def test_the_code_on_the_card_runs_by_id_in_a_plain_process(
    hub: Workplace, adapter: StagedModel, lora_report: EvaluationReport, tmp_path: Path
):
    """Only transformers and peft, an empty cache, and a token that reads."""
    example = lora_report.known_clips(1)[0]
    (code,) = re.findall(r"```python\n(.*?)```", adapter.card.read_text(), flags=re.DOTALL)
    (tmp_path / "code.py").write_text(code)
    shutil.copy2(example.audio_path, tmp_path / "clip.wav")
    environment = client_environment(hub.url, hub.tokens["anna-read"], tmp_path / "home") | {"PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-P", "code.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == example.tuned
    assert list((tmp_path / "home" / "hub").glob("models--anna--*")), "it was downloaded"
