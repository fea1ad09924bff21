"""Voices in, a served and proven speech model out."""

from prefect import flow

from flows.evaluate import evaluate
from flows.ingest import ingest
from flows.params import Gate, Publication, Source, Training
from flows.publish import publish
from flows.space import deploy_space
from flows.train import train
from tasks.contracts import FactoryResult
from tasks.evaluation.tasks import decide_publication


@flow(name="factory", flow_run_name="{source.name} on {training.base_model}")
def factory(source: Source, training: Training, gate: Gate, publication: Publication) -> FactoryResult:
    """Ingest, fine-tune, measure against the model before, and publish only what is better."""
    dataset = ingest(source)
    guards = [ingest(guard) for guard in gate.guard_sets]
    model = train(dataset, training, replay=guards if training.replay_guards else [])
    report = evaluate(model, dataset, guards, gate.batch_size)
    decision = decide_publication(report, gate.rules)
    made = FactoryResult(report=report, decision=decision)
    if not decision.publish:
        return made
    staged = publish(report, publication)
    space = deploy_space(staged)
    return made.model_copy(update={"staged": staged, "space": space})
