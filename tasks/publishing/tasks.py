"""The door of the publishing room.

Inside a transaction Prefect rolls back as soon as an attempt of a task fails, even if another one is to follow. So what is taken back by
`take_back` has no retries of Prefect: it is patient by itself (`repository.patiently`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from prefect import task
from prefect.transactions import Transaction, get_transaction

from infra.errors import HubUnreachable
from infra.hub import check_right_to_write, connection
from infra.settings import settings
from tasks.artifacts import show_published
from tasks.caching import ByAddress
from tasks.contracts import (
    DatasetVersion,
    EvaluationReport,
    Form,
    HubRevision,
    Proof,
    PublishedDataset,
    PublishedModel,
    RepositoryKind,
    StagedDataset,
    StagedModel,
    StandingModel,
    Upload,
)
from tasks.dataset.export import DatasetPublication, export_address
from tasks.events import model_published
from tasks.lineage import model_put_on_hub
from tasks.publishing.consent import check_consent
from tasks.publishing.kept import told_if_left_behind
from tasks.publishing.records import published_data, still_published, write_record
from tasks.publishing.stage import Publication, shipped_base_repository, stage, stage_address, stage_shipped_base
from tasks.publishing.stage_dataset import stage_version
from tasks.publishing.standing import standing_model
from tasks.publishing.upload import promote, upload, withdraw
from tasks.publishing.verify import verify, verify_dataset
from tasks.retrying import HUB_WAITS_S, retried_after

_published = ByAddress(kind="published", address=stage_address)
_exported = ByAddress(kind="published", address=export_address)


Terms = TypeVar("Terms", Publication, DatasetPublication)
_healing = retried_after(HubUnreachable, HUB_WAITS_S)


@task(name="check publication", **_healing)
def check_publication(publication: Terms, datasets: Sequence[DatasetVersion], unknown: Sequence[str] = ()) -> Terms:
    """Whether we may publish under that name, and what was made from these voices; the name becomes owner/name."""
    check_consent(settings(), datasets, publication.public, unknown)
    with connection(settings()) as hub:
        return publication.model_copy(update={"name": check_right_to_write(hub, publication.name)})


@task(name="find standing", **_healing)
def find_standing(name: str) -> StandingModel | None:
    """What is published under owner/name now."""
    with connection(settings()) as hub:
        return standing_model(hub, name)


@task(name="stage", task_run_name="stage {form}", cache_policy=_published, result_serializer="json")
def stage_model(report: EvaluationReport, publication: Publication, form: Form, data: HubRevision | None) -> StagedModel:
    """Assemble the repository folder with its card; `data` is where its dataset is published."""
    folder = _published.folder(report=report, publication=publication, form=form, data=data)
    return stage(report, publication, form, folder, data)


@task(name="find published data", **_healing)
def find_published_data(dataset: DatasetVersion) -> HubRevision | None:
    """Where on this Hub the data stand that a model was trained on, if they were published from here."""
    with connection(settings()) as hub:
        return published_data(hub, dataset, settings().folder("published"))


@task(name="find published", **_healing)
def find_published(staged: StagedModel) -> PublishedModel | None:
    """An earlier publication of the same, if it stands where it was."""
    with connection(settings()) as hub:
        return still_published(hub, staged, PublishedModel)


@task(name="upload shipped base")
def upload_shipped_base(staged: Sequence[StagedModel]) -> Upload | None:
    """Send the model that is on no Hub but with us, where an adapter of it is among what is published."""
    for model in staged:
        base = shipped_base_repository(model.name, model.report) if model.form is Form.ADAPTER else None
        if base:
            folder = _shipped_base_folder(model)
            content = stage_shipped_base(folder)
            with connection(settings()) as hub:
                return _noted(upload(hub, folder, base, RepositoryKind.MODEL, model.public, content, no_secret=True))
    return None


@task(name="promote shipped base")
def promote_shipped_base(uploaded: Upload | None, staged: Sequence[StagedModel]) -> None:
    """Let it be seen, once an adapter on it was heard to be right."""
    if uploaded:
        folder = next(_shipped_base_folder(model) for model in staged if model.form is Form.ADAPTER)
        with connection(settings()) as hub:
            promote(hub, uploaded, folder, "The base of adapters that show VoxFactory")


@task(name="upload")
def upload_model(staged: StagedModel) -> Upload:
    """Send the folder to where nobody reads by default."""
    with connection(settings()) as hub:
        return _noted(upload(hub, staged.folder, staged.name, RepositoryKind.MODEL, staged.public, staged.content_hash))


@task(name="verify")
def verify_model(uploaded: Upload, staged: StagedModel, base: Upload | None) -> tuple[Proof, ...]:
    """Download it as a user would, an adapter on the base that was uploaded with it, and hear what evaluation heard."""
    with connection(settings()) as hub:
        return verify(hub, uploaded, staged, base)


@task(name="promote")
def promote_model(uploaded: Upload, staged: StagedModel, proofs: tuple[Proof, ...]) -> PublishedModel:
    """Let everyone who may see the repository see it, under a tag."""
    score = staged.report.target
    title = (
        f"Fine-tuned on {staged.report.dataset.name} {staged.report.dataset.fingerprint[:12]}: "
        f"WER {score.wer_base.value:.1%} -> {score.wer_tuned.value:.1%}"
    )
    with connection(settings()) as hub:
        published = PublishedModel(staged=staged, place=promote(hub, uploaded, staged.folder, title), proofs=proofs)
    write_record(published)
    pages = f"http://127.0.0.1:{settings().hub_port}" if hub.local else hub.endpoint
    show_published(published, pages)
    model_put_on_hub(staged, published.place)
    rates = {"wer_base": score.wer_base.value, "wer_tuned": score.wer_tuned.value, "form": staged.form}
    model_published(published.place.repository, published.place.revision, published.place.tag, rates)
    return published


@task(name="stage dataset", cache_policy=_exported, result_serializer="json")
def stage_dataset(dataset: DatasetVersion, publication: DatasetPublication) -> StagedDataset:
    """Assemble the repository folder of a dataset with its card."""
    return stage_version(dataset, publication, _exported.folder(dataset=dataset, publication=publication))


@task(name="find published dataset", **_healing)
def find_published_dataset(staged: StagedDataset) -> PublishedDataset | None:
    """An earlier publication of the same, if it stands where it was."""
    with connection(settings()) as hub:
        return still_published(hub, staged, PublishedDataset)


@task(name="upload dataset")
def upload_dataset(staged: StagedDataset) -> Upload:
    """Send the folder to where nobody reads by default."""
    with connection(settings()) as hub:
        return _noted(upload(hub, staged.folder, staged.name, RepositoryKind.DATASET, staged.public, staged.content_hash))


@task(name="verify dataset")
def check_dataset(uploaded: Upload, staged: StagedDataset) -> None:
    """Stream it as a user would, and compare every row."""
    with connection(settings()) as hub:
        verify_dataset(hub, uploaded, staged)


@task(name="promote dataset")
def promote_dataset(uploaded: Upload, staged: StagedDataset) -> PublishedDataset:
    """Let everyone who may see the repository see it, under a tag."""
    dataset = staged.dataset
    utterances = dataset.train_utterances + dataset.eval_utterances
    title = f"{dataset.name} {dataset.fingerprint[:12]}: {utterances} utterances"
    with connection(settings()) as hub:
        published = PublishedDataset(staged=staged, place=promote(hub, uploaded, staged.folder, title))
    write_record(published)
    return published


def _noted(uploaded: Upload) -> Upload:
    """Tell the transaction of this task what is to be taken back."""
    attempt = get_transaction()
    if attempt:
        attempt.set("uploaded", uploaded)
    return uploaded


def _shipped_base_folder(staged: StagedModel) -> Path:
    return staged.folder.with_name("base")


@upload_shipped_base.on_rollback
@upload_model.on_rollback
@upload_dataset.on_rollback
def take_back(attempt: Transaction) -> None:
    """The previous revision comes back when what followed the upload failed."""
    uploaded = attempt.get("uploaded", None)
    if isinstance(uploaded, Upload):
        with told_if_left_behind(uploaded), connection(settings()) as hub:
            withdraw(hub, uploaded)
