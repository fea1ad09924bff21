"""`voxfactory hub`: the local Hub, for a browser, for `hf` and for everything that reads HF_ENDPOINT."""

import sys
from typing import Annotated

import typer

app = typer.Typer(help="Serve the local Hub; Ctrl-C ends it.", invoke_without_command=True, rich_markup_mode=None)
_Role = Annotated[str, typer.Option(help="read or write.")]


@app.callback()
def serve(context: typer.Context) -> None:
    """Serve the Hub of this home on loopback, with pages to look at what was published."""
    if context.invoked_subcommand:
        return
    import threading

    from infra.hub import local_hub_folder, open_local_hub
    from infra.local_hub.server import serving
    from infra.local_hub.web.sessions import sign_in_path
    from infra.settings import settings

    open_local_hub(settings())
    with serving(local_hub_folder(settings()), port=settings().hub_port) as hub:
        typer.echo(f"The local Hub serves {hub.url}; Ctrl-C ends it.")
        if sys.stdout.isatty():  # the link is a key: it does not belong into a log
            typer.echo(
                f"Look at it (the link signs you in for five minutes): {hub.url}{sign_in_path(hub.hub, settings().hub_user)}"
            )
        typer.echo(f"Clients: HF_ENDPOINT={hub.url} HF_HUB_DISABLE_XET=1 and a token of `voxfactory hub token`")
        threading.Event().wait()


@app.command()
def token(role: _Role = "read", hours: Annotated[float, typer.Option(min=0.01, help="For how long.")] = 24.0) -> None:
    """Make an access token for the local Hub and print it, once: only its hash is kept."""
    from infra.errors import SettingsError
    from infra.hub import open_local_hub
    from infra.settings import settings

    if role not in ("read", "write"):
        raise SettingsError(f"There is no role {role!r}", "Say read or write")
    typer.echo(
        open_local_hub(settings()).accounts.add_token(settings().hub_user, role, label="voxfactory hub token", hours=hours)
    )


@app.command("sign-in")
def sign_in() -> None:
    """Print a link that signs a browser in to the local Hub, good for five minutes."""
    from infra.hub import open_local_hub
    from infra.local_hub.web.sessions import sign_in_path
    from infra.settings import settings

    hub = open_local_hub(settings())
    typer.echo(f"http://127.0.0.1:{settings().hub_port}{sign_in_path(hub, settings().hub_user)}")
