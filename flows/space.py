"""A published model in, a demo out that is proven to serve it."""

from prefect import flow

from flows.references import Staged
from tasks.contracts import DeployedSpace
from tasks.space.tasks import deploy_and_prove


@flow(name="space", flow_run_name="{staged.name}")
def deploy_space(staged: Staged) -> DeployedSpace:
    """Render the demo, start it, and compare its answers with evaluation's."""
    return deploy_and_prove(staged)
