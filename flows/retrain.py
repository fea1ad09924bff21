"""Is there new data? Train, compare with what is published, publish only what is better."""

from prefect import flow

from flows.factory import factory
from flows.ingest import ingest
from flows.params import Gate, Publication, Retraining, Source, Training
from tasks.contracts import RetrainingResult
from tasks.dataset.tasks import look_for_news
from tasks.publishing.tasks import check_publication, find_standing


@flow(name="retrain", flow_run_name="{source.name}: what is new")
def retrain(
    source: Source,
    training: Training,
    gate: Gate,
    publication: Publication,
    retraining: Retraining,
    dry_run: bool = False,
) -> RetrainingResult:
    """Look what is new since the published model; enough of it makes a new one, which must beat the base and the published."""
    permitted = check_publication(publication, [])
    standing = find_standing(permitted.name)
    dataset = ingest(source)
    news = look_for_news(dataset, standing, retraining)
    if dry_run or not news.enough:
        return RetrainingResult(news=news)
    made = factory(source, training.going_on_from(standing, retraining), gate.against(standing), permitted)
    return RetrainingResult(news=news, made=made)
