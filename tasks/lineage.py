"""What a stage made, and of what, as assets of Prefect: its events lead from a published model back to the voices in it.

An asset's key is the content hash or the place that names it everywhere else in the factory; its name is for people. Prefect tells of
an asset when the task that made it ends well, and not again when its result comes from the cache.
"""

from collections.abc import Sequence
from typing import Any

from prefect.assets import Asset, AssetProperties
from prefect.context import AssetContext

from tasks.contracts import Checkpoint, DatasetVersion, HubRevision, StagedModel, TrainedModel

_HASH = 16  # characters of a hash that a key holds


def dataset_made(dataset: DatasetVersion, source: str) -> None:
    """A version was made of a source, named by its hash."""
    facts = {"fingerprint": dataset.fingerprint, "hours": dataset.hours, "languages": list(dataset.languages)}
    _made(_dataset(dataset), [_asset("source", source[:_HASH], dataset.name)], facts)


def model_trained(model: TrainedModel, datasets: Sequence[DatasetVersion], start: Checkpoint | None) -> None:
    """A run made a model of a base, or of the adapter that it went on from, and of datasets."""
    checkpoints = [_checkpoint(one) for one in (model.base, start) if one]
    _made(_run(model), [*checkpoints, *map(_dataset, datasets)], {"steps": model.steps, "weights": model.weights_hash})


def model_put_on_hub(staged: StagedModel, place: HubRevision) -> None:
    """A run's model is in a repository."""
    score = staged.report.target
    facts = {
        "revision": place.revision,
        "tag": place.tag,
        "wer_base": score.wer_base.value,
        "wer_tuned": score.wer_tuned.value,
    }
    _made(_repository(place.repository), [_run(staged.report.model)], facts)


def demo_made(staged: StagedModel) -> None:
    """A demo serves a repository's model."""
    _made(_asset("demo", staged.name, staged.name), [_repository(staged.name)], {"content": staged.content_hash})


def _dataset(dataset: DatasetVersion) -> Asset:
    return _asset("dataset", dataset.fingerprint[:_HASH], dataset.name)


def _checkpoint(checkpoint: Checkpoint) -> Asset:
    return _asset("checkpoint", checkpoint.revision[:_HASH], checkpoint.label)


def _run(model: TrainedModel) -> Asset:
    return _asset("run", model.folder.name, f"{model.base.label} on {model.dataset_fingerprint[:_HASH]}")


def _repository(name: str) -> Asset:
    return _asset("model", name, name)


def _asset(kind: str, key: str, name: str) -> Asset:
    return Asset(key=f"voxfactory://{kind}/{key}", properties=AssetProperties(name=name))


def _made(asset: Asset, of: Sequence[Asset], facts: dict[str, Any]) -> None:
    """Let the task that runs tell of it when it ends."""
    context = AssetContext.get()
    if context is None:  # called as a plain function
        return
    context.downstream_assets.add(asset)
    context.direct_asset_dependencies.update(of)
    context.add_asset_metadata(asset.key, facts)
