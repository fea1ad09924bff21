"""Look at the watched datasets, and tell of each that changed: for those whom no Hub can reach with a webhook."""

from prefect import flow

from flows.dispatch import start_retraining
from infra.settings import settings
from tasks.dataset.tasks import announce_change


@flow(name="watch", flow_run_name="watched datasets")
def watch(datasets: list[str] | None = None, retrain: bool = False) -> list[str]:
    """Emit an event for each dataset (owner/name) that has a new revision, or start retraining on all that are watched; their names.

    Args:
        datasets: default: those of the setting `watch`.
        retrain: start retraining on every dataset of the setting, changed or not.

    """
    if retrain:
        return [start_retraining(watched) for watched in settings().watch]
    names = datasets or [watched.repository for watched in settings().watch]
    return [name for name in names if announce_change(name)]
