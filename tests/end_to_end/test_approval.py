"""A person has the last word: the run waits in the Prefect UI for an answer, or for as long as it was told to."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.states import Scheduled

from flows.approve import approved
from tasks.contracts import EvaluationReport, GateDecision
from tests.builders.answers import answer_with, waiting
from tests.builders.factories import until
from tests.builders.processes import environment
from tests.builders.reports import report, score

MEASURED = report(score("german", 1.0, 0.1))
YES = GateDecision(publish=True, reasons=("german: WER 100.0% -> 10.0%, better",))


@pytest.fixture(autouse=True)
def prefect(server: str, home: Path) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: server, PREFECT_LOCAL_STORAGE_PATH: str(home)}):
        yield


@flow
def publishing(measured: EvaluationReport, timeout_h: float) -> GateDecision:
    """A flow that asks, as the factory does."""
    return approved(measured, YES, timeout_h)


def answered(**given: str) -> GateDecision:
    """What becomes of the gate's yes when a person fills in the form like this."""
    with ThreadPoolExecutor(1) as aside:
        decision = aside.submit(copy_context().run, publishing, MEASURED, 1.0)
        assert until(lambda: answer_with(**given), poll_s=0.1) == [f"{MEASURED.dataset.name}: shall it be published?"]
        return decision.result(timeout=60)


def test_a_yes_publishes_and_its_words_stand_among_the_reasons():
    decision = answered(answer="publish", words="I listened to it")
    assert decision.publish
    assert decision.reasons == (*YES.reasons, "approved by a person: I listened to it")


def test_a_no_keeps_it_unpublished():
    decision = answered(answer="refuse", words="the names are wrong")
    assert not decision.publish
    assert decision.reasons == (*YES.reasons, "refused by a person: the names are wrong")


def test_a_run_that_is_killed_while_it_waits_asks_again_when_it_is_retried(server: str, home: Path):
    waits = "from tests.end_to_end.test_approval import MEASURED, publishing; publishing(MEASURED, 1.0)"
    with subprocess.Popen([sys.executable, "-c", waits], env=environment(home, server) | {"PREFECT_API_URL": server}) as killed:
        (asked,) = until(waiting, poll_s=0.1)
        killed.kill()
    with get_client(sync_client=True) as client:
        assert asked.parent_task_run_id
        asking = client.read_task_run(asked.parent_task_run_id).flow_run_id
        assert asking
        client.set_flow_run_state(asking, Scheduled(), force=True)
        again = client.read_flow_run(asking)
    with ThreadPoolExecutor(1) as aside:
        given = {"measured": MEASURED, "timeout_h": 1.0}
        decision = aside.submit(copy_context().run, run_flow, publishing, again, given)
        until(lambda: [run for run in waiting() if run.state_id != asked.state_id], poll_s=0.1)
        until(lambda: answer_with(answer="publish"), poll_s=0.1)
        assert decision.result(timeout=60).reasons[-1] == "approved by a person, without a word"


def test_what_is_no_answer_is_not_taken_and_silence_is_a_no():
    with ThreadPoolExecutor(1) as aside:
        asked = aside.submit(copy_context().run, publishing, MEASURED, 0.001, return_state=True)
        until(waiting, poll_s=0.1)
        assert answer_with() == answer_with(words="well") == answer_with(answer="perhaps") == []
        state = asked.result(timeout=60)
    assert state.is_completed(), "only the run that asked is to show that nobody answered"
    assert not state.result().publish
    assert state.result().reasons == (*YES.reasons, "not approved: nobody answered within 0.001 h")
