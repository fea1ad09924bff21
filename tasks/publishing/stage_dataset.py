"""The repository folder of a dataset version: parquet with the sound inside, the card and its picture, nothing else."""

from pathlib import Path

from infra.storage import new_folder
from tasks.contracts import DatasetVersion, StagedDataset
from tasks.dataset.card import PICTURE
from tasks.dataset.export import DatasetPublication, export_version
from tasks.publishing.screening import MANIFEST, finish, private_words

_ALLOWED = ("data/*.parquet", PICTURE, "README.md", MANIFEST)


def stage_version(dataset: DatasetVersion, publication: DatasetPublication, folder: Path) -> StagedDataset:
    """Assemble and check `folder`/repository. The publication's name is owner/name.

    Raises:
        PublishingError: a file must not be published.

    """
    repository = folder / "repository"
    with new_folder(repository) as unfinished:
        export_version(dataset, publication.name, unfinished)
        content = finish(unfinished, _ALLOWED, private_words(publication.name, dataset.folder))
    return StagedDataset(
        folder=repository, name=publication.name, public=publication.public, content_hash=content, dataset=dataset
    )
