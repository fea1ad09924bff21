"""The files that put the factory on machines: image, compose, Kubernetes, Helm, Terraform. Checked as far as that goes without them."""

import importlib
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import prefect
import pytest
import yaml
from compose_spec import PyCompose
from prefect.settings import Settings
from prefect.settings.legacy import _get_valid_setting_names
from prefect_kubernetes.settings import KubernetesSettings
from prefect_redis.client import RedisMessagingSettings

from infra import settings as of_the_factory
from infra.work_pools import Hardware, PoolType, read_template, template_path

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "infra" / "docker"
KUBERNETES = ROOT / "infra" / "kubernetes"
TERRAFORM = ROOT / "infra" / "terraform"
MANIFESTS = sorted(path for path in KUBERNETES.glob("*.yaml") if not path.name.endswith("-values.yaml"))
VALUES = sorted(KUBERNETES.glob("*-values.yaml"))
SECRET = re.compile(r"TOKEN|PASSWORD|SECRET|AUTH|ENCRYPTION|CONNECTION_URL")
IN_A_SPLIT_SERVER = {
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START",
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER",
    "PREFECT_SERVER_EVENTS_MESSAGING_CACHE",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "PREFECT_SERVER_DOCKET_URL",
    "PREFECT_REDIS_MESSAGING_HOST",
    "PREFECT_SERVER_API_AUTH_STRING",
}


def dockerfile() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, by its name."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, list[tuple[str, str]]] = {}
    for line in filter(str.strip, text.splitlines()):
        instruction, _, arguments = line.partition(" ")
        if instruction == "FROM":
            name = arguments.split()[-1]
            stages[name] = []
        stages[name].append((instruction, arguments.strip()))
    return stages


def instructions() -> list[tuple[str, str]]:
    return [each for stage in dockerfile().values() for each in stage]


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return content


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def mappings(content: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a tree."""
    if isinstance(content, dict):
        yield content
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else []:
        yield from mappings(inner)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_does_not_run_as_root(target: str):
    assert dockerfile()[target][-1] == ("USER", "1000:1000")


def test_every_install_is_held_by_the_constraints():
    installs = [command for name, text in instructions() if name == "RUN" for command in re.findall(r"pip install[^&;]*", text)]
    assert installs
    assert all("--constraint constraints.txt" in command for command in installs)


def test_an_image_is_made_of_the_repository_alone_and_holds_no_secret():
    assert "ADD" not in {name for name, _ in instructions()}
    assert not [text for name, text in instructions() if name in ("ARG", "ENV") and SECRET.search(text)]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for name, text in instructions()
        if name == "COPY" and not text.startswith("--from")
        for source in text.split()[:-1]
    }
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)


def test_an_image_starts_where_the_deployments_say():
    factory = dict(reversed(dockerfile()["factory"]))
    assert factory["WORKDIR"] == "/app"
    assert "VOXFACTORY_ROOT=/app" in factory["ENV"]
    assert "$VOXFACTORY_ROOT" in (ROOT / "prefect.yaml").read_text()


def test_the_extras_that_an_image_installs_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {extra for _, text in instructions() for group in re.findall(r"\.\[([a-z,]+)\]", text) for extra in group.split(",")}
    assert asked <= extras.keys()


def test_compose_follows_its_specification():
    PyCompose.from_json(json.dumps(compose()))  # what is misspelt or of the wrong kind is refused


def test_docker_compose_reads_it(tmp_path: Path):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker Compose here")
    (tmp_path / "env").write_text("POSTGRES_PASSWORD=a\nPREFECT_AUTH_STRING=b:c\nPREFECT_ENCRYPTION_KEY=d\n")
    command = [docker, "compose", "--file", DOCKER / "compose.yaml", "--env-file", tmp_path / "env", "--profile", "*", "config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_that_compose_refers_to_is_there():
    content = compose()
    for name, service in content["services"].items():
        assert service.get("depends_on", {}).keys() <= content["services"].keys(), name
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= content["volumes"].keys(), name
        if "build" in service:
            assert service["build"]["target"] in dockerfile(), name
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file(), name


def test_compose_opens_nothing_beyond_this_machine():
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "docker.sock" not in (DOCKER / "compose.yaml").read_text()


def test_api_and_services_agree_on_what_a_split_server_needs():
    services = compose()["services"]
    assert services["api"]["environment"] == services["services"]["environment"] == services["migrate"]["environment"]
    assert services["api"]["environment"].keys() >= IN_A_SPLIT_SERVER
    assert "--no-services" in services["api"]["command"]
    for module in filter(re.compile(r"prefect_redis\.").match, map(str, services["api"]["environment"].values())):
        importlib.import_module(module)


def test_every_lasting_service_comes_back_and_says_whether_it_is_well():
    for name, service in compose()["services"].items():
        once = service["restart"] == "no"
        assert once == (name in ("migrate", "deployments")), name
        assert once or "healthcheck" in service or name in ("services", "webhook"), name


def test_one_worker_of_compose_reserves_the_gpus():
    reserving = {name for name, service in compose()["services"].items() if "deploy" in service}
    assert reserving == {"worker-gpu"}
    worker = compose()["services"]["worker-gpu"]
    assert (worker["image"], worker["build"]["target"], worker["profiles"]) == ("voxfactory:cuda", "cuda", ["gpu"])


def test_secrets_stand_in_no_file():
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not SECRET.search(name) or value is None or "${" in value, name
    example = (DOCKER / ".env.example").read_text()
    assert not [line for line in re.findall(r"^#?[A-Z_]+=.+$", example, flags=re.MULTILINE) if SECRET.search(line)]
    asked = set(re.findall(r"\$\{([A-Z_]+)", (DOCKER / "compose.yaml").read_text()))
    assert asked <= set(re.findall(r"^#?([A-Z_]+)=", example, flags=re.MULTILINE))
    for document in documents():
        if document["kind"] == "Secret":
            assert not any(document["stringData"].values())


def test_every_setting_of_prefect_exists():
    """Prefect ignores a variable that it does not know, so a slip of the pen would never be seen."""
    known = {"PREFECT_SERVER_ENCRYPTION_KEY", "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"}  # read without a setting
    for settings in (Settings, RedisMessagingSettings, KubernetesSettings):
        known |= {name.upper() for name in _get_valid_setting_names(settings)}
    known |= {f"PREFECT_REDIS_MESSAGING_{name.upper()}" for name in RedisMessagingSettings.model_fields}
    files = [DOCKER / "Dockerfile", *MANIFESTS, *VALUES, *ROOT.glob("infra/work_pools/*.json")]
    written = {name for path in files for name in re.findall(r"\bPREFECT_[A-Z_]+[A-Z]\b", path.read_text())}
    written |= {name for service in compose()["services"].values() for name in service.get("environment", {})}
    assert {name for name in written if name.startswith("PREFECT_")} - known == set()


def test_every_setting_of_the_factory_exists():
    known = {f"VOXFACTORY_{name.upper()}" for name in of_the_factory.Settings.model_fields} | {"VOXFACTORY_ROOT"}
    files = [DOCKER / "Dockerfile", DOCKER / "compose.yaml", DOCKER / ".env.example", *MANIFESTS, *VALUES]
    files += ROOT.glob("infra/work_pools/*.json")
    written = {name for path in files for name in re.findall(r"\bVOXFACTORY_[A-Z_]+[A-Z]\b", path.read_text())}
    assert written - known == set()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid_kubernetes(path: Path):
    for document in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_what_pods_and_charts_refer_to_is_there():
    there = {(document["kind"], document["metadata"]["name"]): document for document in documents()}
    secrets = {name: document["stringData"].keys() for (kind, name), document in there.items() if kind == "Secret"}
    everything = [*documents(), *(yaml.safe_load(path.read_text()) for path in VALUES)]
    for mapping in mappings(everything):
        if "configMapRef" in mapping:
            assert ("ConfigMap", mapping["configMapRef"]["name"]) in there
        if "secretKeyRef" in mapping:
            assert mapping["secretKeyRef"]["key"] in secrets[mapping["secretKeyRef"]["name"]]
        if "existingSecret" in mapping:
            assert "auth-string" in secrets[mapping["existingSecret"]]
    for hardware in Hardware:
        fields = read_template(hardware, PoolType.KUBERNETES)["variables"]["properties"]
        assert fields["secret_name"]["default"] in secrets
        assert ("ConfigMap", fields["settings_name"]["default"]) in there
        assert ("PersistentVolumeClaim", fields["cache_claim"]["default"]) in there
        assert ("Namespace", fields["namespace"]["default"]) in there


def test_each_pool_has_a_worker_of_the_pinned_version():
    workers = [yaml.safe_load(path.read_text())["worker"] for path in VALUES if path.name.startswith("worker-")]
    assert {worker["config"]["workPool"] for worker in workers} == set(Hardware)
    for worker in workers:
        assert worker["config"]["type"] == PoolType.KUBERNETES
        assert worker["image"]["prefectTag"].startswith(f"{prefect.__version__}-")


def test_terraform_declares_what_it_uses_and_uses_what_it_declares():
    text = "".join(path.read_text() for path in TERRAFORM.glob("*.tf"))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == set(re.findall(r'^variable "(\w+)"', text, flags=re.MULTILINE))
    types = re.search(r"contains\((\[.*?\]), var.pool_type\)", text)
    assert types
    assert set(json.loads(types[1])) == set(PoolType)
    assert 'file("${path.module}/../work_pools/${each.key}-${var.pool_type}.json")' in text
    assert (TERRAFORM / "../work_pools").resolve() == template_path(Hardware.CPU, PoolType.PROCESS).parent


def test_terraform_is_formatted():
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("no Terraform here")
    done = subprocess.run([terraform, "fmt", "-check", "-diff", TERRAFORM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
