"""`voxfactory dataset`: the versions of the home, what changed between them, and removing what none of them uses."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.contracts import DatasetVersion
    from tasks.evaluation.readings import Readings

app = typer.Typer(
    help="Look after datasets: list, diff, leakage, listen, gc, withdraw.", no_args_is_help=True, rich_markup_mode=None
)
_GIGABYTE = 1_000_000_000
_SHOWN = 10  # of each kind of change

_Named = Annotated[str, typer.Argument(metavar="DATASET", help="A folder, a name, or the first characters of a fingerprint.")]
_Other = Annotated[str, typer.Argument(metavar="OTHER", help="The same of another one.")]


@app.command("list")
def list_versions() -> None:
    """Show every version: folder, name, utterances, hours, fingerprint, parent."""
    from infra.settings import settings
    from tasks.dataset.history import all_versions, newest_addresses

    newest = newest_addresses(settings())
    for version in all_versions(settings()):
        number = version.train_utterances + version.eval_utterances + version.set_aside_utterances
        parent = f" after {version.parent[:12]}" if version.parent else ""
        mark = " newest" if version.folder.name in newest else ""
        typer.echo(
            f"{version.folder.name}  {version.name}  {number} utterances {version.hours:.2f} h  {version.fingerprint[:12]}{parent}{mark}"
        )


@app.command()
def diff(
    before: _Named,
    after: _Other,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as one line of JSON.")] = False,
) -> None:
    """Tell what changed from one version to another: utterances, texts, sides, refusals."""
    from tasks.dataset.changes import changes_between

    changes = changes_between(_version(before), _version(after))
    if as_json:
        typer.echo(changes.model_dump_json())
        return
    if changes.none:
        typer.echo("Nothing changed")
    _show("added", [f"{one.source}: {one.text}" for one in changes.added])
    _show("gone", [f"{one.source}: {one.text}" for one in changes.gone])
    _show("with another text", [f"{one.after.source}: {one.before.text} -> {one.after.text}" for one in changes.corrected])
    _show("on another side", [f"{one.utterance.source}: {one.before} -> {one.utterance.split}" for one in changes.moved])
    _show("refused now", [f"{one.origin}: {one.reason}" for one in changes.newly_refused])
    _show("no longer refused", [f"{one.origin}: {one.reason}" for one in changes.no_longer_refused])


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
    old_versions: Annotated[bool, typer.Option("--old-versions", help="All versions but the newest of each name, too.")] = False,
) -> None:
    """Remove clips that no version uses; old versions only if told so."""
    from infra.settings import settings
    from tasks.dataset.garbage import collect_garbage

    garbage = collect_garbage(settings(), old_versions, dry_run)
    for folder in garbage.versions:
        typer.echo(folder)
    verb = "would be" if dry_run else "were"
    typer.echo(f"{garbage.clips} clips {verb} removed: {garbage.freed_bytes / _GIGABYTE:.3f} GB")


@app.command()
def leakage(
    places: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Datasets, folders of speech, or manifests.")],
) -> None:
    """Tell what stands on both sides, or in two datasets: speakers, prompts, recordings. Exits with 3 if something does."""
    from infra.settings import settings
    from tasks.dataset.leakage import find_leaks

    found = [Path(place) if Path(place).exists() else _version(place).folder for place in places]
    report = find_leaks([place.resolve() for place in found], settings().processes)
    for side, number in report.sides.items():
        typer.echo(f"{side}: {number} utterances")
    if report.unread:
        typer.echo(f"{report.unread} recordings cannot be read, and were compared by text and speaker only")
    for leak in report.leaks:
        typer.echo(f"{leak.one} and {leak.other} share {leak.number} {leak.kind}: {', '.join(leak.examples)}")
    if report.leaks:
        raise typer.Exit(3)
    typer.echo("Nothing leaks")


@app.command()
def withdraw(
    speaker: Annotated[str, typer.Argument(metavar="SPEAKER", help="The name as it was brought, or the pseudonym.")],
) -> None:
    """Remove what a speaker said from everything in the home, make versions without it, and name the models that learned from it."""
    from infra.settings import settings
    from tasks.dataset.traces import remove_traces
    from tasks.dataset.withdraw import withdraw as withdraw_speaker
    from tasks.training.feature_disk import feature_disk

    withdrawal = withdraw_speaker(settings(), speaker)
    shards = feature_disk(settings()).forget(withdrawal.recordings)
    traces = remove_traces(settings(), withdrawal)
    typer.echo(f"{len(withdrawal.utterances)} utterances of {withdrawal.speaker} are removed, and {shards} files of features")
    for version in withdrawal.made:
        typer.echo(f"new version: {version.folder}")
    for folder in (*withdrawal.removed, *traces.removed):
        typer.echo(f"removed: {folder}")
    for name in traces.deleted:
        typer.echo(f"deleted on the local Hub, publish it again without: {name}")
    for name in traces.quoting:
        typer.echo(f"on the local Hub, it tells a text, publish it again: {name}")
    for run in traces.stale_runs:
        typer.echo(f"stale, train it again without: {run}")
    for run in traces.unsure_runs:
        typer.echo(f"made of data that are not here, look whether they held it: {run}")
    for name in traces.repositories:
        typer.echo(
            f"on a Hub: publish the new version under another name and delete {name}: hf repos delete {name} --type dataset"
        )
    for path in traces.left:
        typer.echo(f"still holds a text: {path}")


@app.command()
def listen(
    dataset: _Named,
    model: Annotated[str, typer.Option(help="Hub id, id@revision, or folder of the model that listens.")] = "voxfactory-tiny",
    at_least: Annotated[float, typer.Option(min=0.01, help="Error rate of characters from which on it tells.")] = 0.5,
    batch_size: Annotated[int, typer.Option(min=1, help="Utterances at a time; memory grows with it.")] = 32,
) -> None:
    """Let a model transcribe every utterance, and tell where it hears something else than the transcript says, the worst first."""
    from deployments.running import run_flow

    version = _version(dataset)

    def flow() -> "Readings":
        from flows.listen import listen as listen_flow

        return listen_flow(version, model, at_least, batch_size)

    readings = run_flow(flow)
    for one in readings.differing[:_SHOWN]:
        typer.echo(f"{one.source} ({one.cer:.0%}): {one.text}\n  heard: {one.heard}")
    typer.echo(f"{len(readings.differing)} of {readings.utterances} utterances are heard otherwise")
    typer.echo(readings.folder / "readings.jsonl")


def _version(named: str) -> "DatasetVersion":
    from infra.settings import settings
    from tasks.dataset.history import find_version

    return find_version(settings(), named)


def _show(what: str, lines: Sequence[str]) -> None:
    if lines:
        typer.echo(f"{len(lines)} {what}")
    for line in lines[:_SHOWN]:
        typer.echo(f"  {line}")
    if len(lines) > _SHOWN:
        typer.echo(f"  and {len(lines) - _SHOWN} more: --json shows all")
