"""A published model in, a demo out that is proven to serve it."""

from prefect import flow

from tasks.contracts import DeployedSpace, StagedModel
from tasks.space.tasks import deploy_and_prove


@flow(name="space", flow_run_name="{staged.name}")
def deploy_space(staged: StagedModel) -> DeployedSpace:
    """Render the demo, start it, and compare its answers with evaluation's."""
    return deploy_and_prove(staged)
