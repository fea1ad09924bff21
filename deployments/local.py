"""`voxfactory up`: the factory on one machine, running by itself.

A Prefect server, work pools, every deployment of prefect.yaml, automations, a worker for each pool, a receiver for webhooks, the
local Hub, and Trackio's dashboard. Flows are then started from the Prefect UI, on a schedule or by an event; this process only keeps
the others alive, and ends them when it ends: a training writes a checkpoint first.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from deployments.credentials import credentials_file, prefect_auth, webhook_secret
from deployments.server import place_for_server, starting_alone, ui_of, users_of_server, wait_for_server
from deployments.supervision import Supervisor
from infra.errors import ServerError
from infra.settings import Settings
from infra.tracking import address_of_figures, has_dashboard

_PREFECT = (sys.executable, "-m", "prefect", "--no-prompt")
_VOXFACTORY = (sys.executable, "-m", "deployments.cli")
_TRACKIO = (sys.executable, "-m", "deployments.tracking")
_ROOT = Path(__file__).resolve().parents[1]
_POLL_S = 2.0


class Part(NamedTuple):
    """Something that runs, for the status page."""

    name: str
    where: str
    note: str


def local_factory(settings: Settings, show: Callable[[list[Part]], None]) -> None:
    """Run until Ctrl-C; `show` is told what runs where once everything does, and again every two seconds.

    A part that ends by itself, the server too, is started again.

    Raises:
        ServerError: the server does not start, a deployment is refused, or a part ends again and again; with what it said.
        SettingsError: settings contradict each other.

    """
    if not (_ROOT / "prefect.yaml").is_file():
        raise ServerError(f"{_ROOT} holds no prefect.yaml", "Run it from a clone of the repository")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us so wants a clean end, too
    with ExitStack() as ending:
        supervisor = ending.enter_context(Supervisor(settings.folder("prefect")))
        ui = _server(settings, supervisor, ending)
        _set_environment(settings)
        done = [Part("Prefect UI", ui, f"sign in with what {credentials_file(settings)} says"), *set_up(settings)]
        for name, command in _commands().items():
            supervisor.start(name, command)
        if has_dashboard(settings):
            supervisor.start("trackio", _TRACKIO, with_secrets=False, needed=False)
        tell_local_hub(settings)
        while True:
            show([*done, *_parts(settings), *(Part(kept.name, "runs", kept.note) for kept in supervisor.kept)])
            time.sleep(_POLL_S)
            supervisor.look()


def _server(settings: Settings, supervisor: Supervisor, ending: ExitStack) -> str:
    """Let a server be there: the one that answers, or one of ours; the address of its UI."""
    own = {"PREFECT_SERVER_API_AUTH_STRING": prefect_auth(settings).get_secret_value()}
    if settings.database_url:
        own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = settings.database_url.get_secret_value()
    with starting_alone():
        place = place_for_server(settings, settings.host)
        if place is None:
            ending.enter_context(users_of_server(settings))
            return ui_of(os.environ["PREFECT_API_URL"])
        server = supervisor.start("server", place.command, own, with_secrets=False)
        wait_for_server(place, server.process, server.log)
    return place.ui


def set_up(settings: Settings, pool_type: str = "process") -> list[Part]:
    """Pools, deployments and automations on the server at PREFECT_API_URL; set up again, they are corrected and never doubled."""
    from deployments.automations import apply_automations
    from deployments.pools import apply_pools

    pools = apply_pools(pool_type)
    deploy_all(settings)
    automations = apply_automations(settings)
    schedules = "on" if settings.schedules else "off: VOXFACTORY_SCHEDULES=true switches them on"
    return [
        Part("pools", ", ".join(pools), ""),
        Part("automations", ", ".join(automations), ""),
        Part("schedules", "Mondays, and every 15 minutes", schedules),
    ]


def deploy_all(settings: Settings) -> None:
    """Put every deployment of prefect.yaml on the server.

    Raises:
        ServerError: Prefect refuses; with what it said.

    """
    done = subprocess.run(
        [*_PREFECT, "deploy", "--all"],
        cwd=_ROOT,
        env=os.environ | deploying_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ServerError(f"prefect deploy failed:\n{done.stdout}{done.stderr}\n", "Correct what it says and start again")


def deploying_environment(settings: Settings) -> dict[str, str]:
    """The variables that prefect.yaml names."""
    return {
        "VOXFACTORY_ROOT": str(_ROOT),
        "VOXFACTORY_VERSION": _version(),
        "VOXFACTORY_WHOLE_POOL": "cpu" if settings.gpu_pool else "gpu",
        "VOXFACTORY_SCHEDULES": str(settings.schedules).lower(),
    }


def tell_local_hub(settings: Settings) -> None:
    """Let the local Hub, if that is the one, tell us of changes of the watched datasets; told again, it is not told twice."""
    from infra.hub import connection

    if not settings.watch:
        return
    with connection(settings) as hub:
        if not hub.local:
            return
        api, url = hub.api(), f"http://127.0.0.1:{settings.webhook_port}/"
        watched: list[Any] = [{"type": "dataset", "name": one.repository} for one in settings.watch]
        secret = webhook_secret(settings).get_secret_value()
        ours = next((one for one in api.list_webhooks() if one.url == url), None)
        if ours:
            api.update_webhook(ours.id, url=url, watched=watched, domains=["repo"], secret=secret)
        else:
            api.create_webhook(url=url, watched=watched, domains=["repo"], secret=secret)


def _set_environment(settings: Settings) -> None:
    """For the children: they may work in another folder, and must find this server and this home."""
    os.environ |= {
        "VOXFACTORY_HOME": str(settings.folder("")),
        "VOXFACTORY_ROOT": str(_ROOT),
        "VOXFACTORY_PREFECT_API_URL": os.environ["PREFECT_API_URL"],
        "VOXFACTORY_WEBHOOK_SECRET": webhook_secret(settings).get_secret_value(),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }


def _commands() -> dict[str, Sequence[str]]:
    workers = {f"worker {pool}": [*_PREFECT, "worker", "start", "--pool", pool] for pool in ("cpu", "gpu")}
    return {**workers, "webhook": [*_VOXFACTORY, "webhook"], "hub": [*_VOXFACTORY, "hub"]}


def _parts(settings: Settings) -> list[Part]:
    watched = ", ".join(one.repository for one in settings.watch) or "nothing: name datasets in VOXFACTORY_WATCH"
    return [
        Part("webhook", f"http://{settings.host}:{settings.webhook_port}/", f"watches {watched}"),
        Part("local Hub", f"http://127.0.0.1:{settings.hub_port}", "`voxfactory hub sign-in` prints a link that signs you in"),
        *(
            [Part("Trackio", address_of_figures(settings), "losses, speed and memory of every training")]
            if settings.tracking
            else []
        ),
    ]


def _version() -> str:
    """The commit of the sources, as Git names it; `unknown` outside a clone."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
