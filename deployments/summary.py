"""What a person reads when the factory is done."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tasks.contracts import DatasetVersion, EvaluationReport, FactoryResult, GateDecision, HubRevision, PublishedModel, Score

_console = Console()


def print_report(report: EvaluationReport, decision: GateDecision) -> None:
    """Error rates before and after, and what the gate says."""
    print_scores(report.scores)
    verdict = "[bold green]publish[/]" if decision.publish else "[bold red]do not publish[/]"
    _console.print(f"Gate: {verdict}")
    for reason in decision.reasons:
        _console.print(f"  {reason}", highlight=False)


def print_scores(scores: Sequence[Score], before: str = "before", after: str = "after") -> None:
    """Error rates of two models, and how sure it is that the second is the better one."""
    table = Table(title="Word error rate on held-out speech, % (95 % interval)", title_justify="left")
    table.add_column("set", no_wrap=True)
    table.add_column("language")
    for column in ("n", before, after, "change", "better"):
        table.add_column(column, justify="right", no_wrap=True)
    for score in scores:
        change = 100 * score.wer_change.value
        tuned = score.wer_tuned
        table.add_row(
            score.set_name,
            score.language,
            str(score.utterances),
            f"{100 * score.wer_base.value:.1f}",
            f"{100 * tuned.value:.1f} ({100 * tuned.low:.1f} to {100 * tuned.high:.1f})",
            f"[{'green' if change <= 0 else 'yellow'}]{change:+.1f}[/]",
            f"{score.p_better:.0%}",
        )
    _console.print(table)


def print_result(result: FactoryResult) -> None:
    """Data, model, rates, gate, and where everything lies."""
    report = result.report
    dataset, model = report.dataset, report.model
    _console.print(
        f"Data: {dataset.name}, {dataset.train_utterances} utterances to train on, {dataset.eval_utterances} held out, "
        f"{dataset.set_aside_utterances} set aside, {dataset.rejected} refused, {dataset.hours:.2f} h",
        highlight=False,
    )
    _console.print(
        f"Model: {model.base.label}, {model.method}, {model.steps} steps in {model.train_seconds:.0f} s", highlight=False
    )
    print_report(report, result.decision)
    _console.print("")
    places = {"data": dataset.folder, "run": model.folder, "page": report.folder / "report.html"}
    if result.published:
        staged = result.published[0].staged
        places |= {"card": staged.card, "model": staged.folder}
    for what, place in places.items():
        _console.print(f"  {what:<6} {shown(place)}", highlight=False, soft_wrap=True)
    for published in result.published:
        print_published(published)
    if result.published and result.space:
        held = sum(proof.holds for proof in result.space.proofs)
        _console.print(f"  demo   proven on {held} of {len(result.space.proofs)} clips; open it with", highlight=False)
        command = shown(Path(sys.argv[0]).absolute()) if Path(sys.argv[0]).name == "voxfactory" else "voxfactory"
        _console.print(
            f"         {command} space {shown(result.published[0].staged.folder.parent)} --open", highlight=False, soft_wrap=True
        )


def told_of_dataset(dataset: DatasetVersion) -> list[str]:
    """How many inputs were refused and for what, and how many utterances were kept with a warning of what."""
    from tasks.dataset.version import refused_and_warned

    refused, warned = refused_and_warned(dataset)
    named = {f"  refused, with reasons in {shown(dataset.folder / 'rejected.jsonl')}": refused, "  kept with a warning": warned}
    return [
        f"{what}: {', '.join(f'{n} {kind}' for kind, n in counted.most_common())}" for what, counted in named.items() if counted
    ]


def print_published(published: PublishedModel) -> None:
    """Where a model is, and that it is what was measured."""
    held = sum(proof.holds for proof in published.proofs)
    print_place(published.place)
    _console.print(
        f"         downloaded again, it heard {held} of {len(published.proofs)} clips as evaluation did", highlight=False
    )


def print_place(place: HubRevision) -> None:
    """Where something was published."""
    seen = "public" if place.public else "private"
    was = "published" if place.new else "was there already"
    _console.print(f"  hub    {place.repository} on {place.hub}, {seen}, {was} as {place.tag}", highlight=False, soft_wrap=True)


def shown(path: Path) -> str:
    """A path as it is shortest from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
