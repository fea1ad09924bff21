"""`voxfactory cache`: what trainings have stored of features, and removing it."""

from datetime import datetime
from typing import Annotated

import typer

app = typer.Typer(help="Show stored features, or remove them.", invoke_without_command=True, rich_markup_mode=None)
_GIGABYTE = 1_000_000_000
_DAY_S = 24 * 3600


@app.callback()
def show(context: typer.Context) -> None:
    """Show which features are stored, how much room they take, and when they were last used."""
    if context.invoked_subcommand:
        return
    from infra.settings import settings
    from tasks.training.feature_disk import feature_disk

    disk = feature_disk(settings())
    stores = disk.stores()
    for store in stores:
        used = datetime.fromtimestamp(store.used_s).astimezone().strftime("%Y-%m-%d %H:%M")
        size = f"{store.utterances:>8} utterances {store.size_bytes / _GIGABYTE:>9.3f} GB"
        typer.echo(f"{store.key} {size}  {'in use now      ' if store.in_use else used}  {store.label}")
    taken = sum(store.size_bytes for store in stores) / _GIGABYTE
    typer.echo(f"{taken:.3f} GB of VOXFACTORY_CACHE_GB={settings().cache_gb:g} in {disk.folder}")


@app.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", help="Whatever no training uses now.")] = False,
    older_than: Annotated[float | None, typer.Option(min=0, metavar="DAYS", help="What was not used for so long.")] = None,
) -> None:
    """Remove stored features that no training uses now: by default those used least recently, down to VOXFACTORY_CACHE_GB."""
    from infra.errors import SettingsError
    from infra.settings import settings
    from tasks.training.feature_disk import feature_disk

    if everything and older_than is not None:
        raise SettingsError("--all and --older-than exclude each other", "Give one of them")
    unused_s = 0.0 if everything else None if older_than is None else older_than * _DAY_S
    freed = feature_disk(settings()).prune(unused_s)
    typer.echo(f"{freed / _GIGABYTE:.3f} GB removed")
