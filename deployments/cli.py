"""The `voxfactory` command: every stage of the factory, and all of them at once.

Prints one line for an error and exits with a code that is not 0. Heavy libraries are imported by the command that needs them, so that
`voxfactory --help` answers at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cache import app as cache_app
from deployments.dataset import app as dataset_app
from deployments.hub import app as hub_app
from infra.errors import VoxFactoryError
from infra.redaction import redacted

if TYPE_CHECKING:
    from flows.params import Publication, Source, Training
    from tasks.contracts import DatasetVersion

app = typer.Typer(
    name="voxfactory",
    help="Voices in, a served and proven speech model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_pools = typer.Typer(help="Work pools of the Prefect server.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(hub_app, name="hub")
app.add_typer(cache_app, name="cache")
app.add_typer(dataset_app, name="dataset")
app.add_typer(_pools, name="pools")

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
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any option of a training, such as lora_rank=32; repeatable."),
]
_Repository = Annotated[str, typer.Option("--name", help="Repository: name, or owner/name.")]
_Licence = Annotated[str, typer.Option(help="Licence of the model as the Hub names it, such as cc-by-4.0.")]
_Forms = Annotated[list[str] | None, typer.Option(help="adapter, merged; repeatable. How a LoRA model is published.")]
_PoolType = Annotated[str, typer.Option("--type", help="Of the work pools: process, docker or kubernetes.")]
_Public = Annotated[bool, typer.Option("--public", help="Let everyone see it.")]


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
    consent: Annotated[str, typer.Option(help="What the speakers agreed to, in words.")] = "not recorded",
    consent_scope: Annotated[str, typer.Option(help="private, or public if it covers publishing to everyone.")] = "private",
    require_consent: Annotated[bool, typer.Option("--require-consent", help="Refuse rows that tell of no consent.")] = False,
    personal_data: Annotated[
        str, typer.Option(help="keep, warn, replace or refuse texts with e-mail addresses, numbers or names.")
    ] = "warn",
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What a check does (noisy=refuse, quiet=repair), or a limit of one (least_snr_db=5); repeatable.",
        ),
    ] = None,
) -> None:
    """Turn a folder of speech into a checked, divided, fingerprinted dataset version."""
    from deployments.options import set_checks

    terms = {"licence": licence, "consent": consent, "consent_scope": consent_scope, "personal_data": personal_data}
    checks = set_checks(check or [])
    described = _source(source, language, name, eval_share, seed, **terms, require_consent=require_consent, checks=checks)
    from deployments.running import run_flow

    version = run_flow(lambda: _flow("ingest", "ingest")(described))
    typer.echo(
        f"{version.train_utterances} utterances to train on, {version.eval_utterances} to evaluate on, {version.rejected} refused"
    )
    from deployments.summary import told_of_dataset

    for line in told_of_dataset(version):
        typer.echo(line)
    typer.echo(version.folder)


@app.command()
def train(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(help="Dataset folder that `ingest` printed.")],
    replay: Annotated[list[Path] | None, typer.Option(help="Dataset folder to mix in against forgetting; repeatable.")] = None,
    base: _Base = "voxfactory-tiny",
    method: _Method = "lora",
    epochs: _Epochs = 3,
    batch_size: _BatchSize = 4,
    learning_rate: _LearningRate = 2e-4,
    max_steps: _MaxSteps = None,
    seed: _Seed = 0,
    option: _Set = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only tell what it would take: steps, memory, time.")] = False,
) -> None:
    """Fine-tune a Voxtral on a dataset version; goes on from the last checkpoint if it was interrupted."""
    training = _training(base, method, epochs, batch_size, learning_rate, max_steps, seed, option, context)
    version, replayed = _open_dataset(dataset), [_open_dataset(folder) for folder in replay or []]
    if plan:
        from deployments.planning import plan_training

        plan_training(version, training, replayed)
        return
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
def compare(
    first: Annotated[str, typer.Argument(help="Hub id, id@revision, or folder of a model.")],
    second: Annotated[str, typer.Argument(help="The same of another one.")],
    dataset: Annotated[Path, typer.Argument(help="Dataset folder to compare them on.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Utterances at a time; memory grows with it.")] = 32,
) -> None:
    """Compare any two models on the same held-out utterances; nothing is published."""
    from deployments.running import run_flow
    from deployments.summary import print_scores

    version = _open_dataset(dataset)
    duel = run_flow(lambda: _flow("evaluate", "compare")(first, second, version, batch_size))
    print_scores(duel.scores, "first", "second")
    typer.echo(duel.folder / "report.html")


@app.command()
def publish(
    made: Annotated[Path, typer.Argument(help="Folder that `evaluate` or `train` printed, or that `ingest` printed.")],
    name: _Repository = "",
    licence: _Licence = "unknown",
    form: _Forms = None,
    public: _Public = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Although the gate refuses.")] = False,
) -> None:
    """Publish a model that passes the gate, or a dataset, to the Hub: proven before it is seen, in private unless told otherwise."""
    from deployments.publishing import publish_dataset_folder, publish_model_folder

    if (made / "dataset.json").is_file():
        publish_dataset_folder(made.resolve(), _checked("DatasetPublication", **_given(name=name), public=public))
        return
    publication = _publication(name, licence, form, public)
    publish_model_folder(made.resolve(), publication, anyway)


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
    context: typer.Context,
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
    repository: Annotated[str, typer.Option(help="Repository of the model: name, or owner/name.")] = "",
    licence: _Licence = "unknown",
    form: _Forms = None,
    public: _Public = False,
    eval_share: _EvalShare = 0.2,
    seed: _Seed = 0,
    approval: Annotated[bool, typer.Option("--approval", help="Ask a person in the Prefect UI before it is published.")] = False,
    option: _Set = None,
) -> None:
    """Everything: ingest, fine-tune, evaluate, gate, publish, deploy, prove."""
    from flows.params import Gate

    described = _source(source, language, name, eval_share, seed)
    guards = [_source(path, language, path.stem, eval_share, seed) for path in guard or []]
    training = _training(base, method, epochs, batch_size, learning_rate, max_steps, seed, option, context)
    publication = _publication(repository, licence, form, public)
    from deployments.running import run_flow
    from deployments.summary import print_result

    gate = Gate(guard_sets=guards, approval=approval)
    result = run_flow(lambda: _flow("factory", "factory")(described, training, gate, publication))
    print_result(result)
    if not result.decision.publish:
        raise typer.Exit(3)


@app.command()
def doctor() -> None:
    """Look whether everything is there that a run needs: home, device, Prefect, the Hub and the rights of the token."""
    from rich.console import Console

    from deployments.doctor import print_findings
    from infra.settings import settings

    if not print_findings(settings(), Console()):
        raise typer.Exit(2)


@app.command()
def up() -> None:
    """Start server, deployments, automations, workers, webhook and local Hub on this machine; Ctrl-C ends them."""
    from rich.console import Console

    from deployments.local import local_factory
    from deployments.status_page import status_page
    from infra.settings import settings

    with status_page(Console()) as show:
        local_factory(settings(), show)


@app.command()
def deploy(pool_type: _PoolType = "process") -> None:
    """Put pools, deployments and automations on the Prefect server, or correct them; `up` does it by itself."""
    from deployments.server import configure
    from infra.settings import settings

    configure(settings())
    from rich.console import Console

    from deployments.local import set_up
    from deployments.status_page import parts_table

    Console().print(parts_table(set_up(settings(), pool_type), "On the Prefect server"))


@app.command()
def webhook() -> None:
    """Listen for webhooks of a Hub, and tell Prefect when a watched dataset has changed."""
    import uvicorn

    from deployments.credentials import webhook_secret
    from deployments.server import configure
    from infra.settings import settings

    configure(settings())
    from deployments.webhook import create_app

    known = settings().model_copy(update={"webhook_secret": webhook_secret(settings())})
    uvicorn.run(create_app(known), host=known.host, port=known.webhook_port, log_level="warning")


@app.command()
def retrain(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Dataset of a Hub, owner/name; or a folder or manifest.")],
    language: _Language = None,
    name: _Repository = "",
    base: _Base = "voxfactory-tiny",
    method: _Method = "lora",
    epochs: _Epochs = 3,
    batch_size: _BatchSize = 4,
    learning_rate: _LearningRate = 2e-4,
    max_steps: _MaxSteps = None,
    licence: _Licence = "unknown",
    new: Annotated[int, typer.Option(min=1, help="How many utterances must be new.")] = 1,
    warm_start: Annotated[bool, typer.Option("--warm-start", help="Go on from the published adapter.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
) -> None:
    """Make the published model anew if enough is new in its dataset; it must beat its base and what is published."""
    from flows.params import Gate, Retraining

    place = {"path": Path(dataset).resolve()} if Path(dataset).exists() else {"repository": dataset}
    short = Path(dataset).name
    source = _checked("Source", **place, name=short, options={"language": language})
    training = _training(base, method, epochs, batch_size, learning_rate, max_steps, seed=0)
    publication = _publication(name or f"voxtral-{short}", licence, None, public=False)
    from deployments.running import run_flow
    from deployments.summary import print_result

    rules = Retraining(new_utterances=new, warm_start=warm_start)
    result = run_flow(lambda: _flow("retrain", "retrain")(source, training, Gate(), publication, rules, dry_run))
    typer.echo(result.news.reason)
    if result.made:
        print_result(result.made)
        if not result.made.decision.publish:
            raise typer.Exit(3)


@app.command()
def watch() -> None:
    """Look at the watched datasets once, and tell Prefect of each that changed."""
    from deployments.running import run_flow

    for name in run_flow(lambda: _flow("watch", "watch")()) or ["nothing changed"]:
        typer.echo(name)


@_pools.command("apply")
def apply_pools(
    pool_type: _PoolType = "process",
    cpu: Annotated[int, typer.Option(min=1, help="How many runs of the pool cpu may go on at once.")] = 4,
    gpu: Annotated[int, typer.Option(min=1, help="How many runs of the pool gpu may go on at once.")] = 1,
) -> None:
    """Create or correct the work pools cpu and gpu on the Prefect server."""
    from deployments.server import configure
    from infra.settings import settings

    configure(settings())
    from deployments.pools import apply_pools as apply

    for line in apply(pool_type, cpu, gpu):
        typer.echo(line)


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
    sys.stderr.write(f"voxfactory: {redacted(message)}\n")
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
        given = "" if isinstance(first["input"], dict) else f" (given: {first['input']!r})"  # of a conflict, it is all values
        raise SettingsError(f"{where}: {first['msg']}{given}", "Correct it and run the command again") from error


def _publication(name: str, licence: str, forms: list[str] | None, public: bool) -> "Publication":
    publication: Publication = _checked("Publication", **_given(name=name, forms=forms), licence=licence, public=public)
    return publication


def _given(**values: object) -> dict[str, object]:
    """Without what was left out: the parameters' own defaults stand."""
    return {key: value for key, value in values.items() if value}


def _source(path: Path, language: str | None, name: str, eval_share: float, seed: int, **terms: object) -> "Source":
    options = {"language": language, "eval_share": eval_share, "seed": seed, **terms}
    source: Source = _checked("Source", path=path.resolve(), name=name, options=options)
    return source


def _training(
    base: str,
    method: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    max_steps: int | None,
    seed: int,
    named: list[str] | None = None,
    context: typer.Context | None = None,
) -> "Training":
    """Options by their flags and, before those that were not typed (`context` knows), by --set."""
    from deployments.options import refuse_contradiction, set_options

    flags = {
        "method": method,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "max_steps": max_steps,
        "seed": seed,
    }
    given = set_options(named or [])
    training: Training = _checked("Training", base_model=base, options=flags | given)
    refuse_contradiction(training.options.model_dump(), _typed(flags, context), given)
    return training


def _typed(flags: dict[str, Any], context: typer.Context | None) -> dict[str, Any]:
    """Those that stand on the command line, and are not the default."""
    if context is None:
        return {}
    sources = {name: context.get_parameter_source(name) for name in flags}
    return {name: value for name, value in flags.items() if (source := sources[name]) and source.name == "COMMANDLINE"}


def _open_dataset(folder: Path) -> "DatasetVersion":
    from tasks.dataset.version import open_version

    return open_version(folder.resolve())


if __name__ == "__main__":
    main()
