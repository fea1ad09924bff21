"""What a worker makes of the job templates, rendered by the real workers without Docker, a cluster or a server."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import kubernetes_validate
import pytest
from docker.types import HostConfig
from prefect.client.schemas.objects import FlowRun
from prefect.server.schemas.actions import validate_base_job_template
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.workers.base import BaseJobConfiguration
from prefect.workers.process import ProcessWorker
from prefect_docker.worker import DockerWorker
from prefect_kubernetes.worker import KubernetesWorker

from infra.work_pools import Hardware, PoolType, read_template, template_path

pytestmark = pytest.mark.fast

KUBERNETES_VERSION = "1.34"
WORKERS: dict[PoolType, Any] = {
    PoolType.PROCESS: ProcessWorker,
    PoolType.DOCKER: DockerWorker,
    PoolType.KUBERNETES: KubernetesWorker,
}
every_template = pytest.mark.parametrize(
    ("hardware", "pool_type"), [(hardware, pool_type) for hardware in Hardware for pool_type in PoolType]
)
both = pytest.mark.parametrize("hardware", list(Hardware))


def rendered(hardware: Hardware, pool_type: PoolType, **job_variables: Any) -> Any:
    """The job that a worker, which has a home and a password of its own, would start."""
    of_the_worker = {
        PREFECT_API_URL: "http://prefect-server:4200/api",
        PREFECT_API_AUTH_STRING: "admin:of-the-worker",
        PREFECT_HOME: Path("/home/of-the-worker"),
    }
    with temporary_settings(of_the_worker):
        made = WORKERS[pool_type].job_configuration.from_template_and_values(
            base_job_template=read_template(hardware, pool_type), values=job_variables
        )
        configuration: BaseJobConfiguration = asyncio.run(made)
        configuration.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="wise-owl"))
    return configuration


def pod_and_container(hardware: Hardware, **job_variables: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    manifest = rendered(hardware, PoolType.KUBERNETES, **job_variables).job_manifest
    pod = manifest["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def plain(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


@every_template
def test_prefect_accepts_every_template_and_every_default(hardware: Hardware, pool_type: PoolType):
    template = read_template(hardware, pool_type)
    validate_base_job_template(template)
    properties = template["variables"]["properties"]
    jsonschema.validate({name: field["default"] for name, field in properties.items()}, template["variables"])


@every_template
def test_every_field_of_the_form_explains_itself(hardware: Hardware, pool_type: PoolType):
    for name, field in read_template(hardware, pool_type)["variables"]["properties"].items():
        assert field["title"], name
        assert len(field["description"]) > 10, name
        assert "default" in field, name


@every_template
def test_no_template_has_room_for_a_token(hardware: Hardware, pool_type: PoolType):
    text = template_path(hardware, pool_type).read_text()
    assert "HF_TOKEN:" not in text
    assert "prefect.blocks" not in text  # would be resolved into the job, in plain text


def test_there_is_no_template_that_nobody_uses():
    used = {template_path(hardware, pool_type).name for hardware in Hardware for pool_type in PoolType}
    assert {path.name for path in template_path(Hardware.CPU, PoolType.PROCESS).parent.glob("*.json")} == used


@both
def test_the_job_is_valid_kubernetes(hardware: Hardware):
    manifest = rendered(hardware, PoolType.KUBERNETES).job_manifest
    kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
    assert (manifest["spec"]["completions"], manifest["spec"]["parallelism"]) == (1, 1)
    assert manifest["metadata"]["namespace"] == "voxfactory"


def test_a_training_gets_a_gpu_shared_memory_and_the_home():
    pod, container = pod_and_container(Hardware.GPU)
    assert container["args"] == ["prefect", "flow-run", "execute"]
    assert container["image"] == "voxfactory:cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}  # noqa: S108
    assert mounts["/voxfactory"]["persistentVolumeClaim"] == {"claimName": "voxfactory-home"}


def test_other_stages_get_no_gpu():
    pod, container = pod_and_container(Hardware.CPU)
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert pod["tolerations"] == []


@both
def test_what_makes_a_run_resumable_lies_on_the_home(hardware: Hardware):
    environment = plain(pod_and_container(hardware)[1])
    assert environment["VOXFACTORY_HOME"] == "/voxfactory"
    assert environment["PREFECT_LOCAL_STORAGE_PATH"] == "/voxfactory"
    assert environment["HF_HOME"] == "/voxfactory/huggingface"
    assert "PREFECT_HOME" not in environment


def test_an_evicted_run_is_rescheduled_and_not_retried_by_kubernetes():
    configuration = rendered(Hardware.GPU, PoolType.KUBERNETES)
    spec = configuration.job_manifest["spec"]
    assert spec["backoffLimit"] == 0
    assert plain(spec["template"]["spec"]["containers"][0])["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 30  # what Prefect gives the flow before it kills it
    assert spec["template"]["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert spec["ttlSecondsAfterFinished"] == 3600
    assert configuration.pod_watch_timeout_seconds >= 900  # a GPU node may first have to be bought


@both
def test_tokens_come_from_a_secret_and_stand_nowhere_in_the_job(hardware: Hardware):
    configuration = rendered(hardware, PoolType.KUBERNETES)
    container = configuration.job_manifest["spec"]["template"]["spec"]["containers"][0]
    assert {"secretRef": {"name": "voxfactory-secrets"}} in container["envFrom"]
    assert "of-the-worker" not in str(configuration.job_manifest)


@both
def test_a_pod_has_no_rights_that_it_does_not_need(hardware: Hardware):
    pod, container = pod_and_container(hardware)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["fsGroup"] == 1000  # else the home could not be written
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_what_is_chosen_in_the_form_reaches_the_pod():
    pod, container = pod_and_container(
        Hardware.GPU,
        gpu_count=4,
        node_selector={"cloud.google.com/gke-spot": "true"},
        tolerations=[{"key": "spot", "operator": "Exists"}],
        shm_size="64Gi",
        cache_claim="other-home",
        settings_name="other-settings",
        secret_name="other-secrets",
        grace_seconds=600,
        env={"NCCL_DEBUG": "INFO"},
    )
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert pod["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    assert pod["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert pod["volumes"][0]["emptyDir"]["sizeLimit"] == "64Gi"
    assert pod["volumes"][1]["persistentVolumeClaim"]["claimName"] == "other-home"
    assert container["envFrom"] == [{"configMapRef": {"name": "other-settings"}}, {"secretRef": {"name": "other-secrets"}}]
    assert pod["terminationGracePeriodSeconds"] == 600
    assert plain(container) | {"NCCL_DEBUG": "INFO", "VOXFACTORY_HOME": "/voxfactory"} == plain(container)


def test_a_training_container_gets_the_gpus_in_dockers_own_terms():
    configuration = rendered(Hardware.GPU, PoolType.DOCKER)
    assert configuration.command == "prefect flow-run execute"
    assert configuration.image == "voxfactory:cuda"
    options = configuration.container_create_kwargs
    host = HostConfig(version="1.47", **options)
    assert host["DeviceRequests"] == [
        {"Driver": "nvidia", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu"]], "Options": {}}
    ]
    assert host["ShmSize"] == 8 * 2**30
    assert host["Init"] is True


def test_other_containers_get_no_gpu():
    assert "device_requests" not in rendered(Hardware.CPU, PoolType.DOCKER).container_create_kwargs


@both
def test_a_container_keeps_what_lasts_in_the_home(hardware: Hardware):
    configuration = rendered(hardware, PoolType.DOCKER)
    assert configuration.volumes == ["voxfactory-home:/voxfactory"]
    assert configuration.env["VOXFACTORY_HOME"] == configuration.env["PREFECT_LOCAL_STORAGE_PATH"] == "/voxfactory"
    assert configuration.env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert "PREFECT_HOME" not in configuration.env


@both
def test_no_deployment_can_make_its_container_privileged(hardware: Hardware):
    asked = {"privileged": True, "container_create_kwargs": {"cap_add": ["SYS_ADMIN"], "devices": ["/dev/sda"]}}
    configuration = rendered(hardware, PoolType.DOCKER, **asked)
    assert configuration.privileged is False
    options = configuration.container_create_kwargs
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges:true"]
    assert not options.keys() & {"cap_add", "devices"}


def test_a_process_without_gpu_sees_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert rendered(Hardware.CPU, PoolType.PROCESS).env["CUDA_VISIBLE_DEVICES"] == ""


def test_a_training_process_sees_what_its_worker_sees_unless_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert rendered(Hardware.GPU, PoolType.PROCESS).env["CUDA_VISIBLE_DEVICES"] == "3"
    chosen = rendered(Hardware.GPU, PoolType.PROCESS, visible_gpus="0,1", env={"NCCL_DEBUG": "INFO"}).env
    assert (chosen["CUDA_VISIBLE_DEVICES"], chosen["NCCL_DEBUG"]) == ("0,1", "INFO")
