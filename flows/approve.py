"""A person's word before a model is published: asked for in the Prefect UI, with the gate's reasons."""

import math
from typing import Literal
from uuid import uuid4

from prefect import flow
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field, ValidationError

from flows.references import Evaluation
from infra import progress
from tasks.contracts import GateDecision
from tasks.evaluation.gate import question
from tasks.evaluation.tasks import settle_publication

_POLL_S = 2
_STAGE = "wait for a person's answer in the Prefect UI"


class Answer(RunInput):
    """The form that Resume opens."""

    answer: Literal["publish", "refuse"] = Field(description="What becomes of the model; refused, it is kept unpublished.")
    words: str = Field("", description="Why; it stands among the gate's reasons.")


@flow(name="approve", flow_run_name="{report.dataset.name}: shall it be published?")
def approve(report: Evaluation, decision: GateDecision, timeout_h: float) -> tuple[bool, str]:
    """Pause until a person has answered: yes or no, and the words.

    Raises:
        FlowPauseTimeout: nobody did for so many hours; this run then failed, and the one that asked goes on.

    """
    asked = Answer.with_initial_data(description=question(report, decision))
    progress.report(_STAGE, 0, 1)
    within_s = math.ceil(3600 * timeout_h)
    try:
        given = pause_flow_run(asked, within_s, _POLL_S)
    except ValidationError:  # this run was killed while it waited, and goes on: the question was put, and nobody has answered
        given = pause_flow_run(asked, within_s, _POLL_S, key=str(uuid4()))
    progress.report(_STAGE, 1, 1)
    return given.answer == "publish", given.words


def approved(report: Evaluation, decision: GateDecision, timeout_h: float) -> GateDecision:
    """The gate's yes after a person was asked, who may make it a no; so does silence."""
    try:
        answer = approve(report, decision, timeout_h)
    except FlowPauseTimeout:
        answer = None
    return settle_publication(report, decision, answer, timeout_h)
