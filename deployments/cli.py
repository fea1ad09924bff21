"""The `voxfactory` command: every stage of the factory, and all of them at once.

Prints one line for an error and exits with a code that is not 0. Heavy libraries are imported by the command that needs them, so that
`voxfactory --help` answers at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.errors import VoxFactoryError

if TYPE_CHECKING:
    from flows.params import Source, Training
    from tasks.contracts import DatasetVersion

app = typer.Typer(
    name="voxfactory",
    help="Voices in, a served and proven speech model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_INTERRUPTED = 130

_SourcePath = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="Folder of audio with transcripts, or a CSV, TSV or JSONL manifest.")
]
_Language = Annotated[str | None, typer.Option(help="ISO 639-1 code of rows that name none, such as de.")]
_Name = Annotated[str, typer.Option(help="What the dataset is called in reports and cards.")]
_EvalShare = Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of speakers (or prompts) held out for evaluation.")]
_Seed = Annotated[int, typer.Option(min=0, help="Decides who is held out, and the order of training.")]
_Base = Annotated[str, typer.Option(help="Hub id or folder of a Voxtral checkpoint, or voxfactory-tiny.")]
_Method = Annotated[str, typer.Option(help="lora: adapters on the language model; full: every weight.")]
_Epochs = Annotated[int, typer.Option(min=1, help="Passes over the data.")]
_BatchSize = Annotated[int, typer.Option(min=1, help="Windows a step; memory grows with it.")]
_LearningRate = Annotated[float, typer.Option(help="2e-4 suits LoRA on the 3B, 1e-5 full fine-tuning of it.")]
_MaxSteps = Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")]
_Repository = Annotated[str, typer.Option("--name", help="Repository: name, or owner/name.")]
_Licence = Annotated[str, typer.Option(help="Licence as the Hub names it, such as cc-by-4.0.")]


@app.command()
def demo() -> None:
    """Teach the tiny model a new language, from synthetic speech to a proven demo, in minutes on a laptop."""
    from deployments.demo import run_demo

    if not run_demo():
        raise typer.Exit(3)


@app.command()
def ingest(
    source: _SourcePath,
    language: _Language = None,
    name: _Name = "speech",
    eval_share: _EvalShare = 0.2,
    seed: _Seed = 0,
    licence: _Licence = "unknown",
) -> None:
    """Turn a folder of speech into a checked, divided, fingerprinted dataset version."""
    described = _source(source, language, name, eval_share, seed, licence)
    from deployments.running import run_flow

    version = run_flow(lambda: _flow("ingest", "ingest")(described))
    typer.echo(
        f"{version.train_utterances} utterances to train on, {version.eval_utterances} to evaluate on, {version.rejected} refused"
    )
    typer.echo(version.folder)


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder that `ingest` printed.")],
    replay: Annotated[list[Path] | None, typer.Option(help="Dataset folder to mix in against forgetting; repeatable.")] = None,
    base: _Base = "voxfactory-tiny",
    method: _Method = "lora",
    epochs: _Epochs = 3,
    batch_size: _BatchSize = 4,
    learning_rate: _LearningRate = 2e-4,
    max_steps: _MaxSteps = None,
    seed: _Seed = 0,
) -> None:
    """Fine-tune a Voxtral on a dataset version; goes on from the last checkpoint if it was interrupted."""
    training = _training(base, method, epochs, batch_size, learning_rate, max_steps, seed)
    version, replayed = _open_dataset(dataset), [_open_dataset(folder) for folder in replay or []]
    from deployments.running import run_flow

    model = run_flow(lambda: _flow("train", "train")(version, training, replayed))
    typer.echo(f"{model.steps} steps in {model.train_seconds:.0f} s, last training loss {model.train_loss:.4f}")
    typer.echo(model.folder)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder that `train` printed.")],
    dataset: Annotated[Path, typer.Argument(help="Dataset folder to evaluate on.")],
    guard: Annotated[list[Path] | None, typer.Option(help="Dataset folder that may not get worse; repeatable.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Utterances at a time; memory grows with it.")] = 32,
) -> None:
    """Compare a fine-tuned model with its base on the same held-out utterances."""
    from deployments.running import run_flow
    from deployments.summary import print_report
    from tasks.evaluation.gate import GateRules, decide
    from tasks.training.launch import open_run

    model, version, guards = open_run(run.resolve()), _open_dataset(dataset), [_open_dataset(folder) for folder in guard or []]
    report = run_flow(lambda: _flow("evaluate", "evaluate")(model, version, guards, batch_size))
    print_report(report, decide(report, GateRules()))
    typer.echo(report.folder)


@app.command()
def publish(
    evaluation: Annotated[Path, typer.Argument(help="Evaluation folder that `evaluate` printed.")],
    name: _Repository = "voxtral-fine-tuned",
    licence: _Licence = "apache-2.0",
    anyway: Annotated[bool, typer.Option("--anyway", help="Although the gate refuses.")] = False,
) -> None:
    """Write the model card and assemble the repository folder of a model that passes the gate."""
    from infra.errors import PublishingError
    from tasks.evaluation.compare import open_report
    from tasks.evaluation.gate import GateRules, decide

    report = open_report(evaluation.resolve())
    decision = decide(report, GateRules())
    if not decision.publish and not anyway:
        raise PublishingError(f"The gate refuses: {'; '.join(decision.reasons)}", "Train it better, or publish it --anyway")
    publication = _checked("Publication", name=name, licence=licence)
    from deployments.running import run_flow

    staged = run_flow(lambda: _flow("publish", "publish")(report, publication))
    typer.echo(staged.folder.parent)


@app.command()
def space(
    published: Annotated[Path, typer.Argument(help="Folder that `publish` printed.")],
    serve: Annotated[bool, typer.Option("--open", help="Keep the demo running until Ctrl-C.")] = False,
) -> None:
    """Start the demo of a published model and prove that it serves it."""
    from deployments.running import run_flow
    from infra.errors import SpaceError
    from infra.settings import settings
    from tasks.publishing.stage import open_staged
    from tasks.space.local import running_space

    staged = open_staged(published.resolve())
    deployed = run_flow(lambda: _flow("space", "deploy_space")(staged))
    for proof in deployed.proofs:
        typer.echo(f"{proof.audio_path.name}: {proof.answered!r}, as evaluation heard it (base: {proof.base!r})")
    typer.echo(deployed.folder)
    if serve:
        with running_space(deployed.folder, staged, settings().space_timeout_s) as (url, process):
            typer.echo(f"The demo runs at {url}; Ctrl-C ends it")
            process.wait()
        raise SpaceError("The demo ended by itself", f"Read {deployed.folder / 'space.log'}")


@app.command()
def run(
    source: _SourcePath,
    language: _Language = None,
    name: _Name = "speech",
    guard: Annotated[list[Path] | None, typer.Option(help="Source on which the model may not get worse; repeatable.")] = None,
    base: _Base = "voxfactory-tiny",
    method: _Method = "lora",
    epochs: _Epochs = 3,
    batch_size: _BatchSize = 4,
    learning_rate: _LearningRate = 2e-4,
    max_steps: _MaxSteps = None,
    repository: Annotated[str, typer.Option(help="Repository of the model: name, or owner/name.")] = "voxtral-fine-tuned",
    licence: _Licence = "apache-2.0",
    eval_share: _EvalShare = 0.2,
    seed: _Seed = 0,
) -> None:
    """Everything: ingest, fine-tune, evaluate, gate, publish, deploy, prove."""
    from flows.params import Gate

    described = _source(source, language, name, eval_share, seed, "unknown")
    guards = [_source(path, language, path.stem, eval_share, seed, "unknown") for path in guard or []]
    training = _training(base, method, epochs, batch_size, learning_rate, max_steps, seed)
    publication = _checked("Publication", name=repository, licence=licence)
    from deployments.running import run_flow
    from deployments.summary import print_result

    result = run_flow(lambda: _flow("factory", "factory")(described, training, Gate(guard_sets=guards), publication))
    print_result(result)
    if not result.decision.publish:
        raise typer.Exit(3)


@app.command()
def up() -> None:
    """Start server, deployments and a worker on this machine, for the Prefect UI; Ctrl-C ends them."""
    from deployments.local import local_factory
    from infra.settings import settings

    local_factory(settings(), lambda ui: typer.echo(f"The factory runs: {ui}/deployments. Ctrl-C ends it"))


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    try:
        app()
    except VoxFactoryError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer turns Ctrl-C into this code
            _fail("Interrupted. What was finished is kept: run the same command again to go on.", _INTERRUPTED)
        raise


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"voxfactory: {message}\n")
    sys.exit(code)


def _flow(module: str, name: str) -> Any:
    from importlib import import_module

    return getattr(import_module(f"flows.{module}"), name)


def _checked(kind: str, **values: object) -> Any:
    """A parameter object of flows.params; a value that it refuses is one readable line."""
    from pydantic import ValidationError

    import flows.params
    from infra.errors import SettingsError

    try:
        return getattr(flows.params, kind)(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "options") or kind
        raise SettingsError(
            f"{where}: {first['msg']} (given: {first['input']!r})", "Correct it and run the command again"
        ) from error


def _source(path: Path, language: str | None, name: str, eval_share: float, seed: int, licence: str) -> "Source":
    from flows.params import Source
    from tasks.dataset.ingest import IngestOptions

    options = IngestOptions(language=language, eval_share=eval_share, seed=seed, licence=licence)
    return Source(path=path.resolve(), name=name, options=options)


def _training(
    base: str, method: str, epochs: int, batch_size: int, learning_rate: float, max_steps: int | None, seed: int
) -> "Training":
    options = {
        "method": method,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "max_steps": max_steps,
        "seed": seed,
    }
    training: Training = _checked("Training", base_model=base, options=options)
    return training


def _open_dataset(folder: Path) -> "DatasetVersion":
    from tasks.dataset.version import open_version

    return open_version(folder.resolve())


if __name__ == "__main__":
    main()
