"""What the factory adds to the job templates that Prefect ships: where the home is, how much shared memory, which GPU, whose tokens.

The JSON files beside this module are what `derive` makes of the templates of the pinned versions; `python -m deployments.pools` writes
them again after an upgrade, and their difference is what the upgrade changed. A test holds files and code together.

Tokens stand in no template and no job variable, since everybody who sees a work pool can read those: a process inherits them from its
worker, a container finds them in the home, a pod gets them from a Secret.
"""

from copy import deepcopy
from typing import Any, NamedTuple

from infra.work_pools import Hardware, PoolType, Template

HOME = "/voxfactory"  # in containers and pods: the volume on which checkpoints, caches and results outlive them
USER_ID = 1000  # of the image

Fields = dict[str, Any]


class _Additions(NamedTuple):
    """Changed fields of the form's variables, and changed entries of the job; None takes one away."""

    variables: dict[str, Fields | None]
    job: Fields


def derive(stock: Template, hardware: Hardware, pool_type: PoolType) -> Template:
    """The factory's template of a pool, from Prefect's own of that type."""
    template = deepcopy(stock)
    schema = template["variables"]
    schema.pop("description", None)  # of a Python class, not of a form
    make = {PoolType.PROCESS: _process, PoolType.DOCKER: _docker, PoolType.KUBERNETES: _kubernetes}[pool_type]
    variables, job = make(hardware, template["job_configuration"])
    declared = schema["properties"]
    changed = {name: declared.get(name, {}) | fields for name, fields in variables.items() if fields is not None}
    schema["properties"] = changed | {name: fields for name, fields in declared.items() if name not in variables}
    entries = template["job_configuration"] | job
    template["job_configuration"] = {name: entry for name, entry in entries.items() if entry is not None}
    return template


def _process(hardware: Hardware, _: Fields) -> _Additions:
    gpus = {
        Hardware.CPU: _optional("Visible GPUs", "CUDA_VISIBLE_DEVICES of the run: none, since the GPU is for training.", ""),
        Hardware.GPU: _optional(
            "Visible GPUs", "CUDA_VISIBLE_DEVICES of the run, such as 0 or 0,1; all that the worker sees.", None
        ),
    }
    return _Additions({"visible_gpus": gpus[hardware], **_FORM}, {"env": {"CUDA_VISIBLE_DEVICES": "{{ visible_gpus }}"}})


def _docker(hardware: Hardware, _: Fields) -> _Additions:
    on_gpu = hardware is Hardware.GPU
    variables: dict[str, Fields | None] = {
        "image": {
            "description": "Image with the factory, a target of infra/docker/Dockerfile.",
            "default": "voxfactory:cuda" if on_gpu else "voxfactory:cpu",
        },
        "shm_size": _text(
            "Shared memory", "Size of /dev/shm, through which data loaders hand over batches.", "8g" if on_gpu else "1g"
        ),
        "volumes": {
            "description": f"What is mounted. At {HOME} a volume that lasts: checkpoints, caches, the token of `hf auth login`.",
            "default": [f"voxfactory-home:{HOME}"],
        },
        "networks": {"default": []},
        "image_pull_policy": {"default": "IfNotPresent"},
        "registry_credentials": {"title": "Registry credentials"},
        "privileged": None,  # a deployment may not widen what its container may do
        "container_create_kwargs": None,
        **_FORM,
    }
    options: Fields = {
        "init": True,  # hands SIGTERM on, reaps what training leaves behind
        "shm_size": "{{ shm_size }}",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }
    if on_gpu:
        variables["gpu_count"] = _number("GPUs", "How many GPUs the container gets, counted from the first; -1 is all.", -1, -1)
        options["device_requests"] = [{"driver": "nvidia", "count": "{{ gpu_count }}", "capabilities": [["gpu"]]}]
    environment = _CONTAINER_ENVIRONMENT | {"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule"}
    return _Additions(variables, {"env": environment, "container_create_kwargs": options, "privileged": None})


def _kubernetes(hardware: Hardware, stock_job: Fields) -> _Additions:
    on_gpu = hardware is Hardware.GPU
    cpus, memory = ("4", "48Gi") if on_gpu else ("2", "8Gi")
    variables: dict[str, Fields | None] = {
        "image": {
            "description": "Image with the factory, a target of infra/docker/Dockerfile, where the cluster can pull it.",
            "default": "voxfactory:cuda" if on_gpu else "voxfactory:cpu",
        },
        "namespace": {"default": "voxfactory"},
        "node_selector": _labels(
            "Node selector", "Labels of the nodes that may run it, such as those of a GPU model or of spot machines."
        ),
        "tolerations": _tolerations(on_gpu),
        "shm_size": _text(
            "Shared memory",
            "Size of /dev/shm, through which data loaders hand over batches; counts against the memory limit.",
            "8Gi" if on_gpu else "1Gi",
        ),
        "cache_claim": _text(
            "Home volume", f"PersistentVolumeClaim mounted at {HOME}: checkpoints, caches, results.", "voxfactory-home"
        ),
        "settings_name": _text(
            "ConfigMap with settings", "ConfigMap whose keys become environment variables: VOXFACTORY_...", "voxfactory-settings"
        ),
        "secret_name": _text(
            "Secret with tokens",
            "Secret whose keys become environment variables: HF_TOKEN, PREFECT_API_AUTH_STRING. Never put a token into this form.",
            "voxfactory-secrets",
        ),
        "grace_seconds": _number(
            "Grace before a kill",
            "Seconds between SIGTERM and SIGKILL. A checkpoint takes up to 30 of them, then the run is rescheduled.",
            120,
            60,
        ),
        "cpu_request": {"default": cpus},
        "memory_request": {"default": memory},
        "memory_limit": {"default": memory},
        "finished_job_ttl": {"default": 3600},
        "pod_watch_timeout_seconds": {
            "description": "Seconds that a pod may take to start, a new node and the image included; then the run counts as crashed.",
            "default": 900,
        },
        "annotations": {"default": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"} if on_gpu else {}},
        "cluster_config": {"title": "Cluster configuration"},
        **_FORM,
    }
    if on_gpu:
        variables["gpu_count"] = _number("GPUs", "How many GPUs the pod gets.", 1, 1)
    # The worker would hand on its own password, for everybody to read who may see Jobs: the Secret has it.
    environment = _CONTAINER_ENVIRONMENT | {"PREFECT_API_AUTH_STRING": None}
    return _Additions(variables, {"env": environment, "job_manifest": _job_manifest(stock_job["job_manifest"], on_gpu)})


def _job_manifest(stock: Fields, on_gpu: bool) -> Fields:
    manifest = deepcopy(stock)
    job = manifest["spec"]
    pod = job["template"]["spec"]
    job |= {name: pod.pop(name) for name in ("completions", "parallelism")}  # a pod has neither
    pod |= {
        "nodeSelector": "{{ node_selector }}",
        "tolerations": "{{ tolerations }}",
        "terminationGracePeriodSeconds": "{{ grace_seconds }}",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "{{ shm_size }}"}},
            {"name": "home", "persistentVolumeClaim": {"claimName": "{{ cache_claim }}"}},
        ],
    }
    container = pod["containers"][0]
    container |= {
        "envFrom": [{"configMapRef": {"name": "{{ settings_name }}"}}, {"secretRef": {"name": "{{ secret_name }}"}}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}, {"name": "home", "mountPath": HOME}],  # noqa: S108
    }
    if on_gpu:
        container["resources"]["limits"]["nvidia.com/gpu"] = "{{ gpu_count }}"
    return manifest


_CONTAINER_ENVIRONMENT: dict[str, str | None] = {
    "VOXFACTORY_HOME": HOME,
    "HF_HOME": f"{HOME}/huggingface",
    "PREFECT_LOCAL_STORAGE_PATH": HOME,  # results lie inside the artefacts: tasks/caching.py
    "PREFECT_HOME": None,  # a worker hands on its settings, but its folders are not there
}


def _text(title: str, description: str, default: str) -> Fields:
    return {"title": title, "description": description, "default": default, "type": "string"}


def _optional(title: str, description: str, default: str | None) -> Fields:
    either = [{"type": "string"}, {"type": "null"}]
    return {"title": title, "description": description, "default": default, "anyOf": either}


def _number(title: str, description: str, default: int, minimum: int) -> Fields:
    return {"title": title, "description": description, "default": default, "minimum": minimum, "type": "integer"}


def _labels(title: str, description: str) -> Fields:
    return {
        "title": title,
        "description": description,
        "default": {},
        "type": "object",
        "additionalProperties": {"type": "string"},
    }


def _tolerations(on_gpu: bool) -> Fields:
    return {
        "title": "Tolerations",
        "description": "Taints that the pod puts up with, as Kubernetes writes them.",
        "default": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] if on_gpu else [],
        "type": "array",
        "items": {"type": "object"},
    }


_FORM: dict[str, Fields | None] = {
    "env": {
        "description": "Further environment variables of the run. No tokens: whoever sees the deployment sees them.",
        "default": {},
    },
    "labels": {"default": {}},
}
