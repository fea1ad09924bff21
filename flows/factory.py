"""Voices in, a served and proven speech model out."""

from prefect import flow

from flows.approve import approved
from flows.dispatch import on_gpu
from flows.evaluate import evaluate
from flows.ingest import ingest
from flows.params import Gate, Publication, Source, Training
from flows.publish import publish
from flows.space import deploy_space
from flows.train import train
from tasks.contracts import FactoryResult
from tasks.evaluation.tasks import decide_publication
from tasks.publishing.tasks import check_publication


@flow(name="factory", flow_run_name="{source.name} on {training.base_model}")
def factory(source: Source, training: Training, gate: Gate, publication: Publication) -> FactoryResult:
    """Ingest, fine-tune, measure against the model before, and publish only what is better."""
    check_publication(publication, [])
    dataset = ingest(source)
    guards = [ingest(guard) for guard in gate.guard_sets]
    check_publication(publication, [dataset, *guards])
    model = on_gpu(train)(dataset, training, replay=guards if training.replay_guards else [])
    report = on_gpu(evaluate)(model, dataset, guards, gate.batch_size)
    duel = on_gpu(evaluate)(model, dataset, guards, gate.batch_size, gate.rival) if gate.rival else None
    decision = decide_publication(report, gate.rules, duel)
    if decision.publish and gate.approval:
        decision = approved(report, decision, gate.approval_timeout_h)
    made = FactoryResult(report=report, duel=duel, decision=decision)
    if not decision.publish:
        return made
    published = publish(report, publication)
    space = deploy_space(published[0].staged)
    return made.model_copy(update={"published": published, "space": space})
