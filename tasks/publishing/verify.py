"""Is what lies on the Hub what was measured? Downloaded into an empty cache, a user's process must hear what evaluation heard."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from infra.errors import HubUnreachable, PublishingError
from infra.hub import HubConnection, hub_errors
from infra.processes import end_with_parent, without_secrets
from infra.storage import content_hash
from tasks.contracts import Example, Form, Proof, StagedDataset, StagedModel, Upload
from tasks.dataset.export import published_fingerprint
from tasks.publishing.repository import MAIN, patiently
from tasks.voxtral.checkpoint import window_frames
from tasks.voxtral.features import MEL_HOP_SAMPLES

_CLIPS = 3
_LONGEST_S = 2 * 3600.0  # for three clips, or for streaming a whole dataset
_LOG_LINES = 15
_STALE_S = 24 * 3600
_CACHES = ".verification-"
_NOT_A_STRANGERS = re.compile(r"VOXFACTORY_|(HF|HUGGING|TRANSFORMERS|DATASETS).*(CACHE|OFFLINE|TOKEN|HOME)")  # variables
_UNREACHABLE = re.compile(
    r"Connect(ion)?(Error|Timeout)|Connection (refused|reset)|(Read|Write|Pool)(Error|Timeout)|RemoteProtocolError|"
    r"ServerDisconnected|LocalEntryNotFoundError|5\d\d Server Error|(408|429) Client Error|Consistency check failed"
)


def verify(hub: HubConnection, uploaded: Upload, staged: StagedModel, base: Upload | None = None) -> tuple[Proof, ...]:
    """Download the revision, load it (an adapter on the `base` that was uploaded for it, if any), transcribe known clips.

    Raises:
        PublishingError: no clip is known, or it cannot be loaded, or hears something else than evaluation heard.
        HubUnreachable: it could not be downloaded now.

    """
    clips = staged.report.known_clips(_CLIPS)
    if not clips:
        raise PublishingError(f"The evaluation in {staged.report.folder} keeps no clip to ask for", "Evaluate the model again")
    job = _job(uploaded, staged, base, clips)
    with _empty_cache(staged.folder.parent) as cache:
        _download(hub, uploaded.repository, uploaded.revision, cache)
        if job["base_id"] and not Path(job["base_id"]).is_dir():
            _download(hub, job["base_id"], job["base_revision"], cache)
        offline = hub.offline_environment(cache)  # what is not in the repository is not found
        texts = json.loads(_as_a_user("as_a_user.py", job, staged.name, hub, cache, offline).splitlines()[-1])
    proofs = tuple(
        Proof(audio_path=clip.audio_path, reference=clip.reference, expected=clip.tuned, answered=text, base=clip.base)
        for clip, text in zip(clips, texts, strict=True)
    )
    wrong = next((proof for proof in proofs if not proof.holds), None)
    if wrong:
        raise _heard_something_else(wrong, uploaded, staged.form)
    return proofs


def _heard_something_else(wrong: Proof, uploaded: Upload, form: Form) -> PublishingError:
    other = "as the base model does" if wrong.answered == wrong.base else "as neither it nor its base does"
    advice = "evaluate the model again on this machine, then publish it"
    if form is Form.MERGED:
        advice = "publish the adapter (--form adapter): merging rounds the weights, and the adapter is what was measured"
    return PublishingError(
        f"{uploaded.repository} at {uploaded.revision[:12]} hears {wrong.answered!r} in {wrong.audio_path.name}, {other}; "
        f"evaluation heard {wrong.expected!r}",
        f"It was not published; {advice}",
    )


def _job(uploaded: Upload, staged: StagedModel, base: Upload | None, clips: list[Example]) -> dict[str, Any]:
    base_id, base_revision = None, None
    if staged.form is Form.ADAPTER:
        named = json.loads((staged.folder / "adapter_config.json").read_text(encoding="utf-8"))
        base_id, base_revision = named["base_model_name_or_path"], base.revision if base else named.get("revision") or MAIN
        if "/" in staged.report.model.base.name:  # a base of the public Hub lies on this machine: gigabytes less to download
            base_id = str(staged.report.model.base.folder)
    frames = window_frames(staged.folder)
    return {
        "model_id": uploaded.repository,
        "revision": uploaded.revision,
        "base_id": base_id,
        "base_revision": base_revision,
        "window_samples": frames * MEL_HOP_SAMPLES,
        "window_frames": frames,
        "clips": [{"path": str(clip.audio_path), "language": clip.language} for clip in clips],
    }


def verify_dataset(hub: HubConnection, uploaded: Upload, staged: StagedDataset) -> None:
    """Stream the revision, and compare every row with what was ingested.

    Raises:
        PublishingError: it cannot be loaded, or differs.
        HubUnreachable: it could not be downloaded now.

    """
    job = {"dataset_id": uploaded.repository, "revision": uploaded.revision}
    with _empty_cache(staged.folder.parent) as cache:
        online = hub.reading_environment(cache)
        script = "load_as_a_user.py"
        lines = patiently(lambda: _as_a_user(script, job, staged.name, hub, cache, online, _UNREACHABLE)).splitlines()
    rows = [json.loads(line) for line in lines]
    if content_hash(sorted(rows)) != published_fingerprint(staged.dataset):
        raise PublishingError(
            f"{uploaded.repository} at {uploaded.revision[:12]} holds other utterances than {staged.dataset.folder}",
            "It was not published; ingest the data again, then publish it",
        )


def _download(hub: HubConnection, repository: str, revision: str, cache: Path) -> None:
    """By the same client that a user's process would do it with, which would give up at the first answer that it does not get."""
    from huggingface_hub import snapshot_download

    def download() -> None:
        with hub_errors(hub, f"downloading {repository}"):
            token = hub.read_token.get_secret_value()
            snapshot_download(repository, revision=revision, cache_dir=cache / "hub", token=token, endpoint=hub.endpoint)

    patiently(download)


def _as_a_user(
    script: str,
    job: dict[str, Any],
    name: str,
    hub: HubConnection,
    cache: Path,
    environment: dict[str, str],
    passing: re.Pattern[str] | None = None,
) -> str:
    """What a process of its own prints that has this cache, the variables given, and nothing of ours.

    Raises:
        HubUnreachable: it failed with an error that is `passing`.
        PublishingError: it failed otherwise.

    """
    kept = {variable: value for variable, value in without_secrets().items() if not _NOT_A_STRANGERS.match(variable)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(Path(__file__).with_name(script))],  # -P: not with our modules beside the script
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
            cwd=cache,
            env=kept | environment,
            timeout=_LONGEST_S,
            preexec_fn=end_with_parent,
        )
    except subprocess.TimeoutExpired as error:
        advice = "Look for a lack of memory, and publish it again"
        raise PublishingError(f"{name} could not be verified within {_LONGEST_S / 3600:g} h", advice) from error
    if done.returncode == 0:
        return done.stdout
    if passing and passing.search(done.stderr):
        raise HubUnreachable(f"{hub.name} did not answer while {name} was verified", "Run the command again")
    said = "\n".join(done.stderr.strip().splitlines()[-_LOG_LINES:])
    raise PublishingError(f"{name} cannot be loaded from {hub.name}:\n{said}\n", "Correct what it says and publish it again")


@contextmanager
def _empty_cache(beside: Path) -> Iterator[Path]:
    """A folder on the disk of the home, which has room for a model; what a killed verification left behind goes."""
    for left in beside.glob(f"{_CACHES}*"):
        if left.stat().st_mtime < time.time() - _STALE_S:
            shutil.rmtree(left, ignore_errors=True)
    cache = Path(mkdtemp(prefix=_CACHES, dir=beside))
    try:
        yield cache
    finally:
        shutil.rmtree(cache, ignore_errors=True)
