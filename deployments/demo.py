"""`voxfactory demo`: the whole factory on speech that it makes itself, in minutes on a laptop.

voxfactory-tiny knows spoken digits in four languages and has never heard German. It is taught German digits by synthetic voices,
with a share of its own languages mixed in, and measured on voices that it has not heard.
"""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from infra.settings import settings
from infra.storage import write_json

if TYPE_CHECKING:
    from tasks.contracts import FactoryResult

_MADE_UP = 60.0  # words a minute: the tiny model has never heard silence, and takes it for digits before and after
_SEED = 7
_NEW_LANGUAGE = "de"
_CLIPS = 1000
_CLIPS_OF_KNOWN = {"en": 220, "es": 120, "it": 180, "nl": 300}  # Dutch is the closest to German, and is forgotten first


def run_demo() -> bool:
    """Run it, print the summary, write VOXFACTORY_HOME/demo/report.json; tells whether the gate let the model through."""
    started = time.monotonic()
    from deployments.running import progress_bars, quiet_libraries, run_flow
    from deployments.summary import shown

    quiet_libraries()
    os.environ["VOXFACTORY_HUB_ENDPOINT"] = "local"  # a demo publishes nothing elsewhere, whoever is logged in
    settings.cache_clear()
    home = settings().folder("demo")
    with progress_bars():
        target = _corpus(home, "spoken-digits-german", {_NEW_LANGUAGE: _CLIPS})
        guard = _corpus(home, "spoken-digits-known", _CLIPS_OF_KNOWN)
    stages: list[tuple[str, str, float]] = []
    result = run_flow(lambda: _run(target, guard, stages))
    seconds = time.monotonic() - started
    _print(result, stages, seconds)
    report_path = write_json(home / "report.json", _report(result, seconds))
    sys.stdout.write(f"  report {shown(report_path)}\n")
    return result.decision.publish


def _corpus(home: Path, name: str, clips: dict[str, int]) -> Path:
    """Synthetic speech, made once."""
    from tasks.speech.spoken_digits import digit_lines, make_corpus

    lines = [line for language, count in clips.items() for line in digit_lines(language, count, Path(), _SEED)]
    return make_corpus(lines, home, name, settings().processes)


def _run(target: Path, guard: Path, stages: list[tuple[str, str, float]]) -> "FactoryResult":
    from deployments.base_model import EVAL_SHARE, SEED
    from deployments.stages import finished_stages
    from flows.factory import factory
    from flows.params import Gate, Publication, Source, Training
    from tasks.contracts import Method
    from tasks.dataset.ingest import IngestOptions
    from tasks.evaluation.gate import GateRules
    from tasks.training.options import TrainingOptions

    # The base model's own division: who is held out was heard neither in its training nor is in this one.
    options = IngestOptions(seed=SEED, eval_share=EVAL_SHARE, licence="cc0-1.0", consent="synthetic voices: nobody was recorded")
    training = TrainingOptions(
        method=Method.FULL,
        epochs=4,
        batch_size=16,
        learning_rate=7e-4,
        checkpoint_steps=100,
        replay_share=1.0,
        seed=_SEED,
    )
    state = factory(
        Source(path=target, name="german-digits", options=options),
        Training(options=training),
        Gate(
            guard_sets=[Source(path=guard, name="known-languages", options=options)],
            rules=GateRules(silence_margin=_MADE_UP),
        ),
        Publication(name="voxfactory-tiny-german", licence="apache-2.0"),
        return_state=True,
    )
    result: FactoryResult = state.result()
    stages += finished_stages(state.state_details.flow_run_id)
    return result


def _print(result: "FactoryResult", stages: list[tuple[str, str, float]], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from deployments.summary import print_result

    console = Console()
    table = Table(title="Stages", title_justify="left")
    for column in ("stage", "how", "seconds"):
        table.add_column(column)
    for name, how, taken in stages:
        table.add_row(name, f"[cyan]{how}[/]" if how == "from the cache" else how, f"{taken:.1f}")
    console.print(table)
    print_result(result)
    console.print(f"  took   {seconds:.0f} s", highlight=False)


def _report(result: "FactoryResult", seconds: float) -> dict[str, object]:
    score = result.report.target
    return {
        "wer_base": score.wer_base.value,
        "wer_tuned": score.wer_tuned.value,
        "wer_ci": [score.wer_tuned.low, score.wer_tuned.high],
        "guards": {
            guard.language: {"wer_base": guard.wer_base.value, "wer_tuned": guard.wer_tuned.value}
            for guard in result.report.guard_scores
        },
        "gate": {"publish": result.decision.publish, "reasons": result.decision.reasons},
        "published": [f"{one.place.repository}@{one.place.tag}" for one in result.published],
        "space_proof": [proof.model_dump(mode="json") for proof in result.space.proofs] if result.space else None,
        "train_seconds": result.report.model.train_seconds,
        "seconds": round(seconds, 1),
    }
